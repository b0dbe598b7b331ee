package ingest

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"offerstream/config"
	"offerstream/pipeline/event"
)

// A spoken is a request in a dialect, and what is stored of it.
type spoken struct {
	name, path, body string
	change           func(*http.Request)
	want             []string // without receivedAt
	dead             []string
	status           int // 0: 200
}

// speak sends a request without the key in Basic authorization.
func speak(t *testing.T, c spoken, change ...func(*Options)) {
	t.Helper()
	log := newFakeLog(1)
	g := newGateway(t, log, change...)
	if c.change == nil {
		c.change = noAuth
	}
	w := post(g, c.path, c.body, c.change)
	if want := max(c.status, 200); w.Code != want {
		t.Errorf("%s: %d %s, want %d", c.name, w.Code, w.Body, want)
	}
	var got []string
	for _, text := range log.all() {
		got = append(got, strings.Replace(text, `,"receivedAt":"2026-01-02T15:04:05Z"`, "", 1))
	}
	if !slices.Equal(got, c.want) || !slices.Equal(log.dead(), c.dead) {
		t.Errorf("%s\nstored %s\nwant   %s\ndead %v, want %v", c.name, strings.Join(got, "\n       "), strings.Join(c.want, "\n       "), log.dead(), c.dead)
	}
}

func inHeader(name, v string) func(*http.Request) {
	return func(r *http.Request) { noAuth(r); r.Header.Set(name, v) }
}

func TestSegmentPaths(t *testing.T) {
	const one = `{"userId":"ann","messageId":"m","writeKey":"key-1","event":"A"}`
	for path, typ := range map[string]string{"/v1/t": "track", "/v1/p": "page", "/v1/s": "screen", "/v1/i": "identify", "/v1/g": "group", "/v1/a": "alias"} {
		speak(t, spoken{name: path, path: path, body: one, want: []string{`{"userId":"ann","messageId":"m","event":"A","type":"` + typ + `"}`}})
	}
	for _, path := range []string{"/v1/b", "/v1/import/", "/v1/batch/"} {
		speak(t, spoken{name: path, path: path, body: `{"writeKey":"key-1","batch":[{"type":"page","userId":"ann","messageId":"m"}]}`, want: []string{`{"type":"page","userId":"ann","messageId":"m"}`}})
	}
}

func TestRudder(t *testing.T) {
	speak(t, spoken{name: "beacon", path: "/beacon/v1/batch?writeKey=key-1", body: `{"batch":[{"type":"page","userId":"ann","messageId":"m"}]}`,
		want: []string{`{"type":"page","userId":"ann","messageId":"m"}`}})
	speak(t, spoken{name: "beacon without a key", path: "/beacon/v1/batch?writeKey=other", body: batch(good), status: 401})
}

func TestJitsu(t *testing.T) {
	const one = `{"event":"A","userId":"ann","messageId":"m","writeKey":"***"}`
	for _, key := range []string{"key-1", "key-1:secret"} {
		for _, path := range []string{"/api/s/track", "/api/s/s2s/track"} {
			speak(t, spoken{name: path, path: path, body: one, change: inHeader("X-Write-Key", key), want: []string{`{"event":"A","userId":"ann","messageId":"m","type":"track"}`}})
		}
	}
	speak(t, spoken{name: "wrong key", path: "/api/s/track", body: one, change: inHeader("X-Write-Key", "other"), status: 401})
	speak(t, spoken{name: "no key", path: "/api/s/track", body: one, status: 401})
}

