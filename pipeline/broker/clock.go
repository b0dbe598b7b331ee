package broker

import (
	"context"
	"log/slog"
	"time"
)

const (
	// clockApart is the difference of clocks from which operators are told: log
	// time follows a stamp no further than that. A smaller difference does no
	// harm, and cannot be measured well on slow machines.
	clockApart = time.Minute
	// clockEvery is the time between two comparisons.
	clockEvery = time.Minute
)

// A clockWatch compares this process' clock with the clock of NATS. No
// correctness rests on either: if a clock is wrong, timers fire late, never
// early, and nothing is lost or doubled.
type clockWatch struct {
	now  func() int64
	log  *slog.Logger
	said time.Duration // the difference that was last logged; 0: the clocks agree
}

// WatchClock compares the clock of now with the clock of NATS every minute,
// until ctx is done or the connection is closed. It logs a difference of more
// than a minute, and logs again when the difference has changed by more than a
// minute. It calls told, unless that is nil, with each difference, which is
// positive if now is ahead.
func (c *Conn) WatchClock(ctx context.Context, now func() int64, told func(ahead time.Duration)) {
	k := &clockWatch{now: now, log: c.Log}
	e := c.World.NewSignal()
	defer c.Wire.OnClose(e)()
	for ctx.Err() == nil && !c.Wire.IsClosed() {
		ahead, err := k.ask(ctx, c)
		switch {
		case err == nil:
			k.say(ahead)
			if told != nil {
				told(ahead)
			}
		case ctx.Err() == nil && !c.Wire.IsClosed():
			c.Log.Debug("cannot compare this machine's clock with the clock of NATS: trying again", "error", err)
		}
		e.Wait(ctx, clockEvery)
	}
}

// ask asks the server that stamps partition 0's messages for its time. The
// server reads its clock at some moment between request and answer, so ask
// returns the smallest difference that is possible, however slow the answer is.
func (k *clockWatch) ask(ctx context.Context, c *Conn) (ahead time.Duration, err error) {
	before := k.now()
	theirs, err := c.Wire.Clock(ctx, c.Names.EventsStream(0))
	if err != nil {
		return 0, err
	}
	after := k.now()
	return time.Duration(max(before-theirs, 0) + min(after-theirs, 0)), nil
}

// say logs a difference that has changed.
func (k *clockWatch) say(ahead time.Duration) {
	if ahead.Abs() <= clockApart {
		ahead = 0
	}
	if (ahead == 0) == (k.said == 0) && (ahead-k.said).Abs() <= clockApart {
		return
	}
	k.said = ahead
	switch how := ahead.Abs().Round(time.Second); {
	case ahead == 0:
		k.log.Info("this machine's clock agrees with the clock of NATS again")
	case ahead > 0:
		k.log.Error("this machine's clock is AHEAD of the clock of NATS: let NTP set both clocks; nothing is lost or doubled meanwhile", "ahead", how)
	default:
		k.log.Error("this machine's clock is BEHIND the clock of NATS: let NTP set both clocks; nothing is lost or doubled meanwhile, but offers that wait for a certain time come late", "behind", how)
	}
}
