package ingest

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

const testKey = "key-1"

var testNow = time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC).UnixNano()

func newGateway(t testing.TB, log Log, change ...func(*Options)) *Gateway {
	t.Helper()
	opt := Options{Log: log, ServerKeys: []string{"key-0", testKey}, Now: func() int64 { return testNow }, Logger: slog.New(slog.DiscardHandler)}
	for _, c := range change {
		c(&opt)
	}
	g, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // fails the test if it leaves requests that never end
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := g.Drain(ctx); err != nil {
			t.Error(err)
		}
	})
	return g
}

func post(g http.Handler, path, body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	r.SetBasicAuth(testKey, "")
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	return w
}

func zipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, s)
	w.Close()
	return b.String()
}

func batch(events ...string) string { return `{"batch":[` + strings.Join(events, ",") + `]}` }

const good = `{"type":"track","event":"Product Viewed","userId":"ann","messageId":"m1"}`

func TestOneEvent(t *testing.T) {
	for path, want := range map[string]string{
		"/v1/track":    `{"event":"A","userId":"ann","messageId":"m","receivedAt":"2026-01-02T15:04:05Z","type":"track"}`,
		"/v1/page":     `{"event":"A","userId":"ann","messageId":"m","receivedAt":"2026-01-02T15:04:05Z","type":"page"}`,
		"/v1/screen":   `{"event":"A","userId":"ann","messageId":"m","receivedAt":"2026-01-02T15:04:05Z","type":"screen"}`,
		"/v1/identify": `{"event":"A","userId":"ann","messageId":"m","receivedAt":"2026-01-02T15:04:05Z","type":"identify"}`,
		"/v1/group":    `{"event":"A","userId":"ann","messageId":"m","receivedAt":"2026-01-02T15:04:05Z","type":"group"}`,
		"/v1/alias":    `{"event":"A","userId":"ann","messageId":"m","receivedAt":"2026-01-02T15:04:05Z","type":"alias"}`,
	} {
		log := newFakeLog(3)
		w := post(newGateway(t, log), path, ` {"event":"A","userId":"ann","messageId":"m"}`+"\n")
		if w.Code != 200 || w.Body.String() != `{"success":true,"ok":true,"status":1}` {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
		if got := log.events(event.Partition("u:ann", 3)); !slices.Equal(got, []string{want}) {
			t.Errorf("%s stored %q", path, got)
		}
	}
}

func TestBadInput(t *testing.T) {
	deep := strings.Repeat("[", 20000)
	tests := []struct {
		name, path, body string
		change           func(*http.Request)
		status           int
		reason           string // the reason in the answer
		stored           int
		dead             []string
	}{
		{name: "no JSON", path: "/v1/track", body: `{"event":`, status: 400, reason: "json"},
		{name: "empty", path: "/v1/track", body: ``, status: 400, reason: "json"},
		{name: "empty batch body", path: "/v1/batch", body: ``, status: 400, reason: "json"},
		{name: "two events", path: "/v1/track", body: good + good, status: 400, reason: "json"},
		{name: "an array", path: "/v1/track", body: `[` + good + `]`, status: 400, reason: "json"},
		{name: "deep", path: "/v1/track", body: deep, status: 400, reason: "json"},
		{name: "deep, closed", path: "/v1/track", body: `{"a":` + deep + strings.Repeat("]", 20000) + `}`, status: 413, reason: "size"},
		{name: "raw control character", path: "/v1/track", body: "{\"event\":\"a\nb\\n\",\"userId\":\"u\"}", status: 400, reason: "json"},
		{name: "no UTF-8", path: "/v1/track", body: "{\"event\":\"\xff\",\"userId\":\"u\"}", status: 400, reason: "json"},
		{name: "no identity", path: "/v1/track", body: `{"event":"A"}`, status: 400, reason: "identity"},
		{name: "no name", path: "/v1/track", body: `{"userId":"ann"}`, status: 400, reason: "name"},
		{name: "bad type", path: "/v1/track", body: `{"type":"x","userId":"ann"}`, status: 400, reason: "type"},
		{name: "bad time", path: "/v1/track", body: `{"event":"A","userId":"ann","timestamp":"2026-01-02T15:04:05"}`, status: 200, stored: 1},
		{name: "bad log time", path: "/v1/track", body: `{"event":"A","userId":"ann","logTime":"2026-01-02T15:04:05"}`, status: 400, reason: "timestamp"},
		{name: "infinite user", path: "/v1/track", body: `{"event":"A","userId":1e999}`, status: 400, reason: "user"},
		{name: "list as properties", path: "/v1/track", body: `{"event":"A","userId":"ann","properties":[1]}`, status: 400, reason: "fields"},
		{name: "empty list as properties", path: "/v1/track", body: `{"event":"A","userId":"ann","properties":[],"context":[]}`, status: 200, stored: 1},
		{name: "control character in user", path: "/v1/track", body: `{"event":"A","userId":"a\nb"}`, status: 400, reason: "user"},
		{name: "long user", path: "/v1/track", body: `{"event":"A","userId":"` + strings.Repeat("x", 513) + `"}`, status: 400, reason: "user"},
		{name: "clock under broker", path: "/v1/track", body: `{"type":"clock","timestamp":"2026-01-02T15:04:05Z"}`, status: 400, reason: "type"},
		{name: "event over 32 KB", path: "/v1/track", body: `{"event":"A","userId":"` + strings.Repeat("x", 32<<10) + `"}`, status: 413, reason: "size"},
		{name: "huge body", path: "/v1/track", body: strings.Repeat(" ", 10<<20), status: 413, reason: "size"},
		{name: "huge body of unknown length", path: "/v1/batch", body: strings.Repeat(" ", 10<<20), change: func(r *http.Request) { r.ContentLength = -1 }, status: 413, reason: "size"},
		{name: "gzip bomb", path: "/v1/batch", body: zipped(strings.Repeat(" ", 200<<20)), status: 413, reason: "size"},
		{name: "gzip in gzip", path: "/v1/batch", body: zipped(zipped(batch(good))), status: 400, reason: "gzip"},
		{name: "truncated gzip", path: "/v1/batch", body: zipped(batch(good))[:30], status: 400, reason: "body"},
		{name: "gzip header only", path: "/v1/batch", body: "\x1f\x8b", status: 400, reason: "body"},
		{name: "gzip and rubbish", path: "/v1/batch", body: zipped(batch(good)) + "xxx", status: 400, reason: "body"},

		{name: "UTF-16 with a mark", path: "/v1/track", body: "\xff\xfe{\x00}\x00", status: 400, reason: "charset"},
		{name: "UTF-16, the other way round", path: "/v1/batch", body: "\xfe\xff\x00{\x00}", status: 400, reason: "charset"},
		{name: "UTF-16 without a mark", path: "/v1/batch", body: "{\x00}\x00", status: 400, reason: "charset"},
		{name: "UTF-16 without a mark or a key", path: "/v1/batch", body: "\x00{\x00}", change: noAuth, status: 400, reason: "charset"},
		{name: "UTF-32", path: "/v1/track", body: "\x00\x00\xfe\xff\x00\x00\x00{\x00\x00\x00}", status: 400, reason: "charset"},
		{name: "UTF-16 in gzip", path: "/v1/track", body: zipped("\xff\xfe{\x00}\x00"), status: 400, reason: "charset"},
		{name: "a mark alone", path: "/v1/track", body: mark, status: 400, reason: "json"},
		{name: "two marks", path: "/v1/track", body: mark + mark + good, status: 400, reason: "json"},
		{name: "a mark within", path: "/v1/batch", body: `{"batch":[` + mark + good + `]}`, status: 400, reason: "json"},
		{name: "a mark before an event", path: "/v1/track", body: mark + good, status: 200, stored: 1},
		{name: "a mark before a batch", path: "/v1/batch", body: mark + "\r\n" + batch(good), status: 200, stored: 1},
		{name: "a mark in gzip", path: "/v1/batch", body: zipped(mark + batch(good)), status: 200, stored: 1},
		{name: "a mark before a key", path: "/v1/track", body: mark + `{"writeKey":"key-1",` + good[1:], change: noAuth, status: 200, stored: 1},
		{name: "a mark before a batch's key", path: "/v1/batch", body: mark + `{"writeKey":"key-1",` + batch(good)[1:], change: noAuth, status: 200, stored: 1},

		{name: "zstd by name", path: "/v1/batch", body: batch(good), change: coded("zstd"), status: 415, reason: "coding"},
		{name: "deflate by name", path: "/v1/track", body: good, change: coded("Deflate"), status: 415, reason: "coding"},
		{name: "br", path: "/v1/batch", body: "\x0b", change: coded("br"), status: 415, reason: "coding"},
		{name: "br after gzip", path: "/v1/batch", body: zipped(batch(good)), change: coded("gzip, br"), status: 415, reason: "coding"},
		{name: "two headers", path: "/v1/batch", body: zipped(batch(good)), change: coded("gzip", "br"), status: 415, reason: "coding"},
		{name: "a long name", path: "/v1/batch", body: batch(good), change: coded(strings.Repeat("x", 5000)), status: 415, reason: "coding"},
		{name: "zstd by its bytes", path: "/v1/batch", body: "\x28\xb5\x2f\xfd\x04\x00", status: 415, reason: "coding"},
		{name: "zstd by its bytes, in gzip", path: "/v1/batch", body: zipped("\x28\xb5\x2f\xfd\x04\x00"), status: 415, reason: "coding"},
		{name: "deflate by its bytes", path: "/v1/batch", body: deflated(batch(good)), status: 415, reason: "coding"},
		{name: "an x", path: "/v1/batch", body: "xyz", status: 400, reason: "json"},
		{name: "gzip by name, but plain", path: "/v1/batch", body: batch(good), change: coded("gzip"), status: 200, stored: 1},
		{name: "GZIP", path: "/v1/batch", body: zipped(batch(good)), change: coded(" GZIP ,identity,"), status: 200, stored: 1},
		{name: "x-gzip", path: "/v1/batch", body: zipped(batch(good)), change: coded("x-gzip"), status: 200, stored: 1},
		{name: "identity", path: "/v1/track", body: good, change: coded("identity"), status: 200, stored: 1},
		{name: "a character set as coding", path: "/v1/track", body: good, change: coded("UTF-8"), status: 200, stored: 1},

		{name: "no batch", path: "/v1/batch", body: good, status: 400, reason: "json"},
		{name: "batch is no array", path: "/v1/batch", body: `{"batch":{}}`, status: 400, reason: "json"},
		{name: "two batches", path: "/v1/batch", body: `{"batch":[],"batch":[]}`, status: 400, reason: "json"},
		{name: "envelope cut off", path: "/v1/batch", body: batch(good)[:60], status: 400, reason: "json"},
		{name: "envelope goes on", path: "/v1/batch", body: batch(good) + "x", status: 400, reason: "json"},
		{name: "envelope with rubbish", path: "/v1/batch", body: `{"x":tru,"batch":[]}`, status: 400, reason: "json"},
		{name: "deep envelope", path: "/v1/batch", body: `{"x":` + deep + strings.Repeat("]", 20000) + `,"batch":[]}`, status: 400, reason: "json"},
		{name: "too many events", path: "/v1/batch", body: batch(slices.Repeat([]string{"1"}, MaxBatchEvents+1)...), status: 413, reason: "size"},
		{name: "context multiplied", path: "/v1/batch", body: `{"context":{"x":"` + strings.Repeat("x", 20000) + `"},` + batch(slices.Repeat([]string{good}, 300)...)[1:], status: 413, reason: "size"},

		{name: "empty batch", path: "/v1/batch", body: `{"batch":[]}`, status: 200},
		{name: "bad among good", path: "/v1/batch", body: batch(good, `{"type":"track","event":"A"}`, `tru`, `{"type":"page","userId":"a\u0001"}`, `[]`, `{"type":"page","anonymousId":"x"}`, deep[:300]+strings.Repeat("]", 300)),
			status: 200, stored: 2, dead: []string{"identity", "json", "json", "json", "user"}},
		{name: "only bad", path: "/v1/batch", body: batch(`{}`), status: 200, dead: []string{"type"}},
		{name: "oversized among good", path: "/v1/batch", body: batch(good, `{"type":"track","event":"A","userId":"u","x":"`+strings.Repeat("x", 33<<10)+`"}`), status: 200, stored: 1, dead: []string{"size"}},
		{name: "long user among good", path: "/v1/batch", body: batch(good, `{"type":"page","userId":"`+strings.Repeat("x", 513)+`"}`), status: 200, stored: 1, dead: []string{"user"}},
		{name: "gzip", path: "/v1/batch", body: zipped(batch(good)), status: 200, stored: 1,
			change: func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") }},

		{name: "wrong key", path: "/v1/batch", body: batch(good), change: func(r *http.Request) { r.SetBasicAuth("key-", "") }, status: 401, reason: "key"},
		{name: "no key", path: "/v1/batch", body: batch(good), change: noAuth, status: 401, reason: "key"},
		{name: "no key, no JSON", path: "/v1/batch", body: `{`, change: noAuth, status: 401, reason: "key"},
		{name: "bearer", path: "/v1/track", body: good, change: func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+testKey) }, status: 401, reason: "key"},
		{name: "wrong key beside a right one", path: "/v1/batch", body: `{"writeKey":"key-1",` + batch(good)[1:], change: func(r *http.Request) { r.SetBasicAuth("no", "") }, status: 401, reason: "key"},
		{name: "key in the batch", path: "/v1/batch", body: `{"writeKey":"key-1",` + batch(good)[1:], change: noAuth, status: 200, stored: 1},
		{name: "key in the event", path: "/v1/track", body: `{"writeKey":"key-1",` + good[1:], change: noAuth, status: 200, stored: 1},
		{name: "wrong key in the event", path: "/v1/track", body: `{"writeKey":"key-2",` + good[1:], change: noAuth, status: 401, reason: "key"},

		{name: "GET", path: "/v1/batch", change: func(r *http.Request) { r.Method = "GET" }, status: 405, reason: "method"},
		{name: "no such path", path: "/v1/nope", body: good, status: 404, reason: "path"},
		{name: "odd path", path: "/v1/batch/../track", body: good, status: 404, reason: "path"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			log := newFakeLog(2)
			if tt.change == nil {
				tt.change = func(*http.Request) {}
			}
			w := post(newGateway(t, log), tt.path, tt.body, tt.change)
			if w.Code != tt.status {
				t.Fatalf("answered %d %s, want %d", w.Code, w.Body, tt.status)
			}
			var said struct {
				Success bool
				Status  int
				Reason  string
				Error   string
			}
			if err := json.Unmarshal(w.Body.Bytes(), &said); err != nil {
				t.Fatalf("answered %q: %v", w.Body, err)
			}
			if accepts := w.Header().Get("Accept-Encoding"); (accepts == "gzip") != (w.Code == 415) {
				t.Errorf("%d with Accept-Encoding %q", w.Code, accepts)
			}
			if said.Success != (tt.status == 200) || said.Reason != tt.reason || w.Body.Len() > 600 {
				t.Errorf("answered %s, want reason %q", w.Body, tt.reason)
			}
			if got := len(log.all()); got != tt.stored {
				t.Errorf("%d events stored, want %d: %q", got, tt.stored, log.all())
			}
			dead := log.dead()
			slices.Sort(dead)
			if !slices.Equal(dead, tt.dead) {
				t.Errorf("dead letters %q, want %q", dead, tt.dead)
			}
		})
	}
}