func TestPosthog(t *testing.T) {
	in := func(events ...string) string {
		return `{"api_key":"key-1","sent_at":"2026-01-02T15:04:06Z","batch":[` + strings.Join(events, ",") + `]}`
	}
	const sent = `,"sentAt":"2026-01-02T15:04:06Z"}`
	for _, c := range []spoken{
		{name: "a server's event", body: in(`{"event":"Product Viewed","distinct_id":"ann","uuid":"m","properties":{"$lib":"posthog-node","n":1.50},"timestamp":"2026-01-02T15:04:05.123Z"}`),
			want: []string{`{"type":"track","event":"Product Viewed","userId":"ann","messageId":"m","timestamp":"2026-01-02T15:04:05.123Z","properties":{"$lib":"posthog-node","n":1.50}` + sent}},
		{name: "a visitor's", body: in(`{"uuid":"m","event":"A","properties":{"distinct_id":"v","$device_id":"v","token":"key-1"}}`),
			want: []string{`{"type":"track","event":"A","anonymousId":"v","messageId":"m","properties":{"distinct_id":"v","$device_id":"v","token":"key-1"}` + sent}},
		{name: "a visitor's, said so", body: in(`{"uuid":"m","event":"A","properties":{"distinct_id":"w","$device_id":"v","$is_identified":false}}`),
			want: []string{`{"type":"track","event":"A","anonymousId":"w","messageId":"m","properties":{"distinct_id":"w","$device_id":"v","$is_identified":false}` + sent}},
		{name: "a user's", body: in(`{"uuid":"m","event":"A","properties":{"distinct_id":"ann","$device_id":"v","$is_identified":true}}`),
			want: []string{`{"type":"track","event":"A","userId":"ann","anonymousId":"v","messageId":"m","properties":{"distinct_id":"ann","$device_id":"v","$is_identified":true}` + sent}},
		{name: "identify", body: in(`{"uuid":"m","event":"$identify","properties":{"distinct_id":"ann","$anon_distinct_id":"v","$device_id":"d"},"$set":{"city":"Seoul"},"$set_once":{"since":1}}`),
			want: []string{`{"type":"identify","userId":"ann","anonymousId":"v","messageId":"m","traits":{"city":"Seoul","since":1},"properties":{"distinct_id":"ann","$anon_distinct_id":"v","$device_id":"d"}` + sent}},
		{name: "traits of nobody new", body: in(`{"uuid":"m","event":"$set","distinct_id":"ann","properties":{"$device_id":"v","$set":{"a":1},"$set_once":{}}}`),
			want: []string{`{"type":"identify","userId":"ann","messageId":"m","traits":{"a":1},"properties":{"$device_id":"v","$set":{"a":1},"$set_once":{}}` + sent}},
		{name: "alias of a server", body: in(`{"uuid":"m","event":"$create_alias","distinct_id":"ann","properties":{"distinct_id":"ann","alias":"v"}}`),
			want: []string{`{"type":"alias","userId":"ann","messageId":"m","previousId":"v","properties":{"distinct_id":"ann","alias":"v"}` + sent}},
		{name: "alias of a page", body: in(`{"uuid":"m","event":"$create_alias","properties":{"distinct_id":"v","$device_id":"v","alias":"ann"}}`),
			want: []string{`{"type":"alias","userId":"ann","messageId":"m","previousId":"v","properties":{"distinct_id":"v","$device_id":"v","alias":"ann"}` + sent}},
		{name: "group", body: in(`{"uuid":"m","event":"$groupidentify","distinct_id":"ann","properties":{"$group_type":"shop","$group_key":"s1","$group_set":{"a":1}}}`),
			want: []string{`{"type":"group","userId":"ann","messageId":"m","groupId":"s1","traits":{"a":1},"properties":{"$group_type":"shop","$group_key":"s1","$group_set":{"a":1}}` + sent}},
		{name: "page and screen", body: in(`{"uuid":"m","event":"$pageview","distinct_id":"ann","properties":{"title":"Home"}}`, `{"uuid":"n","event":"$screen","distinct_id":"ann","properties":{"$screen_name":"Bag"}}`),
			want: []string{`{"type":"page","userId":"ann","messageId":"m","name":"Home","properties":{"title":"Home"}` + sent, `{"type":"screen","userId":"ann","messageId":"n","name":"Bag","properties":{"$screen_name":"Bag"}` + sent}},
		{name: "an offset instead of a time", body: in(`{"uuid":"m","event":"A","distinct_id":"ann","offset":1500}`),
			want: []string{`{"type":"track","event":"A","userId":"ann","messageId":"m","timestamp":"2026-01-02T15:04:03.5Z"` + sent}},
		{name: "bad ones among good ones", body: in(`{"event":"","distinct_id":"ann"}`, `7`, `{"event":"A","uuid":"m"}`, `{"uuid":"m","event":"A","distinct_id":"ann"}`, `{"uuid":"m","event":"A","distinct_id":tru}`),
			want: []string{`{"type":"track","event":"A","userId":"ann","messageId":"m"` + sent}, dead: []string{"name", "json", "identity", "json"}},
		{name: "an array", path: "/e/", body: `[{"uuid":"m","event":"A","properties":{"distinct_id":"v","$device_id":"v","token":"key-1"}}]`,
			want: []string{`{"type":"track","event":"A","anonymousId":"v","messageId":"m","properties":{"distinct_id":"v","$device_id":"v","token":"key-1"}}`}},
		{name: "one event", path: "/i/v0/e/", body: `{"api_key":"key-1","event":"A","distinct_id":"ann","uuid":"m"}`, want: []string{`{"type":"track","event":"A","userId":"ann","messageId":"m"}`}},
		{name: "zipped as text", body: zipped(in(`{"uuid":"m","event":"A","distinct_id":"ann"}`)), change: inHeader("Content-Type", "text/plain"), want: []string{`{"type":"track","event":"A","userId":"ann","messageId":"m"` + sent}},
		{name: "a form", path: "/e?compression=base64", body: "data=" + url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(in(`{"uuid":"m","event":"A","distinct_id":"ann"}`)))) + "&compression=base64",
			want: []string{`{"type":"track","event":"A","userId":"ann","messageId":"m"` + sent}},
		{name: "a wrong key", body: `{"api_key":"other","batch":[{"uuid":"m","event":"A","distinct_id":"ann"}]}`, status: 401},
		{name: "no key", body: `{"batch":[]}`, status: 401},
		{name: "not JSON", body: `{"api_key":"key-1","batch":[`, status: 401},
	} {
		if c.path == "" {
			c.path = "/batch/"
		}
		speak(t, c)
	}
}

