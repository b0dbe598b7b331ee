package bench

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
)

// A liveSearch says how the highest sustained rate is searched and the latencies
// are measured.
type liveSearch struct {
	from  float64       // requests per second to begin with
	tries int           // at most
	hold  time.Duration // how long a rate must be sustained

	// At half of the sustained rate, the quantiles are taken for each period,
	// and the medians of these are reported. Otherwise a single stall of the
	// machine would decide the result.
	periods int
	period  time.Duration
}

var defaultSearch = liveSearch{from: 4000, tries: 9, hold: 5 * time.Second, periods: 5, period: 3 * time.Second}

const (
	liveLimit = 50 * time.Millisecond // the highest p99 at which a rate counts as sustained
	liveShare = 10                    // one request in 10 certainly causes an offer
	liveClose = 1.15                  // the search ends when the bounds differ by less than this factor
	liveGrace = time.Minute           // how long to wait for outstanding offers after a step
)

// A liveReport is the result of the measurement from HTTP request to offer.
type liveReport struct {
	Rate    float64 `json:"rate_per_s"` // requests with one event each; 0 if no rate was sustained
	Half    float64 `json:"half_per_s"` // the rate at which the latencies were measured
	P50     float64 `json:"p50_ms"`     // from when the request was scheduled until a subscriber received the offer; medians of the periods
	P99     float64 `json:"p99_ms"`
	P999    float64 `json:"p999_ms"`
	Periods int     `json:"periods"`
	Period  float64 `json:"period_s"`
	N       int     `json:"offers"` // in all periods
}

// live finds by bisection the highest rate of requests at which the offers' p99
// stays below the limit, and measures the latencies at half of it. Gateway,
// worker and NATS are separate processes; load and subscriber are in this one.
func (b *Run) live(ctx context.Context, def *campaign.Definition) (*liveReport, error) {
	held, half, offers, err := b.atHalf(ctx, "http", def, orderCompleted)
	if err != nil {
		return nil, err
	}
	r := &liveReport{Rate: held, Half: half, Periods: b.search.periods, Period: b.search.period.Seconds(), N: len(offers)}
	if r.N == 0 {
		return nil, fmt.Errorf("bench: at %.0f requests per second no request was to cause an offer", r.Half)
	}
	r.P50, r.P99, r.P999 = byPeriod(offers, b.search.period)
	return r, nil
}

// atHalf finds the highest rate that is sustained, 0 if none was, and returns the
// offers at half of it. Of the events in turn, each certainly causes an offer.
func (b *Run) atHalf(ctx context.Context, prefix string, def *campaign.Definition, events ...string) (held, half float64, offers []liveOffer, err error) {
	if err := b.prepare(ctx, prefix, def); err != nil {
		return 0, 0, nil, err
	}
	p := part{Role: "worker", URL: b.url, Prefix: prefix, Dir: filepath.Join(b.dir, prefix+"-worker")}
	_, stop, err := p.start(ctx)
	if err != nil {
		return 0, 0, nil, err
	}
	defer stop()
	addr, _, stop, err := b.startTaker(ctx, "gateway", prefix)
	if err != nil {
		return 0, 0, nil, err
	}
	defer stop()
	conn, err := b.connect(ctx, prefix)
	if err != nil {
		return 0, 0, nil, err
	}
	defer conn.Close()
	l := &liveLoad{addr: addr, idle: make(chan net.Conn, liveConns), gen: newGenerator(3, b.Users), rng: rand.New(rand.NewPCG(3, 6)), events: events}
	defer l.close()
	unsubscribe, err := l.subscribe(ctx, conn)
	if err != nil {
		return 0, 0, nil, err
	}
	defer unsubscribe()

	b.say("live: warming up")
	if _, err := l.step(ctx, b.search.from/4, b.search.hold/2, false); err != nil {
		return 0, 0, nil, err
	}
	held, next, err := b.sustained(ctx, l)
	if err != nil {
		return 0, 0, nil, err
	}
	if half = held / 2; held == 0 {
		half = next / 2
	}
	whole := time.Duration(b.search.periods) * b.search.period
	b.say("live: %.0f requests per second for %s", half, whole)
	offers, err = l.step(ctx, half, whole, false)
	return held, half, offers, err
}

