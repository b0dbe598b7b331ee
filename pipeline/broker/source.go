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

	"offerstream/pipeline/task"
)

const (
	readAhead     = 512     // messages requested in one pull; the next pull follows when half of them have come
	readAheadSize = 2 << 20 // bytes requested in one pull
	readIdle      = 5 * time.Second
	readExpires   = 30 * time.Second
)

// errReader means that the reader must be opened again.
var errReader = errors.New("the reader must be opened again")

// A natsSource is a pull consumer without acknowledgements, in memory. Its
// channel has room for all messages that are requested at once, so that none is
// dropped.
type natsSource struct {
	w        *natsWire
	stream   string
	consumer string
	inbox    string
	sub      *nats.Subscription
	msgs     chan *nats.Msg
	first    *nats.Msg // taken from msgs in Wait
	asked    int       // messages requested that have not come yet
	heard    time.Time // when a message last came from the server
	pending  uint64    // messages after the last one, as the server said with it
}

func (w *natsWire) Read(ctx context.Context, stream string, from uint64) (Source, error) {
	con, err := w.js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
		AckPolicy:         jetstream.AckNonePolicy,
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       from,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: 5 * time.Minute,
	})
	if err != nil {
		return nil, err
	}
	s := &natsSource{w: w, stream: stream, consumer: con.CachedInfo().Name, heard: time.Now(), inbox: w.nc.NewInbox(),
		msgs: make(chan *nats.Msg, 2*readAhead), pending: con.CachedInfo().NumPending}
	if s.sub, err = w.nc.ChanSubscribe(s.inbox, s.msgs); err != nil {
		return nil, err
	}
	return s, s.pull(readAhead, readAheadSize)
}

// pull requests more messages, at most that many bytes (0: no limit).
func (s *natsSource) pull(messages, bytes int) error {
	req, err := json.Marshal(struct {
		Batch     int           `json:"batch"`
		MaxBytes  int           `json:"max_bytes,omitempty"`
		Expires   time.Duration `json:"expires"`
		Heartbeat time.Duration `json:"idle_heartbeat"`
	}{messages, bytes, readExpires, readIdle})
	if err != nil {
		return err
	}
	if err := s.w.nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+s.stream+"."+s.consumer, s.inbox, req); err != nil {
		return err
	}
	s.asked += messages
	return nil
}

func (s *natsSource) Next() (Stored, bool, error) {
	for {
		m := s.take()
		if m == nil {
			return Stored{}, false, nil
		}
		s.heard = time.Now()
		if m.Reply == "" {
			if err := s.note(m); err != nil {
				return Stored{}, false, err
			}
			continue
		}
		meta, err := m.Metadata()
		if err != nil {
			return Stored{}, false, err
		}
		s.pending = meta.NumPending
		s.asked--
		return Stored{Seq: meta.Sequence.Stream, Time: meta.Timestamp.UnixNano(), Subject: m.Subject, Data: m.Data}, true, s.more()
	}
}

// take returns the next message that has come, nil if none has.
func (s *natsSource) take() *nats.Msg {
	if m := s.first; m != nil {
		s.first = nil
		return m
	}
	select {
	case m := <-s.msgs:
		return m
	default:
		return nil
	}
}

func (s *natsSource) Wait(ctx context.Context, e task.Signal, d time.Duration) {
	if s.first == nil {
		s.first, _ = task.WaitOr(ctx, e.(*task.RealSignal), d, s.msgs)
	}
}

func (s *natsSource) more() error {
	if s.asked > readAhead/2 {
		return nil
	}
	return s.pull(readAhead, readAheadSize)
}

// note handles a status message about a pull: a heartbeat, the pull's end with
// the number of messages not sent, or an error.
func (s *natsSource) note(m *nats.Msg) error {
	status, about := m.Header.Get("Status"), m.Header.Get("Description")
	if status == "100" {
		return nil
	}
	left, err := strconv.Atoi(m.Header.Get("Nats-Pending-Messages"))
	over := status == "408" || status == "409" && (strings.Contains(about, "MaxBytes") || strings.Contains(about, "Batch Completed"))
	if !over || err != nil {
		return fmt.Errorf("%w: %s %s", errReader, status, about)
	}
	s.asked -= left
	if left == readAhead && strings.Contains(about, "MaxBytes") { // a single message exceeds the limit
		return s.pull(1, 0)
	}
	return s.more()
}

func (s *natsSource) waits() int {
	if s.first != nil {
		return 1 + len(s.msgs)
	}
	return len(s.msgs)
}

func (s *natsSource) Pending() uint64 { return s.pending + uint64(s.waits()) }

func (s *natsSource) Heard() time.Time {
	if s.waits() > 0 {
		return time.Now()
	}
	return s.heard
}

// Close ends the source and removes its consumer.
func (s *natsSource) Close() {
	s.sub.Unsubscribe()
	if s.w.nc.IsClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	s.w.js.DeleteConsumer(ctx, s.stream, s.consumer)
}
