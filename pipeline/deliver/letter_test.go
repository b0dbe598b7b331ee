package deliver

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"offerstream/pipeline"
)

// now is an offer of this moment, which letters can still send.
func now(o *pipeline.Offer) *pipeline.Offer {
	o.Time = time.Now().UTC().Format(time.RFC3339Nano)
	return o
}

// ended waits until a process of letters has ended by itself.
func (r *running) ended() error {
	r.t.Helper()
	select {
	case err := <-r.done:
		r.done <- err
		return err
	case <-time.After(within):
		r.t.Fatalf("it does not end\n%s", r.log)
		return nil
	}
}

// TestLetters: what was given up while the receiver was away is sent again, under the same
// ids, if it still may go out: each letter once, of this sender alone. What fails again is a
// letter again, for the next time.
func TestLetters(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	var away, refuses atomic.Bool
	away.Store(true)
	to := receive(t, func(w http.ResponseWriter, g got, _ int) {
		if away.Load() || refuses.Load() && g.id == "zoe-1" {
			w.WriteHeader(http.StatusBadGateway)
		}
	})
	for _, id := range []string{"ada-1", "ada-2", "eve-1", "old-1", "bob-1", "zoe-1"} {
		o := now(offerOf(id, id[:3]))
		if id == "old-1" {
			o.Time = time.Now().Add(-80 * time.Hour).UTC().Format(time.RFC3339Nano)
		}
		d.offer(o)
	}
	o := Options{Receiver: d.webhook(to), Attempts: 1}
	r := d.start(o)
	await(t, "all are given up", func() bool { return r.metric("dead_letters_total", "") == 6 && d.left("deliver-push-webhook") == 0 })
	r.stop()
	sms := now(offerOf("sms-1", "sms"))
	sms.Channel = "sms"
	d.offer(sms)
	d.offers(1, "other")
	for name, channel := range map[string]string{"deliver-sms-webhook": "sms", "second": "push"} { // "second" gives up all of the channel
		r := d.start(Options{Receiver: d.webhook(to), Attempts: 1, Channel: channel, Name: name})
		await(t, "all are given up", func() bool { return d.left(name) == 0 })
		r.stop()
	}
	before := len(d.dead())

	away.Store(false)
	refuses.Store(true)
	quiet := true // for bob, when his offer is asked about first
	d.say(func(key string, q *pipeline.DeliveryQuery) *pipeline.Delivery {
		switch {
		case q.S != 0:
			t.Errorf("asked %+v about a letter", *q)
		case key == "u:eve":
			return &pipeline.Delivery{Stops: "consent"}
		case key == "u:bob" && quiet:
			quiet = false
			return &pipeline.Delivery{Stops: "quiet hours", Until: time.Now().Add(2500 * time.Millisecond).UnixNano()}
		}
		return &pipeline.Delivery{}
	})
	from := len(to.got())
	o.Letters, o.ackWait = true, 2*time.Second
	letters := func() (ids []string) {
		t.Helper()
		r := d.start(o)
		if err := r.ended(); err != nil {
			t.Error(err)
		}
		for _, g := range to.got()[from:] {
			ids = append(ids, g.id)
		}
		from = len(to.got())
		return ids
	}
	ids := letters()
	if slices.Index(ids, "ada-1") > slices.Index(ids, "ada-2") {
		t.Errorf("the order of a user's offers is %q", ids)
	}
	slices.Sort(ids)
	if want := []string{"ada-1", "ada-2", "bob-1", "zoe-1"}; !slices.Equal(ids, want) {
		t.Errorf("%q are sent again, want %q", ids, want)
	}
	if all := d.dead(); len(all) != before+1 || !strings.HasPrefix(all[before], "attempts zoe-1 by deliver-push-webhook: attempt 1: http_5xx") {
		t.Errorf("%d letters were there, and now %q", before, all)
	}
	refuses.Store(false)
	for _, want := range [][]string{{"zoe-1"}, nil} {
		if ids := letters(); !slices.Equal(ids, want) {
			t.Errorf("then %q are sent, want %q", ids, want)
		}
	}

	d.say(nil)
	away.Store(true)
	d.offer(now(offerOf("tom-1", "tom")))
	o.Letters = false
	r = d.start(o)
	await(t, "it is given up", func() bool { return d.left("deliver-push-webhook") == 0 })
	r.stop()
	gone := receive(t, func(w http.ResponseWriter, _ got, _ int) { w.WriteHeader(http.StatusGone) })
	o.Letters, o.Receiver = true, d.webhook(gone)
	r = d.start(o)
	if err := r.ended(); !errors.Is(err, ErrGone) {
		t.Errorf("to a receiver that is gone it ends with %v", err)
	}
}

// TestKillLetters kills who sends letters again, several times with kill -9 in the middle:
// each letter is sent, and what is sent twice was in flight.
func TestKillLetters(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	const users, each, kills = 20, 20, 2
	d := deploy(t)
	var away atomic.Bool
	away.Store(true)
	to := receive(t, func(w http.ResponseWriter, _ got, _ int) {
		if away.Load() {
			w.WriteHeader(http.StatusBadGateway)
		}
	})
	for i := range each {
		for u := range users {
			user := fmt.Sprint("user", u)
			d.offer(now(offerOf(fmt.Sprintf("%s-%d", user, i+1), user)))
		}
	}
	r := d.start(Options{Receiver: d.webhook(to), Attempts: 1, Concurrency: 100})
	await(t, "all are given up", func() bool {
		return r.metric("dead_letters_total", "") == users*each && d.left("deliver-push-webhook") == 0
	})
	r.stop()
	from := len(to.got())
	away.Store(false)
	start := func() *exec.Cmd { return d.sender(to, "OFFERSTREAM_TEST_LETTERS=1") }
	killed(t, start, to, users*each, kills, rng)
	for range 2 { // the second has nothing to do
		if err := start().Wait(); err != nil {
			t.Fatal(err)
		}
	}
	times := map[string]int{}
	for _, g := range to.got()[from:] {
		times[g.id]++
	}
	repeats := len(to.got()) - from - len(times)
	t.Logf("%d letters, %d repeats after %d kills", len(times), repeats, kills)
	if len(times) != users*each || repeats > kills*2*users {
		t.Errorf("%d of %d letters were sent, with %d repeats", len(times), users*each, repeats)
	}
}