const mark = "\xef\xbb\xbf"

func coded(values ...string) func(*http.Request) {
	return func(r *http.Request) { r.Header["Content-Encoding"] = values }
}

func deflated(s string) string {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	io.WriteString(w, s)
	w.Close()
	return b.String()
}

func noAuth(r *http.Request) { r.Header.Del("Authorization") }

// TestPaths: slashes too many change nothing, on every path.
func TestPaths(t *testing.T) {
	paths := []string{"/healthz", "/readyz"}
	for path, rt := range routes {
		if rt.coupon { // it takes no event
			continue
		}
		if rt.of.split == nil {
			paths = append(paths, path)
		}
	}
	for _, path := range paths {
		for _, odd := range []string{"%s", "/%s", "%s/", "//%s///", "/x%s", "%sx", "%s/x", "%s/.", "/.%s"} {
			for _, inner := range []string{path, strings.ReplaceAll(path, "/", "//")} {
				asked := fmt.Sprintf(odd, inner)
				log := newFakeLog(1)
				body := good
				if routes[path].batch {
					body = batch(good)
				}
				r := httptest.NewRequest("POST", "/", strings.NewReader(body))
				r.URL.Path = asked
				r.SetBasicAuth(testKey, "")
				w := httptest.NewRecorder()
				newGateway(t, log).ServeHTTP(w, r)
				want, stored := 200, 1
				if strings.ContainsAny(odd, "x.") {
					want, stored = 404, 0
				} else if strings.HasSuffix(path, "z") {
					stored = 0
				}
				if w.Code != want || len(log.all()) != stored {
					t.Errorf("%s: %d %s", asked, w.Code, w.Body)
				}
			}
		}
	}
	g := newGateway(t, newFakeLog(1))
	for _, path := range []string{"", "/", "//", "/v1", "/v1/", "/v2/batch"} {
		r := httptest.NewRequest("POST", "/", nil)
		r.URL.Path = path
		w := httptest.NewRecorder()
		if g.ServeHTTP(w, r); w.Code != 404 {
			t.Errorf("%q: %d", path, w.Code)
		}
	}
}

