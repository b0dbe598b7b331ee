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
func (a *attempt) untilTick() time.Duration {
	due, ok := a.fold.NextDue()
	if !ok || a.p.muted.Load() || a.fold.Clock() == campaign.ClockEvent {
		return time.Hour
	}
	wait := time.Duration(due - a.p.w.opt.Now())
	return max(wait, a.tickAt.Add(tickEvery).Sub(a.now()), 0)
}

// tick moves the log's time on where a timer is due and nothing else does.
// It may be lost or come twice: neither matters.
func (a *attempt) tick() {
	due, ok := a.fold.NextDue()
	now := a.p.w.opt.Now()
	if !ok || a.p.muted.Load() || due > now || a.fold.Clock() == campaign.ClockEvent || a.now().Sub(a.tickAt) < tickEvery {
		return
	}
	if !a.reader.CaughtUp() {
		a.tickAt = a.now() // messages that are there will do
		return
	}
	a.tickAt = a.now()
	if err := a.conn.Tick(a.p.number, now); err != nil {
		a.p.log.Warn("cannot publish a tick", "error", err)
		return
	}
	a.p.w.met.ticks.Inc()
}

// A controller appends a control message to the log when the live campaign
// set is not the one that was last put in force.
type controller struct {
	tried time.Time
}

const controlEvery = time.Second

// look compares and appends. Another owner may do the same at the same time:
// the message is appended where none has come since the last one applied.
func (c *controller) look(ctx context.Context, a *attempt) error {
	live := a.p.w.liveSet()
	seq, _, _, set := a.fold.At()
	if live == "" || live == set || a.p.muted.Load() || a.now().Sub(c.tried) < controlEvery {
		return nil
	}
	c.tried = a.now()
	live, _, err := a.conn.Live(ctx) // the watch may tell late: another owner may have brought the set here before, and an older one would undo it
	if err != nil {
		a.p.log.Warn("cannot read which campaign set is live: trying again", "error", err)
		return nil
	}
	if live == "" || live == set {
		return nil
	}
	next, err := a.p.w.sets.Get(ctx, a.conn)(live)
	if err != nil {
		a.p.log.Error("the live campaign set cannot be put in force", "set", live, "error", err)
		return nil
	}
	last, err := a.conn.LastControl(ctx, a.p.number)
	if err != nil {
		a.p.log.Warn("cannot read the last control message: trying again", "error", err)
		return nil
	}
	if last > seq {
		return nil // one is on its way
	}
	if err := a.conn.Control(ctx, a.p.number, last, live, next.Definition().Engine, a.p.w.opt.Now()); err != nil {
		a.p.log.Warn("cannot append the control message: trying again", "set", live, "error", err)
		return nil
	}
	a.p.log.Info("campaign set goes live from here", "set", live, "after", seq)
	return nil
}