func TestCloudEvents(t *testing.T) {
	const path = "/v1/cloudevents"
	const whole = `{"specversion":"1.0","id":"1","source":"/shop","type":"Product Viewed","subject":"ann","time":"2026-01-02T15:04:05Z","data":{"a":1}}`
	const want = `{"type":"track","event":"Product Viewed","userId":"ann","messageId":"/shop 1","timestamp":"2026-01-02T15:04:05Z","properties":{"a":1}}`
	binary := func(change ...string) func(*http.Request) {
		return func(r *http.Request) {
			for _, h := range [][2]string{{"id", "1"}, {"source", "/shop"}, {"type", "Product%20Viewed"}, {"subject", "ann"}, {"time", "2026-01-02T15:04:05Z"}, {"specversion", "1.0"}} {
				r.Header.Set("ce-"+h[0], h[1])
			}
			for i := 0; i < len(change); i += 2 {
				r.Header.Set(change[i], change[i+1])
			}
		}
	}
	basic := func(*http.Request) {}
	for _, c := range []spoken{
		{name: "structured", body: whole, change: basic, want: []string{want}},
		{name: "batched", body: `[` + whole + `,{"id":"2"},` + strings.Replace(whole, `"id":"1"`, `"id":"2"`, 1) + `]`, change: basic, want: []string{want, strings.Replace(want, "/shop 1", "/shop 2", 1)}, dead: []string{"name"}},
		{name: "binary", body: `{"a":1}`, change: binary(), want: []string{want}},
		{name: "binary, text", body: `a "b"`, change: binary(), want: []string{strings.Replace(want, `{"a":1}`, `{"data":"a \"b\""}`, 1)}},
		{name: "binary, nothing", change: binary("ce-subject", "", "ce-anonymousid", "v"), want: []string{`{"type":"track","event":"Product Viewed","anonymousId":"v","messageId":"/shop 1","timestamp":"2026-01-02T15:04:05Z"}`}},
		{name: "bytes", body: strings.Replace(whole, `"data":{"a":1}`, `"data_base64":"AAA="`, 1), change: basic, want: []string{strings.Replace(want, `{"a":1}`, `{"data_base64":"AAA="}`, 1)}},
		{name: "a header's key", body: whole, change: inHeader("X-Write-Key", "key-1"), want: []string{want}},
		{name: "a parameter's", path: path + "?writeKey=key-1", body: whole, want: []string{want}},
		{name: "no id", body: `{"source":"/shop","type":"A","subject":"ann"}`, change: basic, status: 400},
		{name: "no key", body: whole, status: 401},
		{name: "two", body: whole + whole, change: basic, status: 400},
	} {
		if c.path == "" {
			c.path = path
		}
		speak(t, c)
	}
}

// TestTraits: an identify has its traits where the SDKs of browsers put them.
func TestTraits(t *testing.T) {
	for _, c := range [][2]string{
		{`"context":{"traits":{"a":1.0}}`, `"context":{"traits":{"a":1.0}},"traits":{"a":1.0}`},
		{`"traits":null,"context":{"traits":{"a":1}}`, `"context":{"traits":{"a":1}},"traits":{"a":1}`},
		{`"traits":{},"context":{"traits":{"a":1}}`, `"traits":{},"context":{"traits":{"a":1}}`},
		{`"context":{"traits":7}`, `"context":{"traits":7}`},
	} {
		speak(t, spoken{name: c[0], path: "/v1/batch", change: func(*http.Request) {}, body: batch(`{"type":"identify","userId":"ann","messageId":"m",` + c[0] + `}`),
			want: []string{`{"type":"identify","userId":"ann","messageId":"m",` + c[1] + `}`}})
	}
	speak(t, spoken{name: "not an identify", path: "/v1/page", change: func(*http.Request) {}, body: `{"type":"page","userId":"ann","messageId":"m","context":{"traits":{"a":1}}}`,
		want: []string{`{"type":"page","userId":"ann","messageId":"m","context":{"traits":{"a":1}}}`}})
}

