package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/task"
	"offerstream/state"
)

// An archive keeps snapshots: the object store of NATS, or the simulation's.
type archive interface {
	put(ctx context.Context, partition int, seq uint64, metadata map[string]string, write func(io.Writer) error) error
	list(ctx context.Context, partition int) ([]broker.SnapshotMeta, error) // the newest first
	open(ctx context.Context, m broker.SnapshotMeta) (io.ReadCloser, error)
	drop(ctx context.Context, partition int, which func(seq uint64) bool) error
}

// acceptedKey is where it says which acceptance the state has folded.
const acceptedKey = "accepted"

func snapshotMetadata(c pipeline.Cursor) map[string]string {
	return map[string]string{engineKey: strconv.Itoa(pipeline.Engine), acceptedKey: strconv.FormatInt(c.Accepted, 10)}
}

// engineKey is where a snapshot's metadata says which engine made it.
const engineKey = "engine"

// objects is the archive in NATS. What is put goes over a connection of its
// own, so that no offer waits behind its pieces.
type objects struct {
	conn    *broker.Conn
	connect func(context.Context) (*broker.Conn, error)
}

func (o objects) put(ctx context.Context, partition int, seq uint64, metadata map[string]string, write func(io.Writer) error) error {
	own, err := o.connect(ctx)
	if err != nil {
		return err
	}
	defer own.Close()
	r, w := io.Pipe()
	written := make(chan struct{})
	go func() {
		defer close(written)
		w.CloseWithError(write(w))
	}()
	err = own.PutSnapshot(ctx, partition, seq, metadata, r)
	r.CloseWithError(errors.New("the snapshot is not wanted any more"))
	<-written // nothing reads the store after this
	return err
}

func (o objects) list(ctx context.Context, partition int) ([]broker.SnapshotMeta, error) {
	return o.conn.Snapshots(ctx, partition)
}

func (o objects) open(ctx context.Context, m broker.SnapshotMeta) (io.ReadCloser, error) {
	return o.conn.OpenSnapshot(ctx, m)
}

func (o objects) drop(ctx context.Context, partition int, which func(seq uint64) bool) error {
	return o.conn.DropSnapshots(ctx, partition, which)
}

// snapshot puts the state of the last checkpoint into the archive, beside the
// fold. One of a worker's partitions does so at a time.
func (s *session) snapshot(within context.Context) {
	seq := s.commit.stored
	if s.muted.Load() || seq <= s.archived || s.now().Before(s.snapshotAt) || !s.w.snapshotting.CompareAndSwap(false, true) {
		return
	}
	s.snapshotAt, s.archived = s.now().Add(s.w.opt.Snapshot), seq
	s.tasks.Go(func() {
		defer s.w.snapshotting.Store(false)
		if err := s.archive(within, s.conn, seq); err != nil && within.Err() == nil {
			s.log.Warn("no snapshot could be made: the one before stays", "error", err, "next_in", s.w.opt.Snapshot)
		}
	})
}

// archive puts the store's state, as of message seq or later.
func (p *partition) archive(ctx context.Context, conn *broker.Conn, seq uint64) error {
	start := p.w.world.Now()
	cursor, err := loadCursor(p.store)
	if err != nil {
		return err
	}
	var info state.SnapshotInfo
	err = p.w.opt.archive(conn).put(ctx, p.p, seq, snapshotMetadata(cursor), func(w io.Writer) (err error) {
		info, err = p.store.Snapshot(w)
		return err
	})
	if err == nil {
		took := p.w.world.Now().Sub(start)
		p.w.met.snapshot.Observe(took.Seconds())
		p.log.Info("snapshot made", "seq", seq, "users", info.Entities, "bytes", info.Bytes, "took", took)
	}
	return err
}

