package deliver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"offerstream/pipeline"
)

func (d *deployment) webhook(to *receiver) Receiver {
	return Receiver{Preset: "webhook", URL: to.URL, Secret: SecretText(key)}
}

// TestGone: after 410 nothing more is sent, loudly, and the offers stay for whoever is
// started next.
func TestGone(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	to := receive(t, func(w http.ResponseWriter, _ got, _ int) { w.WriteHeader(http.StatusGone) })
	d.offers(3, "ada")
	r := d.start(Options{Receiver: d.webhook(to)})
	await(t, "the channel stops", func() bool { return r.metric("stopped", "") == 1 })
	if err := r.Ready(); !errors.Is(err, ErrGone) {
		t.Errorf("ready: %v", err)
	}
	d.offers(1, "bob")
	if err := r.stop(); !errors.Is(err, ErrGone) {
		t.Errorf("it ends with %v", err)
	}
	if n := len(to.got()); n != 1 {
		t.Errorf("%d requests to who is gone", n)
	}
	if !strings.Contains(r.log.String(), "CHANNEL STOPPED") || d.left("deliver-push-webhook") != 4 || len(d.dead()) > 0 {
		t.Errorf("%d left, %q dead\n%s", d.left("deliver-push-webhook"), d.dead(), r.log)
	}
	other := receive(t, nil)
	r = d.start(Options{Receiver: d.webhook(other)})
	await(t, "the next one sends them", func() bool { return r.metric("sent_total", "") == 4 })
	if got := strings.Join(other.ids("ada"), " "); got != "ada-1 ada-2 ada-3" {
		t.Error(got)
	}
}

// TestGivenUp: after the last attempt, and when it expires between attempts, an offer
// becomes a dead letter before it is acknowledged; one that was never tried does not.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	to := receive(t, func(w http.ResponseWriter, g got, _ int) {
		if strings.HasPrefix(g.id, "ada") {
			w.WriteHeader(http.StatusTeapot)
			fmt.Fprint(w, "no\tcoffee")
		}
	})
	d.offers(2, "ada")
	late := offerOf("eve-1", "eve")
	late.Expires = "2026-01-01T10:00:01Z"
	d.offer(late)
	r := d.start(Options{Receiver: d.webhook(to), Attempts: 3})
	await(t, "all have ended", func() bool { return r.metric("failed_total", "") == 3 && d.left("deliver-push-webhook") == 0 })
	if got := strings.Join(to.ids("ada"), " "); got != "ada-1 ada-1 ada-1 ada-2 ada-2 ada-2" {
		t.Error(got)
	}
	want := []string{"attempts ada-1 by deliver-push-webhook: attempt 3: http_4xx: HTTP 418: no coffee", "attempts ada-2 by deliver-push-webhook: attempt 3: http_4xx: HTTP 418: no coffee"}
	if got := d.dead(); !slices.Equal(got, want) {
		t.Errorf("dead letters %q, want %q", got, want)
	}
	if r.metric("failed_total", "attempts") != 2 || r.metric("failed_total", "expired") != 1 || r.metric("dead_letters_total", "") != 2 || len(to.ids("eve")) > 0 {
		t.Errorf("counted wrong\n%s", r.log)
	}
	r.stop()
	d.offers(3, "zoe")
	r = d.start(Options{Receiver: d.webhook(to), Within: time.Nanosecond})
	await(t, "what is too old is not sent", func() bool { return r.metric("failed_total", "too_old") == 3 })
	if len(to.ids("zoe")) > 0 || len(d.dead()) != 2 {
		t.Error("what is too old was sent or is dead")
	}
}

// TestExpiresBetween: an offer that expires while attempts fail becomes a dead letter.
func TestExpiresBetween(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	var once sync.Once
	failed := make(chan struct{})
	to := receive(t, func(w http.ResponseWriter, _ got, _ int) {
		w.WriteHeader(http.StatusInternalServerError)
		once.Do(func() { close(failed) })
	})
	d.say(func(string, *pipeline.DeliveryQuery) *pipeline.Delivery {
		select {
		case <-failed:
			return &pipeline.Delivery{Stops: pipeline.DeliveryExpired}
		default:
			return &pipeline.Delivery{}
		}
	})
	d.offers(1, "ada")
	r := d.start(Options{Receiver: d.webhook(to)})
	await(t, "it ends", func() bool { return r.metric("failed_total", "expired") == 1 && d.left("deliver-push-webhook") == 0 })
	if got := d.dead(); len(got) != 1 || !strings.HasPrefix(got[0], "expired ada-1 by") || !strings.Contains(got[0], "HTTP 500") {
		t.Errorf("dead letters %q", got)
	}
}

