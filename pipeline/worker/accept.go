package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/client_golang/prometheus"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/task"
	"offerstream/state"
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
// be had back (DESIGN.md, P9). It makes the state of the log as it is, from
// its beginning, the newest snapshot that fits it, or, where neither is there,
// of what the log still has; records that in the log; puts a mark onto each
// chain, behind which the workers go on; and leaves a snapshot for them, the
// only one. Nothing that the log gives up to there is published any more.
//
// No worker may live meanwhile. One that was cut is begun again.
func Accept(ctx context.Context, conn *broker.Conn, opt AcceptOptions) (Accepted, error) {
	a := &acceptance{conn: conn, opt: opt, arch: objects{conn, opt.Connect}, disk: badgers{}, met: newMetrics(prometheus.NewRegistry(), &Worker{})}
	if err := NoneLives(ctx, conn); err != nil {
		return a.done, err
	}
	return a.done, errors.Join(a.run(ctx), a.disk.discard(opt.Dir))
}

// NoneLives fails where a worker of the deployment lives.
func NoneLives(ctx context.Context, conn *broker.Conn) error {
	leases, err := conn.Leases(ctx)
	if err == nil && len(leases) > 0 {
		err = fmt.Errorf("these workers live: %s: stop all of them, wait %s and begin again", strings.Join(slices.Sorted(maps.Keys(leases)), ", "), leaseFor)
	}
	return err
}

type acceptance struct {
	conn    *broker.Conn
	opt     AcceptOptions
	arch    archive
	disk    disk
	met     *metrics
	guarded []pipeline.Step
	tails   map[string]broker.ChainTail
	there   map[string]*onChain // of offers
	done    Accepted

	store store
	cache *cache
	fold  *pipeline.Fold
	batch *state.Batch
	epoch uint32
}

// onChain is which offers a chain has.
type onChain struct {
	oldest uint64          // number of the oldest that it still has
	ids    map[uint64]bool // by hash
}

func (a *acceptance) read(ctx context.Context, name string) (*onChain, error) {
	walk, err := a.conn.WalkChain(ctx, name, a.opt.Partition)
	if err != nil {
		return nil, err
	}
	defer walk.Close()
	c := &onChain{ids: map[uint64]bool{}}
	for {
		r, seq, err := walk.Next(ctx)
		if err != nil || seq == 0 {
			return c, err
		}
		if c.oldest == 0 {
			c.oldest = r.Pos.N
		}
		c.ids[xxhash.Sum64String(r.ID)] = true
	}
}

// lost says whether no chain has, or had, an offer that the log gives.
func (a *acceptance) lost(e pipeline.Effect) bool {
	c := a.there[e.Chain]
	return c == nil || e.Pos.N >= c.oldest && !c.ids[xxhash.Sum64String(e.Offer.ID)]
}

func (a *acceptance) run(ctx context.Context) error {
	p := a.opt.Partition
	var err error
	if a.tails, err = a.conn.ChainTails(ctx, p); err != nil {
		return err
	}
	after, _, err := a.conn.LastAccept(ctx, p)
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
		if bad, ok := newPoison(err, a.guarded); ok {
			a.guarded = append(a.guarded, bad.step)
			continue
		}
		if err != nil {
			return err
		}
		return a.leave(ctx, end)
	}
}

// compute folds the log up to message end, and publishes the marks.
func (a *acceptance) compute(ctx context.Context, end uint64) (err error) {
	if err := a.begin(ctx, end); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			a.store.Close()
		}
	}()
	seq, _, _, _ := a.fold.At()
	r, err := a.conn.OpenReader(ctx, a.opt.Partition, seq+1)
	if err != nil {
		return err
	}
	defer r.Close()
	r.PassGaps()
	wake := task.Real{}.NewEvent()
	for seq < end {
		m, ok, err := r.Take()
		switch {
		case err != nil:
			return err
		case !ok && a.conn.Wire.IsClosed():
			return broker.ErrClosed
		case !ok && r.Silent():
			return errors.New("the server has not been heard while the log was read: begin again")
		case !ok:
			r.Wait(ctx, wake, time.Second)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			continue
		}
		if m.Seq > seq+1 {
			a.done.Skipped = append(a.done.Skipped, fmt.Sprintf("%d-%d", seq+1, m.Seq-1))
			a.fold.Skip(m.Seq - 1)
		}
		if err := a.apply(ctx, m, m.Seq == end); err != nil {
			return err
		}
		seq = m.Seq
		if a.opt.Progress != nil {
			a.opt.Progress(a.opt.Partition, seq, end)
		}
	}
	_, a.done.Events, _, _ = a.fold.At()
	return a.commit()
}

// begin makes the state that is before the log.
func (a *acceptance) begin(ctx context.Context, end uint64) (err error) {
	p := a.opt.Partition
	id := state.Identity{Prefix: a.conn.Names.Prefix, Partitions: a.conn.Partitions, Partition: p}
	opt := state.Options{Identity: id, Log: a.opt.Log}
	if err := a.disk.discard(a.opt.Dir); err != nil {
		return err
	}
	first, _, err := a.conn.Extent(ctx, p)
	if err != nil {
		return err
	}
	var cursor pipeline.Cursor
	if first > 1 {
		if cursor, err = a.restore(ctx, opt, first, end); err != nil {
			return err
		}
	}
	if a.store == nil {
		if a.store, err = a.disk.open(a.opt.Dir, opt); err != nil {
			return err
		}
	}
	a.done.From = cursor.Seq
	var compiled sets
	a.cache, a.batch, a.epoch = newCache(a.store, 256<<20, a.met), a.store.NewBatch(), cursor.Epoch
	if a.fold, err = pipeline.NewFold(cursor, compiled.get(ctx, a.conn), a.cache); err != nil {
		return err
	}
	for _, s := range a.guarded {
		a.fold.Guard(s)
	}
	return a.store.Timers(func(due int64, key string) error { a.fold.Schedule(due, key); return nil })
}