// restore makes the store of a snapshot where it is empty, or so old that the
// log does not begin before its end any more. Without one that can be used it
// leaves things as they are: the log may have all, and else it is loud.
func (p *partition) restore(ctx context.Context, conn *broker.Conn) error {
	p.hopeless = false
	cursor, err := loadCursor(p.store)
	if err != nil {
		return err
	}
	first, _, err := conn.Extent(ctx, p.p)
	if err != nil {
		return err
	}
	_, accepted, err := conn.LastAccept(ctx, p.p)
	if err != nil {
		return err
	}
	if accepted == 0 { // or it has expired: then all that is there has folded it
		accepted = cursor.Accepted
	}
	if cursor.Accepted != accepted && cursor.Seq > 0 {
		p.log.Warn("an operator has accepted what was lost of the log or the offers: the state from before is discarded, and made anew", "state_at", cursor.Seq)
		p.close()
		if err := errors.Join(p.w.disk.discard(p.dir), p.open()); err != nil {
			return err
		}
		cursor = pipeline.Cursor{}
	}
	if cursor.Seq > 0 && cursor.Seq+1 >= first {
		return nil
	}
	arch := p.w.opt.archive(conn)
	metas, err := arch.list(ctx, p.p)
	if err != nil {
		return err
	}
	var gone error // one of these was replaced meanwhile
	for _, m := range metas {
		engine, _ := strconv.Atoi(m.Metadata[engineKey])
		switch {
		case accepted != 0 && m.Metadata[acceptedKey] != strconv.FormatInt(accepted, 10):
			continue // of before that
		case m.Seq+1 < first:
			p.log.Warn("a snapshot is older than the log's beginning: it is of no use", "seq", m.Seq, "log_begins", first)
			continue
		case engine > pipeline.Engine:
			p.log.Error("a snapshot is of a newer version: it is left alone; run the newer binary to use it", "seq", m.Seq, "engine", engine, "this", pipeline.Engine)
			continue
		case m.Seq <= cursor.Seq:
			continue
		}
		start := p.w.world.Now()
		err := p.restoreFrom(ctx, arch, m)
		if ctx.Err() != nil || p.store == nil {
			return errors.Join(err, ctx.Err())
		}
		if err == nil {
			p.log.Info("state restored from a snapshot", "seq", m.Seq, "bytes", m.Bytes, "took", p.w.world.Now().Sub(start))
			return nil
		}
		if !damaged(err) && !errors.Is(err, broker.ErrSnapshotDamaged) && !errors.Is(err, broker.ErrSnapshotGone) && !errors.Is(err, state.ErrForeign) && !errors.Is(err, state.ErrNewer) {
			return err // it may be had the next time
		}
		if errors.Is(err, broker.ErrSnapshotGone) {
			gone = err
		}
		p.log.Error("a snapshot cannot be restored: trying the one before, or the log", "seq", m.Seq, "error", err)
	}
	if cursor.Seq+1 >= first {
		return nil
	}
	p.hopeless = gone == nil
	return gone // there is a newer one
}

// restoreFrom leaves the store empty where the snapshot cannot be used, and nil
// where it cannot be opened.
func (p *partition) restoreFrom(ctx context.Context, arch archive, m broker.SnapshotMeta) error {
	done, err := p.w.take(m.Bytes, p.id.Partitions)
	if err != nil {
		return err
	}
	defer done()
	p.restoring.Store(true)
	defer p.restoring.Store(false)
	r, err := arch.open(ctx, m)
	if err != nil {
		return err
	}
	defer r.Close()
	p.close()
	if err := p.w.disk.discard(p.dir); err != nil {
		return err
	}
	err = p.w.disk.restore(p.dir, p.options(), &resting{ctx: ctx, r: r, p: p, since: p.w.world.Now()})
	if damaged(err) {
		err = fmt.Errorf("snapshot at message %d: %w", m.Seq, err)
	}
	return errors.Join(err, p.open())
}

// A resting reader lets others work half of the time, the broker and the
// owner among them, while its partition only follows: then nobody waits.
// `offerctl bench --group` shows in its hand-overs what that is for.
type resting struct {
	ctx   context.Context
	r     io.Reader
	p     *partition
	since time.Time // the last rest
}

// Bounds of how long it works between two rests, and of a rest.
const (
	restAfter = 5 * time.Millisecond
	restMost  = 50 * time.Millisecond
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
