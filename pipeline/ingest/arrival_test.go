package ingest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// pipes is a listener of connections in memory, whose deadlines are those of a
// synctest bubble.
type pipes struct {
	conns chan net.Conn
	end   chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), end: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.end:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.end) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

// A pipeEnd is the server's end of a connection, from an address.
type pipeEnd struct {
	net.Conn
	from string
}

func (p *pipeEnd) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(p.from), 1234))
}

func (p *pipes) dial(from string) net.Conn {
	client, server := net.Pipe()
	p.conns <- &pipeEnd{server, from}
	return client
}

// running serves g on a listener until the test ends. Connections must be closed by
// then: the gateway would wait for what comes on them.
func running(t *testing.T, g *Gateway, l net.Listener) {
	ran := make(chan error, 1)
	go func() { ran <- g.Run(t.Context(), l) }()
	t.Cleanup(func() {
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
}

// head is the beginning of a request with a body of size bytes.
func head(path string, size int) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Basic a2V5LTE6\r\nContent-Length: %d\r\n\r\n", path, size)
}

// TestSlowBodies: a body that comes too slowly is answered with 408 and its
// connection closed, after a time that depends on how much has come; one that comes
// at a slow mobile connection's rate is accepted. The log's time does not count.
func TestSlowBodies(t *testing.T) {
	for _, tt := range []struct {
		name  string
		bytes int           // that come at once
		each  time.Duration // between them
		size  int           // of the body
		want  int
		after time.Duration // most; exactly, if it is refused
	}{
		{"nothing", 0, time.Hour, 100, 408, bodyGrace},
		{"a byte a second", 1, time.Second, 1000, 408, bodyGrace + 10*time.Second/minRate},
		{"half of the rate", minRate / 2, time.Second, 100 << 10, 408, 20 * time.Second},
		{"the rate, but it does not end", minRate, time.Second, 400 << 10, 408, readTimeout},
		{"12 KB at 1 KB a second", 1 << 10, time.Second, 12 << 10, 200, 12 * time.Second},
		{"480 KB in 28 s", 20 << 10, 1100 * time.Millisecond, 480 << 10, 200, 28 * time.Second},
		{"at once", 20 << 10, 0, 20 << 10, 200, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				const publish = 9 * time.Second // with a deadline left standing, the request would be given up
				log := slowLog(1, func(int) time.Duration { return publish })
				g := newGateway(t, log, func(o *Options) { o.Attempt = 10 * time.Second })
				l := newPipes()
				running(t, g, l)
				conn := l.dial("192.0.2.1")
				t.Cleanup(func() { conn.Close() })
				text := batch(good)
				text += strings.Repeat(" ", tt.size-len(text)*min(1, tt.size/len(text)))
				text = text[:tt.size]
				start, answered := time.Now(), make(chan struct{})
				defer close(answered)
				go func() {
					io.WriteString(conn, head("/v1/batch", len(text)))
					for rest := text; len(rest) > 0; {
						select {
						case <-time.After(tt.each):
						case <-answered:
							return
						}
						n := min(max(tt.bytes, 1), len(rest))
						if _, err := io.WriteString(conn, rest[:n]); err != nil {
							return
						}
						rest = rest[n:]
					}
				}()
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				took := time.Since(start)
				said, _ := io.ReadAll(resp.Body)
				if resp.StatusCode == 200 {
					took -= publish
				}
				if resp.StatusCode != tt.want || took > tt.after || tt.want == 408 && (took < tt.after-2*time.Second || !resp.Close || !strings.Contains(string(said), `"slow"`)) {
					t.Errorf("%d after %s, want %d after %s: %s", resp.StatusCode, took, tt.want, tt.after, said)
				}
				if g.arrivals.bytes() != 0 || g.memory.used.Load() != 0 {
					t.Errorf("%v bytes are still arriving, %d in use", g.arrivals.bytes(), g.memory.used.Load())
				}
			})
		})
	}
}

