package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
)

const (
	readAhead     = 512     // messages asked for in one pull; the next follows when half of them are here
	readAheadSize = 2 << 20 // and their bytes
	readIdle      = 5 * time.Second
	readExpires   = 30 * time.Second
	readSilence   = 3 * readIdle // without a heartbeat: the consumer is gone
)

// ErrGap means that the log delivered a message that does not follow the one
// before.
var ErrGap = errors.New("a gap in the log")

// ErrClosed means that the connection has ended: what was known over it is
// known no more.
var ErrClosed = errors.New("the connection to NATS is closed")

// errReader asks for the reader to be opened again.
var errReader = errors.New("the reader must be opened again")

// A Reader reads a partition's log from a sequence on: an AckNone pull
// consumer in memory, since the position is the checkpoint's business. Its
// channel holds all that is ever asked for at once, so that nothing is dropped
// on the way. For one goroutine.
type Reader struct {
	conn      *Conn
	partition int
	consumer  string
	sub       *nats.Subscription
	msgs      chan *nats.Msg
	next      uint64 // sequence that comes next
	asked     int    // messages asked for and not come yet
	heard     time.Time
	pending   uint64 // messages behind the last, as the server said with it
	inbox     string
}

// Extent says where a partition's log begins and ends now: first and last
// sequence. An empty log's first is one more than its last.
func (c *Conn) Extent(ctx context.Context, partition int) (first, last uint64, err error) {
	st, err := c.JS.Stream(ctx, c.Names.EventsStream(partition)) // asks the leader
	if err != nil {
		return 0, 0, fmt.Errorf("stream %s: %w", c.Names.EventsStream(partition), err)
	}
	s := st.CachedInfo().State
	return max(s.FirstSeq, 1), s.LastSeq, nil
}

// OpenReader reads the partition's log from sequence from (at least 1) on.
func (c *Conn) OpenReader(ctx context.Context, partition int, from uint64) (*Reader, error) {
	stream := c.Names.EventsStream(partition)
	con, err := c.JS.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
		AckPolicy:         jetstream.AckNonePolicy,
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       from,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: 5 * time.Minute,
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", stream, err)
	}
	r := &Reader{conn: c, partition: partition, consumer: con.CachedInfo().Name, next: from, heard: time.Now(), inbox: c.NC.NewInbox(),
		msgs: make(chan *nats.Msg, 2*readAhead), pending: con.CachedInfo().NumPending}
	if r.sub, err = c.NC.ChanSubscribe(r.inbox, r.msgs); err != nil {
		return nil, fmt.Errorf("read %s: %w", stream, err)
	}
	return r, r.pull(readAhead, readAheadSize)
}

// Messages is where messages and the server's notes come from: each goes
// through Take.
func (r *Reader) Messages() <-chan *nats.Msg { return r.msgs }

// pull asks for more: so many messages and bytes, 0 for any.
func (r *Reader) pull(messages, bytes int) error {
	req, err := json.Marshal(struct {
		Batch     int           `json:"batch"`
		MaxBytes  int           `json:"max_bytes,omitempty"`
		Expires   time.Duration `json:"expires"`
		Heartbeat time.Duration `json:"idle_heartbeat"`
	}{messages, bytes, readExpires, readIdle})
	if err != nil {
		return err
	}
	subject := "$JS.API.CONSUMER.MSG.NEXT." + r.conn.Names.EventsStream(r.partition) + "." + r.consumer
	if err := r.conn.NC.PublishRequest(subject, r.inbox, req); err != nil {
		return fmt.Errorf("read partition %d: %w", r.partition, err)
	}
	r.asked += messages
	return nil
}

// Take makes of what came on the channel the log's next message; ok is false
// for the server's notes. An error means that the reader is of no use any
// more; ErrGap is one.
func (r *Reader) Take(m *nats.Msg) (msg pipeline.Message, ok bool, err error) {
	r.heard = time.Now()
	if m.Reply == "" {
		return msg, false, r.note(m)
	}
	meta, err := m.Metadata()
	if err != nil {
		return msg, false, fmt.Errorf("read partition %d: %w", r.partition, err)
	}
	if meta.Sequence.Stream != r.next {
		return msg, false, fmt.Errorf("read partition %d: %w: message %d came where %d was to come", r.partition, ErrGap, meta.Sequence.Stream, r.next)
	}
	msg = pipeline.Message{Seq: r.next, Stored: meta.Timestamp.UnixNano(), Kind: r.kind(m.Subject), Data: m.Data}
	r.next++
	r.pending = meta.NumPending
	r.asked--
	return msg, true, r.more()
}

func (r *Reader) more() error {
	if r.asked > readAhead/2 {
		return nil
	}
	return r.pull(readAhead, readAheadSize)
}

// note takes the server's word on a pull: a heartbeat, its end with so many
// messages not sent, or trouble.
func (r *Reader) note(m *nats.Msg) error {
	status, about := m.Header.Get("Status"), m.Header.Get("Description")
	if status == "100" {
		return nil
	}
	left, err := strconv.Atoi(m.Header.Get("Nats-Pending-Messages"))
	over := status == "408" || status == "409" && (strings.Contains(about, "MaxBytes") || strings.Contains(about, "Batch Completed"))
	if !over || err != nil {
		return fmt.Errorf("read partition %d: %w: %s %s", r.partition, errReader, status, about)
	}
	r.asked -= left
	if left == readAhead && strings.Contains(about, "MaxBytes") { // not even one fits
		return r.pull(1, 0)
	}
	return r.more()
}

func (r *Reader) kind(subject string) pipeline.Kind {
	switch subject[strings.LastIndexByte(subject, '.')+1:] {
	case "in":
		return pipeline.In
	case "tick":
		return pipeline.Tick
	case "control":
		return pipeline.Control
	}
	return 0
}

// CaughtUp says whether nothing was behind the last message when it came, and
// nothing has come since.
func (r *Reader) CaughtUp() bool { return r.pending == 0 && len(r.msgs) == 0 }

// Pending is how many messages were behind the last when it came.
func (r *Reader) Pending() uint64 { return r.pending + uint64(len(r.msgs)) }

// Silent says that the server has not been heard for so long that the
// consumer must be gone. What has come and was not taken yet counts as heard.
func (r *Reader) Silent() bool { return len(r.msgs) == 0 && time.Since(r.heard) > readSilence }

// Close ends the reader and removes its consumer.
func (r *Reader) Close() {
	r.sub.Unsubscribe()
	if r.conn.NC.IsClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	r.conn.JS.DeleteConsumer(ctx, r.conn.Names.EventsStream(r.partition), r.consumer)
}
