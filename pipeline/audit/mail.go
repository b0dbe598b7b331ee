package audit

import (
	"bytes"
	"cmp"
	"context"
	"math"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
)

// A mailComparison compares the mails from a partition to another with those that the
// fold gives, as the fold goes on. Both are in the order of their positions. What
// stands before a mail that was read is passed over, as the receiver does: an old pack
// that was published late.
//
//	given     1  2  3  4     4 is given but not stored: missing, if the wait for it is over
//	stored    1  3  5        2 is missing; 5 is extra, if it came from a message that was folded
type mailComparison struct {
	*verification
	to    int
	chain string
	walk  *broker.MailWalk

	unmatched []mail            // of the pack read last
	last      pipeline.Position // of the last mail read, or before the first to be compared
	at        uint64            // the last message of the receiver's log in which a mail was compared; 0: none
	over      bool              // missing mails are no longer waited for

	first  uint64 // the receiver's log began there, when last looked up
	begins int64  // the stored time of that message
}

// A mail is a stored mail.
type mail struct {
	seq  uint64 // in the receiver's log
	pos  pipeline.Position
	data []byte
}

// mailOrder compares the places of two mails on their chain.
func mailOrder(a, b pipeline.Position) int {
	return cmp.Or(cmp.Compare(a.G, b.G), cmp.Compare(a.N, b.N))
}

// compareMail compares a mail of message seq with the stored one.
func (v *verification) compareMail(ctx context.Context, seq uint64, e pipeline.Effect) error {
	if seq < v.accepted {
		v.sums.Mails.Given++
		v.sums.Mails.Trimmed++
		return nil
	}
	to, _ := pipeline.MailsTo(e.Chain)
	c := v.mails[to]
	if c == nil {
		before := v.before[e.Chain].Last
		if seq == v.accepted {
			before = pipeline.Position{G: e.Pos.G - 1, N: 1<<64 - 1}
		}
		var err error
		if c, err = v.mailsTo(ctx, to, before); err != nil {
			return err
		}
	}
	return c.given(ctx, e)
}

// mailsTo makes the comparison of the mails to a partition behind a position.
func (v *verification) mailsTo(ctx context.Context, to int, before pipeline.Position) (*mailComparison, error) {
	walk, err := v.conn.WalkMails(ctx, v.p, to)
	if err != nil {
		return nil, err
	}
	c := &mailComparison{verification: v, to: to, chain: pipeline.MailChain(to), walk: walk, last: before}
	v.mails[to] = c
	return c, nil
}

// given compares the next mail that the fold gives on the chain.
func (c *mailComparison) given(ctx context.Context, e pipeline.Effect) error {
	c.sums.Mails.Given++
	if err := c.find(ctx, e.Pos); err != nil {
		return err
	}
	if len(c.unmatched) > 0 && mailOrder(c.unmatched[0].pos, e.Pos) == 0 {
		c.compare(e, c.unmatched[0])
		c.unmatched = c.unmatched[1:]
		return nil
	}
	aged, err := c.aged(ctx, e.Pos)
	switch {
	case err != nil:
		return err
	case aged:
		c.sums.Mails.Trimmed++
	default:
		c.wrongMail(&c.sums.Mails.Missing, "missing", e.Pos, "it is not stored")
	}
	return nil
}

// find makes the first of unmatched the stored mail at a position or behind it. There
// is none if no such mail comes while it is waited for.
func (c *mailComparison) find(ctx context.Context, pos pipeline.Position) error {
	for {
		for len(c.unmatched) > 0 && mailOrder(c.unmatched[0].pos, pos) < 0 {
			if err := c.stray(ctx); err != nil {
				return err
			}
		}
		if len(c.unmatched) > 0 || c.over {
			return nil
		}
		some, err := c.read(ctx)
		if err != nil {
			return err
		}
		if some {
			continue
		}
		if aged, err := c.aged(ctx, pos); aged || err != nil {
			return err
		}
		more, err := c.wait(ctx)
		if err != nil {
			return err
		}
		c.over = !more
	}
}

