package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/task"
)

// readSilence is how long a server may not be heard until the consumer counts
// as gone.
const readSilence = 3 * readIdle

// ErrGap means that the log delivered a message that does not follow the one
// before.
var ErrGap = errors.New("a gap in the log")

// ErrClosed means that the connection has ended: what was known over it is
// known no more.
var ErrClosed = errors.New("the connection to NATS is closed")

// A Reader reads a partition's log from a sequence on, and notices gaps. The
// position is the checkpoint's business. For one task.
type Reader struct {
	conn      *Conn
	partition int
	source    Source
	next      uint64 // sequence that comes next
	lossy     bool   // gaps are passed
}

// Extent says where a partition's log begins and ends now: first and last
// sequence. An empty log's first is one more than its last.
func (c *Conn) Extent(ctx context.Context, partition int) (first, last uint64, err error) {
	return c.Wire.Extent(ctx, c.Names.EventsStream(partition))
}

// OpenReader reads the partition's log from sequence from (at least 1) on.
func (c *Conn) OpenReader(ctx context.Context, partition int, from uint64) (*Reader, error) {
	stream := c.Names.EventsStream(partition)
	src, err := c.Wire.Read(ctx, stream, from)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", stream, err)
	}
	return &Reader{conn: c, partition: partition, source: src, next: from}, nil
}

// Take is the log's next message, if one has come. An error means that the
// reader is of no use any more; ErrGap is one.
func (r *Reader) Take() (msg pipeline.Message, ok bool, err error) {
	m, ok, err := r.source.Next()
	if err != nil {
		return msg, false, fmt.Errorf("read partition %d: %w", r.partition, err)
	}
	if !ok {
		return msg, false, nil
	}
	if r.lossy {
		r.next = max(r.next, m.Seq)
	}
	if m.Seq != r.next {
		return msg, false, fmt.Errorf("read partition %d: %w: message %d came where %d was to come", r.partition, ErrGap, m.Seq, r.next)
	}
	r.next++
	return pipeline.Message{Seq: m.Seq, Stored: m.Time, Kind: kindOf(m.Subject), Data: m.Data}, true, nil
}

// PassGaps makes Take go on behind a gap, as an operator has accepted it.
func (r *Reader) PassGaps() { r.lossy = true }

// Wait returns when the event is set, something has come, d has passed or ctx
// is done.
func (r *Reader) Wait(ctx context.Context, e task.Event, d time.Duration) { r.source.Wait(ctx, e, d) }

func kindOf(subject string) pipeline.Kind {
	switch subject[strings.LastIndexByte(subject, '.')+1:] {
	case "in":
		return pipeline.In
	case "tick":
		return pipeline.Tick
	case "control":
		return pipeline.Control
	case "accept":
		return pipeline.Accept
	}
	return 0
}

// Pending is how many messages were behind the last when it came, or have come
// since.
func (r *Reader) Pending() uint64 { return r.source.Pending() }

// CaughtUp says whether nothing was behind the last message when it came, and
// nothing has come since.
func (r *Reader) CaughtUp() bool { return r.source.Pending() == 0 }

// Silent says that the server has not been heard for so long that the
// consumer must be gone. What has come and was not taken yet counts as heard.
func (r *Reader) Silent() bool {
	return r.conn.World.Now().Sub(r.source.Heard()) > readSilence
}

// Close ends the reader.
func (r *Reader) Close() { r.source.Close() }
