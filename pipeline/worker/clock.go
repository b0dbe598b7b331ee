package worker

import (
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
