package ingest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
)

// mixed is a batch of 14 good events and a bad one.
func mixed(user string, n int) string {
	events := []string{`{"type":"page"}`}
	for i := range 14 {
		events = append(events, numbered(user, n+i))
	}
	return batch(events...)
}

func junk(n int) string { return batch(strings.Split(strings.Repeat(`{} `, n)[:3*n-1], " ")...) }

// shown returns a metric's values, by the values of its label.
func shown(g *Gateway, name string) map[string]int {
	families, _ := g.opt.Metrics.(*prometheus.Registry).Gather()
	found := map[string]int{}
	for _, f := range families {
		if f.GetName() != "offerstream_gateway_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			label := ""
			for _, l := range m.GetLabel() {
				label = l.GetValue()
			}
			if n := int(m.GetCounter().GetValue() + m.GetGauge().GetValue()); n > 0 {
				found[label] = n
			}
		}
	}
	return found
}

// unstored returns how many letters were not stored, by reason.
func unstored(g *Gateway) map[string]int { return shown(g, "dead_letters_not_stored_total") }

func (f *fakeLog) lettersAndMessages() (int, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.letters), f.messages
}

// TestLettersArePacked: letters that come while a message of letters is being
// stored are one message.
func TestLettersArePacked(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		log := newFakeLog(1)
		log.bury = func(context.Context, string, []pipeline.Dead) error {
			time.Sleep(10 * time.Millisecond)
			return nil
		}
		g := newGateway(t, log)
		var all sync.WaitGroup
		for n := range 50 {
			all.Go(func() {
				time.Sleep(time.Duration(n%2) * time.Millisecond)
				if w := post(g, "/v1/batch", junk(20)); w.Code != 200 {
					t.Error(w.Code, w.Body)
				}
			})
		}
		all.Wait()
		if letters, messages := log.lettersAndMessages(); letters != 1000 || messages > 3 {
			t.Errorf("%d letters in %d messages", letters, messages)
		}
		if n := shown(g, "dead_letters_total")[""]; n != 1000 {
			t.Errorf("the metric says %v", n)
		}
	})
}

// TestLetterPacksAreBounded: a message of letters has at most PackBytes, unless one
// letter has more.
func TestLetterPacksAreBounded(t *testing.T) {
	log := newFakeLog(1)
	largest := 0
	log.bury = func(_ context.Context, _ string, letters []pipeline.Dead) error {
		size := 0
		for _, l := range letters {
			size += len(l.Raw)
		}
		if len(letters) > 1 {
			largest = max(largest, size)
		}
		return nil
	}
	g := newGateway(t, log, func(o *Options) { o.PackBytes = 50 << 10 })
	var events []string
	for n := range 40 {
		events = append(events, `{"x":"`+strings.Repeat("x", 10_000+n)+`"}`)
	}
	events = append(events, `{"x":"`+strings.Repeat("x", 60_000)+`"}`)
	if w := post(g, "/v1/batch", batch(events...)); w.Code != 200 {
		t.Fatal(w.Code, w.Body)
	}
	if letters, messages := log.lettersAndMessages(); letters != 41 || messages < 11 || largest > 50<<10 {
		t.Errorf("%d letters in %d messages, the largest of %d bytes", letters, messages, largest)
	}
	for i, l := range log.letters {
		if string(l.Raw) != events[i] {
			t.Errorf("letter %d is %.40q", i, l.Raw)
		}
	}
}

