package ingest

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

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
		{name: "not JSON", body: `{"api_key":"key-1","batch":[`, status: 400},
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
				if h.Get("Access-Control-Allow-Origin") != want || h.Get("Access-Control-Allow-Credentials") != "" || strings.Contains(h.Get("Access-Control-Expose-Headers"), "Retry-After") != (origin != "") || h.Get("Vary") != "Origin" {
					t.Errorf("%s %s of %q: %v", method, path, origin, h)
				}
			}
		}
	}
}

// A tongue is how a dialect says that something has happened to a user, if it can: KEY in
// the path stands for the key.
type tongue struct {
	path string
	body func(key, name, user, anon, properties, token string) string
	as   func(key string) func(*http.Request)
	bulk bool // it may be refused in a batch
}

func member(name, v string) string {
	if v == "" {
		return ""
	}
	return fmt.Sprintf(",%q:%q", name, v)
}

// tokened is an object with a user token, if there is one.
func tokened(object, token string) string {
	if token == "" {
		return object
	}
	return strings.TrimSuffix(object, "}") + `,"userToken":"` + token + `"}`
}

func tongues() []tongue {
	unnamed := func(string) func(*http.Request) { return noAuth }
	segment := func(_, name, user, anon, properties, token string) string {
		return fmt.Sprintf(`{"type":"track","messageId":"m","event":%q%s%s,"properties":%s,"context":%s}`, name, member("userId", user), member("anonymousId", anon), properties, tokened(`{"library":{}}`, token))
	}
	batched := func(key, name, user, anon, properties, token string) string {
		return batch(segment(key, name, user, anon, properties, token))
	}
	posthog := func(key, name, user, anon, properties, token string) string {
		id := user
		p := tokened(properties, token)
		if user == "" {
			id = anon
			p = strings.Replace(p, "{", `{"$device_id":"`+anon+`",`, 1)
		}
		return fmt.Sprintf(`{"event":%q,"uuid":"m","distinct_id":%q,"properties":%s}`, name, id, p)
	}
	cloud := func(_, name, user, anon, properties, token string) string {
		return fmt.Sprintf(`{"specversion":"1.0","id":"1","source":"s","type":%q%s%s,"data":%s}`, name, member("subject", user), member("anonymousid", anon), tokened(properties, token))
	}
	return []tongue{
		{"/v1/t", segment, as, false},
		{"/v1/import", batched, as, true},
		{"/beacon/v1/batch?writeKey=KEY", batched, unnamed, true},
		{"/api/s/track", segment, func(k string) func(*http.Request) { return inHeader("X-Write-Key", k) }, false},
		{"/e/", func(key, name, user, anon, properties, token string) string {
			return strings.Replace(posthog(key, name, user, anon, properties, token), "{", `{"api_key":"`+key+`",`, 1)
		}, unnamed, true},
		{"/batch/", func(key, name, user, anon, properties, token string) string {
			return `{"api_key":"` + key + `","batch":[` + posthog(key, name, user, anon, properties, token) + `]}`
		}, unnamed, true},
		{"/v1/cloudevents", cloud, as, false},
		{"/v1/cloudevents", func(key, name, user, anon, properties, token string) string {
			return "[" + cloud(key, name, user, anon, properties, token) + "]"
		}, as, true},
	}
}