// TestTimeout: an answer that does not come ends the attempt, not the offer, and holds
// up no other user's.
func TestTimeout(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	never := make(chan struct{})
	to := receive(t, func(w http.ResponseWriter, g got, n int) {
		if g.id == "ada-1" && n == 1 {
			<-never
		}
	})
	defer close(never)
	d.offers(1, "ada", "bob")
	r := d.start(Options{Receiver: d.webhook(to), Timeout: 300 * time.Millisecond})
	await(t, "both are delivered", func() bool { return r.metric("sent_total", "") == 2 })
	if r.metric("retries_total", "timeout") < 1 {
		t.Errorf("no timeout is counted\n%s", r.log)
	}
}

// TestPrefix: a deployment with a prefix.
func TestPrefix(t *testing.T) {
	t.Parallel()
	d := deployIn(t, t.TempDir(), "shop")
	to := receive(t, func(w http.ResponseWriter, g got, _ int) {
		if g.id == "bob-1" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	d.offers(1, "ada", "bob")
	r := d.start(Options{Receiver: d.webhook(to), Attempts: 1})
	await(t, "both have ended", func() bool { return r.metric("sent_total", "") == 1 && r.metric("dead_letters_total", "") == 1 })
	if dead := d.dead(); len(dead) != 1 || d.left("deliver-push-webhook") < 0 {
		t.Errorf("dead %q", dead)
	}
}

// TestMissed: a gap in the numbers of a subject's offers is told; what is not an offer
// becomes a dead letter.
func TestMissed(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	to := receive(t, nil)
	d.offers(1, "ada")
	for p := range d.n {
		d.n[p] += 5
	}
	d.offers(2, "ada")
	damaged := offerOf("ada-3", "ada")
	damaged.Test = true
	d.offer(damaged)
	r := d.start(Options{Receiver: d.webhook(to)})
	await(t, "all have ended", func() bool { return r.metric("sent_total", "") == 3 && r.metric("failed_total", "damaged") == 1 })
	if r.metric("missed_total", "") != 5 || !strings.Contains(r.log.String(), "OFFERS MISSED") {
		t.Errorf("%v missed\n%s", r.metric("missed_total", ""), r.log)
	}
	if got := d.dead(); len(got) != 1 || !strings.HasPrefix(got[0], "damaged message 4 by") {
		t.Errorf("dead letters %q", got)
	}
}

// TestRetryAfter: of 429 and 503 the receiver's Retry-After holds, for all offers of the
// channel.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		d := deploy(t)
		var first sync.Once
		busy := false
		to := receive(t, func(w http.ResponseWriter, _ got, _ int) {
			first.Do(func() { busy = true })
			if busy {
				busy = false
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(status)
			}
		})
		d.offers(1, "ada", "bob", "cid")
		r := d.start(Options{Receiver: d.webhook(to), Concurrency: 1})
		await(t, "all are delivered", func() bool { return r.metric("sent_total", "") == 3 })
		all := to.got()
		if wait := all[1].at.Sub(all[0].at); wait < time.Second {
			t.Errorf("%d: the next request came after %v", status, wait)
		}
		if len(all) != 4 || r.metric("retries_total", fmt.Sprint("http_", status)) != 1 {
			t.Errorf("%d: %d requests\n%s", status, len(all), r.log)
		}
		r.stop()
	}
}

