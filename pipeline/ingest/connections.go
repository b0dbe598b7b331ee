package ingest

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// maxConnections is the default limit for connections, if the process may open
// that many files.
const maxConnections = 16384

// connections limits a server's connections, in total and for one address: that
// of the other end, which may be a proxy. A connection beyond a limit is closed at
// once.
type connections struct {
	max     int
	each    int
	refused *prometheus.CounterVec
	open    atomic.Int64 // for the metric

	mu sync.Mutex
	by map[netip.Addr]int
	of map[net.Conn]netip.Addr // the accepted ones
}

// watch is an http.Server's ConnState.
func (c *connections) watch(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if limit := c.admit(conn); limit != "" {
			c.refused.WithLabelValues(limit).Inc()
			conn.Close() // the server notices, and ends it
		}
	case http.StateClosed, http.StateHijacked:
		c.forget(conn)
	}
}

// admit returns which limit does not let the connection in, "" if none.
func (c *connections) admit(conn net.Conn) (limit string) {
	from := counted(parseAddress(conn.RemoteAddr().String()))
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case len(c.of) >= c.max:
		return "total"
	case c.by[from] >= c.each:
		return "address"
	}
	c.of[conn] = from
	c.by[from]++
	c.open.Store(int64(len(c.of)))
	return ""
}

func (c *connections) forget(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	from, ok := c.of[conn]
	if !ok {
		return
	}
	delete(c.of, conn)
	if c.by[from]--; c.by[from] == 0 {
		delete(c.by, from)
	}
	c.open.Store(int64(len(c.of)))
}
