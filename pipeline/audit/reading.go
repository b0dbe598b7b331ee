package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/checkpoint"
)

// A reading is a replay of the log as it is when it begins, without its beginning
// if that has expired. It has the users in memory if it begins with the log's first
// message; else they are in the store.
type reading struct {
	*replay
	next   func(*pipeline.Fold) (more bool, err error) // makes a step
	folded func(m pipeline.Message) error              // called after each message; may be nil

	users    pipeline.Memory // nil: they are in the store
	from     uint64          // the last message in the snapshot with which it begins; 0: none
	end      uint64          // the log's end
	accepted uint64          // the log's last acceptance; 0: none
	tables   bool            // the facts' tables of another set have been given
	rows     uint64          // how many rows they have
}

func newReading(r *replay) *reading { return &reading{replay: r, next: checkpoint.Next} }

// past calls run, and calls it again if a step has panicked, which is guarded then,
// as a worker does.
func (r *reading) past(run func() error) error {
	for {
		err := errors.Join(run(), r.remove())
		if !r.again(err) {
			return err
		}
	}
}

// origin makes the fold with which the reading begins: an empty one, or one from
// the oldest snapshot to which the log reaches back.
func (r *reading) origin(ctx context.Context, fromSnapshot bool) error {
	r.users, r.from, r.tables, r.rows = nil, 0, r.set == nil, 0
	first, end, err := r.conn.Extent(ctx, r.p)
	if err != nil {
		return err
	}
	r.end = end
	seq, accepted, err := r.conn.LastAccept(ctx, r.p)
	if err != nil {
		return err
	}
	r.accepted = seq
	if first == 1 && !fromSnapshot {
		r.users = pipeline.Memory{}
		return r.foldFrom(ctx, pipeline.Cursor{}, r.users)
	}
	for attempt := 0; ; attempt++ {
		metas, err := r.archive.List(ctx, r.p)
		if err != nil {
			return err
		}
		slices.Reverse(metas) // the oldest first
		metas = slices.DeleteFunc(metas, func(m broker.SnapshotMeta) bool {
			return accepted != 0 && !checkpoint.HasFolded(m, accepted) // it is from before the acceptance
		})
		err = r.begin(ctx, metas, first, end)
		if errors.Is(err, broker.ErrSnapshotGone) && attempt < 3 {
			continue // it was removed, as a newer one has come
		}
		if err != nil {
			return err
		}
		break
	}
	r.from, _, _, _ = r.fold.At()
	switch {
	case r.from > 0:
		return nil
	case first > 1:
		return fmt.Errorf("the log begins at message %d, as earlier messages have expired: it can only be folded from a snapshot at message %d or later, and there is none", first, first-1)
	}
	return errors.New("there is no snapshot that fits the log")
}

// errEnough ends a scan of the log.
var errEnough = errors.New("enough of the log is read")

// read folds the log and calls fn after each step, and when the fold has stopped.
// It ends early if the fold is stopped after fn. Before each message it calls
// progress.
func (r *reading) read(ctx context.Context, progress func(p int, seq, end uint64), fn func(seq uint64) error) error {
	err := r.conn.ScanLog(ctx, r.p, r.from+1, func(m pipeline.Message) error {
		if m.Seq > r.end {
			return errEnough
		}
		if progress != nil {
			progress(r.p, m.Seq, r.end)
		}
		return r.message(ctx, m, fn)
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	if seq, _, _, _ := r.fold.At(); err == nil && seq != r.end && !r.fold.Stopped() {
		err = fmt.Errorf("the log had messages up to %d but could be read only up to message %d: try again", r.end, seq)
	}
	return err
}

// message folds one message.
func (r *reading) message(ctx context.Context, m pipeline.Message, fn func(seq uint64) error) error {
	if r.store != nil {
		r.cache.Expect(m.Data)
	}
	if r.set != nil && m.Kind == pipeline.Control && pipeline.ControlSet(m.Data) != "" {
		m.Kind = pipeline.Tick // it moves log time, and puts no set in force
	}
	if err := r.fold.Begin(m); err != nil {
		return err
	}
	if !r.tables && m.Kind == pipeline.In { // the log has those of the sets that were live
		var err error
		if r.rows, err = r.fold.GiveTables(); err != nil {
			return err
		}
		r.tables = true
	}
	for {
		more, err := r.next(r.fold)
		if err != nil {
			return err
		}
		stopped := r.fold.Stopped()
		if err := fn(m.Seq); err != nil {
			return err
		}
		if r.fold.Stopped() {
			return errEnough
		}
		if r.store != nil {
			if err := r.commitSome(); err != nil {
				return err
			}
		}
		if !more && !stopped {
			break
		}
	}
	if err := r.atSwitch(ctx, m.Seq, r.users); err != nil {
		return err
	}
	if r.folded == nil {
		return nil
	}
	return r.folded(m)
}
