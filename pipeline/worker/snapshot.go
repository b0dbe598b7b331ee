package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/checkpoint"
	"offerstream/pipeline/task"
	"offerstream/state"
)

// snapshot stores the state of the last checkpoint in the archive if it is time
// to, while the fold goes on. One of the worker's partitions does so at a time.
func (a *attempt) snapshot(within context.Context) {
	seq := a.commit.stored
	if a.p.muted.Load() || seq <= a.archived || a.now().Before(a.snapshotAt) || !a.p.w.snapshotting.CompareAndSwap(false, true) {
		return
	}
	a.snapshotAt, a.archived = a.now().Add(a.p.w.opt.Snapshot), seq
	a.tasks.Go(func() {
		defer a.p.w.snapshotting.Store(false)
		if err := a.p.archive(within, a.conn, seq); err != nil && within.Err() == nil {
			a.p.log.Warn("cannot make a snapshot: the one before stays", "error", err, "next_in", a.p.w.opt.Snapshot)
		}
		if err := a.p.trimSeconds(within, a.conn); err != nil && within.Err() == nil {
			a.p.log.Warn("cannot remove second states that nobody needs any more: trying again after the next snapshot", "error", err)
		}
	})
}

// trimSeconds removes the stored second states of the partition that nobody needs:
// those of backfills that are not asked for any more, but for those that a switch may
// name to which the log still reaches.
func (p *partition) trimSeconds(ctx context.Context, conn *broker.Conn) error {
	arch := p.w.opt.archive(conn)
	all, err := arch.Seconds(ctx, p.number)
	if err != nil || len(all) == 0 {
		return err
	}
	first, _, err := conn.Extent(ctx, p.number)
	if err != nil {
		return err
	}
	live, _, err := conn.Live(ctx)
	if err != nil {
		return err
	}
	needless := func(m broker.SecondMeta) bool {
		return m.Seq+1 < first || !m.Kept && (live.Backfill == nil || live.Backfill.Set != m.Name.Set)
	}
	if !slices.ContainsFunc(all, needless) {
		return nil
	}
	return arch.DropSeconds(ctx, p.number, needless)
}

// archive stores a snapshot of the state at message seq or later.
func (p *partition) archive(ctx context.Context, conn *broker.Conn, seq uint64) error {
	start := p.w.world.Now()
	cursor, err := checkpoint.LoadCursor(p.store)
	if err != nil {
		return err
	}
	var info state.SnapshotInfo
	metadata := checkpoint.Metadata(cursor)
	err = p.w.opt.archive(conn).Put(ctx, p.number, seq, metadata, func(w io.Writer) (err error) {
		if info, err = p.store.Snapshot(w); err != nil {
			return err
		}
		at, err := pipeline.ReadCursor(info.Cursor) // a checkpoint may have been stored since cursor was read
		maps.Copy(metadata, checkpoint.Metadata(at))
		return err
	})
	if err == nil {
		took := p.w.world.Now().Sub(start)
		p.w.met.snapshot.Observe(took.Seconds())
		p.log.Info("snapshot made", "seq", seq, "users", info.Entities, "bytes", info.Bytes, "took", took)
	}
	return err
}

// restore restores the store from a snapshot if the store is empty, or so old that
// the log no longer has the messages that follow. If no snapshot can be used it
// changes nothing: either the log has all messages, or sameLog is loud.
func (p *partition) restore(ctx context.Context, conn *broker.Conn) error {
	p.hopeless = false
	cursor, err := checkpoint.LoadCursor(p.store)
	if err != nil {
		return err
	}
	first, _, err := conn.Extent(ctx, p.number)
	if err != nil {
		return err
	}
	cursor, accepted, err := p.accepted(ctx, conn, cursor)
	if err != nil {
		return err
	}
	arch := p.w.opt.archive(conn)
	if p.beyond.why != nil && cursor.Seq < p.beyond.seq {
		return p.getPast(ctx, arch, cursor, first, accepted)
	}
	if cursor.Seq > 0 && cursor.Seq+1 >= first {
		return nil
	}
	metas, err := arch.List(ctx, p.number)
	if err != nil {
		return err
	}
	usable := func(m broker.SnapshotMeta) bool { return p.usable(m, cursor, first, accepted) }
	restored, gone, err := p.restoreNewest(ctx, arch, metas, usable)
	if restored || err != nil || cursor.Seq+1 >= first {
		return err
	}
	p.hopeless = gone == nil
	return gone // the next attempt finds the newer snapshot
}

// getPast restores a snapshot from after a switch that the state cannot get past.
func (p *partition) getPast(ctx context.Context, arch checkpoint.Archive, cursor pipeline.Cursor, first uint64, accepted int64) error {
	metas, err := arch.List(ctx, p.number)
	if err != nil {
		return err
	}
	usable := func(m broker.SnapshotMeta) bool { return m.Seq >= p.beyond.seq && p.usable(m, cursor, first, accepted) }
	restored, gone, err := p.restoreNewest(ctx, arch, metas, usable)
	switch {
	case restored:
		p.beyond = beyond{}
		return nil
	case err != nil:
		return err
	case gone != nil:
		return gone
	}
	return p.beyond.why
}

