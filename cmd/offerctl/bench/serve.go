package bench

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fastjson"

	"offerstream/pipeline/broker"
	"offerstream/pipeline/broker/embedded"
	"offerstream/pipeline/ingest"
	"offerstream/pipeline/page"
	"offerstream/pipeline/worker"
)

// startTaker starts a part that receives events, and returns its two addresses.
func (b *Run) startTaker(ctx context.Context, role, prefix string) (addr, meter string, stop func(), err error) {
	line, stop, err := part{Role: role, URL: b.url, Prefix: prefix}.start(ctx)
	if err != nil {
		return "", "", nil, err
	}
	if _, err := fmt.Sscan(line, &addr, &meter); err != nil {
		stop()
		return "", "", nil, fmt.Errorf("bench part %s printed %q: %w", role, line, err)
	}
	return addr, meter, stop, nil
}

// takeEvents is a part that receives events over HTTP. Its first line has two
// addresses: one that receives events, and one that reports its resource usage.
func (p part) takeEvents(out io.Writer) error {
	ctx := context.Background()
	c, err := broker.Connect(ctx, broker.Options{URL: p.URL, Prefix: p.Prefix, Client: "offerctl-bench-" + p.Role, Reconnect: true, Log: warnings})
	if err != nil {
		return err
	}
	events, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	meter, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	m := measure()
	go http.Serve(meter, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(m.done()) }))
	serve := func() error { return http.Serve(events, &bareHandler{conn: c}) }
	if p.Role != "bare" { // as cmd/gateway does
		ingest.TuneHeap()
		l, err := c.OpenGatewayLog(ctx)
		if err != nil {
			return err
		}
		var offers *page.Page
		if p.Role == "pages" {
			offers = page.New(page.Options{Keys: pageVisitors, Logger: warnings})
			go offers.Run(ctx, c)
			for _, err := offers.List(""); err != nil; _, err = offers.List("") {
				time.Sleep(time.Millisecond)
			}
		}
		g, err := ingest.New(ingest.Options{Log: l, Page: offers, ServerKeys: []string{writeKey}, Keys: pageKeys(), Metrics: prometheus.NewRegistry(), Logger: warnings})
		if err != nil {
			return err
		}
		serve = func() error { return g.Run(ctx, events) }
	}
	fmt.Fprintln(out, events.Addr(), meter.Addr())
	return serve()
}

// nats runs NATS until its process ends.
func (p part) nats(out io.Writer) error {
	ns, err := embedded.Start(embedded.Options{Dir: p.Dir, Port: -1, SyncAlways: p.Sync, Log: warnings})
	if err != nil {
		return err
	}
	if !p.Metered {
		fmt.Fprintln(out, ns.ClientURL())
		select {}
	}
	fmt.Fprint(out, ns.ClientURL(), " ")
	ended, err := serveMeter(out)
	if err != nil {
		return err
	}
	return <-ended
}

// serveMeter prints an address that reports the resource usage of this process.
func serveMeter(out io.Writer) (ended <-chan error, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	m, end := measure(), make(chan error, 1)
	go func() {
		end <- http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(m.done()) }))
	}()
	fmt.Fprintln(out, l.Addr())
	return end, nil
}

// A bareHandler does the least that is needed to receive events: it publishes
// each event unchanged, as a separate message, to the partitions in turn, and
// answers after the acknowledgements. It parses only batches, to split them.
type bareHandler struct {
	conn *broker.Conn
	turn atomic.Uint64
}

func (h *bareHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = h.store(r.Context(), r.URL.Path, body)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	io.WriteString(w, "ok")
}

var bareParsers fastjson.ParserPool

func (h *bareHandler) store(ctx context.Context, path string, body []byte) error {
	if path != "/v1/batch" {
		return h.publish(ctx, body)
	}
	parser := bareParsers.Get()
	defer bareParsers.Put(parser)
	root, err := parser.ParseBytes(body)
	if err != nil {
		return err
	}
	var events [][]byte
	text := make([]byte, 0, len(body)) // large enough: the events are no longer than the body
	for _, e := range root.GetArray("batch") {
		from := len(text)
		text = e.MarshalTo(text)
		events = append(events, text[from:])
	}
	return h.publish(ctx, events...)
}

func (h *bareHandler) publish(ctx context.Context, events ...[]byte) error {
	var acks [32]jetstream.PubAckFuture
	futures := acks[:0]
	for _, e := range events {
		p := int(h.turn.Add(1) % uint64(h.conn.Partitions))
		f, err := h.conn.JS.PublishMsgAsync(&nats.Msg{Subject: h.conn.Names.EventsSubject(p, "in"), Data: e})
		if err != nil {
			return err
		}
		futures = append(futures, f)
	}
	for _, f := range futures {
		select {
		case <-f.Ok():
		case err := <-f.Err():
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// worker runs a worker like cmd/worker, until it receives SIGTERM.
func (p part) worker(out io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	worker.LimitHeap(p.Cache)
	opt := worker.Options{Dir: p.Dir, CacheBytes: p.Cache, Standbys: p.Standbys, Snapshot: p.Snapshot, Connect: p.connect, Log: p.logger()}
	var clock atomic.Int64
	if clock.Store(p.Clock); p.Clock != 0 {
		opt.Now = func() int64 { return cmp.Or(clock.Load(), time.Now().UnixNano()) }
	}
	w, err := worker.New(opt)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	for w.Ready() != nil {
		select {
		case <-time.After(10 * time.Millisecond):
		case err := <-ended:
			return errors.Join(errors.New("the worker has ended"), err)
		}
	}
	if p.Metered {
		return p.metered(ctx, out, w, &clock, ended)
	}
	fmt.Fprintln(out, "ready")
	return <-ended
}

const (
	appliedPath = "/applied" // where a metered worker says at once how many events it has applied
	morningPath = "/morning" // the same, and its clock goes from now on
)

// metered prints an address that reports the resource usage of a worker, and answers
// when that has caught up.
func (p part) metered(ctx context.Context, out io.Writer, w *worker.Worker, clock *atomic.Int64, ended <-chan error) error {
	c, err := p.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	m := measure()
	go http.Serve(l, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var u result
		switch r.URL.Path {
		case appliedPath:
		case morningPath:
			clock.Store(0)
		default:
			if _, err := untilCaughtUp(r.Context(), w, c, ended); err != nil {
				http.Error(rw, err.Error(), http.StatusServiceUnavailable)
				return
			}
			u = m.done()
		}
		for _, s := range w.Status() {
			u.Messages += s.Seq
			u.Events += s.Applied
		}
		json.NewEncoder(rw).Encode(u)
	}))
	fmt.Fprintln(out, l.Addr())
	return <-ended
}
