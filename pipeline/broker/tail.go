package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
	"offerstream/pipeline/task"
)

// A tail is the position of a chain's last message; seq is 0 if the chain is
// empty.
type tail struct {
	pipeline.Position
	seq  uint64 // its sequence in the stream, which the next publish expects
	aged bool   // of mails: the message of the last one that is known stored has expired, so the tail may be before it
}

// order compares the places of two records on a chain. G is 0 but for mails.
func order(a, b pipeline.Position) int { return cmp.Or(cmp.Compare(a.G, b.G), cmp.Compare(a.N, b.N)) }

// saw records that t is the chain's tail.
func (ch *chain) saw(t tail) {
	ch.all.mu.Lock()
	defer ch.all.mu.Unlock()
	ch.tail = t
	if order(t.Position, ch.known.Position) >= 0 {
		ch.known = ChainTail{t.Position, t.seq}
		ch.all.known[ch.name] = ch.known
	}
}

// passed returns what is wrong with the tail if last is the chain's last record in
// what the log gives up to message seq.
func (t tail) passed(last pipeline.Position, seq uint64) error {
	if order(t.Position, last) > 0 && t.S <= seq {
		return fmt.Errorf("its record %d came from message %d, and up to message %d there are only %d records", t.N, t.S, seq, last.N)
	}
	return nil
}

// against returns what is wrong with the tail if the log gives record p, at the
// tail or before it.
func (t tail) against(p pipeline.Position) error {
	switch {
	case order(t.Position, p) < 0 && t.aged:
		return nil
	case order(t.Position, p) < 0:
		return fmt.Errorf("it ends at record %d, but record %d was seen stored", t.N, p.N)
	case order(t.Position, p) == 0 && t.Position != p:
		return fmt.Errorf("its record %d is %+v, the log gives %+v", t.N, t.Position, p)
	case order(t.Position, p) > 0 && (t.S < p.S || t.S == p.S && t.K <= p.K):
		return fmt.Errorf("its record %d is %+v, but the log gives the earlier record %d only at %+v", t.N, t.Position, p.N, p)
	}
	return nil
}

// check reads the tail until it is right, and records it.
func (ch *chain) check(ctx context.Context, right func(tail) error) error {
	t, err := ch.look(ctx, right)
	if err == nil {
		ch.saw(t)
	}
	return err
}

// look reads the tail until it is right. If it stays wrong for longer than a
// stale answer can last, the error is Loud. If it cannot be read, look tries
// again until ctx is done or the connection has ended.
func (ch *chain) look(ctx context.Context, right func(tail) error) (tail, error) {
	var first time.Time // since when the tail is wrong
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		t, err := ch.read(ctx)
		switch {
		case ctx.Err() != nil:
			return t, ctx.Err()
		case ch.all.conn.Wire.IsClosed():
			return t, fmt.Errorf("chain %s: %w", ch.subject, jetstream.ErrConnectionClosed)
		case errors.Is(err, ErrLoud):
			return t, err
		case err != nil:
			first = time.Time{} // a broker that was not answering may give stale answers for a moment
			ch.log.Warn("cannot read the chain's tail: trying again", "error", err)
		default:
			wrong := ch.possible(t)
			if wrong == nil {
				wrong = right(t)
			}
			if wrong == nil {
				return t, nil
			}
			if first.IsZero() {
				first = ch.all.conn.World.Now()
				ch.log.Warn("the chain's tail does not match what is known of the chain: reading it again", "error", wrong)
			}
			if ch.all.conn.World.Now().Sub(first) >= ch.all.confirm {
				return t, Loud(fmt.Errorf("chain %s: %w: the broker has lost records that it had acknowledged, or has another log: %s", ch.subject, wrong, ch.all.conn.WayOut(ch.all.partition)))
			}
		}
		if err := task.Sleep(ctx, ch.all.conn.World, wait); err != nil {
			return t, err
		}
	}
}

// possible returns what is wrong with a tail, independent of the fold.
func (ch *chain) possible(t tail) error {
	if known := ch.lastKnown(); order(t.Position, known.Position) < 0 && !t.aged {
		return fmt.Errorf("it ends at record %d, but record %d was acknowledged", t.N, known.N)
	}
	if end := ch.all.end.Load(); t.S > end {
		return fmt.Errorf("its record %d came from message %d, but the log ends at message %d", t.N, t.S, end)
	}
	return nil
}

// read asks the stream's leader for the chain's last message. If the record came
// from a message after the log's known end, another owner may be ahead of this
// one, so read looks up the end again.
func (ch *chain) read(ctx context.Context) (tail, error) {
	t, err := ch.last(ctx)
	if known := ch.lastKnown(); err == nil && ch.mails && order(t.Position, known.Position) < 0 {
		t.aged, err = ch.expired(ctx, known.Seq)
	}
	return t, err
}

// lastKnown is known, for any task.
func (ch *chain) lastKnown() ChainTail {
	ch.all.mu.Lock()
	defer ch.all.mu.Unlock()
	return ch.known
}

func (ch *chain) last(ctx context.Context) (tail, error) {
	m, err := ch.all.conn.Wire.Last(ctx, ch.all.conn.Names.ChainStream(ch.name), ch.subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return tail{}, nil
	}
	if err != nil {
		return tail{}, err
	}
	pos, err := ParsePosition(m.Header)
	if err != nil {
		return tail{}, Loud(fmt.Errorf("chain %s, message %d: %w: if it was published by hand, delete it from stream %s and start the worker again; otherwise, %s",
			ch.subject, m.Seq, err, ch.all.conn.Names.ChainStream(ch.name), ch.all.conn.WayOut(ch.all.partition)))
	}
	if pos.S > ch.all.end.Load() {
		_, end, err := ch.all.conn.Extent(ctx, ch.all.partition)
		if err != nil {
			return tail{}, err
		}
		ch.all.end.Store(end)
	}
	return tail{Position: pos, seq: m.Seq}, nil
}
