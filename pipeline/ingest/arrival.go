package ingest

import (
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// A body must come in time: bodyGrace after its request began, and one second more
// for each minRate bytes that have come, up to readTimeout. So a body that trickles
// ends after ten seconds, and a batch may come over a slow mobile connection.
const (
	bodyGrace = 10 * time.Second
	minRate   = 4 << 10 // bytes per second
)

// shedTimeout is how long the rest of a refused body is read, so that the client
// can read the answer, before the connection is closed. HTTP/2 ends the request alone.
const shedTimeout = 500 * time.Millisecond

// arrivals limits the bytes of memory that bodies hold while they are coming, and
// for the moment in which they are read, in total and for one address. They take no
// slot while they are coming. So a client that opens many bodies and sends them slowly
// takes nothing that others need.
type arrivals struct {
	max  int64 // in total
	each int64 // for one address

	mu    sync.Mutex
	total int64
	by    map[netip.Addr]int64
}

// take reserves n bytes, or returns errArrivals or errAddress.
func (a *arrivals) take(from netip.Addr, n int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch have := a.by[from]; {
	case have+int64(n) > a.each:
		return errAddress
	case a.total+int64(n) > a.max:
		return errArrivals
	default:
		a.by[from] = have + int64(n)
		a.total += int64(n)
		return nil
	}
}

func (a *arrivals) give(from netip.Addr, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.total -= int64(n)
	if a.by[from] -= int64(n); a.by[from] == 0 {
		delete(a.by, from)
	}
}

func (a *arrivals) bytes() float64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return float64(a.total)
}

// A pacedBody is a request's body that must come at minRate.
type pacedBody struct {
	w     http.ResponseWriter
	r     *http.Request
	start time.Time
	n     int
}

// Read reads what has come. Until the first bytes have come, the server's own
// deadline holds, which is bodyGrace too; at the body's end the server lifts it.
func (p *pacedBody) Read(b []byte) (int, error) {
	if p.n > 0 {
		end := p.start.Add(min(bodyGrace+time.Duration(p.n)*time.Second/minRate, readTimeout))
		http.NewResponseController(p.w).SetReadDeadline(end) // fails in tests without a connection
	}
	n, err := p.r.Body.Read(b)
	p.n += n
	return n, err
}

// shed prepares to close a connection whose body is not wanted: the answer is sent
// before the body has come, and little more of it is read.
func shed(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor > 1 {
		return
	}
	w.Header().Set("Connection", "close")
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(shedTimeout))
}
