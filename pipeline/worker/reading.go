package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/checkpoint"
	"offerstream/pipeline/task"
	"offerstream/pipeline/value"
)

// doubt is since when the log has continuously been wrong or unreadable, and when
// it was last found so.
type doubt struct{ since, last time.Time }

// sameLog compares the log with what was seen of it (P5). It returns the log's
// end, and where to begin reading: at the last message applied, so that take can
// check it, or after that if it has expired.
func (a *attempt) sameLog(ctx context.Context) (end, from uint64, err error) {
	seen := max(a.at.seq, a.p.seen.seq, a.partly.seq)
	for start, first := a.now(), true; ; first = false {
		var begin uint64
		begin, end, err = a.conn.Extent(ctx, a.p.number)
		if err != nil {
			return 0, 0, err
		}
		switch {
		case end < seen:
			err = fmt.Errorf("the log ends at message %d, but message %d was applied: the broker has lost messages that it had acknowledged: %s", end, seen, a.conn.WayOut(a.p.number))
		case a.at.seq == 0 && begin > 1:
			err = fmt.Errorf("there is no state, and the log begins at message %d: earlier messages have expired, so the state cannot be computed: %s", begin, "restore a copy of the worker's directory that is recent enough; if there is none, "+a.conn.Accept(a.p.number))
		case a.at.seq+1 < begin:
			err = fmt.Errorf("the state ends at message %d, but the log begins at message %d: the messages between have expired: %s", a.at.seq, begin, "restore a copy of the worker's directory that is recent enough; if there is none, "+a.conn.Accept(a.p.number))
		default:
			return end, max(a.at.seq, begin), nil
		}
		if end >= seen && (a.reader != nil || !a.p.hopeless) {
			return 0, 0, err // the next attempt may find a snapshot
		}
		if a.now().Sub(start) >= a.p.w.opt.Confirm {
			return 0, 0, broker.Loud(err)
		}
		if first {
			a.p.log.Warn("the log does not match what was seen of it: looking again", "error", err)
		}
		if err := task.Sleep(ctx, a.p.w.world, 250*time.Millisecond); err != nil {
			return 0, 0, err
		}
	}
}

// takeMany takes the messages that have come, at most 64 of them, before loop
// looks at anything else. more says whether there may be more.
func (a *attempt) takeMany(ctx context.Context) (more bool, err error) {
	for range 64 {
		m, ok, err := a.reader.Take()
		if err != nil {
			return true, a.reopen(ctx, err)
		}
		if !ok {
			return false, nil
		}
		if err := a.take(ctx, m); err != nil {
			return false, err
		}
	}
	return true, nil
}

// take applies a message of the log, unless it is the last one applied.
func (a *attempt) take(ctx context.Context, m pipeline.Message) error {
	for _, before := range [...]place{a.at, a.p.seen, a.partly} {
		if m.Seq == before.seq && m.Stored != before.stored {
			return a.reopen(ctx, fmt.Errorf("%w: message %d was stored at %s, but the message that was applied was stored at %s",
				checkpoint.ErrOtherLog, m.Seq, value.FormatTime(m.Stored), value.FormatTime(before.stored)))
		}
	}
	if m.Seq == a.at.seq {
		return nil // it is applied already, and was read only for the check above
	}
	a.p.status.ticked.Store(0)
	if err := a.apply(ctx, m); err != nil {
		return err
	}
	a.at, a.doubt = place{m.Seq, m.Stored}, doubt{}
	if m.Seq > a.p.seen.seq {
		a.p.seen = a.at
	}
	a.progress()
	return nil
}

// reopen opens the reader again at the last message applied (P5, P8). A log that
// stays wrong is loud; a log that stays unreadable ends the attempt.
func (a *attempt) reopen(ctx context.Context, why error) error {
	now := a.now()
	again := now.Sub(a.doubt.last) < a.p.w.opt.Confirm+5*time.Second
	if !again {
		a.doubt.since = now
	}
	a.doubt.last = now
	switch {
	case now.Sub(a.doubt.since) < a.p.w.opt.Confirm:
	case errors.Is(why, broker.ErrGap):
		return broker.Loud(fmt.Errorf("%w: a message was deleted, or has expired before it was applied: %s", why, a.conn.WayOut(a.p.number)))
	case errors.Is(why, checkpoint.ErrOtherLog):
		return broker.Loud(fmt.Errorf("%w: %s", why, a.conn.WayOut(a.p.number)))
	default:
		return why
	}
	a.p.log.Warn("opening the log's reader again", "from", a.at.seq, "because", why)
	a.reader.Close()
	if again { // give the broker a moment
		if err := task.Sleep(ctx, a.p.w.world, 100*time.Millisecond); err != nil {
			return err
		}
		if a.conn.Wire.IsClosed() {
			return broker.ErrClosed
		}
	}
	_, from, err := a.sameLog(ctx)
	if err != nil {
		return err
	}
	r, err := a.conn.OpenReader(ctx, a.p.number, from)
	if err != nil {
		return err
	}
	a.reader = r
	return nil
}
