package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/task"
	"offerstream/state"
)

// A session folds one partition's log over one connection, from the last
// checkpoint on.
type session struct {
	*partition
	conn   *broker.Conn
	cache  *cache
	fold   *pipeline.Fold
	chains *broker.Chains
	reader *broker.Reader
	commit *committer
	tasks  task.Group // what is done beside the fold

	from    pipeline.Cursor // where it began
	last    time.Time       // of the last checkpoint's beginning
	moved   bool            // since then
	at      mark            // the last message applied whole: the reader begins there
	partly  mark            // the one that the state had applied in part; zero: none
	doubt   doubt
	tickAt  time.Time
	control controller

	snapshotAt time.Time // when the next is due
	archived   uint64    // message up to which the last one is

	counting        time.Time // when outcomes were last added to the metrics
	counted         map[string]pipeline.Counts
	countedFeatures pipeline.Counts
}

// errEnded ends a session whose worker is to stop.
var errEnded = errors.New("ended")

// live runs a session until ctx is done (then it leaves a checkpoint), the
// connection is lost, or something is wrong.
func (p *partition) live(ctx context.Context, conn *broker.Conn) (err error) {
	if err := p.restore(ctx, conn); err != nil {
		return err
	}
	s := &session{partition: p, conn: conn, tasks: task.Group{World: p.w.world}, counted: map[string]pipeline.Counts{},
		cache: newCache(p.store, p.w.opt.CacheBytes/int64(conn.Partitions), p.w.met)}
	within, cancel := context.WithCancel(context.Background())
	defer s.tasks.Wait()
	defer cancel()
	defer conn.Wire.OnClose(p.wake)()
	defer s.bound(ctx, within, cancel)()
	if err := s.open(ctx, within); err != nil {
		return err
	}
	defer func() {
		cancel()
		s.chains.Close()
		s.reader.Close()
		s.commit.wait(s.cache) // its outcome is the next session's to read
	}()
	err = s.loop(ctx, within)
	if errors.Is(err, errEnded) {
		return s.leave(within)
	}
	return err
}

// bound cancels what a session does some time after ctx is done: opening may
// take long, and so may the last checkpoint.
func (s *session) bound(ctx, within context.Context, cancel func()) (ended func()) {
	e := s.w.world.NewEvent()
	s.w.world.Go(func() {
		for ctx.Err() == nil && within.Err() == nil {
			e.Wait(ctx, task.Forever)
		}
		task.Sleep(within, s.w.world, leaveFor)
		cancel()
	})
	return func() { cancel(); e.Set() }
}

// leaveFor bounds the last checkpoint: what stops a container kills it after
// ten seconds.
const leaveFor = 7 * time.Second

// open reads the cursor, holds it against log and chains, and makes the fold.
func (s *session) open(ctx, within context.Context) error {
	var err error
	if s.from, err = loadCursor(s.store); err != nil {
		return err
	}
	s.at = mark{s.from.Seq, s.from.Stored}
	if s.from.Partly != 0 {
		s.partly = mark{s.from.Seq + 1, s.from.Partly}
	}
	end, from, err := s.sameLog(ctx)
	if err != nil {
		return err
	}
	if s.fold, err = pipeline.NewFold(s.from, s.w.sets.get(within, s.conn), s.cache); err != nil {
		return setError(fmt.Errorf("campaign set in force: %w", err))
	}
	s.guard()
	if err := s.store.Timers(func(due int64, key string) error { s.fold.Schedule(due, key); return nil }); err != nil {
		return err
	}
	s.chains, err = s.conn.OpenChains(ctx, s.p, broker.ChainOptions{Cursor: s.from, Known: s.known, End: end, Confirm: s.w.opt.Confirm, Muted: s.muted.Load(), Failed: s.wake})
	if err != nil {
		return err
	}
	if s.reader, err = s.conn.OpenReader(ctx, s.p, from); err != nil {
		s.chains.Close()
		return err
	}
	s.commit = newCommitter(s)
	s.last = s.now().Add(-s.w.opt.Checkpoint * time.Duration(s.p) / time.Duration(s.conn.Partitions))      // each at a moment of its own
	s.snapshotAt = s.now().Add(s.w.opt.Snapshot * time.Duration(s.p+1) / time.Duration(s.conn.Partitions)) // each at a time of its own
	s.progress()
	s.chains.SetMuted(s.muted.Load()) // which may have changed before anybody could see the chains
	s.log.Info("partition catching up", "from", s.from.Seq, "to", end, "applied", s.from.Applied)
	return nil
}

