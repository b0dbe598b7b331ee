package broker

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"offerstream/pipeline/task"
)

// A Wire is what a worker needs of a connection to NATS: NATS itself (nats.go),
// or the simulation's. Whatever an error says, what was asked for may have been
// done.
type Wire interface {
	// Extent is where a stream begins and ends, as its leader says. An empty
	// stream's first is one more than its last.
	Extent(ctx context.Context, stream string) (first, last uint64, err error)
	// Subjects are those under the filter that have messages.
	Subjects(ctx context.Context, stream, filter string) ([]string, error)
	// Last is the last message on a subject, as the leader says;
	// jetstream.ErrMsgNotFound where there is none.
	Last(ctx context.Context, stream, subject string) (Stored, error)
	// Publisher makes what publishes on one subject, for one task.
	Publisher(subject string) (Publisher, error)
	// Read delivers a stream's messages from a sequence on.
	Read(ctx context.Context, stream string, from uint64) (Source, error)
	// Send publishes without an answer.
	Send(subject string, data []byte) error
	// Listen calls fn with each question that is asked on a subject, one at a
	// time, until stop is called, which does nothing after an error. Questions
	// are not stored: who does not listen misses them. fn must not wait.
	Listen(subject string, fn func(Question)) (stop func(), err error)
	// Clock is the time at the server that stamps a stream's messages, in
	// nanoseconds since 1970. It gives up after publishFor.
	Clock(ctx context.Context, stream string) (int64, error)
	// Get is the value under a bucket's key; jetstream.ErrKeyNotFound where
	// there is none.
	Get(ctx context.Context, bucket, key string) (value []byte, rev uint64, err error)
	// Watch calls fn with the value under a key, nil where there is none, and
	// again whenever it changes, until ctx is done or something ends it; a nil
	// error asks to watch again.
	Watch(ctx context.Context, bucket, key string, fn func(value []byte)) error

	// IsClosed says that the connection has ended for good. The event is set
	// then, unless stop was called before.
	IsClosed() bool
	OnClose(task.Event) (stop func())
}

// Stored is a message of a stream.
type Stored struct {
	Seq     uint64
	Time    int64 // when it was stored, nanoseconds since 1970
	Subject string
	Header  nats.Header
	Data    []byte
}

// A Question is one that somebody asks on a subject and waits for the answer
// to. Answer sends that, at any time and from any goroutine; where the asker
// waits no more it is lost.
type Question struct {
	Data   []byte
	Answer func(data []byte) error
}

// A Publisher publishes on one subject.
type Publisher interface {
	// Publish stores a message if the last one on the subject has sequence
	// expect, 0 where there is none, and returns its own. It gives up after
	// publishFor.
	Publish(ctx context.Context, h nats.Header, data []byte, expect uint64) (seq uint64, err error)
	Close()
}

// A Source delivers a stream, for one task.
type Source interface {
	// Next is the next message, if one has come. An error ends the source.
	Next() (m Stored, ok bool, err error)
	// Wait is the event's, and ends as well when something has come.
	Wait(ctx context.Context, e task.Event, d time.Duration)
	Pending() uint64  // how many messages were behind the last when it came, or have come since
	Heard() time.Time // when the server was last heard
	Close()
}
