package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	walkIdle    = time.Minute      // without use, after which the server removes a walk's consumer
	walkSilence = 10 * time.Second // without a message although one is stored, after which a walk fails
)

// A walk reads the messages of a stream under a filter, in the order in which
// they were stored, at its caller's pace and with few messages in memory. It may
// pause for hours: then it makes its consumer anew.
type walk struct {
	conn   *Conn
	stream jetstream.Stream
	filter string
	batch  int
	since  time.Time // if not zero, messages stored earlier are skipped

	con     jetstream.Consumer
	used    time.Time
	taken   uint64 // how many messages the consumer has delivered
	next    uint64 // the stream's sequence at which the walk goes on
	fetched []walked
}

// A walked is a message that a walk has read.
type walked struct {
	seq     uint64
	stored  time.Time
	subject string
	header  nats.Header
	data    []byte
}

func (c *Conn) walk(ctx context.Context, stream, filter string, batch int, since time.Time) (*walk, error) {
	st, err := c.JS.Stream(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("read %s: stream %s: %w", filter, stream, err)
	}
	return &walk{conn: c, stream: st, filter: filter, batch: batch, since: since, next: 1}, nil
}

// open makes the consumer, unless there is one that the server must still have.
// The NumPending of a new consumer counts the messages to be read.
func (w *walk) open(ctx context.Context) error {
	if w.con != nil && time.Since(w.used) < walkIdle/2 {
		w.used = time.Now()
		return nil
	}
	w.close()
	conf := jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: w.next,
		FilterSubject: w.filter, MemoryStorage: true, Replicas: 1, InactiveThreshold: walkIdle}
	if w.next == 1 && !w.since.IsZero() {
		conf.DeliverPolicy, conf.OptStartSeq, conf.OptStartTime = jetstream.DeliverByStartTimePolicy, 0, &w.since
	}
	con, err := w.stream.CreateConsumer(ctx, conf)
	if err != nil {
		return fmt.Errorf("read %s: %w", w.filter, err)
	}
	w.con, w.used, w.taken = con, time.Now(), 0
	return nil
}

// take returns the next message, or nil if no more is stored now.
func (w *walk) take(ctx context.Context) (*walked, error) {
	if len(w.fetched) == 0 {
		if err := w.fetch(ctx); err != nil {
			return nil, fmt.Errorf("read %s: %w", w.filter, err)
		}
	}
	if len(w.fetched) == 0 {
		return nil, nil
	}
	m := &w.fetched[0]
	w.fetched = w.fetched[1:]
	return m, nil
}

// fetch gets a few more messages. It returns without any only if the stream's
// leader has none: the consumer may be on a server that is behind.
func (w *walk) fetch(ctx context.Context) error {
	for start := time.Now(); ; {
		if err := w.open(ctx); err != nil {
			return err
		}
		if err := w.pull(); err != nil {
			w.close()
			if w.conn.NC.IsClosed() || time.Since(start) > walkSilence {
				return err
			}
		} else if len(w.fetched) == 0 {
			last, err := w.last(ctx)
			if err != nil || last < w.next {
				return err
			}
			if time.Since(start) > walkSilence {
				return fmt.Errorf("message %d is stored, but the server does not send it: try again", last)
			}
		}
		if len(w.fetched) > 0 {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pull asks the consumer once. If messages were sent but lost, the consumer's
// numbers have a gap: then pull drops the consumer, and the next one begins
// before the gap.
func (w *walk) pull() error {
	batch, err := w.con.FetchNoWait(w.batch)
	if err != nil {
		return err
	}
	w.fetched = w.fetched[:0:0]
	for m := range batch.Messages() {
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		if meta.Sequence.Consumer != w.taken+1 {
			w.close()
			return nil
		}
		w.taken, w.next = meta.Sequence.Consumer, meta.Sequence.Stream+1
		w.fetched = append(w.fetched, walked{meta.Sequence.Stream, meta.Timestamp, m.Subject(), m.Headers(), m.Data()})
	}
	return batch.Error()
}

// last asks the stream's leader for the sequence of the last message under the
// filter; 0 if there is none.
func (w *walk) last(ctx context.Context) (uint64, error) {
	m, err := w.stream.GetLastMsgForSubject(ctx, w.filter)
	if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && m.Time.Before(w.since) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return m.Sequence, nil
}

func (w *walk) close() {
	if w.con == nil {
		return
	}
	name := w.con.CachedInfo().Name
	w.con = nil
	if w.conn.NC.IsClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	w.stream.DeleteConsumer(ctx, name)
}

// A ChainWalk reads the stored records of one chain of offers, in order, at its
// caller's pace.
type ChainWalk struct {
	*walk
	chain string
}

// WalkChain returns a walk that begins at the oldest record that the chain still
// has.
func (c *Conn) WalkChain(ctx context.Context, chain string, partition int) (*ChainWalk, error) {
	w, err := c.walk(ctx, c.Names.ChainStream(chain), c.Names.ChainSubject(chain, partition), 100, time.Time{})
	return &ChainWalk{w, chain}, err
}

// Next returns the next record and its sequence in the stream, which is 0 if no
// more is stored now; there may be more later. A stored message that is not a
// record has a zero Position.
func (w *ChainWalk) Next(ctx context.Context) (r Record, seq uint64, err error) {
	m, err := w.take(ctx)
	if m == nil || err != nil {
		return r, 0, err
	}
	r = Record{Chain: w.chain, ID: m.header.Get("ce-id"), Data: m.data, Granted: m.header.Get(HeaderGrants)}
	if pos, err := ParsePosition(m.header); err == nil {
		r.Pos = pos
	}
	return r, m.seq, nil
}

// Walk calls fn with each message that a stream has under a filter, in order, but for
// those that were stored before since.
func (c *Conn) Walk(ctx context.Context, stream, filter string, since time.Time, fn func(Stored) error) error {
	w, err := c.walk(ctx, stream, filter, 500, since)
	if err != nil {
		return err
	}
	defer w.close()
	for {
		m, err := w.take(ctx)
		if m == nil || err != nil {
			return err
		}
		if err := fn(Stored{m.seq, m.stored.UnixNano(), m.subject, m.header, m.data}); err != nil {
			return err
		}
	}
}

// Fetched reports whether Next can return without asking the server.
func (w *ChainWalk) Fetched() bool { return len(w.fetched) > 0 }

// Oldest returns the number of the oldest record that the chain has now, and its
// sequence in the stream; both are 0 if the chain is empty.
func (w *ChainWalk) Oldest(ctx context.Context) (n, seq uint64, err error) {
	m, err := w.stream.GetMsg(ctx, 1, jetstream.WithGetMsgSubject(w.filter))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("the oldest record on %s: %w", w.filter, err)
	}
	if pos, err := ParsePosition(m.Header); err == nil {
		n = pos.N
	}
	return n, m.Sequence, nil
}

// Last returns the stream's sequence of the chain's last record; 0 if the chain
// is empty.
func (w *ChainWalk) Last(ctx context.Context) (uint64, error) {
	seq, err := w.last(ctx)
	if err != nil {
		return 0, fmt.Errorf("the last record on %s: %w", w.filter, err)
	}
	return seq, nil
}

// Close ends the walk.
func (w *ChainWalk) Close() { w.close() }