// TestNotFinite: NaN and infinities, which Python writes, are null.
func TestNotFinite(t *testing.T) {
	speak(t, spoken{name: "a batch", path: "/v1/batch", change: func(*http.Request) {},
		body: `{"batch":[{"type":"track","event":"NaN","userId":"ann","messageId":"m","properties":{"a":NaN,"b":[Infinity,-Infinity , "Infinity"],"c":"\"NaN"}}],"context":{"x":NaN}}`,
		want: []string{`{"type":"track","event":"NaN","userId":"ann","messageId":"m","properties":{"a":null,"b":[null,null , "Infinity"],"c":"\"NaN"},"context":{"x":null}}`}})
	speak(t, spoken{name: "no number", path: "/v1/track", change: func(*http.Request) {}, body: `{"event":"A","userId":"ann","properties":{"a":NaNa}}`, status: 400})
}

// TestStubs: what browser SDKs fetch is there, whatever else is wrong, and every answer can
// be read by every page.
func TestStubs(t *testing.T) {
	log := newFakeLog(1)
	log.down = errFake
	g := newGateway(t, log)
	for path, want := range map[string]string{
		"/v1/projects/key-1/settings":           `{"integrations":{"Segment.io":{"apiKey":"key-1","apiHost":"example.com/v1","protocol":"http"}}}`,
		"/sourceConfig/?p=npm&writeKey=key-1":   `{"source":{"id":"offerstream","enabled":true,"destinations":[],"config":{}}}`,
		"/array/key-1/config":                   `{"supportedCompression":["gzip-js"],"hasFeatureFlags":false,"sessionRecording":false,"surveys":false}`,
		"/flags/?v=2":                           `{"flags":{},"featureFlags":{},"featureFlagPayloads":{},"errorsWhileComputingFlags":false}`,
		"/v1/projects/a/b/settings":             "",
		"/v1/projects//settings":                "",
		"/array/key-1/config.js":                "",
		"/nothing":                              "",
		"/v1/projects/%22%3Cscript%3E/settings": `{"integrations":{"Segment.io":{"apiKey":"\"\u003cscript\u003e","apiHost":"example.com/v1","protocol":"http"}}}`,
	} {
		r := httptest.NewRequest("GET", path, nil)
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		status := 200
		if want == "" {
			status = 404
		}
		if w.Code != status || want != "" && w.Body.String() != want || w.Header().Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: %d %s %v", path, w.Code, w.Body, w.Header())
		}
	}
}

// TestOrigins: with a list of origins, only their pages may read answers.
func TestOrigins(t *testing.T) {
	g := newGateway(t, newFakeLog(1), func(o *Options) { o.Origins = []string{"https://shop.example"} })
	for _, path := range []string{"/v1/batch", "/nothing", "/flags"} {
		for origin, want := range map[string]string{"https://shop.example": "https://shop.example", "https://other.example": "", "": ""} {
			for _, method := range []string{"OPTIONS", "POST"} {
				w := post(g, path, "", func(r *http.Request) {
					if r.Method = method; origin != "" {
						r.Header.Set("Origin", origin)
					}
				})
				h := w.Header()
				if h.Get("Access-Control-Allow-Origin") != want || h.Get("Access-Control-Allow-Credentials") != "" || h.Get("Vary") != "Origin" {
					t.Errorf("%s %s of %q: %v", method, path, origin, h)
				}
			}
		}
	}
}

// TestRolesInDialects: who may say what holds in every dialect.
func TestRolesInDialects(t *testing.T) {
	for _, c := range []struct {
		path, body string // KEY stands for the key
		change     func(key string) func(*http.Request)
	}{
		{"/batch/", `{"api_key":"KEY","batch":[{"uuid":"m","event":"Consent Granted","distinct_id":"ann","properties":{"channel":"sms"}}]}`, func(string) func(*http.Request) { return noAuth }},
		{"/api/s/track", `{"event":"Consent Granted","userId":"ann","messageId":"m","properties":{"channel":"sms"}}`, func(k string) func(*http.Request) { return inHeader("X-Write-Key", k) }},
		{"/v1/cloudevents", `{"id":"1","source":"s","type":"Consent Granted","subject":"ann","data":{"channel":"sms"}}`, as},
		{"/beacon/v1/batch?writeKey=KEY", `{"batch":[{"type":"track","event":"Consent Granted","userId":"ann"}]}`, func(string) func(*http.Request) { return noAuth }},
	} {
		for _, k := range []config.Key{config.KeyOf("browser", "browser", event.Browser), config.KeyOf("server", "server", event.Server)} {
			log := newFakeLog(1)
			g := newRoleGateway(t, log, func(o *Options) { o.Metrics = prometheus.NewRegistry() })
			w := post(g, strings.ReplaceAll(c.path, "KEY", k.Name), strings.ReplaceAll(c.body, "KEY", k.Name), c.change(k.Name))
			if stored := len(log.all()) == 1; stored != (k.Name == "server") || len(log.dead()) > 0 {
				t.Errorf("%s to %s: %d %s; stored %q", k.Name, c.path, w.Code, w.Body, log.all())
			}
		}
	}
}
