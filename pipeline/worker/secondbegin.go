package worker

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/backfill"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/checkpoint"
	"offerstream/pipeline/task"
	"offerstream/state"
)

// begin makes or finds the second state: the one in the directory, else the newest
// one stored under the set, else a new one, which begins with the log or with the
// oldest snapshot to which the log reaches back. anew: what is there is of no use.
func (s *second) begin(anew bool) error {
	if _, err := s.p.w.sets.Get(s.ctx, s.conn)(s.wish.set); err != nil {
		return fmt.Errorf("%w: %w", errSet, err)
	}
	first, end, err := s.conn.Extent(s.ctx, s.p.number)
	if err != nil {
		return err
	}
	_, accepted, err := s.conn.LastAccept(s.ctx, s.p.number)
	if err != nil {
		return err
	}
	live, err := checkpoint.LoadCursor(s.p.store)
	if err != nil {
		return fmt.Errorf("read the live state's cursor: %v", err) // damage is for the live fold to find
	}
	if accepted == 0 { // none, or it has expired
		accepted = live.Accepted
	}
	arch := s.p.w.opt.archive(s.conn)
	metas, err := arch.List(s.ctx, s.p.number)
	if err != nil {
		return err
	}
	if err := s.reserve(metas); err != nil {
		return err
	}
	if !anew {
		if ok, err := s.own(first, end, accepted); ok || err != nil {
			return err
		}
		if ok, err := s.object(arch, first, end, accepted); ok || err != nil {
			return err
		}
	}
	if first == 1 && accepted == 0 && !s.fromLog {
		s.fromLog = true
		return s.open()
	}
	return s.fromSnapshot(arch, metas, first, accepted)
}

// reserve reserves room for the second state.
func (s *second) reserve(metas []broker.SnapshotMeta) (err error) {
	if s.room != nil {
		return nil
	}
	bytes := onDisk(s.p.dir)
	if len(metas) > 0 {
		bytes = max(bytes, metas[0].Bytes)
	}
	s.room, err = s.p.w.reserve(int64(secondStateSize*float64(bytes)), s.conn.Partitions)
	return err
}

func (s *second) options() backfill.Options {
	o := s.p.backfillOptions(s.ctx, s.conn, func() error { return s.pace.rest(s.ctx) })
	o.Listed = s.wish.listed()
	return o
}

// own opens the second state in the directory. ok is false if there is none that is
// of use: then there is no directory. One from before the last acceptance is of none: the
// log may have lost its end, and what could tell may have expired (PROTOCOL.md, P9).
func (s *second) own(first, end uint64, accepted int64) (ok bool, err error) {
	s.store, s.state, err = s.p.openSecond(s.options())
	if s.state == nil {
		return false, err
	}
	if seq := s.state.Seq(); s.state.Set == s.wish.set && s.state.Lists(s.wish.listed()) && s.state.Cursor().Accepted == accepted && seq+1 >= first && seq <= end {
		s.p.log.Info("second fold goes on from the directory", "set", s.wish.set, "from", s.state.From, "at", seq)
		return true, nil
	}
	if !s.close() {
		return false, state.ErrFailed
	}
	s.p.discardSecond()
	s.p.secondless = false
	return false, nil
}

// openSecond opens the second state in the directory. If there is none, or it cannot
// be used, it is nil, and so is the directory.
func (p *partition) openSecond(o backfill.Options) (checkpoint.Store, *backfill.Second, error) {
	if p.secondStuck {
		return nil, nil, fmt.Errorf("second state: %w", state.ErrFailed)
	}
	store, err := p.w.disk.Open(p.secondDir(), p.secondOptions())
	var found *backfill.Second
	if err == nil {
		if found, err = backfill.Open(store, o); err == nil {
			return store, found, nil
		}
		if !p.closeSecond(store) {
			return nil, nil, err
		}
	}
	for _, useless := range []error{backfill.ErrNone, state.ErrDamaged, state.ErrForeign, state.ErrNewer, pipeline.ErrNewer} {
		if errors.Is(err, useless) {
			if !errors.Is(err, backfill.ErrNone) {
				p.log.Warn("the second state in the directory cannot be used", "error", err)
			}
			return nil, nil, p.w.disk.Discard(p.secondDir())
		}
	}
	return nil, nil, err
}

