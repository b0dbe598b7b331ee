package ingest

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// postTo posts over the network and returns the status, 0 without an answer.
func postTo(c *http.Client, addr, path, body string) int {
	r, _ := http.NewRequest("POST", "http://"+addr+path, strings.NewReader(body))
	r.SetBasicAuth(testKey, "")
	resp, err := c.Do(r)
	if err != nil {
		return 0
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return resp.StatusCode
}

// TestDrainUnderLoad: all events that were answered with 200 while the gateway
// drained under load are in the log, once for each acknowledged request.
func TestDrainUnderLoad(t *testing.T) {
	log := newFakeLog(4)
	log.publish = func(context.Context, int, string, []byte) error {
		if rand.IntN(20) == 0 {
			return errFake
		}
		return nil
	}
	g := newGateway(t, log)
	api := listen(t)
	ctx, term := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- g.Run(ctx, api) }()

	var wg sync.WaitGroup
	var answered [8]map[string]bool
	var total atomic.Int64
	for i := range answered {
		answered[i] = map[string]bool{}
		wg.Go(func() {
			c := &http.Client{Transport: &http.Transport{}}
			defer c.CloseIdleConnections()
			for n := 0; ; n += 3 {
				user := fmt.Sprintf("u%d-%d", i, n%7)
				e := []string{numbered(user, n), numbered(user, n+1), numbered(user, n+2)}
				status := postTo(c, api.Addr().String(), "/v1/batch", batch(e...))
				if status == 0 || status == 503 {
					return // the gateway has ended or is draining
				}
				if status != 200 {
					t.Errorf("answered %d", status)
					return
				}
				for k := range e {
					answered[i][fmt.Sprintf(`"userId":%q,"messageId":"%d"`, user, n+k)] = true
				}
				total.Add(3)
			}
		})
	}
	await(t, "there is load", func() bool { return total.Load() > 3000 })
	term()
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	found := map[string]int{}
	for _, e := range log.all() {
		_, rest, _ := strings.Cut(e, `"userId"`)
		key, _, _ := strings.Cut(rest, `,"receivedAt"`)
		found[`"userId"`+key]++
	}
	for i := range answered {
		for k := range answered[i] {
			if found[k] != 1 {
				t.Fatalf("%s was answered with 200 and is stored %d times", k, found[k])
			}
		}
	}
	if w := post(g, "/v1/page", numbered("u", 1)); w.Code != 503 || w.Header().Get("Connection") != "close" {
		t.Errorf("after the drain: %d %v", w.Code, w.Header())
	}
}

// TestDrainWaits: a request that is being handled when the signal comes is
// answered, and /readyz fails meanwhile.
func TestDrainWaits(t *testing.T) {
	log := newFakeLog(1)
	entered, gate := make(chan struct{}, 10), make(chan struct{})
	log.publish = func(context.Context, int, string, []byte) error {
		entered <- struct{}{}
		<-gate
		return nil
	}
	g := newGateway(t, log)
	api := listen(t)
	ctx, term := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- g.Run(ctx, api) }()
	status := make(chan int, 1)
	go func() { status <- postTo(http.DefaultClient, api.Addr().String(), "/v1/page", numbered("u", 1)) }()
	<-entered
	term()
	await(t, "it is not ready", func() bool { return g.Ready() != nil })
	select {
	case err := <-ran:
		t.Fatalf("ended with a request in hand: %v", err)
	default:
	}
	close(gate)
	if s := <-status; s != 200 {
		t.Errorf("answered %d", s)
	}
	if err := <-ran; err != nil {
		t.Error(err)
	}
}

func TestOps(t *testing.T) {
	reg := prometheus.NewRegistry()
	g := newGateway(t, newFakeLog(1), func(o *Options) { o.Metrics = reg })
	post(g, "/v1/batch", batch(good, `{}`))
	post(g, "/v1/track", `{}`)
	ops := listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- RunOps(ctx, ops, g.Ops(reg)) }()
	resp, err := http.Get("http://" + ops.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	for _, want := range []string{
		"offerstream_gateway_events_accepted_total 1",
		`offerstream_gateway_events_rejected_total{reason="type"} 1`,
		`offerstream_gateway_events_rejected_total{reason="name"} 1`,
		"offerstream_gateway_dead_letters_total 1",
		`offerstream_gateway_requests_refused_total{reason="name"} 1`,
		"offerstream_gateway_pack_events_count 1",
		"offerstream_gateway_requests_in_flight 0",
	} {
		if !strings.Contains(string(body), want+"\n") {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestRequestsBound: too many requests at once are refused, not queued.
func TestRequestsBound(t *testing.T) {
	log := newFakeLog(1)
	entered, gate := make(chan struct{}, 10), make(chan struct{})
	log.publish = func(context.Context, int, string, []byte) error {
		entered <- struct{}{}
		<-gate
		return nil
	}
	g := newGateway(t, log, func(o *Options) { o.Requests = 1 })
	first := make(chan int, 1)
	go func() { first <- post(g, "/v1/page", numbered("u", 1)).Code }()
	<-entered
	if w := post(g, "/v1/page", numbered("u", 2)); w.Code != 429 || w.Header().Get("Retry-After") == "" {
		t.Errorf("the second: %d %v", w.Code, w.Header())
	}
	close(gate)
	if c := <-first; c != 200 {
		t.Error(c)
	}
	if w := post(g, "/v1/page", numbered("u", 2)); w.Code != 200 {
		t.Errorf("afterwards: %d", w.Code)
	}
	tight := newGateway(t, newFakeLog(1), func(o *Options) { o.MemoryBytes = 16 << 10 })
	if w := post(tight, "/v1/batch", strings.Repeat(" ", 100<<10)); w.Code != 429 {
		t.Errorf("beyond the memory: %d", w.Code)
	}
	if used := tight.memory.used.Load(); used != 0 {
		t.Errorf("%d bytes not given back", used)
	}
}
