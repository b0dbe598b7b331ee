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

// A liveSearch is how the live part looks for the rate that is sustained.
type liveSearch struct {
	from  float64       // requests a second to begin with
	tries int           // at most
	hold  time.Duration // for which a rate must hold

	windows int           // at half of what held; of each the quantiles, of these the medians:
	window  time.Duration // else one stall of the machine would decide
}

var defaultSearch = liveSearch{from: 4000, tries: 9, hold: 5 * time.Second, windows: 5, window: 3 * time.Second}

const (
	liveLimit = 50 * time.Millisecond // of the p99, for a rate to hold
	liveShare = 10                    // one request in so many fires an offer for certain
	liveClose = 1.15                  // rates that are as close as that are not told apart
	liveGrace = time.Minute           // for what is still on its way after a step
)

// A liveReport is what HTTP in, offer out found.
type liveReport struct {
	Rate    float64 `json:"rate_per_s"` // requests of one event; 0: none of those tried held
	Half    float64 `json:"half_per_s"` // the rate at which the rest was measured
	P50     float64 `json:"p50_ms"`     // from when the request was due to leave to the subscriber's receipt; medians of the windows
	P99     float64 `json:"p99_ms"`
	P999    float64 `json:"p999_ms"`
	Windows int     `json:"windows"`
	Window  float64 `json:"window_s"`
	N       int     `json:"offers"` // of all windows
}

// live finds by bisection the highest rate of requests at which the offers'
// p99 holds, and measures at half of it. Gateway, worker and NATS are
// processes of their own; load and subscriber are this one.
func (b *Run) live(ctx context.Context, def *campaign.Definition) (*liveReport, error) {
	const prefix = "http"
	if err := b.prepare(ctx, prefix, def); err != nil {
		return nil, err
	}
	p := part{Role: "worker", URL: b.url, Prefix: prefix, Dir: filepath.Join(b.dir, "live-worker")}
	_, stop, err := p.start(ctx)
	if err != nil {
		return nil, err
	}
	defer stop()
	addr, _, stop, err := b.startTaker(ctx, "gateway", prefix)
	if err != nil {
		return nil, err
	}
	defer stop()
	conn, err := b.connect(ctx, prefix)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	l := &liveLoad{addr: addr, idle: make(chan net.Conn, liveConns), gen: newGenerator(3, b.Users), rng: rand.New(rand.NewPCG(3, 6))}
	defer l.close()
	unsubscribe, err := l.subscribe(ctx, conn)
	if err != nil {
		return nil, err
	}
	defer unsubscribe()

	b.say("live: warming up")
	if _, err := l.step(ctx, b.search.from/4, b.search.hold/2, false); err != nil {
		return nil, err
	}
	held, failed, rate := 0.0, 0.0, b.search.from
	for i, missed := 0, false; i < b.search.tries && (failed == 0 || held == 0 || failed/held >= liveClose); i++ {
		b.say("live: %.0f requests a second, try %d of at most %d", rate, i+1, b.search.tries)
		offers, err := l.step(ctx, rate, b.search.hold, true)
		if err != nil {
			return nil, err
		}
		if offers == nil || quantile(took(offers), .99) > liveLimit {
			if missed = !missed; missed {
				continue // once more: the machine may have been busy with something else
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
	r := &liveReport{Rate: held, Half: held / 2, Windows: b.search.windows, Window: b.search.window.Seconds()}
	if held == 0 {
		r.Half = rate / 2
	}
	whole := time.Duration(b.search.windows) * b.search.window
	b.say("live: %.0f requests a second for %s", r.Half, whole)
	offers, err := l.step(ctx, r.Half, whole, false)
	if err != nil {
		return nil, err
	}
	if r.N = len(offers); r.N == 0 {
		return nil, fmt.Errorf("bench: at %.0f requests a second none asked for an offer", r.Half)
	}
	r.P50, r.P99, r.P999 = byWindow(offers, b.search.window)
	return r, nil
}

// byWindow takes the quantiles of the offers that were due within each
// window, and of these the medians, in milliseconds.
func byWindow(offers []liveOffer, window time.Duration) (p50, p99, p999 float64) {
	var p50s, p99s, p999s []float64
	for len(offers) > 0 {
		end, n := offers[0].due.Add(window), 0
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

// quantile sorts what it is given.
func quantile(v []time.Duration, q float64) time.Duration {
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	return v[min(int(q*float64(len(v))), len(v)-1)]
}

// A liveLoad sends requests on schedule, whatever the answers do, and knows
// of each offer that it asked for when it came.
type liveLoad struct {
	addr string
	idle chan net.Conn
	all  []net.Conn
	gen  *generator
	rng  *rand.Rand
	buf  []byte
	body []byte

	mu     sync.Mutex
	offers []liveOffer // by the number in the event's messageId
	open   int         // requests without an answer
	refuse string      // an answer that is no 200
	failed error       // of a connection
}

type liveOffer struct {
	due  time.Time     // when its request was to leave
	took time.Duration // until it was received; 0: it was not yet
}

const liveConns = 1024

// subscribe reads the offers as a subscriber does that starts now.
func (l *liveLoad) subscribe(ctx context.Context, c *broker.Conn) (stop func(), err error) {
	con, err := c.JS.CreateConsumer(ctx, c.Names.OffersStream(), jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy,
		DeliverPolicy: jetstream.DeliverNewPolicy, MemoryStorage: true})
	if err != nil {
		return nil, err
	}
	mark := []byte(`"event":"` + liveID)
	cc, err := con.Consume(func(m jetstream.Msg) {
		_, rest, ours := bytes.Cut(m.Data(), mark)
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

// step sends at a rate for a while, at random moments, and returns the
// offers. With limited it gives up once the p99 cannot hold any more,
// and returns nil. It waits until nothing is on its way.
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
			return nil, fmt.Errorf("bench: of %d offers %d have not come within %s", len(l.offers)-from, l.missing(from), liveGrace)
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

// over is how many offers took longer than the limit, or have.
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

// send makes the next event and sends it, over a connection that waits for no
// answer.
func (l *liveLoad) send(due time.Time) error {
	if l.rng.IntN(liveShare) == 0 {
		l.mu.Lock()
		l.body = l.gen.order(l.body[:0], liveID+strconv.Itoa(len(l.offers)))
		l.offers = append(l.offers, liveOffer{due: due})
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
		return <-l.idle, nil // the request leaves late, which counts
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

// read takes a connection's answers. The gateway's are short: one read has
// all of it.
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
	fmt.Fprintf(w, "\nHTTP in, offer out         %9.0f requests/s at most with a p99 under %s\n", r.Rate, liveLimit)
	fmt.Fprintf(w, "at half of it, %-10.0f  p50 %.2f ms, p99 %.2f ms, p99.9 %.2f ms: medians of %d windows of %g s; %d offers\n", r.Half, r.P50, r.P99, r.P999, r.Windows, r.Window, r.N)
}