// sustained returns the highest rate that held, or 0 if none did, and the rate
// that would be tried next.
func (b *Run) sustained(ctx context.Context, l *liveLoad) (held, rate float64, err error) {
	failed, rate := 0.0, b.search.from
	for i, missed := 0, false; i < b.search.tries && (failed == 0 || held == 0 || failed/held >= liveClose); i++ {
		b.say("live: %.0f requests per second, try %d of at most %d", rate, i+1, b.search.tries)
		offers, err := l.step(ctx, rate, b.search.hold, true)
		if err != nil {
			return 0, 0, err
		}
		if offers == nil || quantile(took(offers), .99) > liveLimit {
			if missed = !missed; missed {
				continue // try once more: the machine may have been busy with something else
			}
			failed = rate
		} else {
			held, missed = rate, false
		}
		switch {
		case failed == 0:
			rate *= 2
		case held == 0:
			rate /= 2
		default:
			rate = math.Sqrt(held * failed)
		}
	}
	return held, rate, nil
}

// byPeriod takes the quantiles of the offers that were scheduled within each
// period, and returns the medians of these, in milliseconds.
func byPeriod(offers []liveOffer, period time.Duration) (p50, p99, p999 float64) {
	var p50s, p99s, p999s []float64
	for len(offers) > 0 {
		end, n := offers[0].due.Add(period), 0
		for n < len(offers) && offers[n].due.Before(end) {
			n++
		}
		lat := took(offers[:n])
		p50s, p99s, p999s = append(p50s, millis(quantile(lat, .5))), append(p99s, millis(quantile(lat, .99))), append(p999s, millis(quantile(lat, .999)))
		offers = offers[n:]
	}
	return median(p50s), median(p99s), median(p999s)
}

func took(offers []liveOffer) (lat []time.Duration) {
	for _, o := range offers {
		lat = append(lat, o.took)
	}
	return lat
}

func millis(d time.Duration) float64 { return float64(d) / 1e6 }

// quantile returns a quantile of v, which it sorts.
func quantile(v []time.Duration, q float64) time.Duration {
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	return v[min(int(q*float64(len(v))), len(v)-1)]
}

// A liveLoad sends requests on schedule, whether or not earlier requests were
// answered, and records when each expected offer arrived.
type liveLoad struct {
	addr string
	idle chan net.Conn
	all  []net.Conn
	gen  *generator
	rng  *rand.Rand

	events []string // each certainly causes an offer; they take turns
	buf    []byte
	body   []byte

	mu     sync.Mutex
	offers []liveOffer // by the number in the event's messageId
	open   int         // requests without an answer
	refuse string      // an answer other than 200
	failed error       // an error of a connection
}

type liveOffer struct {
	due  time.Time     // when its request was scheduled
	kind int           // of liveLoad.events
	took time.Duration // until the offer was received; 0 if it was not yet
}

const liveConns = 1024

// subscribe reads the offers like a subscriber that starts now.
func (l *liveLoad) subscribe(ctx context.Context, c *broker.Conn) (stop func(), err error) {
	con, err := c.JS.CreateConsumer(ctx, c.Names.OffersStream(), jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy,
		DeliverPolicy: jetstream.DeliverNewPolicy, MemoryStorage: true})
	if err != nil {
		return nil, err
	}
	ownEvent := []byte(`"event":"` + liveID)
	cc, err := con.Consume(func(m jetstream.Msg) {
		_, rest, ours := bytes.Cut(m.Data(), ownEvent)
		if !ours {
			return
		}
		id, _, _ := bytes.Cut(rest, []byte{'"'})
		n, err := strconv.Atoi(string(id))
		now := time.Now()
		l.mu.Lock()
		defer l.mu.Unlock()
		if err == nil && n < len(l.offers) && l.offers[n].took == 0 {
			l.offers[n].took = max(now.Sub(l.offers[n].due), 1)
		}
	})
	if err != nil {
		return nil, err
	}
	return cc.Stop, nil
}

const liveID = "live-"

