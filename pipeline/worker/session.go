package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
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

	from    pipeline.Cursor // where it began
	last    time.Time       // of the last checkpoint's beginning
	moved   bool            // since then
	gaps    int             // reopened for, since a message came
	tickAt  time.Time
	control controller

	counting        time.Time // when outcomes were last added to the metrics
	counted         map[string]pipeline.Counts
	countedFeatures pipeline.Counts
}

// errEnded ends a session whose worker is to stop.
var errEnded = errors.New("ended")

// live runs a session until ctx is done (then it leaves a checkpoint), the
// connection is lost, or something is wrong.
func (p *partition) live(ctx context.Context, conn *broker.Conn) (err error) {
	s := &session{partition: p, conn: conn, cache: newCache(p.store, p.w.opt.CacheBytes/int64(conn.Partitions), p.w.met)}
	within, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer context.AfterFunc(ctx, func() { // opening may take long; a session that is open leaves by itself
		time.AfterFunc(leaveFor, cancel)
	})()
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

// leaveFor bounds the last checkpoint.
const leaveFor = 15 * time.Second

// open reads the cursor, holds it against log and chains, and makes the fold.
func (s *session) open(ctx, within context.Context) error {
	var err error
	if s.from, err = loadCursor(s.store); err != nil {
		return err
	}
	end, from, err := s.sameLog(ctx)
	if err != nil {
		return err
	}
	if s.fold, err = pipeline.NewFold(s.from, s.w.sets.get(ctx, s.conn), s.cache); err != nil {
		return setError(fmt.Errorf("campaign set in force: %w", err))
	}
	if err := s.store.Timers(func(due int64, key string) error { s.fold.Schedule(due, key); return nil }); err != nil {
		return err
	}
	if s.chains, err = s.conn.OpenChains(ctx, s.p, s.from, s.known, end, s.w.opt.Confirm); err != nil {
		return err
	}
	if s.reader, err = s.conn.OpenReader(ctx, s.p, from); err != nil {
		s.chains.Close()
		return err
	}
	s.commit = newCommitter(s.store, s.chains, s.w.met, s.from.Epoch)
	s.last = time.Now()
	s.progress()
	s.log.Info("partition catching up", "from", s.from.Seq, "to", end, "applied", s.from.Applied)
	return nil
}

// sameLog holds the log against what was seen of it (P5), and says where it
// ends and from where to read: at the checkpoint's message, so that it can be
// looked at, or behind it where it has expired.
func (s *session) sameLog(ctx context.Context) (end, from uint64, err error) {
	seen := max(s.from.Seq, s.seen.seq)
	for start, first := time.Now(), true; ; first = false {
		var begin uint64
		begin, end, err = s.conn.Extent(ctx, s.p)
		if err != nil {
			return 0, 0, err
		}
		switch {
		case end < seen:
			err = fmt.Errorf("the log ends at message %d, message %d was applied: the broker came back with less than it had acknowledged", end, seen)
		case s.from.Seq == 0 && begin > 1:
			err = fmt.Errorf("there is no state, and the log begins at message %d: what came before has expired, so the state cannot be computed", begin)
		case s.from.Seq+1 < begin:
			err = fmt.Errorf("the state ends at message %d, the log begins at message %d: what lies between has expired", s.from.Seq, begin)
		default:
			return end, max(s.from.Seq, begin), nil
		}
		if time.Since(start) >= s.w.opt.Confirm {
			return 0, 0, broker.Loud(err)
		}
		if first {
			s.log.Warn("the log is not what it must be: looking again", "error", err)
		}
		select {
		case <-time.After(250 * time.Millisecond):
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		}
	}
}

// loop takes what comes, one thing at a time.
func (s *session) loop(ctx, within context.Context) error {
	beat := time.NewTicker(s.w.opt.Checkpoint / 4)
	defer beat.Stop()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(s.untilTick())
		select {
		case m := <-s.reader.Messages():
			if err := s.takeMany(within, m); err != nil {
				return err
			}
		case <-timer.C:
			s.tick()
		case <-beat.C:
			if s.reader.Silent() {
				if err := s.reopen(within, errors.New("the server has not been heard")); err != nil {
					return err
				}
			}
			if err := s.control.look(within, s); err != nil {
				return err
			}
			s.progress()
			s.count(false)
		case err := <-s.commit.done:
			if err := s.commit.ended(s.cache, err); err != nil {
				return err
			}
		case q := <-s.queries:
			s.answer(q)
		case <-s.chains.Failed():
			return s.chains.Err()
		case <-s.conn.Closed():
			return broker.ErrClosed
		case <-ctx.Done():
			return errEnded
		}
		if err := s.checkpoint(within, false); err != nil {
			return err
		}
	}
}

