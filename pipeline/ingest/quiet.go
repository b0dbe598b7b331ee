package ingest

import (
	"bytes"
	"context"
	"net"
	"sync/atomic"
	"time"
)

// While net/http's server handles a request it reads a byte from the connection, to
// notice that the client leaves. For this it starts a goroutine for each request, which
// waits for the connection and must be woken up before the answer is sent: that is a
// twelfth of the CPU of a request with one event, and nearly all are answered within
// milliseconds. So a quietConn ends this read at once, and who waits longer than
// leftEvery looks whether the client is still there.
//
// That holds for TCP, and for requests with events. With TLS, where one cannot look, and
// during a GET, such as a stream of offers, the server reads as ever.

// leftEvery is the time between two looks at whether the client of a request that waits
// is still there.
const leftEvery = 250 * time.Millisecond

// quietListener accepts quietConns.
type quietListener struct{ net.Listener }

func (l quietListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok && canPeek && err == nil {
		return &quietConn{TCPConn: tcp}, nil
	}
	return c, err
}

// A quietConn reads nothing when it is asked for a single byte, and reads it when it is
// asked again. Readers must expect this of any connection: a buffer that has one byte
// left asks again, and the server's read of one byte ends.
type quietConn struct {
	*net.TCPConn
	asked atomic.Bool // for a single byte, by the last Read
	get   atomic.Bool // the last Read has the beginning of a GET
}

func (c *quietConn) Read(b []byte) (int, error) {
	if len(b) == 1 && !c.get.Load() && c.asked.CompareAndSwap(false, true) {
		return 0, nil
	}
	c.asked.Store(false)
	n, err := c.TCPConn.Read(b)
	if n > 1 { // the server may have read the first byte during the request before
		c.get.Store(bytes.HasPrefix(b[:n], []byte("GET ")) || bytes.HasPrefix(b[:n], []byte("ET ")))
	}
	return n, err
}

type quietKey struct{}

// withConn is a server's ConnContext: it keeps a quietConn for left.
func withConn(ctx context.Context, c net.Conn) context.Context {
	if q, ok := c.(*quietConn); ok {
		return context.WithValue(ctx, quietKey{}, q)
	}
	return ctx
}

// left reports whether the client of a request has left, false where ctx will tell.
func left(ctx context.Context) bool {
	q, ok := ctx.Value(quietKey{}).(*quietConn)
	return ok && ended(q.TCPConn)
}
