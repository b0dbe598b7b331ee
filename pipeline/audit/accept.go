package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/checkpoint"
	"offerstream/pipeline/value"
)

// AcceptOptions configure Accept. Fields with a value in parentheses may be nil,
// which means that value; a simulation sets them.
type AcceptOptions struct {
	Partition int
	Why       string                                      // the reason, which is stored in the log and on the chains
	Dir       string                                      // a directory for temporary state, removed at the end
	Connect   func(context.Context) (*broker.Conn, error) // for storing the snapshot
	Lost      func(Example)                               // called with each offer or mail that the log gives and no chain has, and no chain can have had before it was trimmed
	Progress  func(partition int, seq, end uint64)        // called for each message of the log; may be nil
	Log       *slog.Logger

	Now     func() int64       // this machine's clock, nanoseconds since 1970 (time.Now)
	Disk    checkpoint.Disk    // (this machine's)
	Archive checkpoint.Archive // (in NATS)
	Sets    *checkpoint.Sets   // (fetched from NATS)

	Walk func(ctx context.Context, stream, filter string, since time.Time, fn func(broker.Stored) error) error // reads what NATS has stored (broker.Conn.Walk)
}

// An Accepted is the result of an acceptance.
type Accepted struct {
	Partition int               `json:"partition"`
	Seq       uint64            `json:"seq"`                 // the message in the log that records the acceptance
	From      uint64            `json:"from"`                // the last message in the snapshot with which the replay began; 0: it began with an empty state
	Events    uint64            `json:"events"`              // events applied to the state
	Skipped   []string          `json:"skipped"`             // missing messages of the log, such as 5-7
	Empty     []string          `json:"empty,omitempty"`     // features and campaigns that begin empty, as the second state of a switch is lost
	Lost      int               `json:"lost"`                // offers that the log gives and no chain has: they are never published
	Recounted map[string]int    `json:"recounted,omitempty"` // by budget (c: and the campaign) and pool (p: and its name): grants that the log does not give any more, counted again
	Unread    int               `json:"unread,omitempty"`    // the oldest grants, which were too many to be compared with the log
	LostMails map[int]int       `json:"lost_mails"`          // by receiver: mails that the log gives and the receiver's log does not have: they are never sent
	Waiting   int               `json:"waiting"`             // users for whom something waits for a time, such as an offer with unless
	After     uint64            `json:"after"`               // the number after which each chain continues, or begins: none before it was as large
	Chains    map[string]uint64 `json:"chains"`              // the number of the mark on each chain
	Stored    map[string]Stored `json:"stored"`              // what each chain of offers had before its mark
}

// Stored is what a chain of offers has. Subscribers may receive it again.
type Stored struct {
	Offers int    `json:"offers"` // without marks
	First  uint64 `json:"first"`  // number of the first record
	Last   uint64 `json:"last"`   // number of the last record
}

// Accept is the way out of a partition's loud stop if the lost data cannot be
// restored (PROTOCOL.md, P9). It computes the state from the log as it is: from the
// log's beginning, else from the newest snapshot that fits the log, else from what the
// log still has. It records the acceptance in the log, with the grants of budgets and
// pools that count again, as the log does not give them any more (G5). It puts a mark
// onto each chain, after which the workers go on, with numbers that no subscriber
// has seen (pipeline.Acceptance). And it leaves a snapshot of the state for them,
// the only one. Offers that the log gives before that and no chain has are never
// published, nor are such mails. What the partition's entities ask of others, and what
// others ask of them, ends; Accept sends the mails that say so, to every partition,
// which every partition's log must be there to take.
//
// No worker may be alive meanwhile. An acceptance that was interrupted can be
// started again.
func Accept(ctx context.Context, conn *broker.Conn, opt AcceptOptions) (Accepted, error) {
	a := newAcceptance(conn, opt)
	if err := NoneLives(ctx, conn); err != nil {
		return a.done, err
	}
	err := a.run(ctx)
	return a.done, errors.Join(err, a.remove())
}

