package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
)

// Times of a feed.
const (
	feedIdle    = 2 * time.Second // between two words of the server when there is nothing to send
	feedSilence = 3 * feedIdle    // without any, after which the consumer counts as gone
	feedLeft    = time.Minute     // after which the server removes a consumer to which nobody listens
	feedLook    = 200 * time.Millisecond
	feedWait    = time.Second // before a consumer that could not be made is made again
)

// ErrShrunk means that a stream has lost messages that a feed has delivered: what was read
// of it must be forgotten, and read again.
var ErrShrunk = errors.New("the stream has lost messages that were read")

// A Feed delivers the messages of OFFERS under one filter as they are stored, in order and
// without gaps, for one task. Its consumer is one to which the server pushes: a gateway then
// needs no right to ask a consumer for messages, with which it could also take those of
// other people's. NATS holds a consumer to its filter where it has one filter only, so who
// needs two subjects needs two feeds.
type Feed struct {
	conn   *Conn
	filter string
	since  time.Time

	sub      *nats.Subscription // nil: there is no consumer
	connects uint64             // of the connection when the consumer was made
	taken    uint64             // messages that the consumer has delivered
	next     uint64             // the sequence in the stream at which the feed goes on; 0: at since
	pending  uint64             // messages behind the last one when it was sent
	heard    time.Time
	said     bool
}

// WebFeed begins with the web offers that were stored at or after since.
func (c *Conn) WebFeed(since time.Time) *Feed {
	return &Feed{conn: c, filter: c.Names.WebSubjects(), since: since}
}

// PageFeed begins with the records for pages that were stored at or after since.
func (c *Conn) PageFeed(since time.Time) *Feed {
	return &Feed{conn: c, filter: c.Names.PageSubjects(), since: since}
}

// open makes the consumer. It tries until ctx is done or the connection is closed.
func (f *Feed) open(ctx context.Context) error {
	for {
		err := f.attempt(ctx)
		switch {
		case err == nil, errors.Is(err, ErrShrunk):
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case f.conn.NC.IsClosed():
			return ErrClosed
		}
		if !f.said {
			f.said = true
			f.conn.Log.Warn("cannot read for pages: trying again", "subjects", f.filter, "error", err)
		}
		select {
		case <-time.After(feedWait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *Feed) attempt(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, publishFor)
	defer cancel()
	c, stream := f.conn, f.conn.Names.OffersStream()
	if f.next > 0 {
		_, last, err := c.Wire.Extent(ctx, stream)
		if err == nil && last+1 < f.next {
			err = fmt.Errorf("%w: %s ends at message %d, and message %d was read", ErrShrunk, stream, last, f.next-1)
		}
		if err != nil {
			return err
		}
	}
	sub, err := c.NC.SubscribeSync(c.NC.NewInbox())
	if err != nil {
		return err
	}
	conf := jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy, FilterSubject: f.filter, MemoryStorage: true, Replicas: 1, InactiveThreshold: feedLeft,
		DeliverSubject: sub.Subject, FlowControl: true, IdleHeartbeat: feedIdle}
	if f.next > 0 {
		conf.DeliverPolicy, conf.OptStartSeq = jetstream.DeliverByStartSequencePolicy, f.next
	} else {
		conf.DeliverPolicy, conf.OptStartTime = jetstream.DeliverByStartTimePolicy, &f.since
	}
	f.connects = c.NC.Stats().Reconnects
	con, err := c.JS.CreatePushConsumer(ctx, stream, conf)
	if err != nil {
		sub.Unsubscribe()
		return fmt.Errorf("read %s of stream %s: %w", f.filter, stream, err)
	}
	f.sub, f.taken, f.pending, f.heard, f.said = sub, 0, con.CachedInfo().NumPending, time.Now(), false
	return nil
}

// Close ends the feed. The server removes its consumer when it sees that nobody listens.
func (f *Feed) Close() {
	if f.sub != nil {
		f.sub.Unsubscribe()
		f.sub = nil
	}
}

// Pending opens the feed, and is the number of messages that are stored and were not
// returned by Next, as far as the server has said.
func (f *Feed) Pending(ctx context.Context) (uint64, error) {
	if f.sub == nil {
		if err := f.open(ctx); err != nil {
			return 0, err
		}
	}
	return f.pending, nil
}

// Next waits for the next message. Its error is that of ctx, ErrClosed, or ErrShrunk.
func (f *Feed) Next(ctx context.Context) (Stored, error) {
	for {
		if f.sub == nil {
			if err := f.open(ctx); err != nil {
				return Stored{}, err
			}
		}
		look, cancel := context.WithTimeout(ctx, feedLook)
		m, err := f.sub.NextMsgWithContext(look)
		cancel()
		switch {
		case ctx.Err() != nil:
			return Stored{}, ctx.Err()
		case f.conn.NC.IsClosed():
			return Stored{}, ErrClosed
		case err != nil:
			// After a reconnect the server may not know the consumer any more.
			if time.Since(f.heard) > feedSilence || f.conn.NC.Stats().Reconnects != f.connects || !errors.Is(err, context.DeadlineExceeded) {
				f.Close()
			}
			continue
		}
		f.heard = time.Now()
		if m.Header.Get("Status") == "100" { // a word that there is nothing, or a question whether this is read
			if stalled := m.Header.Get("Nats-Consumer-Stalled"); stalled != "" {
				m.Reply = stalled
			}
			if m.Reply != "" {
				f.conn.NC.Publish(m.Reply, nil)
			}
			continue
		}
		meta, err := m.Metadata()
		if err != nil || meta.Sequence.Consumer != f.taken+1 {
			f.Close() // messages between them are lost on the way: they are read again
			continue
		}
		f.taken, f.next, f.pending = f.taken+1, meta.Sequence.Stream+1, meta.NumPending
		return Stored{meta.Sequence.Stream, meta.Timestamp.UnixNano(), m.Subject, m.Header, m.Data}, nil
	}
}

// WebOffer is the offer in a message of a WebFeed; nil if it is none: a mark.
func WebOffer(m Stored) *pipeline.Offer {
	var o pipeline.Offer
	if len(m.Header[headerAccepted]) > 0 || json.Unmarshal(m.Data, &o) != nil {
		return nil
	}
	return &o
}