// restoreNewest restores the first of the usable snapshots that can be restored.
// gone is the error of a snapshot that was removed, as a newer one has come.
func (p *partition) restoreNewest(ctx context.Context, arch checkpoint.Archive, metas []broker.SnapshotMeta, usable func(broker.SnapshotMeta) bool) (restored bool, gone, err error) {
	for _, m := range metas {
		if !usable(m) {
			continue
		}
		start := p.w.world.Now()
		err := p.restoreFrom(ctx, arch, m)
		if ctx.Err() != nil || p.store == nil {
			return false, nil, errors.Join(err, ctx.Err())
		}
		if err == nil {
			p.restored = m.Seq
			p.log.Info("state restored from a snapshot", "seq", m.Seq, "bytes", m.Bytes, "took", p.w.world.Now().Sub(start))
			return true, nil, nil
		}
		if !errors.Is(err, state.ErrDamaged) && !errors.Is(err, broker.ErrSnapshotDamaged) && !errors.Is(err, broker.ErrSnapshotGone) && !errors.Is(err, state.ErrForeign) && !errors.Is(err, state.ErrNewer) {
			return false, nil, err // the next attempt may succeed
		}
		if errors.Is(err, broker.ErrSnapshotGone) {
			gone = err
		}
		p.log.Error("a snapshot cannot be restored: trying the one before, else the log", "seq", m.Seq, "error", err)
	}
	return false, gone, nil
}

// accepted returns the last acceptance (the stored time of its message; 0: none)
// that the state must have folded. If the store at cursor at has not folded it,
// accepted discards the store and makes a new one. It returns the store's cursor.
func (p *partition) accepted(ctx context.Context, conn *broker.Conn, at pipeline.Cursor) (cursor pipeline.Cursor, accepted int64, err error) {
	cursor = at
	if _, accepted, err = conn.LastAccept(ctx, p.number); err != nil {
		return cursor, 0, err
	}
	if accepted == 0 { // none, or it has expired: then state and snapshots have folded it
		accepted = cursor.Accepted
	}
	if cursor.Accepted != accepted && cursor.Seq > 0 {
		p.log.Warn("an operator has accepted that something is lost: the state from before the acceptance is discarded and made anew", "state_at", cursor.Seq)
		p.close()
		return pipeline.Cursor{}, accepted, errors.Join(p.w.disk.Discard(p.dir), p.open())
	}
	return cursor, accepted, nil
}

// usable reports whether to try a snapshot, given the store's cursor, the first
// message of the log, and the acceptance that must be folded.
func (p *partition) usable(m broker.SnapshotMeta, cursor pipeline.Cursor, first uint64, accepted int64) bool {
	unreadable := checkpoint.Readable(m)
	switch {
	case accepted != 0 && !checkpoint.HasFolded(m, accepted): // it is from before the acceptance
	case m.Seq+1 < first:
		p.log.Warn("a snapshot ends before the log begins: it cannot be used", "seq", m.Seq, "log_begins", first)
	case errors.Is(unreadable, pipeline.ErrNewer):
		p.log.Error("a snapshot is of a newer version: it is left alone; run the newer binary to use it", "seq", m.Seq, "error", unreadable)
	case unreadable != nil:
		p.log.Warn("this version cannot use a snapshot", "seq", m.Seq, "error", unreadable)
	case p.damaging[m.Seq] >= mostDamaging:
		p.log.Warn("each time a snapshot was restored, the state was found damaged later: not using it", "seq", m.Seq)
	default:
		return m.Seq > cursor.Seq
	}
	return false
}

// restoreFrom restores a snapshot. If the snapshot cannot be used the store is
// empty afterwards, and nil if it cannot be opened.
func (p *partition) restoreFrom(ctx context.Context, arch checkpoint.Archive, m broker.SnapshotMeta) error {
	done, err := p.w.take(m.Bytes, p.id.Partitions)
	if err != nil {
		return err
	}
	defer done()
	p.restoring.Store(true)
	defer p.restoring.Store(false)
	r, err := arch.Open(ctx, m)
	if err != nil {
		return err
	}
	defer r.Close()
	p.close()
	if err := p.w.disk.Discard(p.dir); err != nil {
		return err
	}
	err = p.w.disk.Restore(p.dir, p.options(), &resting{ctx: ctx, r: r, p: p, since: p.w.world.Now()})
	if errors.Is(err, state.ErrDamaged) {
		err = fmt.Errorf("snapshot at message %d: %w", m.Seq, err)
	}
	return errors.Join(err, p.open())
}

// A resting reader pauses half of the time while its partition only follows, so
// that the broker, the owner and others can work: nobody waits for a follower.
// The hand-overs of `offerctl bench --group` show the effect.
type resting struct {
	ctx   context.Context
	r     io.Reader
	p     *partition
	since time.Time // of the last pause
}

const (
	restAfter = 5 * time.Millisecond  // the least time of work between two pauses
	restMost  = 50 * time.Millisecond // the longest pause
)

func (r *resting) Read(b []byte) (int, error) {
	w := r.p.w.world
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if worked := w.Now().Sub(r.since); worked >= restAfter {
		if r.p.muted.Load() {
			if err := task.Sleep(r.ctx, w, min(worked, restMost)); err != nil {
				return 0, err
			}
		}
		r.since = w.Now()
	}
	return r.r.Read(b)
}
