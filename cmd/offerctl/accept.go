package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
)

// maxWhy is the longest reason in bytes. It becomes a header on each chain.
const maxWhy = 1000

// accept is `offerctl accept`.
func accept(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, "accept --partition P [--why TEXT] [--dir DIR] [--yes] [--json] [--nats URL]", `
Accepts a loss, so that a stopped partition can continue. Use it if NATS came
back with less than it had acknowledged, for example from a backup, or if a part
of the log from which the state was computed is lost. It is better to restore the
lost data, if possible.

All workers must be stopped. The command asks before it starts, because it
cannot be undone: on a partition that has not stopped, it would prevent offers
from being sent. Then it computes the partition's state from the log as it is
now (from its beginning, else from the newest snapshot that matches the log, else
from what the log still has), records the acceptance in the log, puts a mark onto
each chain of offers (ce-type offerstream.accepted; it is not an offer, and
subscribers skip it), and writes a snapshot, from which the workers continue.
Offers after that have numbers (Offerstream-N) above all that were ever given
out, so that no subscriber takes them for old ones, whatever NATS has lost. These
numbers come from the clock of NATS, with which this machine's clock must agree.
It prints each offer that the log yields but that is not stored: these offers are
not sent any more. What the lost log had granted of budgets and pools counts
again, by the grants that stored offers name. Events that the log has lost stay
lost. If the command is interrupted, run it again.`,
		"offerctl accept --partition 3 --why 'disk of nats-2 lost' --nats nats://127.0.0.1:4222")
	n := fs.nats()
	p := fs.Int("partition", -1, "the partition, `P`")
	why := fs.String("why", "accepted by an operator", "the reason, `TEXT` for the log and the marks")
	dir := fs.String("dir", os.TempDir(), "`DIR` for the state while it is computed; it needs about as much space as a worker")
	yes := fs.Bool("yes", false, "do not ask")
	asJSON := fs.Bool("json", false, "print one JSON object on standard output, and nothing else")
	if err := fs.none(args); err != nil {
		return err
	}
	if *p < 0 {
		return usagef("--partition is required: name the partition that has stopped")
	}
	if *why == "" || len(*why) > maxWhy {
		return usagef("--why takes 1 to %d bytes: it is stored in the log and on each chain", maxWhy)
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
		fmt.Fprintf(std.err, "Accept the loss in partition %d, because: %s? [y/N] ", *p, *why)
		if !yesFrom(std.in) {
			fmt.Fprintln(std.err, "nothing changed")
			return errSilent
		}
	}
	opt := audit.AcceptOptions{Partition: *p, Why: *why, Connect: func(ctx context.Context) (*broker.Conn, error) { return n.connect(ctx, std) }}
	done, err := acceptIn(ctx, conn, *dir, opt, std, !*asJSON)
	if err != nil {
		return err
	}
	if *asJSON {
		return json.NewEncoder(std.out).Encode(done)
	}
	showAccepted(std.out, done)
	return nil
}

// acceptIn runs the acceptance, with the state in a directory of its own below
// dir. It shows the progress, and with showLost each lost offer.
func acceptIn(ctx context.Context, conn *broker.Conn, dir string, opt audit.AcceptOptions, std stdio, showLost bool) (audit.Accepted, error) {
	own, err := os.MkdirTemp(dir, "offerstream-accept-")
	if err != nil {
		return audit.Accepted{}, fmt.Errorf("--dir: %w", err)
	}
	defer os.RemoveAll(own)
	live := newProgress(std.err)
	defer live.done()
	opt.Dir, opt.Log = filepath.Join(own, "state"), slog.New(slog.NewTextHandler(std.err, nil))
	opt.Lost = func(e audit.Example) {
		if showLost {
			live.done()
			fmt.Fprintln(std.out, e)
		}
	}
	opt.Progress = func(p int, seq, end uint64) { live.show("partition %d: message %d of %d", p, seq, end) }
	return audit.Accept(ctx, conn, opt)
}

// budgetName is what people call the entity of a budget or pool.
func budgetName(of string) string {
	if name, ok := strings.CutPrefix(of, "p:"); ok {
		return "the pool " + name
	}
	return "the budget of " + strings.TrimPrefix(of, "c:")
}

// showAccepted prints what was accepted, and what it means for subscribers.
func showAccepted(out io.Writer, done audit.Accepted) {
	from := "the log's beginning"
	if done.From > 0 {
		from = fmt.Sprintf("a snapshot at message %d", done.From)
	}
	fmt.Fprintf(out, "partition %d: accepted, as message %d of its log. The state has %d events, starting from %s.\n", done.Partition, done.Seq, done.Events, from)
	for _, gap := range done.Skipped {
		fmt.Fprintf(out, "  messages %s of the log are lost\n", gap)
	}
	for _, what := range done.Empty {
		fmt.Fprintf(out, "  begins empty, as the second state of a backfill is lost: %s\n", what)
	}
	fmt.Fprintf(out, "  never sent: %s that the log yields and no chain has\n", count(done.Lost, "offer"))
	for _, to := range slices.Sorted(maps.Keys(done.LostMails)) {
		fmt.Fprintf(out, "  never sent: %s to entities of partition %d, such as updates of items, that the log yields and that partition's log does not have\n", count(done.LostMails[to], "mail"), to)
	}
	for _, of := range slices.Sorted(maps.Keys(done.Recounted)) {
		fmt.Fprintf(out, "  counted again: %s of %s, which the lost log had given\n", count(done.Recounted[of], "grant"), budgetName(of))
	}
	if done.Unread > 0 {
		fmt.Fprintf(out, "  not looked at: %s, the oldest, which were too many to be compared with the log: if they are lost, budgets may be exceeded by so much\n", count(done.Unread, "grant"))
	}
	for _, name := range slices.Sorted(maps.Keys(done.Stored)) {
		s := done.Stored[name]
		fmt.Fprintf(out, "  perhaps received again: %s of %s.%d, in records %d to %d, with the numbers and ids that they had\n", count(s.Offers, "offer"), name, done.Partition, s.First, s.Last)
	}
	fmt.Fprintf(out, "  perhaps sent again: what waits for its time, for %s, if it was sent before in what NATS has lost; with new numbers, and the ids that it had unless lost events had changed it\n", count(done.Waiting, "user"))
	for _, name := range slices.Sorted(maps.Keys(done.Chains)) {
		fmt.Fprintf(out, "  %s.%d continues after record %d\n", name, done.Partition, done.Chains[name])
	}
	fmt.Fprintf(out, "  any other chain begins after record %d\n", done.After)
	fmt.Fprintln(out, "New offers have numbers above all that were given out before, so subscribers drop none of them.")
	fmt.Fprintln(out, "Events and offers that are neither in this log nor on these chains cannot be counted. If such events are sent again, so are their offers: with new numbers, and with the ids that they had where the same events trigger them.")
	fmt.Fprintln(out, "Start the workers again.")
}
