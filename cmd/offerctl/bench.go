package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/ingest"
	"offerstream/pipeline/worker"
)

// bench is `offerctl bench`.
func bench(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, "bench [--events N] [--users U] [--campaigns K] [--gateway] [--backtest] [--json]", `
Measures this machine in one run, with NATS as a process of its own: how fast a
worker catches up, as a ratio to reading the same events from JetStream one a
message with nothing else done. Rounds of both alternate; the medians count.
Absolute figures mean little from one machine to another, ratios more.`,
		"offerctl bench --events 200000 --json")
	b := benchRun{std: std}
	fs.IntVar(&b.events, "events", 0, "`N` events (default 1000000; with --backtest 10000000)")
	fs.IntVar(&b.users, "users", 100_000, "of `U` users")
	fs.IntVar(&b.campaigns, "campaigns", 0, "`K` generated campaigns instead of the shipped ones")
	fs.IntVar(&b.rounds, "rounds", 3, "`N` rounds")
	gateway := fs.Bool("gateway", false, "the gateway instead, against a bare HTTP handler; --events and --campaigns mean nothing to it")
	backtest := fs.Bool("backtest", false, "a backtest instead, and its memory")
	asJSON := fs.Bool("json", false, "the last line of standard output is one JSON object")
	if err := fs.none(args); err != nil {
		return err
	}
	switch {
	case b.events != 0:
	case *backtest:
		b.events = backtestEvents
	default:
		b.events = 1_000_000
	}
	if *gateway && *backtest {
		return usagef("--gateway and --backtest are two runs")
	}
	if b.events < 1000 || b.users < 1 || b.rounds < 1 || b.campaigns < 0 {
		return usagef("--events takes at least 1000, --users and --rounds at least 1")
	}
	if *gateway {
		report, err := b.gateway(ctx)
		if err != nil {
			return err
		}
		return report.print(std.out, *asJSON)
	}
	if *backtest {
		report, err := b.backtest(ctx)
		if err != nil {
			return err
		}
		return report.print(std.out, *asJSON)
	}
	report, err := b.run(ctx)
	if err != nil {
		return err
	}
	return report.print(std.out, *asJSON)
}

// A benchRun is one run.
type benchRun struct {
	std                              stdio
	events, users, campaigns, rounds int

	dir      string
	url      string
	progress *progress
}

// packSizes are measured beside what the gateway makes.
var packSizes = []int{1, 4, 15, 60}

