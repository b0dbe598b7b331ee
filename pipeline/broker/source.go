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
	readAhead     = 512     // messages requested in one pull; the next pull follows when half of them, or of the bytes, have come
	readAheadSize = 2 << 20 // bytes requested in one pull
	readIdle      = 5 * time.Second
	readExpires   = 30 * time.Second
)

// errReader means that the reader must be opened again.
var errReader = errors.New("the reader must be opened again")

// A natsSource is a pull consumer without acknowledgements, in memory. Its
// channel has room for all messages that are requested at once and for statuses
// between them, so that none is dropped.
type natsSource struct {
	w        *natsWire
	stream   string
	consumer string
	inbox    string
	sub      *nats.Subscription
	msgs     chan *nats.Msg
	first    *nats.Msg // taken from msgs in Wait
	pulls    Pulls
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
		pulls: Pulls{Messages: readAhead, Bytes: readAheadSize}, pending: con.CachedInfo().NumPending}
	s.msgs = make(chan *nats.Msg, s.pulls.Most()+readAhead)
	if s.sub, err = w.nc.ChanSubscribe(s.inbox, s.msgs); err != nil {
		return nil, err
	}
	return s, s.more()
}

// more makes the next pull, if it is time.
func (s *natsSource) more() error {
	messages, bytes := s.pulls.Next()
	if messages == 0 {
		return nil
	}
	req, err := json.Marshal(struct {
		Batch     int           `json:"batch"`
		MaxBytes  int           `json:"max_bytes"`
		Expires   time.Duration `json:"expires"`
		Heartbeat time.Duration `json:"idle_heartbeat"`
	}{messages, bytes, readExpires, readIdle})
	if err != nil {
		return err
	}
	return s.w.nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+s.stream+"."+s.consumer, s.inbox, req)
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
		seq, stored, pending, err := delivered(m)
		if err != nil {
			return Stored{}, false, err
		}
		s.pending = pending
		s.pulls.Came(m.Size()) // subject, reply, headers and data as they were sent: what the server counts
		return Stored{Seq: seq, Time: stored, Subject: m.Subject, Data: m.Data}, true, s.more()
	}
}

// delivered reads the subject to which a consumer's message could be acknowledged:
// $JS.ACK.<stream>.<consumer>.<times>.<sequence>.<of the consumer>.<stored>.<pending>,
// without the memory that the client library needs for it. Other forms, such as that
// with a domain, are left to the library.
func delivered(m *nats.Msg) (seq uint64, stored int64, pending uint64, err error) {
	rest, plain := strings.CutPrefix(m.Reply, "$JS.ACK.")
	if plain && strings.Count(rest, ".") == 6 {
		var fields [5]uint64
		_, rest, _ = strings.Cut(rest, ".")
		_, rest, _ = strings.Cut(rest, ".")
		for i := range fields {
			var field string
			field, rest, _ = strings.Cut(rest, ".")
			n, err := strconv.ParseUint(field, 10, 63)
			if plain = plain && err == nil; !plain {
				break
			}
			fields[i] = n
		}
		if plain {
			return fields[1], int64(fields[3]), fields[4], nil
		}
	}
	meta, err := m.Metadata()
	if err != nil {
		return 0, 0, 0, err
	}
	return meta.Sequence.Stream, meta.Timestamp.UnixNano(), meta.NumPending, nil
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

// note handles a status message about a pull: a heartbeat, the pull's end with
// the messages and bytes that are left of it, or an error.
func (s *natsSource) note(m *nats.Msg) error {
	status, about := m.Header.Get("Status"), m.Header.Get("Description")
	if status == "100" {
		return nil
	}
	left, err := strconv.Atoi(m.Header.Get("Nats-Pending-Messages"))
	bytes, sizeErr := strconv.Atoi(m.Header.Get("Nats-Pending-Bytes"))
	tooLarge := status == "409" && strings.Contains(about, "MaxBytes")
	over := status == "408" || tooLarge || status == "409" && strings.Contains(about, "Batch Completed")
	if !over || err != nil || sizeErr != nil {
		return fmt.Errorf("%w: %s %s", errReader, status, about)
	}
	s.pulls.Ended(left, bytes, tooLarge)
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