// step sends requests at a rate for a while, at random moments, and returns the
// offers. It waits until none is outstanding. If limited is set, it gives up and
// returns nil once the p99 is certain to exceed the limit.
func (l *liveLoad) step(ctx context.Context, rate float64, d time.Duration, limited bool) ([]liveOffer, error) {
	from := len(l.offers)
	late := int(rate*d.Seconds()/liveShare) / 100
	start, looked := time.Now(), time.Now()
	gaveUp := false
	for due := start; due.Before(start.Add(d)); due = due.Add(time.Duration(l.rng.ExpFloat64() / rate * 1e9)) {
		if wait := time.Until(due); wait > 0 {
			time.Sleep(wait)
		}
		if err := l.send(due); err != nil {
			return nil, err
		}
		if limited && time.Since(looked) > 20*time.Millisecond {
			looked = time.Now()
			if gaveUp = l.over(from) > late; gaveUp {
				break
			}
		}
	}
	for end := time.Now(); !l.done(from); {
		if time.Since(end) > liveGrace {
			return nil, fmt.Errorf("bench: of %d offers, %d have not arrived within %s", len(l.offers)-from, l.missing(from), liveGrace)
		}
		if err := pauseFor(ctx, time.Millisecond); err != nil {
			return nil, err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	refuse := l.refuse
	l.refuse = ""
	switch {
	case l.failed != nil:
		return nil, l.failed
	case refuse != "" && !limited:
		return nil, fmt.Errorf("bench: the gateway answers %q", refuse)
	case refuse != "" || gaveUp:
		return nil, nil
	}
	return slices.Clone(l.offers[from:]), nil
}

// over returns the number of offers that took longer than the limit, or are
// outstanding for longer than that.
func (l *liveLoad) over(from int) (n int) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.offers[from:] {
		if o.took > liveLimit || o.took == 0 && now.Sub(o.due) > liveLimit {
			n++
		}
	}
	return n
}

func (l *liveLoad) missing(from int) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.offers[from:] {
		if o.took == 0 {
			n++
		}
	}
	return n
}

func (l *liveLoad) done(from int) bool {
	missing := l.missing(from)
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed != nil || l.open == 0 && (missing == 0 || l.refuse != "")
}

// send makes the next event and sends it over a connection that is not waiting
// for an answer.
func (l *liveLoad) send(due time.Time) error {
	if l.rng.IntN(liveShare) == 0 {
		l.mu.Lock()
		kind := len(l.offers) % len(l.events)
		l.body = l.gen.certain(l.body[:0], l.events[kind], liveID+strconv.Itoa(len(l.offers)))
		l.offers = append(l.offers, liveOffer{due: due, kind: kind})
		l.mu.Unlock()
	} else {
		l.body = l.gen.next(l.body[:0])
	}
	l.buf = append(l.buf[:0], liveHead...)
	l.buf = strconv.AppendInt(l.buf, int64(len(l.body)), 10)
	l.buf = append(append(l.buf, "\r\n\r\n"...), l.body...)
	c, err := l.connection()
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.open++
	l.mu.Unlock()
	if _, err := c.Write(l.buf); err != nil {
		return fmt.Errorf("bench: the gateway: %w", err)
	}
	return nil
}

var liveHead = "POST /v1/track HTTP/1.1\r\nHost: bench\r\nAuthorization: Basic " +
	base64.StdEncoding.EncodeToString([]byte(writeKey+":")) + "\r\nContent-Length: "

func (l *liveLoad) connection() (net.Conn, error) {
	select {
	case c := <-l.idle:
		return c, nil
	default:
	}
	if len(l.all) == liveConns {
		return <-l.idle, nil // the request leaves late; the delay is part of its latency
	}
	c, err := net.Dial("tcp", l.addr)
	if err != nil {
		return nil, err
	}
	l.all = append(l.all, c)
	go l.read(c)
	return c, nil
}

func (l *liveLoad) close() {
	for _, c := range l.all {
		c.Close()
	}
}

// read reads a connection's answers. The gateway's answers are so short that one
// read returns a whole answer.
func (l *liveLoad) read(c net.Conn) {
	buf := make([]byte, 4<<10)
	for {
		n, err := c.Read(buf)
		l.mu.Lock()
		l.open--
		if err != nil {
			l.failed = fmt.Errorf("bench: the gateway's answer: %w", err)
		} else if !bytes.HasPrefix(buf[:n], []byte("HTTP/1.1 200")) {
			l.refuse = string(buf[:n])
		}
		l.mu.Unlock()
		if err != nil {
			return
		}
		l.idle <- c
	}
}

func (r *liveReport) Print(w io.Writer) {
	fmt.Fprintf(w, "\nHTTP request to offer      %9.0f requests/s at most with a p99 under %s\n", r.Rate, liveLimit)
	fmt.Fprintf(w, "at half of it, %-10.0f  p50 %.2f ms, p99 %.2f ms, p99.9 %.2f ms: medians of %d periods of %g s; %d offers\n", r.Half, r.P50, r.P99, r.P999, r.Periods, r.Period, r.N)
}
