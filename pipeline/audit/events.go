package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/checkpoint"
	"offerstream/pipeline/event"
)

// Events calls fn with each event of a partition's log, with the log time after it and
// its own time, until log time passes end. It returns the log time at which the log
// ends, or end. The event is valid until fn returns. Log time is that of the workers:
// Events folds the log without any user, and so needs no snapshot. If the beginning of
// the log has expired, the set that is live now gives the clock.
func Events(ctx context.Context, conn *broker.Conn, p int, end int64, progress func(p int, seq, last uint64), fn func(ev *event.Event, log, own int64) error) (int64, error) {
	first, last, err := conn.Extent(ctx, p)
	if err != nil {
		return 0, err
	}
	r := newReading(newReplay(conn, p, "", nil, new(checkpoint.Sets), nil))
	r.only, r.end = []string{}, last
	var cursor pipeline.Cursor
	if first > 1 { // the message that put the set in force has expired, or may have
		r.from, cursor.Seq = first-1, first-1
		live, _, err := conn.Live(ctx)
		if err != nil {
			return 0, err
		}
		cursor.Set = live.Set
	}
	if err := r.foldFrom(ctx, cursor, pipeline.Memory{}); err != nil {
		return 0, err
	}
	t := timedEvents{fold: r.fold, end: end, fn: fn}
	r.folded = t.message
	err = r.read(ctx, progress, func(uint64) error { return nil })
	if errors.Is(err, errPassed) {
		return end, nil
	}
	if err != nil {
		return 0, fmt.Errorf("partition %d: %w", p, err)
	}
	return t.now.Now, nil
}

// errPassed is the error of timedEvents for what is later than its end.
var errPassed = errors.New("log time has passed the end")

// timedEvents gives the events of messages their log time.
type timedEvents struct {
	fold *pipeline.Fold
	now  pipeline.EventClock
	end  int64
	fn   func(ev *event.Event, log, own int64) error
	dec  event.Decoder
}

// message calls fn with the events of a message that has been folded.
func (t *timedEvents) message(m pipeline.Message) error {
	byEvent := t.fold.Clock() == campaign.ClockEvent
	if !byEvent {
		_, _, now, _ := t.fold.At()
		t.now = pipeline.EventClock{Now: now, Begun: true}
		if now > t.end {
			return errPassed
		}
	}
	if m.Kind != pipeline.In {
		return nil
	}
	for line := range bytes.Lines(m.Data) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		ev, err := t.dec.Decode(line)
		if err != nil || !byEvent && ev.Type == event.Clock {
			continue // it became a dead letter, or does nothing
		}
		own := pipeline.OwnTime(ev, t.now.Now)
		if byEvent {
			if !t.now.Move(ev) {
				continue
			}
			if t.now.Now > t.end {
				return errPassed
			}
			own = t.now.Own(ev)
		}
		if err := t.fn(ev, t.now.Now, own); err != nil {
			return fmt.Errorf("message %d: %w", m.Seq, err)
		}
	}
	return nil
}
