package broker

import (
	"context"
	"log/slog"
	"time"
)

// Clocks that differ by more than clockApart are worth an operator's while: log
// time follows no stamp further than that. Less is no matter, and looked for
// in vain where machines are slow.
const (
	clockApart = time.Minute
	clockEvery = time.Minute // between two looks
)

// A clockWatch holds this process' clock against that of NATS. No correctness
// rests on either: timers come late where a clock is wrong, never early, and
// nothing is lost or doubled.
type clockWatch struct {
	now  func() int64
	log  *slog.Logger
	said time.Duration // what the log said last; 0: that they agree
}

// WatchClock compares the clock of now with that of NATS, and again every
// minute, until ctx is done or the connection is closed. The log says where
// they differ by more than a minute, and again when that has changed by as
// much; told, if there is one, gets each difference, positive where now is
// ahead.
func (c *Conn) WatchClock(ctx context.Context, now func() int64, told func(ahead time.Duration)) {
	k := &clockWatch{now: now, log: c.Log}
	e := c.World.NewEvent()
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
			c.Log.Debug("cannot compare the clock with that of NATS: trying again", "error", err)
		}
		e.Wait(ctx, clockEvery)
	}
}

// ask asks the server that stamps partition 0's messages for its time. That
// lies between the moments before and after: the difference is the least that
// is possible then, however slow the answer is.
func (k *clockWatch) ask(ctx context.Context, c *Conn) (ahead time.Duration, err error) {
	before := k.now()
	theirs, err := c.Wire.Clock(ctx, c.Names.EventsStream(0))
	if err != nil {
		return 0, err
	}
	after := k.now()
	return time.Duration(max(before-theirs, 0) + min(after-theirs, 0)), nil
}

// say tells the log what is new.
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
		k.log.Info("this machine's clock agrees with that of NATS again")
	case ahead > 0:
		k.log.Error("this machine's clock is AHEAD of that of NATS: let NTP set the clocks of both; nothing is lost or doubled meanwhile", "ahead", how)
	default:
		k.log.Error("this machine's clock is BEHIND that of NATS: let NTP set the clocks of both; nothing is lost or doubled meanwhile, but offers that wait for a time come late", "behind", how)
	}
}
