package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
)

// A chain of mails is in the log of the partition that receives them, and differs
// from a chain of offers in this:
//
//   - Mails that wait travel together: a message is a pack of them, with the position
//     of the last one in its headers. What is skipped, is skipped mail by mail.
//   - Its last message expires with the log (T2). Therefore its writer knows, beside
//     the position of the last mail that is stored, the sequence of that message: a
//     tail before it is a loss only while the log still begins at or before that
//     sequence. If it has expired, the writer goes on behind what it knows, and expects
//     the tail that there is now: none, or an old pack that was published late, which
//     the receiver passes over.
//   - Numbers begin anew with each acceptance, of which G is the stored time (T1). Its
//     first mail has the number 0.

const (
	// mostTogether is how many mails a message has at most.
	mostTogether = 1024
	// maxWaitingBytes is how many bytes of mails may wait in one partition before
	// Append blocks.
	maxWaitingBytes = 64 * pipeline.MostPacked
)

// together returns how many of the first mails that wait go into one message: at
// least one.
func together(waiting []pipeline.Effect) int {
	n, size := 0, 0
	for n < len(waiting) && n < mostTogether {
		size += len(waiting[n].Mail)
		if n > 0 && size > pipeline.MostPacked {
			break
		}
		n++
	}
	return n
}

// composeMails makes m the message of some mails of a chain.
func composeMails(m *nats.Msg, mails []pipeline.Effect) {
	m.Data = m.Data[:0]
	for _, e := range mails {
		m.Data = pipeline.AppendPacked(m.Data, e.Pos, e.Mail)
	}
	putMailPosition(m.Header, mails[len(mails)-1].Pos)
}

// expired reports whether a message of the receiver's log has expired.
func (ch *chain) expired(ctx context.Context, seq uint64) (bool, error) {
	first, _, err := ch.all.conn.Extent(ctx, ch.to)
	return first > seq, err
}

// Sent sets Chain.Sent of each chain of mails in a cursor up to which Await has
// returned.
func (cs *Chains) Sent(cursor pipeline.Cursor) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for name, c := range cursor.Chains {
		if ch := cs.chains[name]; ch != nil && ch.mails {
			c.Sent = ch.known.Seq
			cursor.Chains[name] = c
		}
	}
}

// MailTail returns the tail of the chain of mails from one partition to another;
// zero if the receiver's log has none, or none any more.
func (c *Conn) MailTail(ctx context.Context, from, to int) (ChainTail, error) {
	tail, err := c.chainTail(ctx, from, pipeline.MailChain(to))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return ChainTail{}, nil
	}
	return tail, err
}

// PublishMails appends mails of one chain to it in as few messages as possible,
// provided that the chain's last message has sequence after, and returns the tail.
func (c *Conn) PublishMails(ctx context.Context, from int, mails []pipeline.Effect, after uint64) (tail ChainTail, err error) {
	subject := c.Names.ChainSubject(mails[0].Chain, from)
	pub, err := c.Wire.Publisher(subject)
	if err != nil {
		return tail, err
	}
	defer pub.Close()
	m := nats.Msg{Header: nats.Header{}}
	for n := together(mails); len(mails) > 0; n = together(mails) {
		composeMails(&m, mails[:n])
		if after, err = pub.Publish(ctx, m.Header, m.Data, after); err != nil {
			return tail, fmt.Errorf("chain %s: %w: another process may publish on it: stop that process and try again", subject, err)
		}
		tail = ChainTail{mails[n-1].Pos, after}
		mails = mails[n:]
	}
	return tail, nil
}

// A MailWalk reads the stored mails from one partition to another, in order, at its
// caller's pace.
type MailWalk struct{ *walk }

// A Pack is a stored message of mails.
type Pack struct {
	Seq  uint64 // in the receiver's log
	Data []byte // of pipeline.EachPacked
}

// WalkMails returns a walk that begins with the oldest message of mails that the
// receiver's log still has.
func (c *Conn) WalkMails(ctx context.Context, from, to int) (*MailWalk, error) {
	w, err := c.walk(ctx, c.Names.EventsStream(to), c.Names.ChainSubject(pipeline.MailChain(to), from), 20, time.Time{})
	return &MailWalk{w}, err
}

// Next returns the next message; ok is false if no more is stored now.
func (w *MailWalk) Next(ctx context.Context) (p Pack, ok bool, err error) {
	m, err := w.take(ctx)
	if m == nil || err != nil {
		return p, false, err
	}
	return Pack{m.seq, m.data}, true, nil
}

// Close ends the walk.
func (w *MailWalk) Close() { w.close() }