func newAcceptance(conn *broker.Conn, opt AcceptOptions) *acceptance {
	if opt.Now == nil {
		opt.Now = func() int64 { return time.Now().UnixNano() }
	}
	if opt.Disk == nil {
		opt.Disk = checkpoint.Badgers{}
	}
	if opt.Archive == nil {
		opt.Archive = checkpoint.Objects{Conn: conn, Connect: opt.Connect}
	}
	if opt.Sets == nil {
		opt.Sets = &checkpoint.Sets{}
	}
	a := &acceptance{opt: opt, replay: replay{conn: conn, p: opt.Partition, dir: opt.Dir, log: opt.Log,
		disk: opt.Disk, archive: opt.Archive, sets: opt.Sets, shrink: 2, lossy: true}}
	if opt.Walk == nil {
		a.opt.Walk = conn.Walk
	}
	return a
}

// NoneLives returns an error if a worker of the deployment is alive.
func NoneLives(ctx context.Context, conn *broker.Conn) error {
	leases, err := conn.Leases(ctx)
	if err == nil && len(leases) > 0 {
		err = fmt.Errorf("these workers live: %s: stop all of them, wait %s and start this command again", strings.Join(slices.Sorted(maps.Keys(leases)), ", "), broker.LeaseFor)
	}
	return err
}

type acceptance struct {
	replay
	opt     AcceptOptions
	before  int64 // stored time of the previous acceptance; 0: none
	tails   map[string]broker.ChainTail
	mails   acceptedMails
	record  pipeline.Acceptance
	after   uint64              // the message of the last acceptance in the log
	end     uint64              // that of this one; 0: it is not recorded yet
	found   map[string]int      // Accepted.Recounted
	live    uint64              // the revision of the record with the set that is live
	left    int                 // Accepted.Unread
	recount *pipeline.Recount   // until the acceptance is recorded; nil: no campaign has a budget
	there   map[string]*onChain // the offers stored on each chain of offers
	done    Accepted
}

// onChain says which offers a chain has.
type onChain struct {
	oldest uint64          // number of the oldest record that it still has
	ids    map[uint64]bool // hashes of the ids
	stored Stored
}

func (a *acceptance) read(ctx context.Context, name string) (*onChain, error) {
	c := &onChain{ids: map[uint64]bool{}}
	return c, a.opt.Walk(ctx, a.conn.Names.ChainStream(name), a.conn.Names.ChainSubject(name, a.p), time.Time{}, func(m broker.Stored) error {
		pos, _ := broker.ParsePosition(m.Header)
		if c.oldest == 0 {
			c.oldest, c.stored.First = pos.N, pos.N
		}
		c.stored.Last = pos.N
		id := m.Header.Get("ce-id")
		if !broker.IsMarkID(id) {
			c.stored.Offers++
		}
		c.ids[xxhash.Sum64String(id)] = true
		return nil
	})
}

// lost reports whether the chain of an offer or page record that the log gives neither
// has it, by its id, nor can have had it before it was trimmed.
func (a *acceptance) lost(e pipeline.Effect, id string) bool {
	c := a.there[e.Chain]
	return c == nil || e.Pos.N >= c.oldest && !c.ids[xxhash.Sum64String(id)]
}

func (a *acceptance) run(ctx context.Context) error {
	p := a.p
	var err error
	if a.tails, err = a.conn.ChainTails(ctx, p); err != nil {
		return err
	}
	if a.after, a.before, err = a.conn.LastAccept(ctx, p); err != nil {
		return err
	}
	if a.mails, err = a.mailsBefore(ctx); err != nil {
		return err
	}
	a.record = pipeline.Acceptance{Chains: map[string]uint64{}, Why: a.opt.Why}
	if a.record.After, err = a.beyond(ctx); err != nil {
		return err
	}
	a.there = map[string]*onChain{}
	for name, t := range a.tails {
		a.record.Chains[name] = t.N
		if name == "dead" {
			continue
		}
		if a.there[name], err = a.read(ctx, name); err != nil {
			return err
		}
	}
	for {
		a.done = Accepted{Partition: p, Seq: a.end, After: a.record.After, Chains: map[string]uint64{}, Stored: map[string]Stored{}, Skipped: []string{}, LostMails: map[int]int{}}
		for name, c := range a.there {
			a.done.Stored[name] = c.stored
		}
		err := a.compute(ctx)
		if a.again(err) {
			continue
		}
		if err != nil {
			return err
		}
		return a.leave(ctx, a.end)
	}
}