func (b *benchRun) run(ctx context.Context) (r *benchReport, err error) {
	if b.dir, err = os.MkdirTemp("", "offerstream-bench-"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(b.dir)
	b.progress = newProgress(b.std.err)
	defer b.progress.done()
	var stop func()
	b.url, stop, err = benchPart{Role: "nats", Dir: filepath.Join(b.dir, "nats")}.start(ctx)
	if err != nil {
		return nil, err
	}
	defer stop()
	def, err := loadOrShipped("", "")
	if b.campaigns > 0 {
		def = benchCampaigns(b.campaigns)
	}
	if err != nil {
		return nil, err
	}
	r = &benchReport{Events: b.events, Users: b.users, Campaigns: len(def.Campaigns), Packs: map[string]float64{}}
	b.say("sending the events through the gateway")
	if err := b.prepare(ctx, "live", def); err != nil {
		return nil, err
	}
	if r.GatewayRate, err = b.send(ctx, "live"); err != nil {
		return nil, err
	}
	sizes := packSizes
	if b.campaigns > 0 {
		sizes = packSizes[:1]
	}
	for _, n := range sizes {
		b.say("packing them by %d", n)
		if err := b.repack(ctx, def, "live", n); err != nil {
			return nil, err
		}
	}
	var raws, works, bares, ratios []float64
	for i := range b.rounds {
		b.say("round %d of %d", i+1, b.rounds)
		raw, err := b.part(ctx, "read", "pack1", i)
		if err != nil {
			return nil, err
		}
		work, err := b.part(ctx, "work", "live", i)
		if err != nil {
			return nil, err
		}
		bare, err := b.part(ctx, "read", "live", i)
		if err != nil {
			return nil, err
		}
		n := float64(b.events)
		raws, works, bares = append(raws, n/raw.Seconds), append(works, n/work.Seconds), append(bares, n/bare.Seconds)
		ratios = append(ratios, raw.Seconds/work.Seconds)
		r.MicrosEvent = work.CPU * 1e6 / n
		r.AllocsEvent = float64(work.Allocs) / n
		r.PeakMB = float64(work.Peak) / 1e6
		r.PackMean = n / float64(work.Messages)
	}
	r.Raw, r.Worker, r.Ratio = median(raws), median(works), median(ratios)
	r.Bare = median(bares)
	if r.Offers, err = b.offers(ctx, "live"); err != nil {
		return nil, err
	}
	for _, n := range sizes {
		b.say("packs of %d", n)
		work, err := b.part(ctx, "work", fmt.Sprintf("pack%d", n), 0)
		if err != nil {
			return nil, err
		}
		r.Packs[fmt.Sprint(n)] = float64(b.events) / work.Seconds / r.Raw
	}
	return r, nil
}

func (b *benchRun) say(format string, args ...any) {
	b.progress.last = time.Time{}
	b.progress.show(format, args...)
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

// part runs a part on one deployment. A worker begins with nothing: no state,
// no offers.
func (b *benchRun) part(ctx context.Context, role, prefix string, round int) (r benchResult, err error) {
	p := benchPart{Role: role, URL: b.url, Prefix: prefix, Dir: filepath.Join(b.dir, fmt.Sprintf("state-%s-%d", prefix, round))}
	if role == "work" {
		if err := b.forgetOffers(ctx, prefix); err != nil {
			return r, err
		}
		defer os.RemoveAll(p.Dir)
	}
	if r, err = p.result(ctx); err != nil {
		return r, err
	}
	if role == "work" && r.Events != uint64(b.events) {
		return r, fmt.Errorf("bench: %d events applied of %d", r.Events, b.events)
	}
	return r, nil
}

func (b *benchRun) connect(ctx context.Context, prefix string) (*broker.Conn, error) {
	return benchPart{URL: b.url, Prefix: prefix}.connect(ctx)
}

func (b *benchRun) forgetOffers(ctx context.Context, prefix string) error {
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

func (b *benchRun) offers(ctx context.Context, prefix string) (uint64, error) {
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

// prepare makes a deployment with the set in force in each of its logs.
func (b *benchRun) prepare(ctx context.Context, prefix string, def *pipeline.Definition) error {
	c, err := b.connect(ctx, prefix)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := makeLive(ctx, c, def); err != nil {
		return err
	}
	w, err := worker.New(worker.Options{Dir: filepath.Join(b.dir, "prepare-"+prefix), Log: nodeLog(io.Discard, slog.LevelError),
		Connect: func(ctx context.Context) (*broker.Conn, error) { return b.connect(ctx, prefix) }})
	if err != nil {
		return err
	}
	within, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- w.Run(within) }()
	err = awaitSet(ctx, io.Discard, c, def.Hash(), time.Minute)
	cancel()
	return errors.Join(err, <-done)
}

// send makes the events and sends them through a gateway under load: many
// clients at once, batches of 15. It returns events a second.
func (b *benchRun) send(ctx context.Context, prefix string) (float64, error) {
	c, err := b.connect(ctx, prefix)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	log, err := c.OpenGatewayLog(ctx)
	if err != nil {
		return 0, err
	}
	g, err := ingest.New(ingest.Options{Log: log, WriteKeys: []string{demoKey}, Logger: nodeLog(io.Discard, slog.LevelError)})
	if err != nil {
		return 0, err
	}
	bodies := make(chan []byte, 256)
	go func() {
		defer close(bodies)
		gen := newBenchEvents(1, b.users)
		for n := 0; n < b.events; {
			body := []byte(`{"batch":[`)
			for i := 0; i < 15 && n < b.events; i, n = i+1, n+1 {
				if i > 0 {
					body = append(body, ',')
				}
				body = gen.next(body)
			}
			select {
			case bodies <- append(body, ']', '}'):
			case <-ctx.Done():
				return
			}
		}
	}()
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
	return float64(b.events) / took, nil
}

// post gives a batch to the gateway's handler, again while it says later, and
// returns what it says if that is no.
func post(ctx context.Context, g http.Handler, body []byte) string {
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://bench/v1/batch", bytes.NewReader(body))
		if err != nil {
			return err.Error()
		}
		req.SetBasicAuth(demoKey, "")
		w := &benchAnswer{header: http.Header{}, code: http.StatusOK}
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

type benchAnswer struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (a *benchAnswer) Header() http.Header         { return a.header }
func (a *benchAnswer) WriteHeader(code int)        { a.code = code }
func (a *benchAnswer) Write(b []byte) (int, error) { return a.body.Write(b) }

// repack writes the events of one deployment into another, n a message.
func (b *benchRun) repack(ctx context.Context, def *pipeline.Definition, from string, n int) error {
	to := fmt.Sprintf("pack%d", n)
	if err := b.prepare(ctx, to, def); err != nil {
		return err
	}
	src, err := b.connect(ctx, from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := b.connect(ctx, to)
	if err != nil {
		return err
	}
	defer dst.Close()
	js, err := jetstream.New(dst.NC, jetstream.WithPublishAsyncMaxPending(4000))
	if err != nil {
		return err
	}
	for p := range src.Partitions {
		subject := dst.Names.EventsSubject(p, "in")
		var pack [][]byte
		flush := func() error {
			if len(pack) == 0 {
				return nil
			}
			_, err := js.PublishMsgAsync(&nats.Msg{Subject: subject, Data: bytes.Join(pack, []byte{'\n'})}, jetstream.WithStallWait(time.Minute))
			pack = pack[:0]
			return err
		}
		err := src.ScanLog(ctx, p, func(m pipeline.Message) error {
			if m.Kind != pipeline.In {
				return nil
			}
			for _, line := range bytes.Split(bytes.TrimSpace(m.Data), []byte{'\n'}) {
				pack = append(pack, line)
				if len(pack) == n {
					if err := flush(); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err := errors.Join(err, flush()); err != nil {
			return fmt.Errorf("bench: packing by %d: %w", n, err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A benchReport is what a run found.
type benchReport struct {
	Events      int                `json:"events"`
	Users       int                `json:"users"`
	Campaigns   int                `json:"campaigns"`
	Offers      uint64             `json:"offers"`
	Ratio       float64            `json:"ratio"`            // worker / raw, median of the rounds
	Raw         float64            `json:"raw_per_s"`        // events a second, one a message, read alone
	Worker      float64            `json:"worker_per_s"`     // events a second, catching up
	Bare        float64            `json:"bare_per_s"`       // the packed streams, read alone
	PackMean    float64            `json:"pack_mean"`        // events a message as the gateway packed them
	MicrosEvent float64            `json:"cpu_us_per_event"` // of the worker's process
	AllocsEvent float64            `json:"allocs_per_event"`
	PeakMB      float64            `json:"peak_mb"`
	GatewayRate float64            `json:"gateway_per_s"` // batches of 15 into the handler
	Packs       map[string]float64 `json:"packs"`         // worker / raw by pack size
}

func (r *benchReport) print(w io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(r)
	}
	fmt.Fprintf(w, "%d events of %d users, %d campaigns, %d offers\n\n", r.Events, r.Users, r.Campaigns, r.Offers)
	fmt.Fprintf(w, "raw, one event a message   %9.0f events/s\n", r.Raw)
	fmt.Fprintf(w, "worker, packs of %-8.1f  %9.0f events/s   %.2f of raw   %.2f us of CPU, %.1f allocations an event, %.0f MB\n", r.PackMean, r.Worker, r.Ratio, r.MicrosEvent, r.AllocsEvent, r.PeakMB)
	fmt.Fprintf(w, "the packs, read alone      %9.0f events/s\n", r.Bare)
	for _, n := range packSizes {
		if v, ok := r.Packs[fmt.Sprint(n)]; ok {
			fmt.Fprintf(w, "worker, packs of %-8d  %9.0f events/s   %.2f of raw\n", n, v*r.Raw, v)
		}
	}
	fmt.Fprintf(w, "\nraw is what reading costs before anything is done; a ratio above 1 is faster than that, since a pack is read at the price of one message.\n")
	return nil
}
