package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
	"offerstream/pipeline/task"
)

// ScanLog calls fn with each message of a partition's log, from sequence from,
// or the first that still exists, to the last that existed when ScanLog began.
func (c *Conn) ScanLog(ctx context.Context, partition int, from uint64, fn func(pipeline.Message) error) error {
	first, last, err := c.Extent(ctx, partition)
	first = max(first, from)
	if err != nil || first > last {
		return err
	}
	wake := c.World.NewSignal()
	defer c.Wire.OnClose(wake)()
	r, err := c.OpenReader(ctx, partition, first)
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		m, ok, err := r.Take()
		switch {
		case err != nil:
			return err
		case ok:
			if err := fn(m); err != nil || m.Seq >= last {
				return err
			}
		case ctx.Err() != nil:
			return ctx.Err()
		case c.Wire.IsClosed():
			return ErrClosed
		case r.Silent():
			return fmt.Errorf("read partition %d: nothing has come from the server for %s: try again", partition, readSilence)
		default:
			r.Wait(ctx, wake, readIdle)
		}
	}
}

// Begins returns the sequence and the stored time of the first message that a
// partition's log has. In an empty log seq is one more than that of the last message
// that it had, and stored is 0.
func (c *Conn) Begins(ctx context.Context, partition int) (seq uint64, stored int64, err error) {
	if seq, _, err = c.Extent(ctx, partition); err != nil {
		return 0, 0, err
	}
	enough := errors.New("enough")
	err = c.ScanLog(ctx, partition, seq, func(m pipeline.Message) error {
		seq, stored = m.Seq, m.Stored
		return enough
	})
	if errors.Is(err, enough) {
		err = nil
	}
	return seq, stored, err
}

// A Record is one message of a chain.
type Record struct {
	Chain string // "offers.<channel>", "withheld" or "page"
	Pos   pipeline.Position
	ID    string // ce-id
	Data  []byte

	Granted string // HeaderGrants
}

// ScanOffers calls fn with each record on a partition's chains of offers, that of
// the withheld and page records included, in the order in which they were stored.
func (c *Conn) ScanOffers(ctx context.Context, partition int, fn func(Record) error) error {
	con, err := c.JS.CreateConsumer(ctx, c.Names.OffersStream(), jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, DeliverPolicy: jetstream.DeliverAllPolicy, FilterSubjects: c.Names.OfferChainsOf(partition),
		MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return fmt.Errorf("read the offers of partition %d: %w", partition, err)
	}
	defer c.JS.DeleteConsumer(ctx, c.Names.OffersStream(), con.CachedInfo().Name)
	left := con.CachedInfo().NumPending
	for silent := 0; left > 0; {
		batch, err := con.Fetch(int(min(left, 500)), jetstream.FetchMaxWait(10*time.Second))
		if err != nil {
			return fmt.Errorf("read the offers of partition %d: %w", partition, err)
		}
		n := uint64(0)
		for m := range batch.Messages() {
			n++
			left--
			silent = 0
			pos, err := ParsePosition(m.Headers())
			if err != nil {
				return fmt.Errorf("%s: %w", m.Subject(), err)
			}
			if err := fn(Record{c.Names.chainOf(m.Subject()), pos, m.Headers().Get("ce-id"), m.Data(), m.Headers().Get(HeaderGrants)}); err != nil {
				return err
			}
		}
		err = batch.Error()
		if errors.Is(err, nats.ErrNoResponders) && silent < 100 { // in a cluster: the servers do not know the consumer yet, or it moves to another server
			silent++
			if err := task.Sleep(ctx, c.World, 100*time.Millisecond); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("read the offers of partition %d: %w", partition, err)
		}
		if n == 0 {
			return fmt.Errorf("read the offers of partition %d: %w", partition, errors.New("the server sends no more, although more is stored: try again"))
		}
	}
	return nil
}