// TestRolesInDialects walks keys, events, proofs and dialects: who may say what does not
// depend on the dialect.
func TestRolesInDialects(t *testing.T) {
	const anyone, servers, proved = "browser verified both browser+feeder server server+feeder", "server both server+feeder", "browser verified browser+feeder"
	for _, tt := range []struct {
		name, user, anon string
		by, token        string // the keys that may send it without ann's token, and with it
	}{
		{"A", "ann", "x", anyone, ""},
		{"A", "", "x", anyone, ""},
		{"consent granted", "ann", "x", anyone, ""},
		{"Consent Granted", "ann", "", servers, proved},
		{"Consent Granted", "ann", "x", servers, proved},
		{"Consent Granted", "bob", "ann", servers, ""},
		{"Consent Granted", "", "ann", servers, ""},
		{"Consent Revoked", "ann", "", servers, proved},
		{"Coupon Redeemed", "ann", "", servers, ""},
		{"Offer Delivered", "ann", "x", servers, ""},
		{"Offer Failed", "ann", "", servers, ""},
		{"Offer Shown", "ann", "x", anyone, ""},
		{"Offer Dismissed", "", "x", anyone, ""},
	} {
		for i, d := range tongues() {
			if (d.path == "/e/" || d.path == "/batch/") && tt.user != "" && tt.anon != "" {
				continue // it has one id
			}
			for _, k := range roleKeys() {
				for _, proof := range []string{"", token()} {
					log := newFakeLog(1)
					g := newRoleGateway(t, log)
					w := post(g, strings.ReplaceAll(d.path, "KEY", url.QueryEscape(k.Name)), d.body(k.Name, tt.name, tt.user, tt.anon, `{"channel":"sms"}`, proof), d.as(k.Name))
					may := strings.Contains(" "+tt.by+" ", " "+k.Name+" ") || proof != "" && strings.Contains(" "+tt.token+" ", " "+k.Name+" ")
					where := fmt.Sprintf("%s of %q %q by %s in dialect %d, %s (token %v): %d %s", tt.name, tt.user, tt.anon, k.Name, i, d.path, proof != "", w.Code, w.Body)
					switch all := log.all(); {
					case len(all) > 0 != may || len(log.dead()) > 0:
						t.Errorf("%s\nstored %q, dead %q", where, all, log.dead())
					case d.bulk && w.Code != 200 || !d.bulk && (may && w.Code != 200 || !may && w.Code != 403 && w.Code != 401):
						t.Error(where)
					case may && strings.Contains(all[0], "userToken"):
						t.Errorf("%s\nstored the token: %s", where, all[0])
					case may && strings.Contains(all[0], `"proof":"none"`) != (strings.Contains(" "+proved+" ", " "+k.Name+" ") && (proof == "" || tt.user != "ann")):
						t.Errorf("%s\nstored %s", where, all[0])
					}
				}
			}
		}
	}
}

// TestPersonsInDialects: what makes one person of two ids needs no more rights in another
// dialect, and ids that stand for nobody never make any.
func TestPersonsInDialects(t *testing.T) {
	const alias, identify = event.Alias, event.Identify
	junk := []string{"undefined", "null", "[object Object]", "NaN", "None", "0", "00000000-0000-0000-0000-000000000000", "anonymousId", "ann"}
	for _, tt := range []struct {
		path, body string // ANON stands for the visitor's id
		want       event.Type
	}{
		{"/v1/a", `{"userId":"ann","previousId":"ANON"}`, alias},
		{"/v1/i", `{"userId":"ann","anonymousId":"ANON"}`, identify},
		{"/api/s/alias", `{"userId":"ann","previousId":"ANON"}`, alias},
		{"/api/s/identify", `{"userId":"ann","anonymousId":"ANON"}`, identify},
		{"/beacon/v1/batch", `{"batch":[{"type":"alias","userId":"ann","previousId":"ANON"}]}`, alias},
		{"/e/", `{"event":"$create_alias","properties":{"distinct_id":"ann","alias":"ANON"}}`, alias},
		{"/batch/", `{"batch":[{"event":"$identify","distinct_id":"ann","properties":{"$anon_distinct_id":"ANON","$set":{"a":1}}}]}`, identify},
	} {
		for _, id := range append([]string{"visitor-1"}, junk...) {
			for _, by := range []struct {
				key, token string
				proved     bool
			}{{"server", "", true}, {"browser", token(), true}, {"browser", "", false}, {"verified", "", false}} {
				log := newFakeLog(1)
				w := post(newRoleGateway(t, log), tt.path, strings.ReplaceAll(tt.body, "ANON", id), as(by.key), with(headerToken, by.token))
				want := ""
				if by.proved && (id == "visitor-1" || id == "ann" && tt.want == identify) { // a visitor may have the name of a user
					want = id
				}
				got := ""
				for _, text := range log.all() {
					got += merges(t, text)
				}
				if got != want || id == "visitor-1" && by.key != "verified" && (len(log.all()) != 1 || storedEvent(t, log.all()[0]).Type != tt.want) {
					t.Errorf("%s %s with %s by %+v merges %q: %d %s, stored %q", tt.path, tt.body, id, by, got, w.Code, w.Body, log.all())
				}
			}
		}
	}
	log := newFakeLog(1)
	if w := post(newRoleGateway(t, log), "/v1/batch", batch(`{"type":"merge","messageId":"m","userId":"ann","mergeProperties":[{"type":"email","value":"a@b.c"}]}`), as("server")); w.Code != 200 || len(log.all()) != 0 || len(log.dead()) != 1 || log.dead()[0] != "type" {
		t.Errorf("Rudder's merge: %d %s, stored %q, dead %q", w.Code, w.Body, log.all(), log.dead())
	}
}

// merges is the visitor whom a stored event makes one with its user, "" if none.
func merges(t *testing.T, text string) string {
	visitor, _ := storedEvent(t, text).Claims()
	return visitor
}