// TestOpenBodies: however many bodies one address opens and does not send, the
// requests of another one are accepted, and so are its own, up to its limits.
func TestOpenBodies(t *testing.T) {
	const open = 4200
	log := newFakeLog(1)
	g := newGateway(t, log, func(o *Options) { o.Requests = 4 })
	if most := int64(g.connections.each); most < open+10 {
		t.Skipf("the process may open too few files: %d connections from one address", most)
	}
	api := listen(t)
	running(t, g, api)
	conns := make([]net.Conn, open)
	end := func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}
	t.Cleanup(end)
	for i := range conns {
		c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext(t.Context(), "tcp", api.Addr().String())
		if err != nil {
			if i > 1000 { // as many as this machine opens
				break
			}
			t.Fatal(err)
		}
		conns[i] = c
		io.WriteString(c, head("/v1/batch", 1000)+`{"batch":`)
	}
	await(t, "the bodies arrive", func() bool { return g.arrivals.bytes() >= 1000*smallBytes })
	for n, from := range []byte{1, 2, 3} {
		dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, from)}}
		client := &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext}}
		defer client.CloseIdleConnections()
		if status := postTo(client, api.Addr().String(), "/v1/page", numbered("u", n)); status != 200 {
			t.Errorf("from 127.0.0.%d: answered %d", from, status)
		}
	}
	if len(g.slots) != 0 {
		t.Errorf("%d slots are taken", len(g.slots))
	}
	end()
	await(t, "all is given back", func() bool { return g.arrivals.bytes() == 0 && g.memory.used.Load() == 0 })
}

// TestArrivingBytes: what bodies of one address hold while they are coming is
// limited, and so is what all of them hold. Beyond it a request is refused at once,
// though its body has not come; what arrives completely counts no more.
func TestArrivingBytes(t *testing.T) {
	log := newFakeLog(1)
	entered, gate := make(chan struct{}, 100), make(chan struct{})
	log.publish = func(context.Context, int, string, []byte) error {
		entered <- struct{}{}
		<-gate
		return nil
	}
	g := newGateway(t, log, func(o *Options) { o.MemoryBytes = 1 << 20 }) // 512 KB in all, 256 KB from one address
	api := listen(t)
	running(t, g, api)
	t.Cleanup(func() { close(gate) })
	begin := func(from byte) net.Conn {
		t.Helper()
		before := g.arrivals.bytes()
		c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, from)}}).DialContext(t.Context(), "tcp", api.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		io.WriteString(c, head("/v1/batch", 62<<10)+`{"batch":[`+strings.Repeat(" ", 60<<10))
		await(t, "a body arrives", func() bool { return g.arrivals.bytes() == before+pooledBytes })
		return c
	}
	refused := func(from byte, reason string) {
		t.Helper()
		dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, from)}}
		c, err := dialer.DialContext(t.Context(), "tcp", api.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, head("/v1/batch", 100<<10))
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		said, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != 429 || !strings.Contains(string(said), `"reason":"`+reason+`"`) || resp.Header.Get("Retry-After") == "" || !resp.Close {
			t.Errorf("%d %v %s, want reason %s", resp.StatusCode, resp.Header, said, reason)
		}
	}
	var first []net.Conn
	for range 4 {
		first = append(first, begin(2))
	}
	refused(2, "address")
	for range 4 {
		begin(3)
	}
	refused(2, "address")
	refused(4, "arrivals")
	if found := shown(g, "limits_reached_total"); found["address"] != 2 || found["arrivals"] != 1 {
		t.Errorf("the metric says %v", found)
	}
	if n := shown(g, "arriving_bytes")[""]; n != 8*pooledBytes {
		t.Errorf("the metric says %d bytes", n)
	}
	// A body that is there arrives no more, though its request waits for the log.
	end := numbered("u", 1) + "]}"
	io.WriteString(first[0], strings.Repeat(" ", 2<<10-len(`{"batch":[`)-len(end))+end)
	await(t, "it is published", func() bool { return len(entered) == 1 })
	if n := g.arrivals.bytes(); n != 7*pooledBytes {
		t.Errorf("%v bytes are arriving", n)
	}
	begin(2)
}