// mostNumber is beyond the numbers that pipeline.AfterAll gives before the year
// 2255.
const mostNumber = 1 << 53

// beyond returns a number beyond all that the partition's chains have given out.
// It is the time of NATS; a second clock must agree, because acceptances with a
// wrong clock could give out numbers twice.
func (a *acceptance) beyond(ctx context.Context) (uint64, error) {
	ahead, theirs, err := a.conn.Clocks(ctx, a.p, a.opt.Now)
	if err != nil {
		return 0, fmt.Errorf("compare this machine's clock with the clock of NATS: %w", err)
	}
	if ahead.Abs() > broker.ClockApart {
		how := "ahead of"
		if ahead < 0 {
			how = "behind"
		}
		return 0, fmt.Errorf("this machine's clock is %s %s the clock of NATS: the numbers of offers continue from the time, so both must be right: let NTP set both clocks and start this command again", ahead.Abs().Round(time.Second), how)
	}
	if last := a.mails.newest(a.before); last >= theirs { // mails are ordered by the stored times of acceptances
		return 0, fmt.Errorf("the clock of NATS is behind %s, when the last acceptance of the partition was stored: it has been set back: wait until it is past that and start this command again", value.FormatTime(last))
	}
	after := pipeline.AfterAll(theirs)
	for name, t := range a.tails { // a clock may have been ahead at an earlier acceptance
		if t.N >= mostNumber {
			return 0, fmt.Errorf("chain %s ends with record %d, and no worker gives such a number: delete message %d from stream %s if it was published by hand",
				a.conn.Names.ChainSubject(name, a.p), t.N, t.Seq, a.conn.Names.ChainStream(name))
		}
		after = max(after, t.N)
	}
	return after, nil
}

// compute folds the log, records the acceptance in it, and folds that too, publishing
// the marks. What the acceptance counts again is known only when the log is folded.
func (a *acceptance) compute(ctx context.Context) error {
	first, last, err := a.conn.Extent(ctx, a.p)
	if err != nil {
		return err
	}
	if a.end > 0 { // it is recorded
		last = a.end
	}
	var metas []broker.SnapshotMeta
	if first > 1 {
		if metas, err = a.snapshots(ctx); err != nil {
			return err
		}
	}
	a.emptied = nil
	a.mails.drop()
	if err := a.begin(ctx, metas, first, last); err != nil {
		return err
	}
	a.done.From, _, _, _ = a.fold.At()
	if a.end == 0 {
		if a.recount, err = a.findGrants(ctx); err != nil {
			return err
		}
		has, err := a.conn.LastEvent(ctx, a.p)
		if err != nil {
			return err
		}
		if err := a.foldTo(ctx, has); err != nil {
			return err
		}
		if err := a.enter(ctx); err != nil {
			return fmt.Errorf("record the acceptance in the log of partition %d: %w", a.p, err)
		}
	}
	if err := a.foldTo(ctx, a.end); err != nil {
		return err
	}
	_, a.done.Events, _, _ = a.fold.At()
	a.done.Empty, a.done.Recounted, a.done.Unread = a.emptied, a.found, a.left
	if err := a.commit(); err != nil {
		return err
	}
	return a.store.Timers(func(int64, string) error { a.done.Waiting++; return nil })
}

// foldTo folds the log up to message last.
func (a *acceptance) foldTo(ctx context.Context, last uint64) error {
	seq, _, _, _ := a.fold.At()
	if seq >= last {
		return nil
	}
	if first, _, err := a.conn.Extent(ctx, a.p); err != nil {
		return err
	} else if first > last { // nothing of it comes any more
		a.skip(seq+1, last)
		return nil
	}
	return a.scan(ctx, seq+1, func(m pipeline.Message) (enough bool, err error) {
		if m.Seq > seq+1 {
			a.skip(seq+1, m.Seq-1)
		}
		if m.Seq == a.end {
			if err := a.commit(); err != nil { // before the marks are published, which must happen only once
				return false, err
			}
		}
		if err := a.apply(ctx, m, m.Seq == a.end); err != nil {
			return false, err
		}
		if err := a.atSwitch(ctx, m.Seq, nil); err != nil {
			return false, err
		}
		seq = m.Seq
		if a.opt.Progress != nil {
			a.opt.Progress(a.p, seq, last)
		}
		return seq == last, nil
	})
}

