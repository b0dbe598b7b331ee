package main

import (
	"context"
	"fmt"

	"offerstream/pipeline"
	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/event"
)

// A userLog reads a log in which a user's events are. It calls fn with each event,
// with the log time after it and its own time, until log time passes end, and returns
// the log time at which the log ends. The event is valid until fn returns.
type userLog func(end int64, fn func(ev *event.Event, log, own int64) error) (int64, error)

// fileLog is a file of events. Its log time is that of a backtest.
func fileLog(ctx context.Context, path string, std stdio) userLog {
	return func(end int64, fn func(ev *event.Event, log, own int64) error) (int64, error) {
		in, err := openInput(path, std)
		if err != nil {
			return 0, err
		}
		defer in.close()
		var dec event.Decoder
		var refused refusals
		var now pipeline.EventClock
		accepted := uint64(0)
		err = in.each(ctx, &refused, func(line []byte) error {
			ev, err := dec.AdmitLine(line)
			if err != nil {
				return err
			}
			if ev.Type != event.Clock {
				ev.HasLogTime = false
			}
			accepted++
			switch {
			case !now.Move(ev):
				return nil
			case now.Now > end:
				return errEnough
			}
			return fn(ev, now.Now, now.Own(ev))
		})
		switch {
		case err == errEnough:
			return end, nil
		case err != nil:
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		return now.Now, refused.all(in, accepted)
	}
}

// liveLog is the log of the partition of the user with an entity key.
func liveLog(ctx context.Context, conn *broker.Conn, key string, std stdio) userLog {
	return func(end int64, fn func(ev *event.Event, log, own int64) error) (int64, error) {
		shown := newProgress(std.err)
		defer shown.done()
		progress := func(_ int, seq, last uint64) { shown.show("message %d of %d", seq, last) }
		return audit.Events(ctx, conn, event.Partition(key, conn.Partitions), end, progress, fn)
	}
}
