package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"offerstream/pipeline/broker"
)

// An ear is what one listener has been sent.
type ear struct {
	mu      sync.Mutex
	notices []broker.Notice
	deaf    bool // sends to it fail
}

func (e *ear) send(lines []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.deaf {
		return errFake
	}
	for line := range bytes.Lines(lines) {
		var n broker.Notice
		if err := json.Unmarshal(line, &n); err != nil {
			panic(fmt.Sprintf("%v: %s", err, line))
		}
		e.notices = append(e.notices, n)
	}
	return nil
}

// taken returns, in words, what was sent since it was last asked. It is for a bubble.
func (e *ear) taken() (all []string) {
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, n := range e.notices {
		line := fmt.Sprint(n.Outcome, " ", n.Status)
		for _, s := range []string{n.Reason, n.Key, n.Path, n.Type, n.Event, n.User, n.Anonymous, n.Item, n.ID, n.Properties} {
			line += " " + s
		}
		if n.More > 0 {
			line = fmt.Sprint("more ", n.More)
		} else if n.At != "2026-01-02T15:04:05Z" || n.Gateway != gatewayName() {
			line += fmt.Sprint(" of ", n.Gateway, " at ", n.At)
		}
		all = append(all, line)
	}
	e.notices = nil
	return all
}

// listens adds a listener.
func listens(t *testing.T, g *Gateway, w broker.Wish) *ear {
	t.Helper()
	e := new(ear)
	if h := g.Listen(w, e.send); h.Full || h.Gateway == "" {
		t.Fatalf("wish %s is answered with %+v", w.ID, h)
	}
	return e
}

