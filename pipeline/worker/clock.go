package worker

import (
	"context"
	"time"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/value"
)

// tickEvery is the least time between two ticks. A tick is repeated because the
// one before may have been too early, if the broker's clock is behind.
const tickEvery = 100 * time.Millisecond

// untilTick returns the time until the next tick may be needed: when a timer is
// due by the owner's clock.
func (a *attempt) untilTick() time.Duration {
	due, ok := a.fold.NextDue()
	if !ok || a.p.muted.Load() || a.fold.Clock() == campaign.ClockEvent {
		return time.Hour
	}
	wait := time.Duration(value.Minus(due, a.p.w.opt.Now()))
	return max(wait, a.tickAt.Add(tickEvery).Sub(a.now()), 0)
}

// tick publishes a tick if a timer is due and no message has moved log time on.
// A tick may be lost or come twice: neither does harm.
func (a *attempt) tick() {
	due, ok := a.fold.NextDue()
	now := a.p.w.opt.Now()
	if !ok || a.p.muted.Load() || due > now || a.fold.Clock() == campaign.ClockEvent || a.now().Sub(a.tickAt) < tickEvery {
		return
	}
	if !a.reader.CaughtUp() {
		a.tickAt = a.now() // the messages that have come will move log time on
		return
	}
	a.tickAt = a.now()
	if err := a.conn.Tick(a.p.number, now); err != nil {
		a.p.log.Warn("cannot publish a tick", "error", err)
		return
	}
	a.p.status.ticked.CompareAndSwap(0, a.now().UnixNano())
	a.p.w.met.ticks.Inc()
}

// A controller appends a control message to the log when the live campaign
// set is not the one that was last put in force.
type controller struct {
	tried time.Time // when it last compared with the stored live set
}

const controlEvery = time.Second // least time between two looks

// look compares the live set with the set in force, and appends a control message
// if they differ. Another owner may do the same at the same time: so the message
// is appended only if no other control message follows the last one applied.
func (c *controller) look(ctx context.Context, a *attempt) error {
	live := a.p.w.liveSet()
	seq, _, _, set := a.fold.At()
	if live == "" || live == set || a.p.muted.Load() || a.now().Sub(c.tried) < controlEvery {
		return nil
	}
	c.tried = a.now()
	// The watch may lag behind: another owner may have put a newer set in force
	// already, which the watched one would undo.
	live, _, err := a.conn.Live(ctx)
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
		return nil // a control message is on its way
	}
	if err := a.conn.Control(ctx, a.p.number, last, live, next.Definition().Engine, a.p.w.opt.Now()); err != nil {
		a.p.log.Warn("cannot append the control message: trying again", "set", live, "error", err)
		return nil
	}
	a.p.log.Info("campaign set goes live from here", "set", live, "after", seq)
	return nil
}
