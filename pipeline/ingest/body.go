package ingest

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Sizes of the buffers that are kept for further requests. A buffer that is full
// is changed for one of the next size, so a body of which little has come holds
// little memory.
const (
	smallBytes  = 4 << 10
	middleBytes = 16 << 10
	pooledBytes = 64 << 10
)

var small, middle, large sync.Pool // *[smallBytes]byte and so on

// grab returns an empty buffer of at least size bytes.
func grab(size int) []byte {
	switch {
	case size <= smallBytes:
		if a, ok := small.Get().(*[smallBytes]byte); ok {
			return a[:0]
		}
		size = smallBytes
	case size <= middleBytes:
		if a, ok := middle.Get().(*[middleBytes]byte); ok {
			return a[:0]
		}
		size = middleBytes
	case size <= pooledBytes:
		if a, ok := large.Get().(*[pooledBytes]byte); ok {
			return a[:0]
		}
		size = pooledBytes
	}
	return make([]byte, 0, size)
}

// drop keeps a buffer for grab, if it is of a size that is kept.
func drop(b []byte) {
	switch cap(b) {
	case smallBytes:
		small.Put((*[smallBytes]byte)(b[:smallBytes]))
	case middleBytes:
		middle.Put((*[middleBytes]byte)(b[:middleBytes]))
	case pooledBytes:
		large.Put((*[pooledBytes]byte)(b[:pooledBytes]))
	}
}

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
// from the budget, and that of raw from the arrivals too.
type body struct {
	raw      []byte
	inflated []byte
	limit    int
	budget   *budget
	paid     int // bytes reserved

	arrivals *arrivals
	from     netip.Addr
	arriving int // bytes reserved from arrivals
	paced    pacedBody
}

var (
	bodies   = sync.Pool{New: func() any { return new(body) }}
	inflates sync.Pool // *gzip.Reader
)

func (b *body) release() {
	if b.arriving > 0 {
		b.arrivals.give(b.from, b.arriving)
	}
	b.budget.give(b.paid)
	drop(b.raw)
	drop(b.inflated)
	*b = body{}
	bodies.Put(b)
}

// readBody reads the whole body. At most limit bytes are accepted, both as sent and
// inflated. Memory grows with the bytes that have come, not with the announced
// length.
func (g *Gateway) readBody(w http.ResponseWriter, r *http.Request, limit int, from netip.Addr) (*body, []byte, error) {
	if err := checkCoding(r.Header["Content-Encoding"]); err != nil {
		return nil, nil, err
	}
	if r.ContentLength > int64(limit) {
		return nil, nil, tooLarge(limit)
	}
	b := bodies.Get().(*body)
	*b = body{limit: limit, budget: &g.memory, arrivals: &g.arrivals, from: from, paced: pacedBody{w: w, r: r, start: time.Now()}}
	var err error
	if b.raw, err = b.readAll(&b.paced, true); err != nil {
		b.release()
		shed(w, r)
		return nil, nil, inReading(err, "body")
	}
	text, err := b.text()
	if err != nil {
		b.release()
		return nil, nil, err
	}
	return b, text, nil
}

// text returns the body's text: inflated if it begins like gzip, whatever its
// headers say, and without a byte order mark.
func (b *body) text() (text []byte, err error) {
	text = b.raw
	if isGzip(b.raw) {
		if text, err = b.inflate(); err != nil {
			return nil, err
		}
	}
	switch {
	case bytes.HasPrefix(text, []byte("\x28\xb5\x2f\xfd")):
		return nil, unsupported("zstd")
	case len(text) >= 2 && text[0] == 'x' && (uint(text[0])<<8|uint(text[1]))%31 == 0: // RFC 1950; JSON does not begin with an x
		return nil, unsupported("deflate")
	case isWide(text):
		return nil, errWide
	}
	return bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")), nil
}

func (b *body) inflate() (text []byte, err error) {
	z, _ := inflates.Get().(*gzip.Reader)
	if z == nil {
		z = new(gzip.Reader)
	}
	defer inflates.Put(z)
	if err := z.Reset(bytes.NewReader(b.raw)); err != nil {
		return nil, inReading(err, "gzip body")
	}
	if b.inflated, err = b.readAll(z, false); err != nil {
		return nil, inReading(err, "gzip body")
	}
	if isGzip(b.inflated) {
		return nil, &problem{http.StatusBadRequest, "gzip", "gzip inside gzip is not accepted", 0}
	}
	return b.inflated, nil
}

func isGzip(b []byte) bool { return len(b) >= 2 && b[0] == 0x1f && b[1] == 0x8b }

// isWide reports whether a text is UTF-16 or UTF-32: it begins with their byte
// order mark, or with an ASCII character in two or four bytes.
func isWide(b []byte) bool {
	if len(b) < 2 {
		return false
	}
	mark := b[0] == 0xff && b[1] == 0xfe || b[0] == 0xfe && b[1] == 0xff
	return mark || b[0] == 0 || b[1] == 0
}

// checkCoding refuses a Content-Encoding that the gateway cannot read. Some clients
// name the character set there.
func checkCoding(values []string) error {
	for _, v := range values {
		for coding := range strings.SplitSeq(v, ",") {
			switch coding = strings.TrimSpace(coding); strings.ToLower(coding) {
			case "", "identity", "gzip", "x-gzip", "utf-8", "utf8":
			default:
				return unsupported(coding)
			}
		}
	}
	return nil
}

// readAll reads from to its end into a buffer that grows as needed.
func (b *body) readAll(from io.Reader, arriving bool) (buf []byte, err error) {
	for {
		if len(buf) == cap(buf) {
			if buf, err = b.grow(buf, arriving); err != nil {
				return buf, err
			}
		}
		n, err := from.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if len(buf) > b.limit {
			return buf, tooLarge(b.limit)
		}
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
}

// grow returns a larger buffer with the same content.
func (b *body) grow(buf []byte, arriving bool) ([]byte, error) {
	size := 4 * cap(buf)
	if cap(buf) == 0 {
		size = smallBytes
	}
	if size > pooledBytes && size >= b.limit {
		size = b.limit + 1
	}
	if err := b.pay(size-cap(buf), arriving); err != nil {
		return buf, err
	}
	larger := append(grab(size), buf...)
	drop(buf)
	return larger, nil
}

func (b *body) pay(n int, arriving bool) error {
	if arriving {
		if err := b.arrivals.take(b.from, n); err != nil {
			return err
		}
		b.arriving += n
	}
	if err := b.budget.take(n); err != nil {
		return err
	}
	b.paid += n
	return nil
}

func tooLarge(limit int) error {
	return &problem{http.StatusRequestEntityTooLarge, "size", fmt.Sprintf("the body may have at most %d bytes, both as sent and inflated", limit), 0}
}

func inReading(err error, what string) error {
	var p *problem
	switch {
	case err == nil:
		return nil
	case errors.As(err, &p):
		return p
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &problem{http.StatusRequestTimeout, "slow", "the " + what + " came too slowly", 0}
	}
	return &problem{http.StatusBadRequest, "body", "the " + what + " cannot be read completely: " + clip(err.Error()), 0}
}
