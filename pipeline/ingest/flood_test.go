package ingest

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// TestBomb: a body that inflates to 1 GB takes less than 10 MB of memory, all that is
// allocated counted, and its bytes are given back.
func TestBomb(t *testing.T) {
	bomb := zipped(`{"batch":[`) + strings.Repeat(zipped(strings.Repeat(" ", 16<<20)), 1<<6) // gzip may be in parts
	g := newGateway(t, newFakeLog(1))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	w := post(g, "/v1/batch", bomb)
	runtime.ReadMemStats(&after)
	took := after.TotalAlloc - before.TotalAlloc - uint64(len(bomb)) // post copies it
	t.Logf("a body of %d bytes that inflates to 1 GB: %d, %.1f MB allocated", len(bomb), w.Code, float64(took)/1e6)
	if w.Code != 413 || took > 10e6 || g.memory.used.Load() != 0 {
		t.Errorf("%d %s: %d bytes allocated, %d not given back", w.Code, w.Body, took, g.memory.used.Load())
	}
}

// TestManySlowConnections: while 10,000 connections of two addresses, or as many as the
// process may open, send their headers or
// bodies by and by, others are answered.
func TestManySlowConnections(t *testing.T) {
	slow := 10_000
	if files := int(maxFiles()); files > 0 {
		slow = min(slow, files/2-500) // both ends are files of this process
	}
	t.Logf("%d slow connections", slow)
	log := newFakeLog(1)
	g := newGateway(t, log)
	api := listen(t)
	running(t, g, api)
	var conns []net.Conn
	t.Cleanup(func() {
		for _, c := range conns {
			c.Close()
		}
	})
	for i := range slow {
		from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i%2))}}
		c, err := from.DialContext(t.Context(), "tcp", api.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
		if i%4 < 2 {
			io.WriteString(c, "POST /v1/batch HTTP/1.1\r\nHost: x\r\nX-Slow: ")
		} else {
			io.WriteString(c, head("/v1/batch", 1000)+`{"batch":[`)
		}
	}
	await(t, "all connections are open", func() bool { return g.connections.open.Load() == int64(slow) })
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for n := range 200 {
		if status := postTo(client, api.Addr().String(), "/v1/page", numbered("u", n)); status != 200 {
			t.Fatalf("request %d is answered with %d", n, status)
		}
	}
	if n := len(log.all()); n != 200 || len(g.slots) != 0 {
		t.Errorf("%d events are stored, %d slots taken", n, len(g.slots))
	}
}

// TestRapidReset: a client of HTTP/2 that opens requests and resets them at once has at
// most maxStreams of them handled at a time, and others are answered.
func TestRapidReset(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	pool := certify(t, cert, key, 1, time.Now())
	log := newFakeLog(1)
	reg := prometheus.NewRegistry()
	g := newGateway(t, log, func(o *Options) { o.TLSCert, o.TLSKey, o.Metrics = cert, key, reg })
	api := listen(t)
	running(t, g, api)

	conn, err := tls.Dial("tcp", api.Addr().String(), &tls.Config{RootCAs: pool, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	conn.Write(frame(4, 0, 0, nil)) // SETTINGS
	ended := make(chan struct{})
	go func() {
		io.Copy(io.Discard, conn)
		close(ended)
	}()
	headers := []byte{0x83, 0x87, 0x44, 9} // POST, https, a path of nine bytes
	headers = append(append(headers, "/v1/batch"...), 0x41, 1, 'x')
	opened, most, start := 0, 0, time.Now()
	idle := runtime.NumGoroutine()
flood:
	for id := uint32(1); id < 40_000; id += 2 {
		pair := append(frame(1, 4, id, headers), frame(3, 0, id, []byte{0, 0, 0, 8})...) // HEADERS, RST_STREAM
		if _, err := conn.Write(pair); err != nil {
			break
		}
		opened++
		most = max(most, runtime.NumGoroutine())
		select {
		case <-ended:
			break flood
		default:
		}
	}
	conn.CloseWrite()
	<-ended
	t.Logf("%d requests were reset before the connection ended, in %s each, with %d goroutines more than before", opened, time.Since(start)/time.Duration(max(opened, 1)), most-idle)
	if counterOf(t, reg, "offerstream_gateway_requests_refused_total", "body") == 0 {
		t.Error("no request came to the gateway")
	}
	if most-idle > maxStreams+20 {
		t.Errorf("%d goroutines for one connection", most-idle)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	req, _ := http.NewRequest("POST", fmt.Sprintf("https://%s/v1/track", api.Addr()), strings.NewReader(good))
	req.SetBasicAuth(testKey, "")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 || resp.ProtoMajor != 2 || len(log.all()) != 1 {
		t.Errorf("another client: %s %s, stored %q", resp.Proto, resp.Status, log.all())
	}
}

// frame is a frame of HTTP/2.
func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return append(binary.BigEndian.AppendUint32(b, stream), payload...)
}
