package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Sizes of `bench --gateway`. The same few events are sent repeatedly: neither
// server looks for duplicates.
const (
	gatewayEvents = 30_000
	gatewayConns  = 128
	gatewayBatch  = 15
	gatewayRate   = 3000.0 // requests per second, open loop
)

// gatewayTurns is how long each server is under load. The turns are short, so
// that other work on the machine affects both servers.
type gatewayTurns struct {
	round int // turns of each server in a round
	turn  time.Duration
	forms int // turns of each form in a round
	form  time.Duration
	open  time.Duration // open loop
}

var defaultTurns = gatewayTurns{round: 3, turn: time.Second, forms: 5, form: 300 * time.Millisecond, open: 10 * time.Second}

// A gatewayReport is the result of `bench --gateway`.
type gatewayReport struct {
	Ratio      float64    `json:"ratio"`       // gateway / bare, single events, median of the turns
	RatioBatch float64    `json:"ratio_batch"` // the same with batches of 15
	P50        float64    `json:"p50_ms"`      // of the gateway, open loop
	P99        float64    `json:"p99_ms"`
	P999       float64    `json:"p999_ms"`
	BareP99    float64    `json:"bare_p99_ms"`
	Single     loadReport `json:"single"`
	Batch      loadReport `json:"batch"`

	Tokens   map[string]formReport `json:"tokens"`   // hmac_single and so on: with user tokens; base: without
	Dialects map[string]formReport `json:"dialects"` // posthog_batch and so on: as these SDKs send them; base: in the gateway's own form
}

// A loadReport has events per second, and microseconds of CPU per event in the
// server's process, without NATS and clients.
type loadReport struct {
	Gateway       float64 `json:"gateway_per_s"`
	Bare          float64 `json:"bare_per_s"`
	GatewayMicros float64 `json:"gateway_cpu_us_per_event"`
	BareMicros    float64 `json:"bare_cpu_us_per_event"`
	PackMean      float64 `json:"gateway_pack_mean"` // events per message; the bare handler's messages have one
}

// gateway is `bench --gateway`: it compares the gateway with a bare handler that
// publishes each event as a separate message. Both get the same requests from
// the same clients, and have streams of the same kind on the same NATS. Then it compares
// what the gateway takes of other forms of the same events.
func (b *Run) gateway(ctx context.Context) (*gatewayReport, error) {
	var servers [2]server
	for i, role := range []string{"gateway", "bare"} {
		addr, meter, stop, err := b.startTaker(ctx, role, role)
		if err != nil {
			return nil, err
		}
		defer stop()
		servers[i] = server{role, addr, meter}
	}
	events := gatewayLoad(b.Users)
	own := formOf("own", writeKey, events)
	r := &gatewayReport{}
	var err error
	if r.Ratio, r.Single, err = b.compare(ctx, servers, own.singles, 1); err != nil {
		return nil, err
	}
	if r.RatioBatch, r.Batch, err = b.compare(ctx, servers, own.batches, gatewayBatch); err != nil {
		return nil, err
	}
	for _, more := range []struct {
		of func([]string) ([]form, error)
		to *map[string]formReport
	}{{tokenForms, &r.Tokens}, {dialectForms, &r.Dialects}} {
		forms, err := more.of(events)
		if err != nil {
			return nil, err
		}
		if *more.to, err = b.compareForms(ctx, servers[0], forms); err != nil {
			return nil, err
		}
	}
	b.say("%.0f events per second, open loop", gatewayRate)
	for i, s := range servers {
		took, err := b.pace(ctx, s, own.singles)
		if err != nil {
			return nil, err
		}
		at := func(q float64) float64 { return millis(quantile(took, q)) }
		if i == 0 {
			r.P50, r.P99, r.P999 = at(.5), at(.99), at(.999)
		} else {
			r.BareP99 = at(.99)
		}
	}
	return r, nil
}

// gatewayLoad returns the events, in the gateway's own form.
func gatewayLoad(users int) []string {
	gen, events := newGenerator(1, users), make([]string, gatewayEvents)
	for i := range events {
		events[i] = string(gen.next(nil))
	}
	return events
}

// A server is a process that receives events.
type server struct {
	prefix string // of its streams
	addr   string
	meter  string // the address that reports its resource usage
}

// A way is one way to send events.
type way struct {
	server
	name     string // for messages
	requests [][]byte
	events   float64 // in each request
	says     string  // what each answer must say; "": anything
}

// compare sends the same requests to both servers in turns, in a closed loop.
func (b *Run) compare(ctx context.Context, servers [2]server, requests [][]byte, events float64) (ratio float64, r loadReport, err error) {
	var ways []way
	for _, s := range servers {
		ways = append(ways, way{s, fmt.Sprintf("%s, requests of %.0f events", s.prefix, events), requests, events, ""})
	}
	if events > 1 {
		ways[0].says = noneRefused
	}
	loads, err := b.alternate(ctx, ways, b.Rounds*b.turns.round, b.turns.turn)
	if err != nil {
		return 0, r, err
	}
	g, bare := loads[0], loads[1]
	return g.rateTo(bare), loadReport{g.rate(), bare.rate(), g.micros(), bare.micros(), g.pack()}, nil
}

// noneRefused is what the gateway says of a batch of which it has accepted every event.
const noneRefused = `,"refused":0}`