// takeMany takes what is there, up to some, without looking at anything else:
// nothing else is in a hurry.
func (s *session) takeMany(ctx context.Context, m *nats.Msg) error {
	for range 64 {
		if err := s.take(ctx, m); err != nil {
			return err
		}
		select {
		case m = <-s.reader.Messages():
		default:
			return nil
		}
	}
	return s.take(ctx, m)
}

// take applies a message of the log.
func (s *session) take(ctx context.Context, raw *nats.Msg) error {
	m, ok, err := s.reader.Take(raw)
	if err != nil {
		return s.reopen(ctx, err)
	}
	if !ok {
		return nil
	}
	if m.Seq == s.from.Seq {
		if m.Stored != s.from.Stored {
			return s.otherLog(m, s.from.Stored)
		}
		return nil // applied before: it was read to be looked at
	}
	if m.Seq == s.seen.seq && m.Stored != s.seen.stored {
		return s.otherLog(m, s.seen.stored)
	}
	if err := s.apply(ctx, m); err != nil {
		return err
	}
	s.gaps = 0
	if m.Seq > s.seen.seq {
		s.seen = mark{m.Seq, m.Stored}
	}
	s.progress()
	return nil
}

func (s *session) otherLog(m pipeline.Message, stored int64) error {
	return broker.Loud(fmt.Errorf("message %d was stored at %s, it was applied as stored at %s: this is not the log that the state was made of",
		m.Seq, pipeline.FormatTime(m.Stored), pipeline.FormatTime(stored)))
}

// apply folds a message, with a checkpoint in between where it is large.
func (s *session) apply(ctx context.Context, m pipeline.Message) error {
	start := time.Now()
	if err := s.fold.Begin(m); err != nil {
		return setError(err)
	}
	steps := 0
	for {
		more, err := s.fold.Next()
		if err != nil {
			return err
		}
		for _, e := range s.fold.Effects() {
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
		s.w.met.step.Observe(time.Since(start).Seconds() / float64(steps))
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
		if time.Since(s.last) < s.w.opt.Checkpoint && !full(s.cache, s.store.Limit(), s.shrink) {
			return nil
		}
	}
	if err := s.commit.wait(s.cache); err != nil {
		return err
	}
	s.last, s.moved = time.Now(), false
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

// reopen reads on behind the last message applied (P8).
func (s *session) reopen(ctx context.Context, why error) error {
	if s.gaps++; s.gaps > 5 {
		if errors.Is(why, broker.ErrGap) {
			return broker.Loud(why)
		}
		return why
	}
	seq, _, _, _ := s.fold.At()
	s.log.Warn("reading the log anew", "from", seq+1, "because", why)
	s.reader.Close()
	r, err := s.conn.OpenReader(ctx, s.p, seq+1)
	if err != nil {
		return err
	}
	s.reader = r
	return nil
}

// setError makes loud what only another campaign set or binary can mend.
func setError(err error) error {
	if errors.Is(err, broker.ErrNoSet) || !errors.Is(err, errFetch) {
		return broker.Loud(err)
	}
	return err
}

var _ pipeline.Entities = (*cache)(nil)

// damaged says that the state must be made anew.
func damaged(err error) bool { return errors.Is(err, state.ErrDamaged) }