// TestGoodDoesNotWaitForLetters: while six clients send nothing but bad events, and
// storing letters takes long, a batch with one bad event is acknowledged as soon as
// one without: letterWait is what it waits in any case. Whatever the flood, each
// letter is stored or counted.
func TestGoodDoesNotWaitForLetters(t *testing.T) {
	for _, takes := range []time.Duration{20 * time.Millisecond, time.Second, time.Hour} {
		t.Run(takes.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				log := slowLog(4, func(int) time.Duration { return 5 * time.Millisecond })
				log.bury = func(ctx context.Context, _ string, _ []pipeline.Dead) error {
					select {
					case <-time.After(takes):
						return nil
					case <-ctx.Done():
						return ctx.Err()
					}
				}
				g := newGateway(t, log)
				ctx, end := context.WithCancel(t.Context())
				var flood sync.WaitGroup
				var bad atomic.Int64
				for range 6 {
					flood.Go(func() {
						for ctx.Err() == nil {
							if w := post(g, "/v1/batch", junk(4999)); w.Code != 200 || !strings.HasSuffix(w.Body.String(), `"accepted":0,"refused":4999}`) {
								t.Errorf("junk: %d %s", w.Code, w.Body)
							}
							bad.Add(4999)
							time.Sleep(100 * time.Millisecond) // what sending takes
						}
					})
				}
				time.Sleep(time.Second)
				n := 0
				for range 10 {
					good, took := timed(g, "/v1/batch", batch(numbered("u", n)))
					if good.Code != 200 {
						t.Error(good.Code, good.Body)
					}
					w, tookMixed := timed(g, "/v1/batch", mixed("u", n+1))
					if n += 15; w.Code != 200 || tookMixed > max(took, letterWait) {
						t.Errorf("with a bad event: %d after %s, without %s: %s", w.Code, tookMixed, took, w.Body)
					}
					bad.Add(1)
					time.Sleep(50 * time.Millisecond)
				}
				end()
				flood.Wait()
				if err := g.Drain(t.Context()); err != nil {
					t.Error(err)
				}
				letters, messages := log.lettersAndMessages()
				lost := unstored(g)
				if letters+lost["rate"]+lost["queue"]+lost["log"] != int(bad.Load()) {
					t.Errorf("of %d bad events %d are stored, and %v are not", bad.Load(), letters, lost)
				}
				if got := len(log.all()); got != n {
					t.Errorf("%d good events are stored, want %d", got, n)
				}
				if takes < time.Minute && (letters < letterBurst/(2*letterCost) || messages > letters/20) || lost["rate"] == 0 {
					t.Errorf("%d letters in %d messages; not stored: %v", letters, messages, lost)
				}
			})
		})
	}
}

// TestLettersThatCannotBeStored: they are counted, for each reason, and good events
// do not wait for them at all.
func TestLettersThatCannotBeStored(t *testing.T) {
	for want, err := range map[string]error{"room": broker.ErrNoRoom, "log": errFake} {
		t.Run(want, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				log := newFakeLog(1)
				log.bury = func(context.Context, string, []pipeline.Dead) (now error) {
					log.set(func() { now = err })
					return now
				}
				g := newGateway(t, log)
				for n := range 10 {
					w, took := timed(g, "/v1/batch", batch(`{}`, numbered("u", n)))
					if w.Code != 200 || took > letterWait || n > 0 && took > 0 {
						t.Errorf("batch %d: %d after %s", n, w.Code, took)
					}
					time.Sleep(time.Second)
				}
				log.set(func() { err = nil })
				time.Sleep(time.Second)
				post(g, "/v1/batch", junk(1))
				if e := g.Drain(t.Context()); e != nil {
					t.Error(e)
				}
				letters, _ := log.lettersAndMessages()
				if lost := unstored(g); letters < 1 || lost[want]+letters != 11 || lost[want] < 1 {
					t.Errorf("%d are stored, not stored: %v", letters, lost)
				}
			})
		})
	}
}

// TestLetterRetry: a message of letters whose acknowledgement is lost is sent again
// under its id.
func TestLetterRetry(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		log := newFakeLog(1)
		tries := 0
		log.bury = func(context.Context, string, []pipeline.Dead) error {
			if tries++; tries < 4 {
				return errAckLost
			}
			return nil
		}
		g := newGateway(t, log)
		if w := post(g, "/v1/batch", junk(3)); w.Code != 200 {
			t.Error(w.Code)
		}
		if err := g.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		if letters, messages := log.lettersAndMessages(); letters != 3 || messages != 1 || tries != 4 {
			t.Errorf("%d letters in %d messages after %d tries", letters, messages, tries)
		}
	})
}

// TestLetterQueue: what waits to be stored is bounded, and what is beyond is counted.
func TestLetterQueue(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		log := newFakeLog(1)
		log.bury = func(ctx context.Context, _ string, _ []pipeline.Dead) error {
			<-ctx.Done()
			return ctx.Err()
		}
		g := newGateway(t, log, func(o *Options) { o.ServerKeys = []string{"key-0", testKey, "key-2", "key-3"} })
		large := batch(`{"x":"`+strings.Repeat("x", 100<<10)+`"}`, `{"x":"`+strings.Repeat("x", 300<<10)+`"}`)
		for _, key := range []string{"key-0", testKey, "key-2", "key-3"} {
			for range 5 {
				body := `{"writeKey":"` + key + `",` + large[1:]
				if w := post(g, "/v1/batch", body, noAuth); w.Code != 200 {
					t.Error(w.Code, w.Body)
				}
				if q := g.queued(); q > letterQueue {
					t.Errorf("%v bytes wait", q)
				}
			}
		}
		if lost := unstored(g); lost["queue"] == 0 || lost["rate"] != 0 {
			t.Errorf("not stored: %v", lost)
		}
		if err := g.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		if lost := unstored(g); lost["queue"]+lost["log"] != 40 || g.queued() != 0 {
			t.Errorf("in the end not stored: %v, and %v bytes wait", lost, g.queued())
		}
	})
}

