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
	fs := newFlags(std, "verify [--partition N]... [--from-snapshot] [--settle 10s] [--dir DIR] [--coupon-keys FILE] [--json] [--nats URL]", `
Computes every offer again from the log and compares it with the messages in
OFFERS. From the first record that each chain still has, each offer must be
stored once, at its position, with the content that the log yields. So must each
mail between entities be in the receiver's log, as far as that reaches back. It only
reads, one partition after another, and may run while workers run: it leaves out
events that arrive in the meantime, and waits for offers that a worker has not
published yet. It holds the users of one partition in memory.

If the beginning of a log has expired, it starts from the oldest snapshot from
which the log is complete, prints this, and checks only the offers after the
snapshot: it trusts the state in it. The users are then on disk, under --dir.

Without --coupon-keys, codes of coupons are not compared: the code of a stored
offer counts as COUPON, wherever it is in the offer. If a campaign computes with
its code, verify needs the keys.

The exit status is 0 if there are no differences, and 1 if there are some or the
comparison failed.`,
		"offerctl verify --nats nats://127.0.0.1:4222\nofferctl verify --partition 3 --json")
	n := fs.nats()
	var opt audit.VerifyOptions
	fs.Func("partition", "only this partition, `N`; may be repeated", func(v string) error {
		p, err := strconv.Atoi(v)
		opt.Partitions = append(opt.Partitions, p)
		return err
	})
	fs.DurationVar(&opt.Settle, "settle", 10*time.Second, "how long to wait for an offer that is not stored yet, counted from the last one that arrived")
	fs.BoolVar(&opt.FromSnapshot, "from-snapshot", false, "start from a snapshot even if the log is complete; this is faster")
	fs.StringVar(&opt.Dir, "dir", os.TempDir(), "`DIR` for a snapshot's state while it is used; it needs about as much space as a worker")
	readCoupons := fs.couponKeys()
	asJSON := fs.Bool("json", false, "print one JSON object on standard output, and nothing else")
	if err := fs.none(args); err != nil {
		return err
	}
	var err error
	if opt.Coupons, err = readCoupons(); err != nil {
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
	return tellVerdict(std, v, *asJSON)
}

// tellVerdict prints the verdict. It returns an error if there are differences.
func tellVerdict(std stdio, v audit.Verdict, asJSON bool) error {
	if asJSON {
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

// showVerdict prints a table, and the differences.
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
	if m := v.Mails; m.Given > 0 || m.Stored > 0 {
		fmt.Fprintf(std.out, "mails between entities: %d, %d stored, %d trimmed, %d missing, %d different, %d extra\n", m.Given, m.Stored, m.Trimmed, m.Missing, m.Different, m.Extra)
	}
	for _, p := range v.Partitions {
		if p.From > 0 {
			fmt.Fprintf(std.out, "partition %d: from the snapshot at message %d on\n", p.Partition, p.From)
		}
	}
	if v.OK() {
		fmt.Fprintln(std.out, "\nNo differences: the stored offers are those that the log yields.")
		return
	}
	if offers := v.Wrong() - v.Mails.Wrong(); offers > 0 {
		fmt.Fprintf(std.out, "\n%d offers are wrong: %d missing, %d double, %d different, %d extra.\n", offers, v.Missing, v.Duplicate, v.Different, v.Extra)
	}
	if n := v.Mails.Wrong(); n > 0 {
		fmt.Fprintf(std.out, "\n%d mails are wrong: %d missing, %d different, %d extra.\n", n, v.Mails.Missing, v.Mails.Different, v.Mails.Extra)
	}
	for _, e := range v.Examples {
		fmt.Fprintf(std.out, "  %s\n", e)
	}
	if more := v.Wrong() - len(v.Examples); more > 0 {
		fmt.Fprintf(std.out, "  and %d more\n", more)
	}
}
