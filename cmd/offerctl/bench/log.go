package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/ingest"
	"offerstream/pipeline/worker"
)

func (b *Run) forgetOffers(ctx context.Context, prefix string) error {
	c, err := b.connect(ctx, prefix)
	if err != nil {
		return err
	}
	defer c.Close()
	st, err := c.JS.Stream(ctx, c.Names.OffersStream())
	if err != nil {
		return err
	}
	return st.Purge(ctx)
}

func (b *Run) offers(ctx context.Context, prefix string) (uint64, error) {
	c, err := b.connect(ctx, prefix)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	st, err := c.JS.Stream(ctx, c.Names.OffersStream())
	if err != nil {
		return 0, err
	}
	return st.CachedInfo().State.Msgs, nil
}

// drop removes the streams of deployments that are no longer needed, to free the
// space that they take and that the server reserves for them.
func (b *Run) drop(ctx context.Context, prefixes ...string) error {
	for _, prefix := range prefixes {
		c, err := b.connect(ctx, prefix)
		if err != nil {
			return err
		}
		defer c.Close()
		names := []string{c.Names.OffersStream(), c.Names.DeadStream()}
		for p := range c.Partitions {
			names = append(names, c.Names.EventsStream(p))
		}
		for _, name := range names {
			if err := c.JS.DeleteStream(ctx, name); err != nil {
				return fmt.Errorf("bench: removing %s: %w", name, err)
			}
		}
	}
	return nil
}

// prepare creates a deployment in which the set is in force in every partition.
func (b *Run) prepare(ctx context.Context, prefix string, def *campaign.Definition) error {
	c, err := b.connect(ctx, prefix)
	if err != nil {
		return err
	}
	defer c.Close()
	hash, err := c.PutSet(ctx, def)
	if err == nil {
		err = c.MakeLive(ctx, hash, 0) // 0: no set was live before
	}
	if err != nil {
		return err
	}
	w, err := worker.New(worker.Options{Dir: b.preparedBy(prefix), Now: b.now(), Log: slog.New(slog.DiscardHandler),
		Connect: func(ctx context.Context) (*broker.Conn, error) { return b.connect(ctx, prefix) }})
	if err != nil {
		return err
	}
	within, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- w.Run(within) }()
	err = inForce(ctx, w, c.Partitions, hash)
	cancel()
	return errors.Join(err, <-done)
}

// inForce waits until a worker runs the set in each partition.
func inForce(ctx context.Context, w *worker.Worker, partitions int, hash string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		other := func(s broker.PartitionStatus) bool { return s.Set != hash }
		if st := w.Status(); len(st) == partitions && !slices.ContainsFunc(st, other) {
			return nil
		}
		if err := pauseFor(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("bench: the campaigns are not in force in all %d partitions: %w", partitions, err)
		}
	}
}

// preparedBy returns the directory of the worker that prepared a deployment.
func (b *Run) preparedBy(prefix string) string { return filepath.Join(b.dir, "prepare-"+prefix) }

// send makes events and sends them through a gateway under load, from many
// clients at the same time, in batches of 15. It returns events per second.
func (b *Run) send(ctx context.Context, prefix string, gen *generator, events int) (float64, error) {
	return b.sendAll(ctx, prefix, events, gen.next)
}

// sendAll is send of the events that next appends.
func (b *Run) sendAll(ctx context.Context, prefix string, events int, next func(dst []byte) []byte) (float64, error) {
	c, err := b.connect(ctx, prefix)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	g, err := openGateway(ctx, c, b.now())
	if err != nil {
		return 0, err
	}
	bodies := make(chan []byte, 256)
	go makeBatches(ctx, next, events, bodies)
	start := time.Now()
	var all sync.WaitGroup
	var failed atomic.Pointer[string]
	for range 128 {
		all.Go(func() {
			for body := range bodies {
				if why := post(ctx, g, body); why != "" {
					failed.Store(&why)
				}
			}
		})
	}
	all.Wait()
	took := time.Since(start).Seconds()
	if err := g.Drain(ctx); err != nil {
		return 0, err
	}
	if why := failed.Load(); why != nil {
		return 0, fmt.Errorf("bench: the gateway refuses: %s", *why)
	}
	return float64(events) / took, nil
}