func (c *mailComparison) compare(e pipeline.Effect, m mail) {
	switch {
	case m.pos != e.Pos:
		c.wrongMail(&c.sums.Mails.Different, "different", e.Pos, "it is stored as %+v, the log gives %+v", m.pos, e.Pos)
	case !bytes.Equal(m.data, e.Mail):
		c.wrongMail(&c.sums.Mails.Different, "different", e.Pos, "it is stored with other data than the log gives, in message %d of partition %d", m.seq, c.to)
	}
	c.at = m.seq
}

// read reads a few more stored mails, and reports whether any came.
func (c *mailComparison) read(ctx context.Context) (some bool, err error) {
	for {
		pack, ok, err := c.walk.Next(ctx)
		if err != nil || !ok {
			return false, err
		}
		c.left = c.opt.Settle
		err = pipeline.EachPacked(pack.Data, func(at pipeline.Position, data []byte) error {
			if mailOrder(at, c.last) > 0 {
				c.last = at
				c.unmatched = append(c.unmatched, mail{pack.Seq, at, data})
			}
			return nil
		})
		if err != nil || len(c.unmatched) > 0 {
			for _, m := range c.unmatched {
				if m.pos.S <= c.end {
					c.sums.Mails.Stored++
				}
			}
			return true, err
		}
	}
}

// stray counts the first stored mail, which the log does not give, unless it comes
// from a later message than the log had when the verification began.
func (c *mailComparison) stray(ctx context.Context) error {
	m := c.unmatched[0]
	c.unmatched = c.unmatched[1:]
	later, err := c.isLater(ctx, m.pos)
	switch {
	case err != nil || later:
		return err
	case m.pos.S > c.end:
		c.sums.Mails.Stored++
		c.wrongMail(&c.sums.Mails.Extra, "extra", m.pos, "it is stored, in message %d of partition %d, but the log ends at message %d", m.seq, c.to, c.newest)
	default:
		c.wrongMail(&c.sums.Mails.Extra, "extra", m.pos, "it is stored, in message %d of partition %d, but the log does not give it", m.seq, c.to)
	}
	return nil
}

// agedApart is by how much the clocks of partitions may differ that say whether a mail
// has expired.
const agedApart = time.Minute

// aged reports whether a mail that is not there may have expired with the receiver's
// log: its message would be of before the log's first one.
func (c *mailComparison) aged(ctx context.Context, pos pipeline.Position) (bool, error) {
	may := func() bool { return c.first > max(c.at, 1) && pos.T <= c.begins+int64(agedApart) }
	if may() {
		return true, nil
	}
	var err error
	if c.first, c.begins, err = c.conn.Begins(ctx, c.to); c.begins == 0 { // the log is empty
		c.begins = math.MaxInt64 - int64(agedApart)
	}
	return may(), err
}

func (c *mailComparison) wrongMail(count *int, what string, pos pipeline.Position, detail string, args ...any) {
	c.wrong(count, what, c.chain, record{pos: pos}, detail, args...)
}

// finishMails ends the comparisons, also of partitions to which the log gives no mail.
func (v *verification) finishMails(ctx context.Context) error {
	for to := range v.conn.Partitions {
		c := v.mails[to]
		if c == nil && v.accepted > v.from { // since then the log would give a mark
			continue
		}
		if c == nil {
			before := v.before[pipeline.MailChain(to)].Last
			tail, err := v.conn.MailTail(ctx, v.p, to)
			if err != nil {
				return err
			}
			if mailOrder(tail.Position, before) <= 0 {
				continue
			}
			if c, err = v.mailsTo(ctx, to, before); err != nil {
				return err
			}
		}
		if err := c.finish(ctx); err != nil {
			return err
		}
	}
	return nil
}

// finish reads the mails after the last one given, and counts all that remain.
func (c *mailComparison) finish(ctx context.Context) error {
	for some := true; some; {
		for len(c.unmatched) > 0 {
			if err := c.stray(ctx); err != nil {
				return err
			}
		}
		if c.over { // what comes now has come too late
			return nil
		}
		var err error
		if some, err = c.read(ctx); err != nil {
			return err
		}
	}
	return nil
}
