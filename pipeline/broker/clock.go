package broker

import (
	"context"
	"log/slog"
	"time"
)

const (
	// ClockApart is the difference of clocks from which operators are told: log
	// time follows a stamp no further than that. A smaller difference does no
	// harm, and cannot be measured well on slow machines.
	ClockApart = time.Minute
	// clockEvery is the time between two comparisons.
	clockEvery = time.Minute
)

// A clockWatch compares this process' clock with the clock of NATS. No
// correctness rests on either: if a clock is wrong, timers fire late, never
// early, and nothing is lost or doubled.
type clockWatch struct {
	log  *slog.Logger
	said time.Duration // the difference that was last logged; 0: the clocks agree
}

// WatchClock compares the clock of now with the clock of NATS every minute,
// until ctx is done or the connection is closed. It logs a difference of more
// than a minute, and logs again when the difference has changed by more than a
// minute. It calls told, unless that is nil, with each difference, which is
// positive if now is ahead.
func (c *Conn) WatchClock(ctx context.Context, now func() int64, told func(ahead time.Duration)) {
	k := &clockWatch{log: c.Log}
	e := c.World.NewSignal()
	defer c.Wire.OnClose(e)()
	for ctx.Err() == nil && !c.Wire.IsClosed() {
		ahead, _, err := c.Clocks(ctx, 0, now)
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

// Clocks asks the server that stamps a partition's messages for its time, theirs
// (nanoseconds since 1970), and compares it with the clock of now: ahead is positive
// if now is ahead. The server reads its clock at some moment between request and
// answer, so ahead is the smallest difference that is possible, however slow the
// answer is.
func (c *Conn) Clocks(ctx context.Context, partition int, now func() int64) (ahead time.Duration, theirs int64, err error) {
	before := now()
	theirs, err = c.Wire.Clock(ctx, c.Names.EventsStream(partition))
	if err != nil {
		return 0, 0, err
	}
	after := now()
	return time.Duration(max(before-theirs, 0) + min(after-theirs, 0)), theirs, nil
}

// say logs a difference that has changed.
func (k *clockWatch) say(ahead time.Duration) {
	if ahead.Abs() <= ClockApart {
		ahead = 0
	}
	if (ahead == 0) == (k.said == 0) && (ahead-k.said).Abs() <= ClockApart {
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
