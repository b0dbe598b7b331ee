package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"offerstream/pipeline/audit"
)

// verify is `offerctl verify`.
func verify(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, "verify [--partition N]... [--from-snapshot] [--settle 10s] [--dir DIR] [--json] [--nats URL]", `
Computes every offer anew from the log and compares with what OFFERS holds:
from the first record that each chain still has, is each offer there, once, in
its place, as the log gives it? It only reads, one partition after the other,
and may run beside workers: what comes meanwhile is left out, and what a worker
has yet to publish is waited for. In memory it has the users of one partition.

Where a log's beginning has expired, it begins with the oldest snapshot that the
log reaches back to, says so, and looks at the offers behind that: the state in
the snapshot is believed. Its users are on disk then, under --dir.

Exit status: 0 if nothing is wrong; 1 if something is, or it cannot be told.`,
		"offerctl verify --nats nats://127.0.0.1:4222\nofferctl verify --partition 3 --json")
	n := fs.nats()
	var opt audit.VerifyOptions
	fs.Func("partition", "only this partition, `N`; may be given again", func(v string) error {
		p, err := strconv.Atoi(v)
		opt.Partitions = append(opt.Partitions, p)
		return err
	})
	fs.DurationVar(&opt.Settle, "settle", 10*time.Second, "how long to wait for an offer that is not stored yet, from when the last one came")
	fs.BoolVar(&opt.FromSnapshot, "from-snapshot", false, "begin with a snapshot though the log may have all: sooner done")
	fs.StringVar(&opt.Dir, "dir", os.TempDir(), "`DIR` for a snapshot's state while it is needed; about as large as a worker's")
	asJSON := fs.Bool("json", false, "the last line of standard output is one JSON object, and there is no other")
	if err := fs.none(args); err != nil {
		return err
	}
	conn, err := n.connect(ctx, std)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, p := range opt.Partitions {
		if p < 0 || p >= conn.Partitions {
			return usagef("--partition %d: there are partitions 0 to %d", p, conn.Partitions-1)
		}
	}
	slices.Sort(opt.Partitions)
	opt.Partitions = slices.Compact(opt.Partitions)
	live := newProgress(std.err)
	opt.Progress = func(p int, seq, end uint64) { live.show("partition %d: message %d of %d", p, seq, end) }
	opt.Log = slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	v, err := audit.Verify(ctx, conn, &opt)
	live.done()
	if err != nil {
		return err
	}
	if *asJSON {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		fmt.Fprintf(std.out, "%s\n", b)
	} else {
		showVerdict(std, v)
	}
	if !v.OK() {
		return errSilent
	}
	return nil
}

// showVerdict prints a table and what is wrong.
func showVerdict(std stdio, v audit.Verdict) {
	w := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name string, s audit.Sums) {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n", name, s.Applied, s.Offers, s.Stored, s.Trimmed, s.Missing, s.Duplicate, s.Different, s.Extra)
	}
	fmt.Fprintln(w, "partition\tevents\toffers\tstored\ttrimmed\tmissing\tdouble\tdifferent\textra\t")
	for _, p := range v.Partitions {
		row(strconv.Itoa(p.Partition), p.Sums)
	}
	row("all", v.Sums)
	w.Flush()
	for _, p := range v.Partitions {
		if p.From > 0 {
			fmt.Fprintf(std.out, "partition %d: from the snapshot at message %d on\n", p.Partition, p.From)
		}
	}
	if v.OK() {
		fmt.Fprintln(std.out, "\nNothing is wrong: the offers stored are those of the log.")
		return
	}
	fmt.Fprintf(std.out, "\n%d offers are wrong: %d missing, %d double, %d different, %d extra.\n", v.Wrong(), v.Missing, v.Duplicate, v.Different, v.Extra)
	for _, e := range v.Examples {
		fmt.Fprintf(std.out, "  %s\n", e)
	}
	if more := v.Wrong() - len(v.Examples); more > 0 {
		fmt.Fprintf(std.out, "  and %d more\n", more)
	}
}
