package pipeline

import (
	"time"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// maxAhead is how far the stored time of a message may be ahead of its writer's
// stamp; any time beyond that is not taken. Thus a single clock that is ahead
// cannot freeze a partition.
const maxAhead = int64(time.Minute)

// targetOf is the log time to which a message moves the fold. Under clock:
// event the message itself does not move it, but its events do.
func (f *Fold) targetOf(m Message, stamp int64, stamped bool) int64 {
	switch {
	case f.accept != nil: // no timer fires in it, so that no record precedes the marks
		return f.cur.LogTime
	case f.Clock() == campaign.ClockEvent || f.control != nil && f.control.set != nil && f.control.set.def.Clock == campaign.ClockEvent:
		return f.cur.LogTime // the events move log time
	}
	target := m.Stored
	if stamped {
		target = min(target, value.Plus(stamp, maxAhead))
	}
	return max(target, f.cur.LogTime)
}

// nextTimed is Next under clock: event, where each event moves log time. Before
// an event, the timers that are due at its log time fire, one in each step.
func (f *Fold) nextTimed() (bool, error) {
	before := f.lines
	ev, raw, err := f.take()
	if raw == nil {
		f.finish()
		return false, f.err
	}
	var now int64
	if err == nil {
		now, err = f.logTimeOf(ev)
	}
	if err != nil {
		f.reject(raw, err)
		f.cur.Within++
		return true, nil
	}
	fired := f.fire(min(now, f.until))
	if fired || now > f.until {
		f.lines = before
		if f.lines == nil {
			f.single = ev
		}
		if !fired {
			f.stop()
		}
		return fired, f.err
	}
	f.applyTimed(ev, now)
	f.cur.Within++
	return true, f.err
}

// applyTimed moves log time to that of an event, and applies it.
func (f *Fold) applyTimed(ev *event.Event, now int64) {
	f.cur.LogTime, f.epoch = now, now == 0
	if ev.Type == event.Clock {
		return
	}
	f.apply(ev, now, (&EventClock{Now: now}).Own(ev))
}

// logTimeOf is the log time after an event, under clock: event.
func (f *Fold) logTimeOf(ev *event.Event) (int64, error) {
	c := EventClock{f.cur.LogTime, f.begun()}
	if !c.Move(ev) {
		return 0, event.Rejectf("timestamp", "the event has no timestamp, and none came before it")
	}
	return c.Now, nil
}

// An EventClock is log time under clock: event, which events move.
type EventClock struct {
	Now   int64
	Begun bool // an event with a time has come
}

// Move moves log time to that after an event. It returns false for an event without
// a time before which none had one.
func (c *EventClock) Move(ev *event.Event) bool {
	at, has := ev.Timestamp, ev.HasTimestamp
	if ev.HasLogTime {
		at, has = ev.LogTime, true
	}
	switch {
	case has && c.Begun:
		c.Now = max(c.Now, at)
	case has:
		c.Now, c.Begun = at, true // which may be before 1970
	}
	return c.Begun
}

// Own is the own time of an event that has moved the clock.
func (c *EventClock) Own(ev *event.Event) int64 {
	if ev.HasTimestamp {
		return ev.Timestamp
	}
	return c.Now
}

// begun reports whether there is a log time.
func (f *Fold) begun() bool { return f.cur.LogTime != 0 || f.epoch }

func (f *Fold) ownTime(ev *event.Event) int64 { return OwnTime(ev, f.target) }

// OwnTime is an event's own time under clock: broker. It is corrected by the
// error of the client's clock, as seen when the client sent the event. Without one,
// or if it cannot be read, it is the time at which the event was received, or log
// time if that is not known either.
func OwnTime(ev *event.Event, logTime int64) int64 {
	switch {
	case ev.HasTimestamp && ev.HasSentAt && ev.HasReceived && !ev.SentAtOriginal:
		return value.Minus(ev.ReceivedAt, value.Minus(ev.SentAt, ev.Timestamp))
	case ev.HasTimestamp:
		return ev.Timestamp
	case ev.HasReceived:
		return ev.ReceivedAt
	}
	return logTime
}
