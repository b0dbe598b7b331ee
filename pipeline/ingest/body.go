package ingest

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
)

// pooledBytes is the size up to which a buffer is kept for the next request.
const pooledBytes = 64 << 10

// A budget limits the bytes that all requests together hold in memory.
type budget struct {
	max  int64
	used atomic.Int64
}

// take reserves n bytes, or returns errMemory.
func (b *budget) take(n int) error {
	if b.used.Add(int64(n)) > b.max {
		b.used.Add(int64(-n))
		return errMemory
	}
	return nil
}

func (b *budget) give(n int) { b.used.Add(int64(-n)) }

// A body is a request's body in memory. The capacity of its buffers is reserved
// from the budget.
type body struct {
	raw      []byte
	inflated []byte
	budget   *budget
	paid     int // bytes reserved
}

var (
	bodies   = sync.Pool{New: func() any { return new(body) }}
	inflates sync.Pool // *gzip.Reader
)

func (b *body) release() {
	b.budget.give(b.paid)
	if cap(b.raw) > pooledBytes {
		b.raw = nil
	}
	if cap(b.inflated) > pooledBytes {
		b.inflated = nil
	}
	b.paid, b.budget = 0, nil
	bodies.Put(b)
}

// readBody reads the whole body, and inflates it if it begins like gzip, whatever
// its headers say. At most limit bytes are accepted, both as sent and inflated.
// Memory grows with the bytes that have come, not with the announced length.
func readBody(r *http.Request, limit int, bud *budget) (*body, []byte, error) {
	if r.ContentLength > int64(limit) {
		return nil, nil, tooLarge(limit)
	}
	b := bodies.Get().(*body)
	b.budget = bud
	if err := b.pay(cap(b.raw) + cap(b.inflated)); err != nil {
		b.release()
		return nil, nil, err
	}
	text, err := b.read(r, limit)
	if err != nil {
		b.release()
		return nil, nil, err
	}
	return b, text, nil
}

func (b *body) read(r *http.Request, limit int) (text []byte, err error) {
	if b.raw, err = b.readAll(b.raw[:0], r.Body, limit); err != nil {
		return nil, inReading(err, "body")
	}
	if !isGzip(b.raw) {
		return b.raw, nil
	}
	z, _ := inflates.Get().(*gzip.Reader)
	if z == nil {
		z = new(gzip.Reader)
	}
	defer inflates.Put(z)
	if err := z.Reset(bytes.NewReader(b.raw)); err != nil {
		return nil, inReading(err, "gzip body")
	}
	if b.inflated, err = b.readAll(b.inflated[:0], z, limit); err != nil {
		return nil, inReading(err, "gzip body")
	}
	if isGzip(b.inflated) {
		return nil, &problem{http.StatusBadRequest, "gzip", "gzip inside gzip is not accepted"}
	}
	return b.inflated, nil
}

func isGzip(b []byte) bool { return len(b) >= 2 && b[0] == 0x1f && b[1] == 0x8b }

// readAll reads from to its end into buf, doubling buf as needed.
func (b *body) readAll(buf []byte, from io.Reader, limit int) ([]byte, error) {
	for {
		if len(buf) == cap(buf) {
			size := min(max(2*cap(buf), 4<<10), limit+1)
			if size <= cap(buf) { // buf is full with limit+1 bytes: one too many
				return buf, tooLarge(limit)
			}
			if err := b.pay(size - cap(buf)); err != nil {
				return buf, err
			}
			buf = append(make([]byte, 0, size), buf...)
		}
		n, err := from.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if len(buf) > limit {
			return buf, tooLarge(limit)
		}
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
}

func (b *body) pay(n int) error {
	if err := b.budget.take(n); err != nil {
		return err
	}
	b.paid += n
	return nil
}

func tooLarge(limit int) error {
	return &problem{http.StatusRequestEntityTooLarge, "size", fmt.Sprintf("the body may have at most %d bytes, both as sent and inflated", limit)}
}

func inReading(err error, what string) error {
	var p *problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &problem{http.StatusRequestTimeout, "slow", "the " + what + " came too slowly"}
	}
	return &problem{http.StatusBadRequest, "body", "the " + what + " cannot be read completely: " + clip(err.Error())}
}