// TestPathOnTheWire: such a path comes through net/http as it is.
func TestPathOnTheWire(t *testing.T) {
	log := newFakeLog(1)
	g := newGateway(t, log)
	srv := httptest.NewServer(g)
	defer srv.Close()
	for _, path := range []string{"//v1/batch", "/v1/batch/", "/v1//batch"} {
		if status := postTo(srv.Client(), srv.Listener.Addr().String(), path, batch(good)); status != 200 {
			t.Errorf("%s: %d", path, status)
		}
	}
	if len(log.all()) != 3 {
		t.Errorf("stored %q", log.all())
	}
}

// TestBatchAnswer: the answer to a batch says how many of its events were accepted
// and refused.
func TestBatchAnswer(t *testing.T) {
	for body, want := range map[string]string{
		`{"batch":[]}`:                      `{"success":true,"ok":true,"status":1,"accepted":0,"refused":0}`,
		batch(good):                         `{"success":true,"ok":true,"status":1,"accepted":1,"refused":0}`,
		batch(`{}`):                         `{"success":true,"ok":true,"status":1,"accepted":0,"refused":1}`,
		batch(`{}`, good, `1`, good, `tru`): `{"success":true,"ok":true,"status":1,"accepted":2,"refused":3}`,
		zipped(junk(MaxBatchEvents)):        `{"success":true,"ok":true,"status":1,"accepted":0,"refused":5000}`,
	} {
		w := post(newGateway(t, newFakeLog(2)), "/v1/batch", body)
		if w.Code != 200 || w.Body.String() != want || w.Header().Get("Content-Length") != fmt.Sprint(len(want)) || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%.60q: %d %v %s, want %s", body, w.Code, w.Header(), w.Body, want)
		}
	}
	log := newFakeLog(2)
	log.clock = campaign.ClockEvent
	clock := `{"type":"clock","timestamp":"2026-01-01T00:00:00Z"}`
	if w := post(newGateway(t, log), "/v1/batch", batch(clock)); w.Body.String() != `{"success":true,"ok":true,"status":1,"accepted":1,"refused":0}` {
		t.Errorf("a clock event: %s", w.Body)
	}
}

