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

	"github.com/cespare/xxhash/v2"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/checkpoint"
)

// AcceptOptions say what Accept does.
type AcceptOptions struct {
	Partition int
	Why       string // in the log and on the chains
	Dir       string // where state may be made, which is removed in the end
	Connect   func(context.Context) (*broker.Conn, error)
	Lost      func(Example)                        // what the log gives and no chain has, one by one
	Progress  func(partition int, seq, end uint64) // of the log, for each message; may be nil
	Log       *slog.Logger

	// A simulation has its own of these; nil is what is in parentheses.
	Disk    checkpoint.Disk                                                             // (of this machine)
	Archive checkpoint.Archive                                                          // (in NATS)
	Sets    *checkpoint.Sets                                                            // (fetched from NATS)
	Records func(ctx context.Context, chain string, fn func(n uint64, id string)) error // calls fn with each record that a chain has, in order (in NATS)
}

// An Accepted says what an acceptance has done.
type Accepted struct {
	Partition int               `json:"partition"`
	Seq       uint64            `json:"seq"`     // of the message in the log that records it
	From      uint64            `json:"from"`    // the last message of what the state was made of before the log; 0: of the log alone
	Events    uint64            `json:"events"`  // in the state
	Skipped   []string          `json:"skipped"` // messages of the log that are not there, as 5-7
	Lost      int               `json:"lost"`    // offers that the log gives and no chain has
	Chains    map[string]uint64 `json:"chains"`  // the mark's number on each
}

// Accept is the way out of a partition's loud stop where what was lost cannot
// be had back (PROTOCOL.md, P9). It makes the state of the log as it is, from
// its beginning, the newest snapshot that fits it, or, where neither is there,
// of what the log still has; records that in the log; puts a mark onto each
// chain, behind which the workers go on; and leaves a snapshot for them, the
// only one. Nothing that the log gives up to there is published any more.
//
// No worker may live meanwhile. One that was cut is begun again.
func Accept(ctx context.Context, conn *broker.Conn, opt AcceptOptions) (Accepted, error) {
	a := newAcceptance(conn, opt)
	if err := NoneLives(ctx, conn); err != nil {
		return a.done, err
	}
	err := a.run(ctx)
	return a.done, errors.Join(err, a.remove())
}

func newAcceptance(conn *broker.Conn, opt AcceptOptions) *acceptance {
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
		disk: opt.Disk, archive: opt.Archive, sets: opt.Sets, shrink: 2}}
	if opt.Records == nil {
		a.opt.Records = a.walk
	}
	return a
}

// NoneLives fails where a worker of the deployment lives.
func NoneLives(ctx context.Context, conn *broker.Conn) error {
	leases, err := conn.Leases(ctx)
	if err == nil && len(leases) > 0 {
		err = fmt.Errorf("these workers live: %s: stop all of them, wait %s and begin again", strings.Join(slices.Sorted(maps.Keys(leases)), ", "), broker.LeaseFor)
	}
	return err
}

type acceptance struct {
	replay
	opt    AcceptOptions
	before int64 // stored time of the acceptance before; 0: none
	tails  map[string]broker.ChainTail
	there  map[string]*onChain // of offers
	done   Accepted
}

// onChain is which offers a chain has.
type onChain struct {
	oldest uint64          // number of the oldest that it still has
	ids    map[uint64]bool // by hash
}

func (a *acceptance) read(ctx context.Context, name string) (*onChain, error) {
	c := &onChain{ids: map[uint64]bool{}}
	return c, a.opt.Records(ctx, name, func(n uint64, id string) {
		if c.oldest == 0 {
			c.oldest = n
		}
		c.ids[xxhash.Sum64String(id)] = true
	})
}

func (a *acceptance) walk(ctx context.Context, name string, fn func(n uint64, id string)) error {
	walk, err := a.conn.WalkChain(ctx, name, a.p)
	if err != nil {
		return err
	}
	defer walk.Close()
	for {
		r, seq, err := walk.Next(ctx)
		if err != nil || seq == 0 {
			return err
		}
		fn(r.Pos.N, r.ID)
	}
}

// lost says whether no chain has, or had, an offer that the log gives.
func (a *acceptance) lost(e pipeline.Effect) bool {
	c := a.there[e.Chain]
	return c == nil || e.Pos.N >= c.oldest && !c.ids[xxhash.Sum64String(e.Offer.ID)]
}