// object makes the second state of the newest one that is stored under the set.
func (s *second) object(arch checkpoint.Archive, first, end uint64, accepted int64) (ok bool, err error) {
	all, err := arch.Seconds(s.ctx, s.p.number)
	if err != nil {
		return false, err
	}
	for _, m := range all {
		if m.Name.Set != s.wish.set || m.Seq+1 < first || m.Seq > end || checkpoint.Readable(m.SnapshotMeta) != nil || accepted != 0 && !checkpoint.HasFolded(m.SnapshotMeta, accepted) {
			continue
		}
		err := backfill.Restore(s.ctx, s.p.w.disk, s.p.secondDir(), s.p.secondOptions(), arch, m, s.paced(m.Bytes))
		if err == nil {
			s.store, s.state, err = s.p.openSecond(s.options())
		}
		if s.state != nil && !s.state.Lists(s.wish.listed()) { // of an earlier backfill under the set
			if !s.close() {
				return false, state.ErrFailed
			}
			if err := s.p.w.disk.Discard(s.p.secondDir()); err != nil {
				return false, err
			}
			continue
		}
		if s.state != nil {
			s.p.log.Info("second fold goes on from a stored state", "set", s.wish.set, "from", s.state.From, "at", s.state.Seq())
			return true, nil
		}
		if err != nil && !backfill.Unusable(err) {
			return false, err
		}
		s.p.log.Warn("a stored second state cannot be used: trying the one before", "seq", m.Seq, "error", err)
	}
	return false, nil
}

// fromSnapshot begins with the oldest snapshot to which the log reaches back, and
// with a new one if there is none.
func (s *second) fromSnapshot(arch checkpoint.Archive, metas []broker.SnapshotMeta, first uint64, accepted int64) (err error) {
	for tries := 0; ; tries++ {
		for _, m := range slices.Backward(metas) {
			if !checkpoint.Whole(m) || m.Seq+1 < first || checkpoint.Readable(m) != nil || accepted != 0 && !checkpoint.HasFolded(m, accepted) {
				continue
			}
			if m.Seq > s.p.status.seq.Load() { // it is of a log that is lost: the live fold has caught up with this one
				continue
			}
			err := s.copyOf(arch, m)
			if err == nil {
				if err = s.open(); err == nil {
					err = s.state.To(s.ctx, s.state.Seq()) // that the log has this message
				}
				if err == nil {
					return nil
				}
				if !s.close() {
					return err
				}
			}
			if !backfill.Unusable(err) && !errors.Is(err, backfill.ErrPartly) && !errors.Is(err, backfill.ErrLog) {
				return err
			}
			s.p.log.Warn("the second fold cannot begin with a snapshot: trying the next one", "seq", m.Seq, "error", err)
			if err := s.p.w.disk.Discard(s.p.secondDir()); err != nil {
				return err
			}
		}
		if tries == 2 {
			return errors.New("there is no snapshot with which it can begin, and none could be made")
		}
		if err := s.snapshot(); err != nil {
			return fmt.Errorf("make a snapshot with which it begins: %w", err)
		}
		if metas, err = arch.List(s.ctx, s.p.number); err != nil {
			return err
		}
	}
}

// snapshot stores a snapshot of the live state at a moment when it stands between two
// messages.
func (s *second) snapshot() error {
	for {
		cursor, err := checkpoint.LoadCursor(s.p.store)
		if err != nil {
			return fmt.Errorf("read the live state's cursor: %v", err)
		}
		if cursor.Seq > 0 && cursor.Partly == 0 && cursor.Within == 0 {
			return s.p.archive(s.ctx, s.conn, cursor.Seq)
		}
		if err := task.Sleep(s.ctx, s.p.w.world, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// copyOf makes the store of a snapshot of the live state.
func (s *second) copyOf(arch checkpoint.Archive, m broker.SnapshotMeta) error {
	r, err := arch.Open(s.ctx, m)
	if err != nil {
		return err
	}
	defer r.Close()
	return s.p.w.disk.Restore(s.p.secondDir(), s.p.secondOptions(), s.paced(m.Bytes)(r))
}

// open begins a new second state with what is in the directory.
func (s *second) open() (err error) {
	if s.store, err = s.p.w.disk.Open(s.p.secondDir(), s.p.secondOptions()); err != nil {
		return err
	}
	if s.state, err = backfill.Begin(s.store, s.wish.set, s.options()); err != nil {
		return err
	}
	s.p.log.Info("second fold begins", "set", s.wish.set, "from", s.state.From)
	return nil
}

// paced makes readers that rest, and end if the disk has no room for what is restored:
// it may take more than was reserved.
func (s *second) paced(bytes int64) func(io.Reader) io.Reader {
	return func(r io.Reader) io.Reader {
		s.pace.since = s.p.w.world.Now()
		return reading(func(b []byte) (int, error) {
			if err := s.pace.rest(s.ctx); err != nil {
				return 0, err
			}
			if err := s.room.enough(bytes); err != nil {
				return 0, err
			}
			return r.Read(b)
		})
	}
}

// reading is an io.Reader.
type reading func(b []byte) (int, error)

func (r reading) Read(b []byte) (int, error) { return r(b) }