// TestNobodyListens: then a request allocates nothing for it.
func TestNobodyListens(t *testing.T) {
	g := newGateway(t, newFakeLog(1))
	req, raw := new(request), []byte(good)
	if n := testing.AllocsPerRun(100, func() {
		req.note(raw, 0, nil)
		g.tell("/v1/track", req.heard, nil)
		g.tell("/v1/track", req.heard, errKey)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestListen walks what can become of events, and who is told of it.
func TestListen(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		log := newFakeLog(2)
		g := newRoleGateway(t, log)
		all := listens(t, g, broker.Wish{ID: "all"})
		ann, pages := listens(t, g, broker.Wish{ID: "ann", User: "ann"}), listens(t, g, broker.Wish{ID: "pages", Event: "page"})
		feeder, viewed := listens(t, g, broker.Wish{ID: "feeder", Key: "feeder"}), listens(t, g, broker.Wish{ID: "viewed", Event: "Product Viewed", Key: "server"})
		long := `"` + strings.Repeat("ä", 400) + `"`
		for _, tt := range []struct {
			key, path, body string
			want            []string
			to              []*ear // beside all, if it is one notice
		}{
			{"server", "/v1/track", good, []string{"accepted 200  server /v1/track track Product Viewed ann   m1 "}, []*ear{ann, viewed}},
			{"browser", "/v1/track", good, []string{"accepted 200  browser /v1/track track Product Viewed ann   m1 "}, []*ear{ann}},
			{"server", "/v1/page", `{"name":"Home","anonymousId":"x","messageId":7,"properties":{"a":1}}`, []string{`accepted 200  server /v1/page page Home  x  7 {"a":1}`}, []*ear{pages}},
			{"verified", "/v1/page", `{"userId":"ann","anonymousId":"x","messageId":"m"}`, []string{`accepted 200  verified /v1/page page   x  m {"claimed_user_id":"ann"}`}, []*ear{pages}},
			{"server", "/v1/batch", batch(good, `{"type":"page","messageId":"m2"}`, `{"type":"fact","fact":"weather","key":"seoul","values":{"rain":true}}`, `{"type":"identify","userId":"ann","messageId":"m3","traits":{"vip":1}}`), []string{
				"accepted 200  server /v1/batch track Product Viewed ann   m1 ",
				"refused 200 identity server /v1/batch page     m2 ",
				`denied 200 role server /v1/batch fact weather     {"rain":true}`,
				`accepted 200  server /v1/batch identify  ann   m3 {"vip":1}`,
			}, nil},
			{"feeder", "/v1/item", `{"kind":"product","id":"p1","event":"Price Changed","messageId":"m"}`, []string{"accepted 200  feeder /v1/item item Price Changed   product/p1 m "}, []*ear{feeder}},
			{"feeder", "/v1/fact", `{"fact":"weather","key":"seoul","values":{}, "messageId":"m"}`, []string{"accepted 200  feeder /v1/fact fact weather    m {}"}, []*ear{feeder}}, // in two logs
			{"feeder", "/v1/track", good, []string{"denied 403 role feeder /v1/track track Product Viewed ann   m1 "}, []*ear{ann, feeder}},
			{"verified", "/v1/page", `{"userId":"ann","messageId":"m"}`, []string{"denied 401 unproved verified /v1/page page  ann   m "}, []*ear{ann, pages}},
			{"server", "/v1/track", `{"userId":"ann","properties":{"a":"` + "\n" + `"}}`, []string{"refused 400 json server /v1/track track  ann    {\"a\":\"\n\"}"}, []*ear{ann}},
			{"server", "/v1/track", `{"userId":"ann","properties":{"userToken":"secret","a":` + long + `},"writeKey":"secret","messageId":"` + strings.Repeat("m", 600) + `"}`, []string{
				"refused 400 name server /v1/track track  ann   " + strings.Repeat("m", 512) + `... {"a":"` + strings.Repeat("ä", 147) + "..."}, []*ear{ann}},
			{"server", "/v1/track", `{"event":`, []string{"refused 400 json server /v1/track       "}, nil},
			{"wrong", "/v1/track", good, []string{"refused 401 key  /v1/track       "}, nil},
			{"", "/v1/track", `{"writeKey":"wrong"}`, []string{"refused 401 key  /v1/track       "}, nil},
			{"", "/v1/batch", `{"batch":[` + good + `],"writeKey":"server"}`, []string{"accepted 200  server /v1/batch track Product Viewed ann   m1 "}, []*ear{ann, viewed}},
			{"server", "/v1/batch", strings.Repeat(" ", MaxBatchBytes+1), []string{"refused 413 size server /v1/batch       "}, nil},
			{"server", "/v1/batch", `{"context":{"a":` + strings.Repeat(" ", 10) + `"` + strings.Repeat("x", 30<<10) + `"},"batch":[` + strings.Repeat(good+",", 149) + good + `]}`, []string{"refused 413 size server /v1/batch       "}, nil}, // some events were read before
			{"server", "/v1/trak", good, []string{"refused 404 path  /v1/trak       "}, nil},
		} {
			from := noAuth
			if tt.key != "" {
				from = as(tt.key)
			}
			post(g, tt.path, tt.body, from)
			if got := all.taken(); !slices.Equal(got, tt.want) {
				t.Errorf("%.80s is told as\n%q\nwant\n%q", tt.body, got, tt.want)
			}
			for _, e := range []*ear{ann, pages, feeder, viewed} {
				if got, want := e.taken(), slices.Contains(tt.to, e); len(tt.want) == 1 && len(got) == 1 != want {
					t.Errorf("%.80s is told to another one as %q, want: %v", tt.body, got, want)
				}
			}
		}
		if held := g.listeners.held.Load(); held != 0 {
			t.Errorf("%d bytes are held afterwards", held)
		}
	})
}

// TestListenAcknowledged: an event is told as accepted when the log has acknowledged it,
// and as failed if it does not.
func TestListenAcknowledged(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		log := slowLog(1, func(int) time.Duration { return time.Second })
		g := newGateway(t, log, func(o *Options) { o.Timeout, o.Attempt = 3*time.Second, 2*time.Second })
		e := listens(t, g, broker.Wish{ID: "a"})
		ctx, leave := context.WithCancel(t.Context())
		answered := make(chan int)
		send := func() {
			answered <- post(g, "/v1/batch", batch(good, `{"type":"page"}`), func(r *http.Request) { *r = *r.WithContext(ctx) }).Code
		}
		go send()
		if told := e.taken(); told != nil || log.calls.Load() != 1 {
			t.Errorf("before the acknowledgement: %q", told)
		}
		if code, told := <-answered, e.taken(); code != 200 || len(told) != 2 || !strings.HasPrefix(told[0], "accepted 200") || !strings.HasPrefix(told[1], "refused 200 identity") {
			t.Errorf("after it: %d %q", code, told)
		}
		go send()
		synctest.Wait()
		leave()
		if code, told := <-answered, e.taken(); code != 503 || len(told) != 2 || !strings.HasPrefix(told[0], "failed 503 gone server key 2 /v1/batch track") || !strings.HasPrefix(told[1], "refused 503 identity") {
			t.Errorf("of a client who has left: %d %q", code, told)
		}
		ctx = t.Context()
		log.publish = func(context.Context, int, string, []byte) error { return errFake }
		go send()
		if code, told := <-answered, e.taken(); code != 503 || len(told) != 2 || !strings.HasPrefix(told[0], "failed 503 log") {
			t.Errorf("of a log that stores nothing: %d %q", code, told)
		}
		log.set(func() { log.down = errFake })
		go send()
		if code, told := <-answered, e.taken(); code != 503 || !slices.Equal(told, []string{"failed 503 log  /v1/batch       "}) {
			t.Errorf("of a log that is not there: %d %q", code, told)
		}
		log.set(func() { log.down = nil })
	})
}

