package ingest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestClientLeavesConnection: the request of a client that closes its connection is given
// up long before its time is over; that of one that stays is not.
func TestClientLeavesConnection(t *testing.T) {
	log := newFakeLog(1)
	entered, gate := make(chan struct{}, 10), make(chan struct{})
	log.publish = func(context.Context, int, string, []byte) error {
		entered <- struct{}{}
		<-gate
		return nil
	}
	g := newGateway(t, log, func(o *Options) { o.Timeout, o.Attempt = time.Hour, time.Hour })
	l := listen(t)
	running(t, g, l)
	request := head("/v1/page", len(good)) + good
	dial := func() net.Conn {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		io.WriteString(c, request)
		return c
	}
	leaver := dial()
	<-entered
	stayer := dial()
	await(t, "both wait", func() bool { return len(g.slots) == 2 })
	leaver.Close()
	await(t, "one is given up", func() bool { return len(g.slots) == 1 })
	for _, c := range quietConns(g) {
		if ended(c.TCPConn) != (c.RemoteAddr().String() == leaver.LocalAddr().String()) {
			t.Errorf("%s has ended: %v", c.RemoteAddr(), ended(c.TCPConn))
		}
	}
	close(gate)
	resp, err := http.ReadResponse(bufio.NewReader(stayer), nil)
	if err != nil || resp.StatusCode != 200 {
		t.Fatal(resp, err)
	}
	if events := log.events(0); len(events) != 2 { // what was being sent is stored
		t.Errorf("stored %q", events)
	}
	stayer.Close()
}

func quietConns(g *Gateway) (all []*quietConn) {
	g.connections.mu.Lock()
	defer g.connections.mu.Unlock()
	for c := range g.connections.of {
		if q, ok := c.(*quietConn); ok {
			all = append(all, q)
		}
	}
	return all
}

// TestQuietReads: the server reads nothing from a connection while its request waits, and
// all requests are read: those whose head ends beside the end of the server's buffer, and
// those that come at once.
func TestQuietReads(t *testing.T) {
	log := newFakeLog(1)
	entered, gate := make(chan struct{}, 1), make(chan struct{})
	log.publish = func(context.Context, int, string, []byte) error {
		select {
		case entered <- struct{}{}:
			<-gate
		default:
		}
		return nil
	}
	g := newGateway(t, log)
	l := listen(t)
	running(t, g, l)
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in := bufio.NewReader(c)
	answered := func(what string) {
		t.Helper()
		resp, err := http.ReadResponse(in, nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(what, resp, err)
		}
		io.Copy(io.Discard, resp.Body)
	}
	io.WriteString(c, head("/v1/page", len(good))+good)
	<-entered
	if conns := quietConns(g); len(conns) == 1 {
		await(t, "the server has asked for a byte, and no more", conns[0].asked.Load)
	} else if canPeek {
		t.Error("the connection is not quiet")
	}
	close(gate)
	answered("the first")
	const buffer = 4096 // of the server
	for size := buffer - 8; size < buffer+8; size++ {
		begin, end := strings.TrimSuffix(head("/v1/page", len(good)), "\r\n")+"X-Filler: ", "\r\n\r\n"
		io.WriteString(c, begin+strings.Repeat("x", size-len(begin)-len(end))+end+good)
		answered(fmt.Sprint("a head of ", size, " bytes"))
	}
	for range 3 {
		io.WriteString(c, strings.Repeat(head("/v1/page", len(good))+good, 3))
		for range 3 {
			answered("one of three")
		}
	}
}

// TestClientLeavesGet: a GET, such as a stream of offers, is told at once that its client
// has left, also if another request came before it on the connection.
func TestClientLeavesGet(t *testing.T) {
	l := listen(t)
	entered, left := make(chan struct{}, 1), make(chan struct{})
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			entered <- struct{}{}
			<-r.Context().Done()
			left <- struct{}{}
		}
	})}
	go srv.Serve(quietListener{l})
	t.Cleanup(func() { srv.Close() })
	for _, before := range []int{0, 1, 2} {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(c)
		for range before {
			io.WriteString(c, head("/v1/page", len(good))+good)
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body)
		}
		io.WriteString(c, "GET /v1/offers/stream HTTP/1.1\r\nHost: x\r\n\r\n")
		<-entered
		c.Close()
		<-left
	}
}