func (a *acceptance) run(ctx context.Context) error {
	p := a.p
	var err error
	if a.tails, err = a.conn.ChainTails(ctx, p); err != nil {
		return err
	}
	after, before, err := a.conn.LastAccept(ctx, p)
	a.before = before
	if err != nil {
		return err
	}
	record := pipeline.Acceptance{Chains: map[string]uint64{}, Why: a.opt.Why}
	a.there = map[string]*onChain{}
	for name, t := range a.tails {
		record.Chains[name] = t.N
		if name == "dead" {
			continue
		}
		if a.there[name], err = a.read(ctx, name); err != nil {
			return err
		}
	}
	end, err := a.conn.AppendAccept(ctx, p, after, record)
	if err != nil {
		return fmt.Errorf("record the acceptance in the log of partition %d: %w", p, err)
	}
	for {
		a.done = Accepted{Partition: p, Seq: end, Chains: map[string]uint64{}, Skipped: []string{}}
		err := a.compute(ctx, end)
		if a.again(err) {
			continue
		}
		if err != nil {
			return err
		}
		return a.leave(ctx, end)
	}
}

// compute folds the log up to message end, and publishes the marks.
func (a *acceptance) compute(ctx context.Context, end uint64) error {
	first, _, err := a.conn.Extent(ctx, a.p)
	if err != nil {
		return err
	}
	var metas []broker.SnapshotMeta
	if first > 1 {
		if metas, err = a.snapshots(ctx); err != nil {
			return err
		}
	}
	if err := a.begin(ctx, metas, first, end); err != nil {
		return err
	}
	seq, _, _, _ := a.fold.At()
	a.done.From = seq
	err = a.scan(ctx, seq+1, func(m pipeline.Message) (enough bool, err error) {
		if m.Seq > seq+1 {
			a.done.Skipped = append(a.done.Skipped, fmt.Sprintf("%d-%d", seq+1, m.Seq-1))
			a.fold.Skip(m.Seq - 1)
		}
		if m.Seq == end {
			if err := a.commit(); err != nil { // before the marks, which are there once
				return false, err
			}
		}
		if err := a.apply(ctx, m, m.Seq == end); err != nil {
			return false, err
		}
		seq = m.Seq
		if a.opt.Progress != nil {
			a.opt.Progress(a.p, seq, end)
		}
		return seq == end, nil
	})
	if err != nil {
		return err
	}
	_, a.done.Events, _, _ = a.fold.At()
	return a.commit()
}

// snapshots are the partition's, the newest first; before all others those of
// the state that went on behind the acceptance before.
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

// apply folds a message; of the last one it publishes the marks.
func (a *acceptance) apply(ctx context.Context, m pipeline.Message, last bool) error {
	if err := a.fold.Begin(m); err != nil {
		return err
	}
	for {
		more, err := checkpoint.Next(a.fold)
		if err != nil {
			return err
		}
		for _, e := range a.fold.Effects() {
			switch {
			case e.Mark != nil && last:
				if err := a.conn.PublishMark(ctx, a.p, e, a.tails[e.Chain].Seq); err != nil {
					return err
				}
				a.done.Chains[e.Chain] = e.Pos.N
			case e.Offer != nil && a.lost(e):
				a.done.Lost++
				a.opt.Lost(Example{"lost", e.Offer.ID, a.p, e.Chain, e.Pos.N, e.Pos.S, "the log gives it, its chain has it not"})
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

// leave makes the state the partition's only snapshot. Until it is there one
// from before stays, for an acceptance that is begun again.
func (a *acceptance) leave(ctx context.Context, end uint64) error {
	drop := func(which func(seq uint64) bool) error {
		if err := a.archive.Drop(ctx, a.p, which); err != nil {
			return fmt.Errorf("remove the snapshots from before: %w: begin again", err)
		}
		return nil
	}
	if err := drop(func(seq uint64) bool { return seq > end }); err != nil { // of another log
		return err
	}
	err := a.archive.Put(ctx, a.p, end, checkpoint.Metadata(a.fold.Cursor()), func(w io.Writer) error {
		_, err := a.store.Snapshot(w)
		return err
	})
	if err != nil {
		return fmt.Errorf("the acceptance is recorded, and the state could not be left for the workers: begin again: %w", err)
	}
	return drop(func(seq uint64) bool { return seq != end })
}
