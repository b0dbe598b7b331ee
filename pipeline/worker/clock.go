package worker

import (
	"context"
	"time"

	"offerstream/pipeline/campaign"
)

// tickEvery is how often at most a tick is published: the one before may have
// been too early, where the broker's clock is behind.
const tickEvery = 100 * time.Millisecond

// untilTick is how long to wait until a timer is due by the owner's clock.
func (s *session) untilTick() time.Duration {
	due, ok := s.fold.NextDue()
	if !ok || s.muted.Load() || s.fold.Clock() == campaign.ClockEvent {
		return time.Hour
	}
	wait := time.Duration(due - s.w.opt.Now())
	return max(wait, s.tickAt.Add(tickEvery).Sub(s.now()), 0)
}

// tick moves the log's time on where a timer is due and nothing else does.
// It may be lost or come twice: neither matters.
func (s *session) tick() {
	due, ok := s.fold.NextDue()
	now := s.w.opt.Now()
	if !ok || s.muted.Load() || due > now || s.fold.Clock() == campaign.ClockEvent || s.now().Sub(s.tickAt) < tickEvery {
		return
	}
	if !s.reader.CaughtUp() {
		s.tickAt = s.now() // messages that are there will do
		return
	}
	s.tickAt = s.now()
	if err := s.conn.Tick(s.p, now); err != nil {
		s.log.Warn("cannot publish a tick", "error", err)
		return
	}
	s.w.met.ticks.Inc()
}

// A controller appends a control message to the log when the live campaign
// set is not the one that was last put in force.
type controller struct {
	tried time.Time
}

const controlEvery = time.Second

// look compares and appends. Another owner may do the same at the same time:
// the message is appended where none has come since the last one applied.
func (c *controller) look(ctx context.Context, s *session) error {
	live := s.w.liveSet()
	seq, _, _, set := s.fold.At()
	if live == "" || live == set || s.muted.Load() || s.now().Sub(c.tried) < controlEvery {
		return nil
	}
	c.tried = s.now()
	live, _, err := s.conn.Live(ctx) // the watch may tell late: another owner may have brought the set here before, and an older one would undo it
	if err != nil {
		s.log.Warn("cannot read which campaign set is live: trying again", "error", err)
		return nil
	}
	if live == "" || live == set {
		return nil
	}
	if _, err := s.w.sets.get(ctx, s.conn)(live); err != nil {
		s.log.Error("the live campaign set cannot be put in force", "set", live, "error", err)
		return nil
	}
	last, err := s.conn.LastControl(ctx, s.p)
	if err != nil {
		s.log.Warn("cannot read the last control message: trying again", "error", err)
		return nil
	}
	if last > seq {
		return nil // one is on its way
	}
	if err := s.conn.Control(ctx, s.p, last, live, s.w.opt.Now()); err != nil {
		s.log.Warn("cannot append the control message: trying again", "set", live, "error", err)
		return nil
	}
	s.log.Info("campaign set goes live from here", "set", live, "after", seq)
	return nil
}