// TestUserIDs: whatever a user id contains, the event goes to the right partition.
func TestUserIDs(t *testing.T) {
	for _, user := range []string{"a.b", "*", ">", "ann@example.com", "a b", "$SYS.>", "events.0.in", "김", strings.Repeat("x", 512), "a\\b\"c"} {
		log := newFakeLog(8)
		text, _ := json.Marshal(user)
		if w := post(newGateway(t, log), "/v1/page", `{"userId":`+string(text)+`}`); w.Code != 200 {
			t.Errorf("user %q: %d %s", user, w.Code, w.Body)
		}
		if got := log.events(event.Partition("u:"+user, 8)); len(got) != 1 {
			t.Errorf("user %q: stored elsewhere: %q", user, log.all())
		}
	}
}

func TestDeadLetterIsRaw(t *testing.T) {
	log := newFakeLog(1)
	raw := "{ \"type\":\"track\",\n \"event\":\"A\" }"
	if w := post(newGateway(t, log), "/v1/batch", batch(raw, good)); w.Code != 200 {
		t.Fatal(w.Code, w.Body)
	}
	if l := log.letters[0]; string(l.Raw) != raw || l.Reason != "identity" || l.Detail == "" {
		t.Errorf("dead letter %q, %q, %q", l.Reason, l.Detail, l.Raw)
	}
}