// alternate sends events in all the ways in turns, in a closed loop. Of each it returns the
// loads of the turns.
func (b *Run) alternate(ctx context.Context, ways []way, turns int, length time.Duration) ([]turnLoads, error) {
	loads := make([]turnLoads, len(ways))
	for turn := range turns + 1 {
		for i := range ways {
			k := (i + turn) % len(ways) // which one goes first alternates
			b.say("%s: turn %d of %d", ways[k].name, turn, turns)
			l, err := b.load(ctx, ways[k], length)
			if err != nil {
				return nil, err
			}
			if turn > 0 { // the first turn only warms up
				loads[k] = append(loads[k], l)
			}
		}
	}
	return loads, nil
}

// A turnLoad is the result of one turn of one server.
type turnLoad struct {
	rate   float64 // events per second
	micros float64 // microseconds of CPU per event
	pack   float64 // events per message
}

// turnLoads are the turns of one way. Its figures are their medians.
type turnLoads []turnLoad

func (t turnLoads) median(of func(turnLoad) float64) float64 {
	var v []float64
	for _, l := range t {
		v = append(v, of(l))
	}
	return median(v)
}

func (t turnLoads) rate() float64   { return t.median(func(l turnLoad) float64 { return l.rate }) }
func (t turnLoads) micros() float64 { return t.median(func(l turnLoad) float64 { return l.micros }) }
func (t turnLoads) pack() float64   { return t.median(func(l turnLoad) float64 { return l.pack }) }

// rateTo is the median of the ratios to the rates of the same turns of another way.
func (t turnLoads) rateTo(other turnLoads) float64 {
	var v []float64
	for i := range t {
		v = append(v, t[i].rate/other[i].rate)
	}
	return median(v)
}

func (b *Run) load(ctx context.Context, w way, length time.Duration) (l turnLoad, err error) {
	c, err := dial(w.addr, gatewayConns, w.requests)
	if err != nil {
		return l, err
	}
	defer c.close()
	c.says = w.says
	before, err := w.used(ctx)
	if err != nil {
		return l, err
	}
	rate, err := c.closed(ctx, length)
	if err != nil {
		return l, fmt.Errorf("bench: %s: %w", w.name, err)
	}
	after, err := w.used(ctx)
	if err != nil {
		return l, err
	}
	messages, err := b.forgetEvents(ctx, w.prefix)
	sent := float64(c.next.Load()) * w.events
	return turnLoad{rate * w.events, (after.CPU - before.CPU) * 1e6 / sent, sent / float64(messages)}, err
}

// pace runs the open loop. It returns sorted latencies.
func (b *Run) pace(ctx context.Context, s server, requests [][]byte) ([]time.Duration, error) {
	c, err := dial(s.addr, gatewayConns, requests)
	if err != nil {
		return nil, err
	}
	defer c.close()
	if _, err := c.open(ctx, gatewayRate, b.turns.open/10); err != nil { // warms up
		return nil, fmt.Errorf("bench: %s: %w", s.prefix, err)
	}
	took, err := c.open(ctx, gatewayRate, b.turns.open)
	if err != nil {
		return nil, fmt.Errorf("bench: %s: %w", s.prefix, err)
	}
	_, err = b.forgetEvents(ctx, s.prefix)
	return took, err
}

// used returns the resource usage of the server's process so far.
func (s server) used(ctx context.Context) (r result, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.meter, nil)
	if err != nil {
		return r, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return r, err
	}
	defer resp.Body.Close()
	return r, json.NewDecoder(resp.Body).Decode(&r)
}

// forgetEvents empties the logs, so that the disk does not affect the next turn,
// and returns the number of messages that were in them.
func (b *Run) forgetEvents(ctx context.Context, prefix string) (messages uint64, err error) {
	c, err := b.connect(ctx, prefix)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	for p := range c.Partitions {
		st, err := c.JS.Stream(ctx, c.Names.EventsStream(p))
		if err == nil {
			messages += st.CachedInfo().State.Msgs
			err = st.Purge(ctx)
		}
		if err != nil {
			return 0, fmt.Errorf("bench: the events cannot be removed: %w", err)
		}
	}
	return messages, nil
}

func (r *gatewayReport) Print(w io.Writer) {
	fmt.Fprintf(w, "%-24s  %12s  %12s  %8s  %s\n", "events/s", "gateway", "bare handler", "gateway/", "us of CPU per event")
	fmt.Fprintf(w, "%-24s  %12s  %12s  %8s  %s\n", "", "", "", "bare", "gateway    bare")
	for _, l := range []struct {
		name  string
		ratio float64
		loadReport
	}{{"one per request", r.Ratio, r.Single}, {fmt.Sprintf("batches of %d", gatewayBatch), r.RatioBatch, r.Batch}} {
		fmt.Fprintf(w, "%-24s  %12.0f  %12.0f  %8.2f  %7.1f %7.1f\n", l.name, l.Gateway, l.Bare, l.ratio, l.GatewayMicros, l.BareMicros)
	}
	fmt.Fprintf(w, "\nat %.0f requests/s, open loop: p50 %.2f ms, p99 %.2f ms, p99.9 %.2f ms; bare: p99 %.2f ms\n", gatewayRate, r.P50, r.P99, r.P999, r.BareP99)
	fmt.Fprintf(w, "the gateway's packs: %.1f events with one per request, %.1f with batches\n", r.Single.PackMean, r.Batch.PackMean)
	r.printForms(w)
	fmt.Fprintf(w, "\nThe bare handler checks nothing and publishes each event as a separate message. Above 1, the gateway, which checks and packs events, is faster.\n")
}