// TestConnectionLimits: connections are limited in total and for one address;
// beyond it they are closed, counted, and make room when they end.
func TestConnectionLimits(t *testing.T) {
	g := newGateway(t, newFakeLog(1), func(o *Options) { o.Connections = 6 })
	api := listen(t)
	running(t, g, api)
	dial := func(from byte) net.Conn {
		t.Helper()
		c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, from)}}).DialContext(t.Context(), "tcp", api.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	open := func(n int64) func() bool { return func() bool { return g.connections.open.Load() == n } }
	closed := func(c net.Conn) {
		t.Helper()
		c.SetReadDeadline(time.Now().Add(20 * time.Second))
		var timeout net.Error
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.As(err, &timeout) && timeout.Timeout() {
			t.Errorf("it is open: %v", err)
		}
	}
	var first net.Conn
	for n := range int64(3) {
		first = dial(2)
		await(t, "it is open", open(n+1))
	}
	closed(dial(2))
	for n := range int64(3) {
		dial(3 + byte(n%2))
		await(t, "it is open", open(4+n))
	}
	closed(dial(5))
	if found := shown(g, "connections_refused_total"); found["address"] != 1 || found["total"] != 1 {
		t.Errorf("the metric says %v", found)
	}
	first.Close()
	await(t, "one has ended", open(5))
	c := dial(2)
	io.WriteString(c, head("/v1/page", len(good))+good)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != 200 {
		t.Errorf("in its place: %v, %v", resp, err)
	}
}

func TestClientOf(t *testing.T) {
	for _, tt := range []struct {
		peer, forwarded, want string
	}{
		{"192.0.2.1:99", "", "192.0.2.1"},
		{"192.0.2.1:99", "198.51.100.7", "192.0.2.1"}, // anybody can write that
		{"127.0.0.5:99", "", "127.0.0.5"},
		{"127.0.0.1:99", "198.51.100.7", "198.51.100.7"},
		{"10.1.2.3:99", "198.51.100.7", "198.51.100.7"},
		{"10.1.2.3:99", "1.2.3.4, 198.51.100.7", "198.51.100.7"}, // the first is the client's invention
		{"10.1.2.3:99", "1.2.3.4,198.51.100.7 , 10.9.9.9", "198.51.100.7"},
		{"10.1.2.3:99", "1.2.3.4|198.51.100.7|192.168.0.1, 10.9.9.9", "198.51.100.7"},
		{"10.1.2.3:99", "10.7.7.7, 10.8.8.8", "10.7.7.7"},
		{"10.1.2.3:99", "unknown", "10.1.2.3"},
		{"10.1.2.3:99", "unknown, 10.8.8.8", "10.8.8.8"},
		{"10.1.2.3:99", "", "10.1.2.3"},
		{"10.1.2.3:99", "198.51.100.7:4711", "198.51.100.7"},
		{"10.1.2.3:99", "[2001:db8:1:2:3::4]:4711", "2001:db8:1:2::"},
		{"10.1.2.3:99", "::ffff:198.51.100.7", "198.51.100.7"},
		{"[2001:db8:1:2:3::4]:99", "198.51.100.7", "2001:db8:1:2::"},
		{"[::1]:99", "198.51.100.7", "198.51.100.7"},
		{"[fe80::1%eth0]:99", "", "fe80::"},
		{"@", "198.51.100.7", "198.51.100.7"}, // a socket of this machine
	} {
		r := httptest.NewRequest("POST", "/v1/batch", nil)
		r.RemoteAddr = tt.peer
		for _, list := range strings.Split(tt.forwarded, "|") {
			if list != "" {
				r.Header.Add("X-Forwarded-For", list)
			}
		}
		if got := (proxies{}).clientOf(r).String(); got != tt.want {
			t.Errorf("from %s, forwarded for %q: %s, want %s", tt.peer, tt.forwarded, got, tt.want)
		}
	}
}