func TestPreflight(t *testing.T) {
	g := newGateway(t, newFakeLog(1))
	w := post(g, "/v1/track", "", noAuth, func(r *http.Request) { r.Method = "OPTIONS" })
	h := w.Header()
	if w.Code != 204 || h.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(h.Get("Access-Control-Allow-Headers"), "Authorization") {
		t.Errorf("preflight: %d %v", w.Code, h)
	}
	if w := post(g, "/v1/track", good); w.Header().Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("answer lacks the origin: %v", w.Header())
	}
}

// TestBombMemory: a gzip bomb uses no more memory than the limit allows.
func TestBombMemory(t *testing.T) {
	bomb := zipped(strings.Repeat(" ", 100<<20))
	g := newGateway(t, newFakeLog(1))
	r := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			if w := post(g, "/v1/batch", bomb); w.Code != 413 {
				b.Fatal(w.Code)
			}
		}
	})
	if per := r.AllocedBytesPerOp(); per > 8<<20 {
		t.Errorf("a bomb allocates %d bytes", per)
	}
	if used := g.memory.used.Load(); used != 0 {
		t.Errorf("%d bytes of the budget were not given back", used)
	}
}

func TestReady(t *testing.T) {
	log := newFakeLog(1)
	g := newGateway(t, log)
	get := func(path string) int {
		w := httptest.NewRecorder()
		g.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code
	}
	if get("/healthz") != 200 || get("/readyz") != 200 {
		t.Error("not ready")
	}
	log.set(func() { log.down = fmt.Errorf("no connection") })
	if get("/healthz") != 200 || get("/readyz") != 503 {
		t.Error("ready without a log")
	}
	if w := post(g, "/v1/track", good); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("without a log: %d %v", w.Code, w.Header())
	}
	log.set(func() { log.down = nil })
	if w := post(g, "/v1/track", good); w.Code != 200 {
		t.Errorf("after it is back: %d", w.Code)
	}
	log.set(func() { log.refused = fmt.Errorf("a publish failed") })
	if get("/healthz") != 200 || get("/readyz") != 503 {
		t.Error("ready with a log that refuses events")
	}
	if w := post(g, "/v1/track", good); w.Code != 200 { // what was refused may have been another partition's
		t.Errorf("with a log that has refused events: %d", w.Code)
	}
}

