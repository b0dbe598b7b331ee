package backfill

import (
	"context"
	"errors"
	"fmt"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/checkpoint"
	"offerstream/pipeline/task"
)

// gapLooks is how often a message must be skipped until it counts as missing.
const gapLooks = 5

// atOnce is how many messages Fold folds at most.
const atOnce = 64

// Fold folds some of the messages that have come, up to message to. It reports
// whether it may have more to do at once. The error is ErrLog if the log has been
// wrong for Options.Confirm.
func (s *Second) Fold(ctx context.Context, to uint64) (more bool, err error) {
	if s.at.seq >= to && s.same {
		return false, nil
	}
	if s.reader == nil {
		if err := s.open(ctx); err != nil {
			return false, s.doubted(ctx, err)
		}
	}
	for range atOnce {
		if s.at.seq >= to && s.same {
			return false, nil
		}
		m, ok, err := s.reader.Take()
		if err == nil && !ok {
			if s.reader.Silent() {
				s.Close()
			}
			return false, nil
		}
		if err == nil {
			err = s.sameAs(m)
		}
		if err != nil {
			s.Close()
			return true, s.doubted(ctx, err)
		}
		s.same = true
		if m.Seq == s.at.seq {
			continue // it was read only for the check
		}
		if m.Seq > s.at.seq+1 {
			s.gap = false
			s.Close() // the next gap is looked at again
			s.fold.Skip(min(m.Seq-1, to))
			if s.at.seq = min(m.Seq-1, to); m.Seq > to {
				return false, nil
			}
			if err := s.take(m); err != nil {
				return false, err
			}
			return true, nil
		}
		if err := s.take(m); err != nil {
			return false, err
		}
		s.doubt = doubt{}
	}
	return true, s.rest()
}

// take folds a message, and commits if there is much to commit.
func (s *Second) take(m pipeline.Message) error {
	err := s.apply(m)
	if err == nil && s.cache.Full(s.shrink) {
		err = s.commit()
	}
	if s.again(err) {
		s.Close()
		return s.begin()
	}
	return err
}

// To folds the log up to a message, and waits until that has come.
func (s *Second) To(ctx context.Context, to uint64) error {
	wake := s.Conn.World.NewSignal()
	defer s.Conn.Wire.OnClose(wake)()
	for {
		if s.at.seq >= to && s.same {
			if err := s.Commit(); err != nil || s.at.seq >= to {
				return err
			}
		}
		more, err := s.Fold(ctx, to)
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case s.Conn.Wire.IsClosed():
			return broker.ErrClosed
		case !more && (s.at.seq < to || !s.same):
			if err := s.rest(); err != nil {
				return err
			}
			s.Wait(ctx, wake, time.Second)
		}
	}
}

// Wait returns when a message has come, the signal is set, d has passed or ctx is
// done.
func (s *Second) Wait(ctx context.Context, wake task.Signal, d time.Duration) {
	if s.reader == nil {
		wake.Wait(ctx, d)
		return
	}
	s.reader.Wait(ctx, wake, d)
}

// open opens the reader, at the last message applied, so that it can be checked, or
// after that if it has expired (PROTOCOL.md, P5).
func (s *Second) open(ctx context.Context) error {
	first, end, err := s.Conn.Extent(ctx, s.Partition)
	switch seen := max(s.at.seq, s.partly.seq); {
	case err != nil:
		return err
	case end < seen:
		return fmt.Errorf("%w: it ends at message %d, and message %d was applied", ErrLog, end, seen)
	case s.at.seq+1 < first:
		return fmt.Errorf("%w: it begins at message %d, and the second state ends at message %d: the messages between have expired", ErrLog, first, s.at.seq)
	}
	s.same = s.same || s.at.seq < first // the message that could tell is gone, or there is none
	if s.reader, err = s.Conn.OpenReader(ctx, s.Partition, max(s.at.seq, first, 1)); err == nil && s.gap {
		s.reader.PassGaps()
	}
	return err
}

// sameAs returns an error if a message is not the one that was applied.
func (s *Second) sameAs(m pipeline.Message) error {
	for _, before := range [...]place{s.at, s.partly} {
		if m.Seq == before.seq && m.Stored != before.stored {
			return fmt.Errorf("%w: %w: message %d", ErrLog, checkpoint.ErrOtherLog, m.Seq)
		}
	}
	return nil
}

// doubted waits a moment after an error of the log, and returns the error if the log
// has been wrong for long.
func (s *Second) doubted(ctx context.Context, err error) error {
	if errors.Is(err, broker.ErrGap) {
		s.gap = s.PassGaps && s.doubt.times >= gapLooks // a server may skip messages that it has
		err = fmt.Errorf("%w: %w", ErrLog, err)
	}
	now := s.Conn.World.Now()
	if now.Sub(s.doubt.last) >= s.Confirm+5*time.Second {
		s.doubt = doubt{since: now}
	}
	s.doubt.times++
	s.doubt.last = now
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case s.Conn.Wire.IsClosed():
		return broker.ErrClosed
	case now.Sub(s.doubt.since) >= s.Confirm:
		return err
	}
	return task.Sleep(ctx, s.Conn.World, 100*time.Millisecond)
}