// TestLetterRate: a write key has its own allowance, which comes back; a sample is
// spread over its batch, and what is not stored is counted.
func TestLetterRate(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		log := newFakeLog(1)
		g := newGateway(t, log)
		for range 20 {
			post(g, "/v1/batch", junk(4999))
		}
		letters, _ := log.lettersAndMessages()
		if most := letterBurst / letterCost; letters > most || letters < most*9/10 {
			t.Errorf("%d letters at once, want about %d", letters, most)
		}
		if lost := unstored(g); lost["rate"]+letters != 20*4999 {
			t.Errorf("%d are stored, not stored: %v", letters, lost)
		}
		other := batch(`{"type":"page"}`, `{"type":"odd"}`)
		post(g, "/v1/batch", `{"writeKey":"key-0",`+other[1:], noAuth)
		if now, _ := log.lettersAndMessages(); now != letters+2 {
			t.Errorf("of another key %d letters, want 2", now-letters)
		}
		time.Sleep(10 * time.Second)
		before := len(log.letters)
		var events []string
		for n := range 4999 {
			events = append(events, fmt.Sprintf(`{"n":%d}`, n))
		}
		post(g, "/v1/batch", batch(events...))
		sample := log.letters[before:]
		if want := 10 * letterRate / letterCost; len(sample) > want+10 || len(sample) < want*9/10 {
			t.Errorf("%d letters after ten seconds, want about %d", len(sample), want)
		}
		for i, l := range sample {
			var n int
			fmt.Sscanf(string(l.Raw), `{"n":%d}`, &n)
			if even := i * 4999 / len(sample); n < even-10 || n > even+10 {
				t.Fatalf("letter %d of %d is event %d of 4999", i, len(sample), n)
			}
		}
		time.Sleep(time.Hour)
		before = len(log.letters)
		for range 3 {
			post(g, "/v1/batch", junk(4999))
		}
		if n := len(log.letters) - before; n > letterBurst/letterCost {
			t.Errorf("%d letters after an hour", n)
		}
	})
}

// TestDrainStoresLetters: what waits is stored before the gateway has drained.
func TestDrainStoresLetters(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		log := newFakeLog(1)
		log.bury = func(context.Context, string, []pipeline.Dead) error {
			time.Sleep(1500 * time.Millisecond)
			return nil
		}
		g := newGateway(t, log, func(o *Options) { o.PackBytes = 10 << 10 })
		for range 5 {
			if w, took := timed(g, "/v1/batch", junk(20)); w.Code != 200 || took != letterWait {
				t.Errorf("%d after %s", w.Code, took)
			}
		}
		if err := g.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		if letters, _ := log.lettersAndMessages(); letters != 100 {
			t.Errorf("%d letters are stored, want 100", letters)
		}
	})
}

// TestLetterSecrets: a dead letter is what was sent, but for what is secret in it.
func TestLetterSecrets(t *testing.T) {
	log := newFakeLog(1)
	g := newGateway(t, log)
	w := post(g, "/v1/batch", batch(
		`{"type":"page", "user\u0054oken" : "a.b","x":{"userToken":1},"writeKey":{"k":["K"]} ,"userToken":"c"}`,
		`{"type":"page","x":[1, 2]}`, `["userToken","a.b"]`,
	))
	want := []string{
		`{"type":"page", "user\u0054oken" : "","x":{"userToken":1},"writeKey":"" ,"userToken":""}`,
		`{"type":"page","x":[1, 2]}`, `["userToken","a.b"]`,
	}
	var got []string
	for _, l := range log.letters {
		got = append(got, string(l.Raw))
	}
	if w.Code != 200 || !slices.Equal(got, want) {
		t.Errorf("%d %s\n got %q\nwant %q", w.Code, w.Body, got, want)
	}
}
