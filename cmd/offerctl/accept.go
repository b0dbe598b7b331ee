package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
)

// maxWhy bounds what an operator says, which is a header on each chain.
const maxWhy = 1000

// accept is `offerctl accept`.
func accept(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, "accept --partition P [--why TEXT] [--dir DIR] [--yes] [--json] [--nats URL]", `
The way on after a partition has stopped because NATS came back with less than
it had acknowledged, or because what its state was made of is nowhere any more.
Putting back what was lost is better: this accepts that it is lost.

All workers must be stopped. It asks, as nothing takes it back: of a partition
that has not stopped, it keeps offers from being sent. Then it computes the partition's state from the log as
it is now (from its beginning, else from the newest snapshot that fits it, else
from what the log still has), records that in the log, puts a mark onto each
chain of offers (ce-type offerstream.accepted, no offer: senders skip it), and
leaves a snapshot, from which the workers go on. It prints each offer that the
log gives and that is not stored: those are not sent any more. Events that the
log has lost are lost. Run it again if it was cut short.`,
		"offerctl accept --partition 3 --why 'disk of nats-2 lost' --nats nats://127.0.0.1:4222")
	n := fs.nats()
	p := fs.Int("partition", -1, "the partition, `P`")
	why := fs.String("why", "accepted by an operator", "`TEXT` for the log and the marks")
	dir := fs.String("dir", os.TempDir(), "`DIR` for the state while it is computed; about as large as a worker's")
	yes := fs.Bool("yes", false, "do not ask")
	asJSON := fs.Bool("json", false, "the last line of standard output is one JSON object, and there is no other")
	if err := fs.none(args); err != nil {
		return err
	}
	if *p < 0 {
		return usagef("--partition is needed: which one has stopped?")
	}
	if *why == "" || len(*why) > maxWhy {
		return usagef("--why takes 1 to %d bytes: it goes into the log and onto each chain", maxWhy)
	}
	conn, err := n.connect(ctx, std)
	if err != nil {
		return err
	}
	defer conn.Close()
	if *p >= conn.Partitions {
		return usagef("--partition %d: there are partitions 0 to %d", *p, conn.Partitions-1)
	}
	if err := audit.NoneLives(ctx, conn); err != nil {
		return err
	}
	if !*yes {
		fmt.Fprintf(std.err, "Accept what partition %d has lost, because: %s? [y/N] ", *p, *why)
		if !yesFrom(std.in) {
			fmt.Fprintln(std.err, "nothing changed")
			return errSilent
		}
	}
	own, err := os.MkdirTemp(*dir, "offerstream-accept-")
	if err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	defer os.RemoveAll(own)
	live := newProgress(std.err)
	done, err := audit.Accept(ctx, conn, audit.AcceptOptions{
		Partition: *p, Why: *why, Dir: filepath.Join(own, "state"), Log: slog.New(slog.NewTextHandler(std.err, nil)),
		Connect: func(ctx context.Context) (*broker.Conn, error) { return n.connect(ctx, std) },
		Lost: func(e audit.Example) {
			if !*asJSON {
				live.done()
				fmt.Fprintln(std.out, e)
			}
		},
		Progress: func(p int, seq, end uint64) { live.show("partition %d: message %d of %d", p, seq, end) },
	})
	live.done()
	if err != nil {
		return err
	}
	if *asJSON {
		return json.NewEncoder(std.out).Encode(done)
	}
	from := "the log's beginning"
	if done.From > 0 {
		from = fmt.Sprintf("a snapshot at message %d", done.From)
	}
	fmt.Fprintf(std.out, "partition %d: accepted, as message %d of its log. The state is that of %d events, from %s on.\n", done.Partition, done.Seq, done.Events, from)
	for _, gap := range done.Skipped {
		fmt.Fprintf(std.out, "  messages %s of the log are lost\n", gap)
	}
	fmt.Fprintf(std.out, "  %d offers are lost\n", done.Lost)
	for _, name := range slices.Sorted(maps.Keys(done.Chains)) {
		fmt.Fprintf(std.out, "  %s.%d goes on behind record %d\n", name, done.Partition, done.Chains[name])
	}
	fmt.Fprintln(std.out, "Start the workers again.")
	return nil
}
