package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/task"
)

// readSilence is how long nothing may come from the server before the consumer
// counts as gone.
const readSilence = 3 * readIdle

// ErrGap means that a message does not follow the one that came before it.
var ErrGap = errors.New("a gap in the log")

// ErrClosed means that the connection has ended. What was learned over it must
// not be relied on any more.
var ErrClosed = errors.New("the connection to NATS is closed")

// A Reader reads a partition's log from a sequence on, and notices gaps. It does
// not store how far it has read: the checkpoint does. It is for one task.
type Reader struct {
	conn      *Conn
	partition int
	source    Source
	next      uint64 // the expected sequence of the next message
	lossy     bool   // gaps are accepted
}

// Extent returns the first and the last sequence of a partition's log. In an
// empty log first is one more than last.
func (c *Conn) Extent(ctx context.Context, partition int) (first, last uint64, err error) {
	return c.Wire.Extent(ctx, c.Names.EventsStream(partition))
}

// OpenReader reads the partition's log from sequence from on, which is at least
// 1.
func (c *Conn) OpenReader(ctx context.Context, partition int, from uint64) (*Reader, error) {
	stream := c.Names.EventsStream(partition)
	src, err := c.Wire.Read(ctx, stream, from)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", stream, err)
	}
	return &Reader{conn: c, partition: partition, source: src, next: from}, nil
}

// Take returns the log's next message, if one has come. After an error, such as
// ErrGap, the reader cannot be used any more.
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
		return msg, false, fmt.Errorf("read partition %d: %w: message %d came instead of message %d", r.partition, ErrGap, m.Seq, r.next)
	}
	r.next++
	kind, from := r.conn.kindOf(m.Subject)
	return pipeline.Message{Seq: m.Seq, Stored: m.Time, Kind: kind, From: from, Data: m.Data}, true, nil
}

// PassGaps makes Take accept gaps: an operator has accepted that messages are
// lost.
func (r *Reader) PassGaps() { r.lossy = true }

// Wait returns when the signal is set, a message has come, d has passed or ctx is
// done.
func (r *Reader) Wait(ctx context.Context, e task.Signal, d time.Duration) { r.source.Wait(ctx, e, d) }

// kindOf returns the kind of a message, 0 if there is no such kind, and of mails the
// partition that sent them.
func (c *Conn) kindOf(subject string) (kind pipeline.Kind, from int) {
	before, last := "", subject
	if i := strings.LastIndexByte(subject, '.'); i >= 0 {
		before, last = subject[:i], subject[i+1:]
	}
	switch last {
	case "in":
		return pipeline.In, 0
	case "tick":
		return pipeline.Tick, 0
	case "control":
		return pipeline.Control, 0
	case "accept":
		return pipeline.Accept, 0
	default:
		from, err := strconv.Atoi(last)
		if err == nil && strings.HasSuffix(before, ".from") && from >= 0 && from < c.Partitions && strconv.Itoa(from) == last {
			return pipeline.From, from
		}
	}
	return 0, 0
}

// Pending is the number of messages that followed the last one when it came, and
// of those that came since.
func (r *Reader) Pending() uint64 { return r.source.Pending() }

// CaughtUp reports whether Pending is 0.
func (r *Reader) CaughtUp() bool { return r.source.Pending() == 0 }

// Silent reports that nothing has come from the server for readSilence, so that
// the consumer must be gone. While a message waits to be taken it is false.
func (r *Reader) Silent() bool {
	return r.conn.World.Now().Sub(r.source.Heard()) > readSilence
}

// Close ends the reader.
func (r *Reader) Close() { r.source.Close() }