// skip passes over messages that have expired.
func (a *acceptance) skip(from, to uint64) {
	a.done.Skipped = append(a.done.Skipped, fmt.Sprintf("%d-%d", from, to))
	a.fold.Skip(to)
}

// snapshots returns the partition's snapshots: first those that have folded the
// previous acceptance, then the others, each the newest first.
func (a *acceptance) snapshots(ctx context.Context) ([]broker.SnapshotMeta, error) {
	all, err := a.archive.List(ctx, a.p)
	var first, others []broker.SnapshotMeta
	for _, m := range all {
		if checkpoint.HasFolded(m, a.before) {
			first = append(first, m)
		} else {
			others = append(others, m)
		}
	}
	return append(first, others...), err
}

// apply folds a message. If it is the last one, the acceptance, apply publishes
// its marks. It publishes the mails of every acceptance that it folds: one that was
// interrupted may have left some.
func (a *acceptance) apply(ctx context.Context, m pipeline.Message, last bool) error {
	a.cache.Expect(m.Data)
	if a.recount != nil {
		if err := a.recount.Folds(m); err != nil {
			return err
		}
	}
	if err := a.fold.Begin(m); err != nil {
		return err
	}
	for {
		more, err := checkpoint.Next(a.fold)
		if err != nil {
			return err
		}
		for _, e := range a.fold.Effects() {
			if a.recount != nil {
				if err := a.recount.Gives(e); err != nil {
					return err
				}
			}
			switch {
			case e.Mark != nil && last:
				if err := a.conn.PublishMark(ctx, a.p, e, a.tails[e.Chain].Seq); err != nil {
					return err
				}
				a.done.Chains[e.Chain] = e.Pos.N
			case e.Mail != nil && m.Kind == pipeline.Accept:
				if err := a.send(ctx, e); err != nil {
					return err
				}
			case e.Mail != nil && a.mails.lost(e):
				a.loseMail(e)
			case e.Offer != nil && a.lost(e, e.Offer.ID):
				a.done.Lost++
				a.opt.Lost(Example{"lost", e.Offer.ID, a.p, e.Chain, e.Pos.N, e.Pos.S, "the log gives it, and its chain does not have it"})
			case e.Page != nil && a.lost(e, e.Page.ID):
				a.done.Lost++
				a.opt.Lost(Example{"lost", e.Page.ID, a.p, e.Chain, e.Pos.N, e.Pos.S, "the log gives it, and its chain does not have it"})
			}
		}
		if a.cache.Full(a.shrink) || !more {
			if err := a.sendAll(ctx); err != nil { // before a commit (P4)
				return err
			}
		}
		if err := a.commitSome(); err != nil {
			return err
		}
		if !more {
			return nil
		}
	}
}

// leave stores the state as the partition's only snapshot. Until it is stored, an
// older one stays, for an acceptance that is started again.
func (a *acceptance) leave(ctx context.Context, end uint64) error {
	drop := func(chosen func(seq uint64) bool) error {
		if err := a.archive.Drop(ctx, a.p, chosen); err != nil {
			return fmt.Errorf("remove the snapshots from before the acceptance: %w: start this command again", err)
		}
		return nil
	}
	if err := drop(func(seq uint64) bool { return seq > end }); err != nil { // they are of another log
		return err
	}
	err := a.archive.Put(ctx, a.p, end, checkpoint.Metadata(a.fold.Cursor()), func(w io.Writer) error {
		_, err := a.store.Snapshot(w)
		return err
	})
	if err != nil {
		return fmt.Errorf("the acceptance is recorded, but its snapshot could not be stored for the workers: start this command again: %w", err)
	}
	return drop(func(seq uint64) bool { return seq != end })
}