// TestStale: an offer that waits for the receiver after the answer is asked about again.
func TestStale(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	to := receive(t, func(w http.ResponseWriter, g got, n int) {
		if g.id == "ada-1" && n == 1 {
			w.Header().Set("Retry-After", "3")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	})
	asked := 0
	d.say(func(key string, _ *pipeline.DeliveryQuery) *pipeline.Delivery {
		if key == "u:bob" {
			if asked++; asked > 1 { // revoked meanwhile
				return &pipeline.Delivery{Stops: "consent"}
			}
		}
		return &pipeline.Delivery{}
	})
	d.offers(1, "ada")
	r := d.start(Options{Receiver: d.webhook(to), Concurrency: 1})
	await(t, "the receiver asks to wait", func() bool { return r.metric("retries_total", "http_429") == 1 })
	d.offers(1, "bob")
	await(t, "both have ended", func() bool { return r.metric("sent_total", "") == 1 && r.metric("failed_total", "consent") == 1 })
	if n := len(to.ids("bob")); n > 0 {
		t.Errorf("%d were sent on an old answer", n)
	}
}

// TestRefused: what may not go out any more is not sent, is counted by the reason, and
// is no dead letter. Traits come with the answer, and a visitor who has become a user is
// asked about as that user.
func TestRefused(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	to := receive(t, nil)
	d.say(func(key string, q *pipeline.DeliveryQuery) *pipeline.Delivery {
		switch {
		case key == "a:visitor":
			return &pipeline.Delivery{Owner: "u:owner"}
		case key == "u:owner" && q.S != 0:
			t.Errorf("asked about %s at message %d of another log", key, q.S)
		case key == "u:no":
			return &pipeline.Delivery{Stops: "consent"}
		case q.Campaign != "cart" || q.Channel != "push" || q.Kind != "advertising" || q.Time != 1767261600e9 || key != "u:owner" && (q.S == 0 || q.T != 1):
			t.Errorf("asked %+v about %s", *q, key)
		}
		return &pipeline.Delivery{}
	})
	visitor := offerOf("visitor-1", "visitor")
	visitor.Anon = true
	d.offer(visitor)
	d.offers(2, "no", "ada")
	r := d.start(Options{Receiver: d.webhook(to)})
	await(t, "all have ended", func() bool { return r.metric("failed_total", "consent") == 2 && r.metric("sent_total", "") == 3 })
	if len(to.ids("no")) > 0 || len(d.dead()) > 0 || len(to.ids("visitor")) != 1 {
		t.Errorf("got %v, dead %q", to.got(), d.dead())
	}
}

// TestUnanswered: without an owner that answers, or with one that is behind, nothing
// goes out; when it answers, all does.
func TestUnanswered(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	to := receive(t, nil)
	d.say(func(key string, _ *pipeline.DeliveryQuery) *pipeline.Delivery {
		return &pipeline.Delivery{Behind: true}
	})
	d.offers(2, "ada", "bob")
	r := d.start(Options{Receiver: d.webhook(to)})
	await(t, "it asks again", func() bool { return r.metric("unanswered_total", "") >= 6 })
	if n := len(to.got()); n > 0 {
		t.Errorf("%d were sent though nobody knows whether they may", n)
	}
	d.say(nil)
	await(t, "all are delivered", func() bool { return r.metric("sent_total", "") == 4 })
	if got := strings.Join(to.ids("ada"), " "); got != "ada-1 ada-2" {
		t.Error(got)
	}
}

// TestQuietHours: what comes in quiet hours waits with the server until they are over,
// and is then judged again. Others go out meanwhile.
func TestQuietHours(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	to := receive(t, nil)
	over := time.Now().Add(1500 * time.Millisecond)
	d.say(func(key string, q *pipeline.DeliveryQuery) *pipeline.Delivery {
		if key == "u:ada" && time.Now().Before(over) {
			return &pipeline.Delivery{Stops: "quiet hours", Until: over.UnixNano()}
		}
		return &pipeline.Delivery{}
	})
	d.offers(1, "ada", "bob")
	r := d.start(Options{Receiver: d.webhook(to)})
	await(t, "one waits", func() bool { return r.metric("parked_total", "") == 1 && r.metric("sent_total", "") == 1 })
	if n := len(r.messages(time.Now())); n != 0 {
		t.Errorf("%d are held", n)
	}
	await(t, "it goes out", func() bool { return r.metric("sent_total", "") == 2 })
	for _, g := range to.got() {
		if g.id == "ada-1" && g.at.Before(over) {
			t.Errorf("it went out %v before quiet hours were over", over.Sub(g.at))
		}
	}
	await(t, "it is acknowledged", func() bool { return d.left("deliver-push-webhook") == 0 })
}

// TestSlow: while an offer is being sent, the server hears of it more often than it
// would give it out again.
func TestSlow(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	slow := make(chan struct{})
	to := receive(t, func(http.ResponseWriter, got, int) { <-slow })
	acks, err := d.conn.NC.SubscribeSync("$JS.ACK.OFFERS.>")
	if err != nil {
		t.Fatal(err)
	}
	d.offers(1, "ada")
	r := d.start(Options{Receiver: d.webhook(to), ackWait: time.Second})
	for range 2 {
		m, err := acks.NextMsg(within)
		if err != nil || string(m.Data) != "+WPI" {
			t.Fatalf("the server hears %v: %v", m, err)
		}
	}
	close(slow)
	await(t, "it is acknowledged", func() bool { return d.left("deliver-push-webhook") == 0 })
	if len(to.got()) != 1 || r.metric("sent_total", "") != 1 {
		t.Errorf("sent %d times", len(to.got()))
	}
}

// TestReports: what becomes of offers is reported, again until the gateway takes it,
// under the same ids; until then they are not acknowledged.
func TestReports(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	to := receive(t, nil)
	d.say(func(key string, _ *pipeline.DeliveryQuery) *pipeline.Delivery {
		if key == "a:bob" {
			return &pipeline.Delivery{Stops: "paused"}
		}
		return &pipeline.Delivery{}
	})
	d.offers(1, "ada")
	bob := offerOf("bob-1", "bob")
	bob.Anon = true
	d.offer(bob)
	var mu sync.Mutex
	broken, events := true, map[string]string{}
	tried := 0
	report := func(_ context.Context, some [][]byte) error {
		mu.Lock()
		defer mu.Unlock()
		if tried++; broken {
			return errors.New("no gateway")
		}
		for _, b := range some {
			var e struct{ Type, Event, MessageID, UserID, AnonymousID string }
			var p struct{ Properties map[string]string }
			if err := errors.Join(json.Unmarshal(b, &e), json.Unmarshal(b, &p)); err != nil {
				t.Error(err)
			}
			events[e.MessageID] = fmt.Sprint(e.Type, " ", e.Event, " ", e.UserID, " ", e.AnonymousID, " ", p.Properties)
		}
		return nil
	}
	r := d.start(Options{Receiver: d.webhook(to), Report: report})
	await(t, "it is tried", func() bool { mu.Lock(); defer mu.Unlock(); return tried > 0 && len(to.got()) == 1 })
	if n := d.left("deliver-push-webhook"); n != 2 {
		t.Errorf("%d are not acknowledged, want 2", n)
	}
	mu.Lock()
	broken = false
	mu.Unlock()
	await(t, "all is acknowledged", func() bool { return d.left("deliver-push-webhook") == 0 })
	mu.Lock()
	defer mu.Unlock()
	want := map[string]string{
		"deliver-push-webhook ada-1 delivered": "system Offer Delivered ada  map[campaign:cart channel:push offer_id:ada-1]",
		"deliver-push-webhook bob-1 failed":    "system Offer Failed  bob map[campaign:cart channel:push offer_id:bob-1 reason:paused]",
	}
	if fmt.Sprint(events) != fmt.Sprint(want) {
		t.Errorf("events %v, want %v", events, want)
	}
	if r.metric("reported_total", "") != 2 {
		t.Error("not counted")
	}
}

// TestRate: a limit of rate holds.
func TestRate(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	to := receive(t, nil)
	for i := range 8 {
		d.offers(1, fmt.Sprint("u", i))
	}
	r := d.start(Options{Receiver: d.webhook(to), Rate: 10})
	await(t, "all are delivered", func() bool { return r.metric("sent_total", "") == 8 })
	all := to.got()
	if took := all[7].at.Sub(all[0].at); took < 600*time.Millisecond {
		t.Errorf("8 attempts took %v at 10 a second", took)
	}
}