// restore takes the newest snapshot that is of this log.
func (a *acceptance) restore(ctx context.Context, opt state.Options, first, end uint64) (none pipeline.Cursor, err error) {
	metas, err := a.arch.list(ctx, a.opt.Partition)
	if err != nil {
		return none, err
	}
	for _, m := range metas {
		if m.Seq+1 < first || m.Seq > end {
			continue
		}
		cursor, err := a.restoreFrom(ctx, opt, m)
		if err == nil {
			err = a.sameLog(ctx, cursor, first, end)
		}
		if err == nil {
			return cursor, nil
		}
		a.opt.Log.Warn("a snapshot is not of this log, or is damaged", "seq", m.Seq, "error", err)
		if a.store != nil {
			a.store.Close()
			a.store = nil
		}
		if err := a.disk.discard(a.opt.Dir); err != nil {
			return none, err
		}
	}
	return none, nil
}

func (a *acceptance) restoreFrom(ctx context.Context, opt state.Options, m broker.SnapshotMeta) (none pipeline.Cursor, err error) {
	r, err := a.arch.open(ctx, m)
	if err != nil {
		return none, err
	}
	defer r.Close()
	if err := a.disk.restore(a.opt.Dir, opt, r); err != nil {
		return none, err
	}
	if a.store, err = a.disk.open(a.opt.Dir, opt); err != nil {
		return none, err
	}
	return loadCursor(a.store)
}

// sameLog says whether the log is the one of which the cursor is.
func (a *acceptance) sameLog(ctx context.Context, c pipeline.Cursor, first, end uint64) error {
	if c.Seq+1 < first || c.Seq > end {
		return fmt.Errorf("it ends at message %d, the log has %d to %d", c.Seq, first, end)
	}
	if c.Seq < first {
		return nil
	}
	src, err := a.conn.Wire.Read(ctx, a.conn.Names.EventsStream(a.opt.Partition), c.Seq)
	if err != nil {
		return err
	}
	defer src.Close()
	for wake := (task.Real{}).NewEvent(); ctx.Err() == nil && !a.conn.Wire.IsClosed(); src.Wait(ctx, wake, time.Second) {
		m, ok, err := src.Next()
		switch {
		case err != nil:
			return err
		case ok && (m.Seq != c.Seq || m.Time != c.Stored):
			return errOtherLog
		case ok:
			return nil
		}
	}
	return errors.Join(ctx.Err(), broker.ErrClosed)
}

// apply folds a message; of the last one it publishes the marks.
func (a *acceptance) apply(ctx context.Context, m pipeline.Message, last bool) error {
	if err := a.fold.Begin(m); err != nil {
		return err
	}
	for {
		more, err := next(a.fold)
		if err != nil {
			return err
		}
		for _, e := range a.fold.Effects() {
			switch {
			case e.Mark != nil && last:
				if err := a.conn.PublishMark(ctx, a.opt.Partition, e, a.tails[e.Chain].Seq); err != nil {
					return err
				}
				a.done.Chains[e.Chain] = e.Pos.N
			case e.Offer != nil && a.lost(e):
				a.done.Lost++
				a.opt.Lost(Example{"lost", e.Offer.ID, a.opt.Partition, e.Chain, e.Pos.N, e.Pos.S, "the log gives it, its chain has it not"})
			}
		}
		if full(a.cache, a.store.Limit(), 2) {
			if err := a.commit(); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
	}
}

// commit stores what has changed.
func (a *acceptance) commit() error {
	cursor := a.fold.Cursor()
	a.batch.Reset()
	gen := a.cache.encode(a.batch)
	if cursor.Epoch != a.epoch {
		j, err := json.Marshal(cursor.Since)
		if err != nil {
			return err
		}
		a.batch.Note(noteSince, j)
		a.epoch = cursor.Epoch
	}
	cursor.Since = nil
	j, err := json.Marshal(cursor)
	if err != nil {
		return err
	}
	if err := a.store.Commit(a.batch, j); err != nil {
		return err
	}
	a.cache.committed = gen
	return nil
}

// leave makes the state the partition's only snapshot.
func (a *acceptance) leave(ctx context.Context, end uint64) error {
	defer a.store.Close()
	if err := a.conn.DropSnapshots(ctx, a.opt.Partition); err != nil {
		return fmt.Errorf("remove the snapshots from before: %w", err)
	}
	err := a.arch.put(ctx, a.opt.Partition, end, snapshotMetadata(a.fold.Cursor()), func(w io.Writer) error {
		_, err := a.store.Snapshot(w)
		return err
	})
	if err != nil {
		return fmt.Errorf("the acceptance is recorded, and the state could not be left for the workers: begin again: %w", err)
	}
	return nil
}
