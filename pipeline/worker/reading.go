package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/task"
	"offerstream/pipeline/value"
)

// doubt is since when, on end, the log is not what it must be or cannot be
// read, and when it was last found so.
type doubt struct{ since, last time.Time }

// sameLog holds the log against what was seen of it (P5), and says where it
// ends and from where to read: at the last message applied, so that it can be
// looked at, or behind it where it has expired.
func (s *session) sameLog(ctx context.Context) (end, from uint64, err error) {
	seen := max(s.at.seq, s.seen.seq, s.partly.seq)
	for start, first := s.now(), true; ; first = false {
		var begin uint64
		begin, end, err = s.conn.Extent(ctx, s.p)
		if err != nil {
			return 0, 0, err
		}
		switch {
		case end < seen:
			err = fmt.Errorf("the log ends at message %d, message %d was applied: the broker came back with less than it had acknowledged: %s", end, seen, s.conn.WayOut(s.p))
		case s.at.seq == 0 && begin > 1:
			err = fmt.Errorf("there is no state, and the log begins at message %d: what came before has expired, so the state cannot be computed: %s", begin, "put back the worker's directory as it was when the log reached so far; where it is lost, "+s.conn.Accept(s.p))
		case s.at.seq+1 < begin:
			err = fmt.Errorf("the state ends at message %d, the log begins at message %d: what lies between has expired: %s", s.at.seq, begin, "put back the worker's directory as it was when the log reached so far; where it is lost, "+s.conn.Accept(s.p))
		default:
			return end, max(s.at.seq, begin), nil
		}
		if end >= seen && (s.reader != nil || !s.hopeless) {
			return 0, 0, err // the next session may find a snapshot
		}
		if s.now().Sub(start) >= s.w.opt.Confirm {
			return 0, 0, broker.Loud(err)
		}
		if first {
			s.log.Warn("the log is not what it must be: looking again", "error", err)
		}
		if err := task.Sleep(ctx, s.w.world, 250*time.Millisecond); err != nil {
			return 0, 0, err
		}
	}
}

// takeMany takes what is there, up to some, without looking at anything else:
// nothing else is in a hurry. It says whether there may be more.
func (s *session) takeMany(ctx context.Context) (more bool, err error) {
	for range 64 {
		m, ok, err := s.reader.Take()
		if err != nil {
			return true, s.reopen(ctx, err)
		}
		if !ok {
			return false, nil
		}
		if err := s.take(ctx, m); err != nil {
			return false, err
		}
	}
	return true, nil
}

// take applies a message of the log.
func (s *session) take(ctx context.Context, m pipeline.Message) error {
	for _, before := range [...]mark{s.at, s.seen, s.partly} {
		if m.Seq == before.seq && m.Stored != before.stored {
			return s.reopen(ctx, fmt.Errorf("%w: message %d was stored at %s, it was applied as stored at %s",
				errOtherLog, m.Seq, value.FormatTime(m.Stored), value.FormatTime(before.stored)))
		}
	}
	if m.Seq == s.at.seq {
		return nil // applied before: it was read to be looked at
	}
	if err := s.apply(ctx, m); err != nil {
		return err
	}
	s.at, s.doubt = mark{m.Seq, m.Stored}, doubt{}
	if m.Seq > s.seen.seq {
		s.seen = s.at
	}
	s.progress()
	return nil
}

var errOtherLog = errors.New("this is not the log that the state was made of")

// reopen reads on from the last message applied (P5, P8). What stays wrong is
// loud; what cannot be read begins with another session.
func (s *session) reopen(ctx context.Context, why error) error {
	now := s.now()
	again := now.Sub(s.doubt.last) < s.w.opt.Confirm+5*time.Second
	if !again {
		s.doubt.since = now
	}
	s.doubt.last = now
	switch {
	case now.Sub(s.doubt.since) < s.w.opt.Confirm:
	case errors.Is(why, broker.ErrGap):
		return broker.Loud(fmt.Errorf("%w: a message has expired before it was applied, or was deleted: %s", why, s.conn.WayOut(s.p)))
	case errors.Is(why, errOtherLog):
		return broker.Loud(fmt.Errorf("%w: %s", why, s.conn.WayOut(s.p)))
	default:
		return why
	}
	s.log.Warn("reading the log anew", "from", s.at.seq, "because", why)
	s.reader.Close()
	if again { // the broker has a moment
		if err := task.Sleep(ctx, s.w.world, 100*time.Millisecond); err != nil {
			return err
		}
		if s.conn.Wire.IsClosed() {
			return broker.ErrClosed
		}
	}
	_, from, err := s.sameLog(ctx)
	if err != nil {
		return err
	}
	r, err := s.conn.OpenReader(ctx, s.p, from)
	if err != nil {
		return err
	}
	s.reader = r
	return nil
}
