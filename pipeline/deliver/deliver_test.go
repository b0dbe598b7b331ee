package deliver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/broker/embedded"
	"offerstream/pipeline/event"
)

// within is how long a test waits for a condition. It is so long that only something
// that hangs exceeds it, not a slow machine.
const within = 2 * time.Minute

const (
	partitions = 2
	key        = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwAAAA"
	oldKey     = "whsec_BBBB9r8GKYqrTwjUPD8ILPZIo2LaLaSwAAAA"
)

func limited(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), within)
	t.Cleanup(cancel)
	return ctx
}

// await polls until ok returns true, for conditions that nothing signals.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	ctx := limited(t)
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("awaited in vain: %s", what)
		}
	}
}

// said collects a log.
type said struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// A deployment is NATS with streams, and owners of its partitions who say what a test
// lets them say.
type deployment struct {
	t   testing.TB
	ns  *embedded.Server
	url string

	prefix string
	conn   *broker.Conn
	n      []uint64 // offers by partition

	mu     sync.Mutex
	answer func(key string, q *pipeline.DeliveryQuery) *pipeline.Delivery // nil: any may go out
	asked  int
}

func deploy(t testing.TB) *deployment {
	t.Helper()
	return deployIn(t, t.TempDir(), "")
}

func deployIn(t testing.TB, dir, prefix string) *deployment {
	t.Helper()
	ns, err := embedded.Start(embedded.Options{Dir: dir, Port: -1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.Shutdown)
	d := &deployment{t: t, ns: ns, url: ns.ClientURL(), prefix: prefix, n: make([]uint64, partitions)}
	d.conn = d.connect(broker.Options{Partitions: partitions, Reconnect: true})
	for p := range partitions {
		stop, err := d.conn.Wire.Listen(d.conn.Names.QuerySubject(p), d.owner)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
	}
	if err := d.conn.NC.Flush(); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *deployment) connect(o broker.Options) *broker.Conn {
	d.t.Helper()
	o.Prefix, o.URL, o.Client, o.Log = d.prefix, d.url, "offerstream-deliver", slog.New(slog.DiscardHandler)
	c, err := broker.Connect(limited(d.t), o)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(c.Close)
	return c
}

// owner answers as a partition's owner.
func (d *deployment) owner(asked broker.Question) {
	var q broker.Query
	if err := json.Unmarshal(asked.Data, &q); err != nil || q.Deliver == nil {
		d.t.Errorf("asked %s: %v", asked.Data, err)
		return
	}
	d.mu.Lock()
	d.asked++
	a := broker.Answer{Delivery: &pipeline.Delivery{}}
	if d.answer != nil {
		a.Delivery = d.answer(q.Key, q.Deliver)
	}
	d.mu.Unlock()
	if a.Delivery == nil {
		return
	}
	b, err := json.Marshal(a)
	if err == nil {
		err = asked.Answer(b)
	}
	if err != nil {
		d.t.Error(err)
	}
}

func (d *deployment) say(answer func(key string, q *pipeline.DeliveryQuery) *pipeline.Delivery) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answer = answer
}

func (d *deployment) questions() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked
}

// offer stores an offer, as a worker does.
func (d *deployment) offer(o *pipeline.Offer) {
	d.t.Helper()
	p := event.Partition(o.Entity(), partitions)
	m, err := broker.TestMessage(d.conn.Names, o)
	if err != nil {
		d.t.Fatal(err)
	}
	d.n[p]++
	m.Subject = d.conn.Names.OfferSubject(o.Channel, p)
	m.Header.Del("ce-test")
	for name, is := range map[string]uint64{"Offerstream-N": d.n[p], "Offerstream-S": d.n[p], "Offerstream-K": 0, "Offerstream-T": 1} {
		m.Header[name] = []string{strconv.FormatUint(is, 10)}
	}
	if _, err := d.conn.JS.PublishMsg(limited(d.t), m); err != nil {
		d.t.Fatal(err)
	}
}

