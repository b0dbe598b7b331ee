package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/checkpoint"
	"offerstream/pipeline/event"
)

// A fileLog is a file of events. Its log time is that of a backtest.
type fileLog struct {
	ctx  context.Context
	path string
	std  stdio
}

func (f *fileLog) each(end int64, fn func(ev *event.Event, log, own int64) error) (int64, error) {
	in, err := openInput(f.path, f.std)
	if err != nil {
		return 0, err
	}
	defer in.close()
	var dec event.Decoder
	var refused refusals
	now := logClock{}
	for accepted := uint64(0); ; {
		if err := f.ctx.Err(); err != nil {
			return 0, err
		}
		line, err := in.next()
		if errors.Is(err, io.EOF) {
			return now.at, refused.all(in, accepted)
		}
		if line = bytes.TrimSpace(line); err == nil && len(line) == 0 {
			continue
		}
		var ev *event.Event
		if err == nil {
			ev, err = dec.AdmitLine(line)
		}
		if r := (*event.Reject)(nil); errors.As(err, &r) {
			refused.add(in.n, err)
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("%s: %w", f.path, err)
		}
		if ev.Type != event.Clock {
			ev.HasLogTime = false
		}
		accepted++
		own, ok := now.timed(ev)
		switch {
		case !ok:
			continue
		case now.at > end:
			return end, nil
		}
		if err := fn(ev, now.at, own); err != nil {
			return 0, fmt.Errorf("%s:%d: %w", f.path, in.n, err)
		}
	}
}

// A logClock is log time under clock: event.
type logClock struct {
	at    int64
	begun bool
}

// timed moves log time as an event says, and returns the event's own time. It returns
// false for an event that has no time, if none before it had one.
func (c *logClock) timed(ev *event.Event) (own int64, ok bool) {
	at, has := ev.Timestamp, ev.HasTimestamp
	if ev.HasLogTime {
		at, has = ev.LogTime, true
	}
	if !has && !c.begun {
		return 0, false
	}
	if has && (!c.begun || at > c.at) {
		c.at, c.begun = at, true
	}
	if ev.HasTimestamp {
		return ev.Timestamp, true
	}
	return c.at, true
}

// A liveLog is the log of a partition. Its log time is that of its workers: a fold of
// the log, without users, has it.
type liveLog struct {
	ctx      context.Context
	conn     *broker.Conn
	p        int
	progress *progress
	sets     checkpoint.Sets
}

var errEnd = errors.New("the end that was asked for")

func (l *liveLog) each(end int64, fn func(ev *event.Event, log, own int64) error) (int64, error) {
	first, last, err := l.conn.Extent(l.ctx, l.p)
	if err != nil {
		return 0, err
	}
	var cursor pipeline.Cursor
	if first > 1 { // the message that put the set in force has expired, or may have
		cursor.Seq = first - 1
		if cursor.Set, _, err = l.conn.Live(l.ctx); err != nil {
			return 0, err
		}
	}
	fold, err := pipeline.NewFold(cursor, l.sets.Get(l.ctx, l.conn), pipeline.Memory{})
	if err != nil {
		return 0, err
	}
	fold.Only() // no user
	defer l.progress.done()
	now := logClock{}
	err = l.conn.ScanLog(l.ctx, l.p, first, func(m pipeline.Message) error {
		l.progress.show("message %d of %d", m.Seq, last)
		return l.message(fold, m, &now, end, fn)
	})
	if errors.Is(err, errEnd) {
		return end, nil
	}
	if err != nil {
		return 0, fmt.Errorf("partition %d: %w", l.p, err)
	}
	return now.at, nil
}

// message calls fn with the events of a message.
func (l *liveLog) message(fold *pipeline.Fold, m pipeline.Message, now *logClock, end int64, fn func(ev *event.Event, log, own int64) error) error {
	stamped := fold.Clock() == campaign.ClockEvent
	if err := fold.Begin(m); err != nil {
		return err
	}
	for {
		more, err := fold.Next()
		if err != nil {
			return err
		}
		if !more {
			break
		}
	}
	if !stamped {
		_, _, now.at, _ = fold.At()
		if now.begun = true; now.at > end {
			return errEnd
		}
	}
	if m.Kind != pipeline.In {
		return nil
	}
	var dec event.Decoder
	for line := range bytes.Lines(m.Data) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		ev, err := dec.Decode(line)
		if err != nil {
			continue // it became a dead letter
		}
		own := pipeline.OwnTime(ev, now.at)
		if stamped {
			var ok bool
			if own, ok = now.timed(ev); !ok {
				continue
			}
			if now.at > end {
				return errEnd
			}
		} else if ev.Type == event.Clock {
			continue // it does nothing there
		}
		if err := fn(ev, now.at, own); err != nil {
			return fmt.Errorf("message %d: %w", m.Seq, err)
		}
	}
	return nil
}