// TestUnreadableTime: an event whose timestamp cannot be read is taken and counted;
// it is neither refused nor a dead letter.
func TestUnreadableTime(t *testing.T) {
	for _, clock := range []string{campaign.ClockBroker, campaign.ClockEvent} {
		log := newFakeLog(1)
		log.clock = clock
		reg := prometheus.NewRegistry()
		g := newGateway(t, log, func(o *Options) { o.Metrics = reg })
		w := post(g, "/v1/batch", batch(
			`{"type":"page","userId":"u","messageId":"m0","timestamp":"2026-01-02T10:00:00z"}`,
			`{"type":"page","userId":"u","messageId":"m1","timestamp":"yesterday","originalTimestamp":"2026-01-02T15:00:00Z"}`,
			`{"type":"page","userId":"u","messageId":"m2","timestamp":1767366245}`,
			`{"type":"page","userId":"u","messageId":"m3","timestamp":null}`,
			`{"type":"page","timestamp":""}`, // refused for another reason
		))
		if w.Code != 200 || len(log.all()) != 4 || len(log.dead()) != 1 {
			t.Errorf("%s: answered %d %s, stored %q, dead %q", clock, w.Code, w.Body, log.all(), log.dead())
		}
		if n := problems(t, reg); n != "timestamp 2" {
			t.Errorf("%s: counted %s", clock, n)
		}
		var d event.Decoder
		for i, e := range log.all() {
			ev, err := d.Decode([]byte(e))
			if err != nil || ev.HasTimestamp != (i == 0) || clock == campaign.ClockEvent && value.FormatTime(ev.LogTime) != "2026-01-02T10:00:00Z" {
				t.Errorf("%s: %s reads as %+v, %v", clock, e, ev, err)
			}
		}
	}
}

// problems is the metric of events that were taken although a part of them could
// not be read.
func problems(t *testing.T, reg prometheus.Gatherer) (s string) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "offerstream_gateway_event_problems_total" {
			for _, m := range f.GetMetric() {
				s += fmt.Sprint(m.GetLabel()[0].GetValue(), " ", m.GetCounter().GetValue())
			}
		}
	}
	return s
}
