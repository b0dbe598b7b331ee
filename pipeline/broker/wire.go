package broker

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"offerstream/pipeline/task"
)

// A Wire has the operations that a worker needs of a connection to NATS: it is
// NATS itself (nats.go) or the simulation's. After any error the requested
// operation may nevertheless have taken place.
type Wire interface {
	// Extent asks a stream's leader for its first and last sequence. In an empty
	// stream first is one more than last.
	Extent(ctx context.Context, stream string) (first, last uint64, err error)
	// Subjects returns the subjects under the filter that have messages.
	Subjects(ctx context.Context, stream, filter string) ([]string, error)
	// Last asks the leader for the last message on a subject. The error is
	// jetstream.ErrMsgNotFound if there is none.
	Last(ctx context.Context, stream, subject string) (Stored, error)
	// Publisher makes a publisher on one subject, for one task.
	Publisher(subject string) (Publisher, error)
	// Read delivers a stream's messages from a sequence on.
	Read(ctx context.Context, stream string, from uint64) (Source, error)
	// Send publishes a message without waiting for an answer.
	Send(subject string, data []byte) error
	// Listen calls fn with each question that is asked on a subject, one at a
	// time, until stop is called. After an error stop does nothing. Questions are
	// not stored: they reach only those who listen. fn must not block.
	Listen(subject string, fn func(Question)) (stop func(), err error)
	// Clock asks the server that stamps a stream's messages for its time, in
	// nanoseconds since 1970. It gives up after publishFor.
	Clock(ctx context.Context, stream string) (int64, error)
	// Get asks the leader for the value under a bucket's key. The error is
	// jetstream.ErrKeyNotFound if there is none. A server that no longer leads, and
	// does not know it yet, may answer with an older value.
	Get(ctx context.Context, bucket, key string) (value []byte, rev uint64, err error)
	// Watch calls fn with the value under a key (nil if there is none), and
	// again whenever it changes, until ctx is done or the watch fails. If the
	// error is nil, the caller must watch again.
	Watch(ctx context.Context, bucket, key string, fn func(value []byte)) error

	// IsClosed reports whether the connection has ended for good.
	IsClosed() bool
	// OnClose sets the signal when the connection has ended for good, unless stop
	// was called before.
	OnClose(task.Signal) (stop func())
}

// Stored is a message that is stored in a stream.
type Stored struct {
	Seq     uint64
	Time    int64 // when it was stored, nanoseconds since 1970
	Subject string
	Header  nats.Header
	Data    []byte
}

// A Question is a request on a subject. Answer sends the answer, at any time and
// from any goroutine; it is lost if the asker waits no longer.
type Question struct {
	Data   []byte
	Answer func(data []byte) error
}

// A Publisher publishes on one subject.
type Publisher interface {
	// Publish stores a message, provided that the last one on the subject has
	// sequence expect (0: there is none), and returns the new message's
	// sequence. It gives up after publishFor.
	Publish(ctx context.Context, h nats.Header, data []byte, expect uint64) (seq uint64, err error)
	// Batch stores n messages one behind the other, or none of them, on the same
	// condition, and returns the last one's sequence. message makes the i-th, from 0;
	// what it returns is used until its next call. n is at most mostBatched.
	Batch(ctx context.Context, n int, message func(i int) (nats.Header, []byte, error), expect uint64) (seq uint64, err error)
	Close()
}

// A Source delivers a stream's messages, for one task.
type Source interface {
	// Next returns the next message, if one has come. An error ends the source.
	Next() (m Stored, ok bool, err error)
	// Wait is the signal's Wait, but also returns when a message has come.
	Wait(ctx context.Context, e task.Signal, d time.Duration)
	Pending() uint64  // how many messages followed the last one when it came, or have come since
	Heard() time.Time // when a message last came from the server
	Close()
}