// loop takes what comes, one thing at a time, and waits when nothing does.
func (s *session) loop(ctx, within context.Context) error {
	beat := s.now()
	for {
		took, err := s.takeMany(within)
		if err != nil {
			return err
		}
		if s.untilTick() <= 0 {
			s.tick()
		}
		if !s.now().Before(beat) {
			beat = s.now().Add(s.w.opt.Checkpoint / 4)
			if err := s.beat(within); err != nil {
				return err
			}
		}
		if err := s.commit.poll(s.cache); err != nil {
			return err
		}
		select {
		case q := <-s.queries:
			s.answer(q)
			took = true
		default:
		}
		switch {
		case s.chains.Err() != nil:
			return s.chains.Err()
		case s.conn.Wire.IsClosed():
			return broker.ErrClosed
		case ctx.Err() != nil:
			return errEnded
		}
		if err := s.checkpoint(within, false); err != nil {
			return err
		}
		if !took {
			s.reader.Wait(ctx, s.wake, min(s.untilTick(), beat.Sub(s.now())))
		}
	}
}

// beat is what is done now and then.
func (s *session) beat(ctx context.Context) error {
	if s.reader.Silent() {
		if err := s.reopen(ctx, errors.New("the server has not been heard")); err != nil {
			return err
		}
	}
	if err := s.control.look(ctx, s); err != nil {
		return err
	}
	s.snapshot(ctx)
	s.progress()
	s.count(false)
	return nil
}

func (s *session) now() time.Time { return s.w.world.Now() }

// apply folds a message, with a checkpoint in between where it is large.
func (s *session) apply(ctx context.Context, m pipeline.Message) error {
	start := s.now()
	if err := s.fold.Begin(m); err != nil {
		return setError(err)
	}
	steps := 0
	for {
		more, err := next(s.fold)
		if err != nil {
			return err
		}
		for _, e := range s.fold.Effects() {
			if e.Dead != nil {
				s.w.met.letters.Inc()
			}
			if err := s.chains.Append(ctx, e); err != nil {
				return err
			}
		}
		s.moved = true
		if !more {
			break
		}
		if steps++; full(s.cache, s.store.Limit(), s.shrink) {
			if err := s.checkpoint(ctx, true); err != nil {
				return err
			}
		}
	}
	if steps > 0 {
		s.w.met.step.Observe(s.now().Sub(start).Seconds() / float64(steps))
	}
	return nil
}

// checkpoint begins one where it is time, or now: then it waits for the one
// under way.
func (s *session) checkpoint(ctx context.Context, now bool) error {
	if !now {
		if !s.moved || s.commit.busy && !full(s.cache, s.store.Limit(), s.shrink) {
			return nil
		}
		if s.now().Sub(s.last) < s.w.opt.Checkpoint && !full(s.cache, s.store.Limit(), s.shrink) {
			return nil
		}
	}
	if err := s.commit.wait(s.cache); err != nil {
		return err
	}
	s.last, s.moved = s.now(), false
	return s.commit.begin(ctx, s.cache, s.fold.Cursor())
}

// leave stores what has been folded, so that the next session need not fold
// it again.
func (s *session) leave(ctx context.Context) error {
	if err := s.commit.wait(s.cache); err != nil {
		return err
	}
	s.count(true)
	if err := s.commit.begin(ctx, s.cache, s.fold.Cursor()); err != nil {
		return err
	}
	return s.commit.wait(s.cache)
}

// setError makes loud what only another campaign set or binary can mend.
func setError(err error) error {
	if errors.Is(err, broker.ErrNoSet) || !errors.Is(err, errFetch) {
		return broker.Loud(fmt.Errorf("%w: a set or a message of the log is never skipped: see to it and start the worker again; where that cannot be, begin anew under another --prefix", err))
	}
	return err
}

var _ pipeline.Entities = (*cache)(nil)

// damaged says that the state must be made anew.
func damaged(err error) bool { return errors.Is(err, state.ErrDamaged) }