// TestListenBounds: there are few listeners, who are forgotten, and told of few events;
// how many more there were is counted.
func TestListenBounds(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := newGateway(t, newFakeLog(1))
		ears := map[int]*ear{}
		for i := range mostListeners {
			ears[i] = listens(t, g, broker.Wish{ID: fmt.Sprint("a", i)})
		}
		late := new(ear)
		if h := g.Listen(broker.Wish{ID: "late"}, late.send); !h.Full {
			t.Error("there are more listeners")
		}
		listening := func() int {
			synctest.Wait()
			if now := g.listeners.now.Load(); now != nil {
				return len(*now)
			}
			return 0
		}
		g.Listen(broker.Wish{ID: "a15", Over: true}, late.send)
		g.Listen(broker.Wish{ID: "a15", Over: true}, late.send)
		if n := listening(); n != mostListeners-1 {
			t.Errorf("%d listeners after one has ended", n)
		}
		time.Sleep(listenFor - time.Second)
		for range 2 { // renewals
			g.Listen(broker.Wish{ID: "a0"}, late.send)
			g.Listen(broker.Wish{ID: "a1"}, late.send)
		}
		time.Sleep(time.Second)
		if n := listening(); n != 2 {
			t.Errorf("%d listeners, want the two who have renewed their wishes", n)
		}

		const events = listenRate + 532
		many := batch(slices.Repeat([]string{good}, events)...)
		ears[1].deaf = true
		time.Sleep(time.Duration(1e9-time.Now().UnixNano()%1e9) + time.Millisecond) // a new second, behind the listeners' ticks
		post(g, "/v1/batch", many)
		post(g, "/v1/track", good)
		if told := ears[0].taken(); len(told) != listenRate {
			t.Errorf("%d were told", len(told))
		}
		time.Sleep(time.Second)
		post(g, "/v1/track", good)
		if told := ears[0].taken(); len(told) != 2 || !slices.Contains(told, "more 533") {
			t.Errorf("afterwards: %q", told)
		}
		ears[1].mu.Lock()
		ears[1].deaf = false
		ears[1].mu.Unlock()
		time.Sleep(time.Second)
		if told := ears[1].taken(); !slices.Equal(told, []string{"more 1534"}) {
			t.Errorf("who could not be sent anything is told %q", told)
		}

		g.listeners.held.Store(listenMemory)
		post(g, "/v1/track", good)
		g.listeners.held.Store(0)
		time.Sleep(time.Second)
		if told := ears[0].taken(); !slices.Equal(told, []string{"more 1"}) {
			t.Errorf("without memory: %q", told)
		}

		post(g, "/v1/track", good)
		if err := g.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if told := ears[0].taken(); len(told) != 1 || listening() != 0 {
			t.Errorf("after the end: %q, %d listeners", told, listening())
		}
		g.Listen(broker.Wish{ID: "late"}, late.send)
		if post(g, "/v1/track", good); listening() != 0 || late.taken() != nil {
			t.Error("somebody listens to a gateway that has ended")
		}
	})
}

// TestListenTogether: many listen, while many send.
func TestListenTogether(t *testing.T) {
	g := newGateway(t, newFakeLog(2))
	var all sync.WaitGroup
	for i := range 8 {
		e := new(ear)
		all.Go(func() {
			for n := range 50 {
				g.Listen(broker.Wish{ID: fmt.Sprint("a", i), Over: n%5 == 4}, e.send)
			}
		})
		all.Go(func() {
			for range 50 {
				post(g, "/v1/batch", batch(good, `{"type":"page"}`))
			}
		})
	}
	all.Wait()
	if held := g.listeners.held.Load(); held != 0 {
		t.Errorf("%d bytes are held afterwards", held)
	}
}