// makeBatches makes batches of 15 events.
func makeBatches(ctx context.Context, next func(dst []byte) []byte, events int, bodies chan<- []byte) {
	defer close(bodies)
	for n := 0; n < events; {
		body := []byte(`{"batch":[`)
		for i := 0; i < 15 && n < events; i, n = i+1, n+1 {
			if i > 0 {
				body = append(body, ',')
			}
			body = next(body)
		}
		select {
		case bodies <- append(body, ']', '}'):
		case <-ctx.Done():
			return
		}
	}
}

// openGateway opens a gateway in this process, with a clock; nil: time.Now.
func openGateway(ctx context.Context, c *broker.Conn, now func() int64) (*ingest.Gateway, error) {
	log, err := c.OpenGatewayLog(ctx)
	if err != nil {
		return nil, err
	}
	return ingest.New(ingest.Options{Log: log, ServerKeys: []string{writeKey}, Now: now, Logger: slog.New(slog.DiscardHandler)})
}

// The bench sends as a shop's server does. What a browser sends without proof gets a
// stamp, and logs with and without it cannot be compared.
const writeKey = "bench"

// post passes a batch to the gateway's handler, and again while that is
// overloaded. It returns "" or the reason of a refusal.
func post(ctx context.Context, g http.Handler, body []byte) string {
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://bench/v1/batch", bytes.NewReader(body))
		if err != nil {
			return err.Error()
		}
		req.SetBasicAuth(writeKey, "")
		w := &answer{header: http.Header{}, code: http.StatusOK}
		g.ServeHTTP(w, req)
		switch w.code {
		case http.StatusOK:
			return ""
		case http.StatusTooManyRequests:
			if pauseFor(ctx, 5*time.Millisecond) == nil {
				continue
			}
		}
		return w.body.String()
	}
}

func pauseFor(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

type answer struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(code int)        { a.code = code }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

// repack writes the first events of each partition of one deployment into
// another, n per message and at most most per partition. It returns the number of
// events.
func (b *Run) repack(ctx context.Context, from, to string, n, most int) (events int, err error) {
	src, err := b.connect(ctx, from)
	if err != nil {
		return 0, err
	}
	defer src.Close()
	dst, err := b.connect(ctx, to)
	if err != nil {
		return 0, err
	}
	defer dst.Close()
	js, err := jetstream.New(dst.NC, jetstream.WithPublishAsyncMaxPending(4000))
	if err != nil {
		return 0, err
	}
	for p := range src.Partitions {
		packed, err := repackPartition(ctx, src, p, js, dst.Names.EventsSubject(p, "in"), n, most)
		if err != nil {
			return 0, fmt.Errorf("bench: packing by %d: %w", n, err)
		}
		events += packed
	}
	select {
	case <-js.PublishAsyncComplete():
		return events, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func repackPartition(ctx context.Context, src *broker.Conn, p int, js jetstream.JetStream, subject string, n, most int) (events int, err error) {
	var pack [][]byte
	flush := func() error {
		if len(pack) == 0 {
			return nil
		}
		_, err := js.PublishMsgAsync(&nats.Msg{Subject: subject, Data: bytes.Join(pack, []byte{'\n'})}, jetstream.WithStallWait(time.Minute))
		pack = pack[:0]
		return err
	}
	err = src.ScanLog(ctx, p, 0, func(m pipeline.Message) error {
		if m.Kind != pipeline.In {
			return nil
		}
		for _, line := range bytes.Split(bytes.TrimSpace(m.Data), []byte{'\n'}) {
			if events == most {
				return errEnough
			}
			events++
			pack = append(pack, line)
			if len(pack) == n {
				if err := flush(); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return events, errors.Join(err, flush())
}

var errEnough = errors.New("enough")