// offers stores offers 1 to n of each of some users, in turn.
func (d *deployment) offers(n int, users ...string) {
	d.t.Helper()
	for i := range n {
		for _, u := range users {
			d.offer(offerOf(fmt.Sprintf("%s-%d", u, i+1), u))
		}
	}
}

// offerOf is an offer on channel push.
func offerOf(id, user string) *pipeline.Offer {
	return &pipeline.Offer{ID: id, Campaign: "cart", Channel: "push", Kind: "advertising", User: user, Event: "m-" + id, Time: "2026-01-01T10:00:00Z", Data: json.RawMessage(`{"title":"Bags","text":"10% off bags"}`)}
}

// unacknowledged is how many offers the consumer waits for, or has not given out.
func (d *deployment) left(name string) int {
	d.t.Helper()
	con, err := d.conn.JS.Consumer(limited(d.t), d.conn.Names.OffersStream(), name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return -1
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return con.CachedInfo().NumAckPending + int(con.CachedInfo().NumPending)
}

// dead are the dead letters of offers, as reason and detail.
func (d *deployment) dead() (all []string) {
	d.t.Helper()
	err := d.conn.ScanDeadLetters(limited(d.t), broker.FromDeliver, time.Time{}, 0, func(l *broker.DeadLetter) error {
		all = append(all, l.Reason+" "+l.Detail)
		return nil
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return all
}

// A running is a Deliverer that runs.
type running struct {
	*Deliverer
	t    testing.TB
	reg  *prometheus.Registry
	log  *said
	end  context.CancelFunc
	done chan error
}

func (d *deployment) start(o Options) *running {
	d.t.Helper()
	r := &running{t: d.t, reg: prometheus.NewRegistry(), log: new(said), done: make(chan error, 1)}
	o.Conn, o.Metrics, o.Log = d.connect(broker.Options{Join: true, Reconnect: true}), r.reg, slog.New(slog.NewTextHandler(r.log, nil))
	if o.Channel == "" {
		o.Channel = "push"
	}
	if o.firstWait == 0 {
		o.firstWait, o.lastWait = time.Millisecond, 4*time.Millisecond
	}
	o.Receiver.AllowPrivate = true
	if o.Receiver.Preset == "" {
		o.Receiver.Preset, o.Receiver.Secret = "webhook", SecretText(key)
	}
	var err error
	if r.Deliverer, err = New(o); err != nil {
		d.t.Fatal(err)
	}
	ctx, end := context.WithCancel(d.t.Context())
	r.end = end
	go func() { r.done <- r.Run(ctx) }()
	d.t.Cleanup(func() {
		r.stop()
		if d.t.Failed() {
			text := r.log.String()
			d.t.Logf("the log ends:\n%s", text[max(0, len(text)-3000):])
		}
	})
	return r
}

// stop ends it, and returns what Run has returned.
func (r *running) stop() error {
	r.end()
	select {
	case err := <-r.done:
		r.done <- err
		return err
	case <-time.After(within):
		r.t.Errorf("it does not end\n%s", r.log)
		return nil
	}
}

// metric is the sum of a metric's values with a label's value; "": of all.
func (r *running) metric(name, label string) (sum float64) {
	r.t.Helper()
	all, err := r.reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() != "offerstream_deliver_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			match := label == ""
			for _, l := range m.GetLabel() {
				match = match || l.GetValue() == label
			}
			if match {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

// got is a request that a receiver got.
type got struct {
	at     time.Time
	id     string
	header http.Header
	body   []byte
}

// A receiver is an HTTP server that keeps what it gets.
type receiver struct {
	*httptest.Server
	mu  sync.Mutex
	all []got
}

// receive starts a receiver. answer answers a request, of which it is told how many
// there were with that id, from 1; nil: 200.
func receive(t testing.TB, answer func(w http.ResponseWriter, g got, n int)) *receiver {
	r := new(receiver)
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		b, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		g := got{time.Now(), req.Header.Get("webhook-id"), req.Header.Clone(), b}
		r.mu.Lock()
		r.all = append(r.all, g)
		n := 0
		for _, a := range r.all {
			if a.id == g.id {
				n++
			}
		}
		r.mu.Unlock()
		if answer != nil {
			answer(w, g, n)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) got() []got {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]got(nil), r.all...)
}

// ids are the ids of the requests of a user's offers, in order.
func (r *receiver) ids(user string) (ids []string) {
	for _, g := range r.got() {
		if strings.HasPrefix(g.id, user+"-") {
			ids = append(ids, g.id)
		}
	}
	return ids
}

// TestWebhook: an offer goes out once, signed with all keys so that the library of
// Standard Webhooks takes it, and is acknowledged.
func TestWebhook(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	to := receive(t, nil)
	o := offerOf("0a1b", "ada")
	o.Data = json.RawMessage(`{"title":"<b>&\u00fc</b>"}`)
	d.offer(o)
	w := offerOf("0a1c", "ada")
	w.Channel = "sms"
	d.offer(w)
	r := d.start(Options{Receiver: Receiver{Preset: "webhook", URL: to.URL, Secret: SecretText(key + "\n" + oldKey)}})
	await(t, "it is delivered", func() bool { return r.metric("sent_total", "") == 1 && d.left("deliver-push-webhook") == 0 })
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	all := to.got()
	if len(all) != 1 || all[0].id != "0a1b" || all[0].header.Get("Content-Type") != "application/json" {
		t.Fatalf("got %v", all)
	}
	var body struct {
		Type, Timestamp string
		Data            pipeline.Offer
	}
	if err := json.Unmarshal(all[0].body, &body); err != nil || body.Type != "offerstream.offer" || body.Timestamp != o.Time || body.Data.ID != o.ID || !strings.Contains(string(body.Data.Data), `\u003cb\u003e\u0026\u00fc`) {
		t.Errorf("%s: %v", all[0].body, err)
	}
	for _, k := range []string{key, oldKey} {
		verifier, err := standardwebhooks.NewWebhook(k)
		if err != nil {
			t.Fatal(err)
		}
		if err := verifier.Verify(all[0].body, all[0].header); err != nil {
			t.Errorf("with %s: %v", k, err)
		}
		if err := verifier.Verify(append(all[0].body, ' '), all[0].header); err == nil {
			t.Error("another body is taken too")
		}
	}
	if r.metric("attempt_seconds", "") != 1 || r.metric("delivery_seconds", "") != 1 || r.metric("waiting", "") != 0 || r.metric("failed_total", "") != 0 {
		t.Error("metrics are wrong")
	}
}

// TestRetry: what fails is tried again, signed anew, until it succeeds; the offers of a
// user stay in order, and those of others do not wait.
func TestRetry(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	release := make(chan struct{})
	to := receive(t, func(w http.ResponseWriter, g got, n int) {
		switch {
		case strings.HasPrefix(g.id, "ada-1") && n <= 3:
			w.WriteHeader(http.StatusInternalServerError)
		case strings.HasPrefix(g.id, "ada-2") && n == 1:
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(http.StatusFound)
		case strings.HasPrefix(g.id, "bob"):
			close(release)
		case g.id == "cid-1":
			select {
			case <-release:
			case <-time.After(within):
			}
		}
	})
	d.offers(3, "ada")
	d.offers(1, "cid", "bob")
	r := d.start(Options{Receiver: Receiver{Preset: "webhook", URL: to.URL, Secret: SecretText(key)}})
	await(t, "all are delivered", func() bool { return r.metric("sent_total", "") == 5 })
	if got := strings.Join(to.ids("ada"), " "); got != "ada-1 ada-1 ada-1 ada-1 ada-2 ada-2 ada-3" {
		t.Error(got)
	}
	if r.metric("retries_total", "http_5xx") != 3 || r.metric("retries_total", "http_3xx") != 1 {
		t.Errorf("retries are counted wrong\n%s", r.log)
	}
	if d.questions() < 5+4 {
		t.Errorf("asked %d times in 9 attempts", d.questions())
	}
}
