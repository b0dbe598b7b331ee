package ingest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"offerstream/config"
)

func redacting(paths string, cut bool) func(*Options) {
	return func(o *Options) {
		for p := range strings.SplitSeq(paths, ",") {
			if p != "" {
				o.Redact = append(o.Redact, strings.Split(p, "."))
			}
		}
		o.CutAddresses = cut
	}
}

// TestRedact: members are not stored that must not be, wherever an SDK puts them, and
// neither are they in dead letters.
func TestRedact(t *testing.T) {
	const paths = "context.ip,context.geo.city,properties.email,properties.items.owner,traits.phone"
	for body, want := range map[string]string{
		`{"type":"track","event":"A","userId":"u","messageId":"m","context":{"ip":"SECRET","geo":{"city":"SECRET","country":"KR"}},"properties":{"email":"SECRET","ip":"1.2.3.4"}}`: `"context":{"geo":{"country":"KR"}},"properties":{"ip":"1.2.3.4"}`,
		`{"type":"track","event":"A","userId":"u","messageId":"m","properties":{"items":[{"owner":"SECRET","id":1}, 7,{"id":2}],"e\u006dail":"SECRET","x":{"email":"kept"}}}`:       `"properties":{"items":[{"id":1},7,{"id":2}],"x":{"email":"kept"}}`,
		`{"type":"track","event":"A","userId":"u","messageId":"m","properties":{"email":"SECRET"},"properties":{"email":"SECRET"}}`:                                                 `"properties":{},"properties":{}`,
		`{"type":"track","event":"A","userId":"u","messageId":"m","context":{"ip":[1,{"SECRET":2}]}}`:                                                                               `"context":{}`,
		`{"type":"identify","userId":"u","messageId":"m","traits":{"phone":"SECRET","a":1}}`:                                                                                        `"traits":{"a":1}`,
		`{"type":"identify","userId":"u","messageId":"m","context":{"traits":{"phone":"SECRET","a":1}}}`:                                                                            `"traits":{"a":1}`,
	} {
		for _, send := range []string{body, batch(body), strings.Replace(batch(`{"type":"page","userId":"u"}`), "{", `{"context":{"ip":"SECRET","city":"s"},`, 1)} {
			path := "/v1/batch"
			if send == body {
				path = "/v1/track"
			}
			log := newFakeLog(1)
			w := post(newGateway(t, log, redacting(paths, false)), path, send)
			got := log.all()
			if w.Code != 200 || len(got) != 1 {
				t.Errorf("%s: %d %s", send, w.Code, w.Body)
				continue
			}
			if !json.Valid([]byte(got[0])) || strings.Contains(got[0], "SECRET") || send == body && !strings.Contains(got[0], want) {
				t.Errorf("%s\nstored %s", send, got[0])
			}
		}
	}
	for _, bad := range []string{
		`{"type":"track","userId":"u","properties":{"email":"SECRET"}}`,                                                      // no name
		`{"type":"track","event":"A","userId":"u","properties":{"email":"SECRET" "x":1}}`,                                    // not JSON
		`{"type":"track","event":"A","userId":"u","properties":{"items":[{"owner":"SECRET"} {"owner":"SECRET"}]}}`,           // not JSON
		`{"type":"track","event":"A","userId":"u","properties":{"email":"SECRET"},"x":tru}`,                                  // not JSON
		`{"type":"track","event":"A","userId":"u","properties":{"email":"SECRET"},"x":"` + strings.Repeat("x", 40000) + `"}`, // too large
		`{"type":"track","event":"A","userId":"u","properties":{"email":"SECRET"},"x":` + strings.Repeat("[", 300) + strings.Repeat("]", 300) + `}`,
	} {
		log := newFakeLog(1)
		w := post(newGateway(t, log, redacting(paths, false)), "/v1/batch", batch(bad))
		dead := log.letters
		if w.Code != 200 || len(log.all()) != 0 || len(dead) != 1 || strings.Contains(dead[0].Detail+string(dead[0].Raw), "SECRET") {
			t.Errorf("%.100s: %d %s, stored %q, dead %q", bad, w.Code, w.Body, log.all(), dead)
		}
	}
}

// TestCutAddresses: of an address the network is stored.
func TestCutAddresses(t *testing.T) {
	for at, want := range map[string]string{
		`"198.51.100.7"`: `"198.51.100.0"`, `"2001:db8:1:2:3::4"`: `"2001:db8:1::"`, `"fe80::1%eth0"`: `"fe80::"`, `"::ffff:198.51.100.7"`: `"198.51.100.0"`,
		`"1.2.3.4, 5.6.7.8"`: `""`, `"unknown"`: `""`, `7`: `7`, `null`: `null`, `""`: `""`,
	} {
		log := newFakeLog(1)
		post(newGateway(t, log, redacting("", true)), "/v1/track", fmt.Sprintf(`{"event":"A","userId":"u","context":{"ip":%s},"properties":{"$ip":%s,"ip":%s,"x":%s}}`, at, at, at, at))
		if got := log.all(); len(got) != 1 || !strings.Contains(got[0], fmt.Sprintf(`"context":{"ip":%s},"properties":{"$ip":%s,"ip":%s,"x":%s}`, want, want, want, at)) {
			t.Errorf("%s: stored %q", at, got)
		}
	}
}

// TestRedactDialects: what another dialect's events have is found where it is stored.
func TestRedactDialects(t *testing.T) {
	log := newFakeLog(1)
	g := newGateway(t, log, redacting("properties.email,traits.phone", true))
	post(g, "/batch/", `{"api_key":"key-1","batch":[{"event":"A","uuid":"m1","distinct_id":"u","properties":{"email":"SECRET","$ip":"198.51.100.7","$set":{"phone":"SECRET"}}},{"event":"$identify","uuid":"m2","distinct_id":"u","properties":{"$set":{"phone":"SECRET","a":1}}}]}`, noAuth)
	post(g, "/batch/", `{"api_key":"key-1","batch":[{"event":"A","uuid":"m1","properties":{"email":"SECRET"}}]}`, noAuth) // has no id
	post(g, "/v1/cloudevents", `{"id":"1","source":"s","type":"A","subject":"u","data":{"email":"SECRET"}}`)
	if dead := log.letters; len(dead) != 1 || strings.Contains(string(dead[0].Raw), "SECRET") {
		t.Errorf("dead letters: %q", dead)
	}
	if got := log.all(); len(got) != 3 || strings.Contains(strings.Join(got, ""), "SECRET") || !strings.Contains(got[0], "198.51.100.0") {
		t.Errorf("%q", got)
	}
}

// FuzzRedact: whatever the text is, what is stored is JSON without the members.
func FuzzRedact(f *testing.F) {
	for _, s := range []string{`{"userId":"u","context":{"ip":"1.2.3.4"}}`, `{"userId":"u","properties":{"a":[{"b":1},2,[{"b":{}}]]},"context":{}}`, `{"userId":"u","properties":{"a":[1 2]}}`, `{"userId":"u","context":{"ip":1,}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		log := newFakeLog(1)
		post(newGateway(t, log, redacting("context.ip,properties.a.b", false)), "/v1/page", string(text))
		for _, got := range log.all() {
			var e map[string]any
			if err := json.Unmarshal([]byte(got), &e); err != nil {
				t.Fatalf("stored %q: %v", got, err)
			}
			if in, _ := e["context"].(map[string]any); in["ip"] != nil {
				t.Fatalf("stored %q", got)
			}
			if in, _ := e["properties"].(map[string]any); hasMember(in["a"], "b") {
				t.Fatalf("stored %q", got)
			}
		}
	})
}

// hasMember reports whether an object, or one in an array, has a member.
func hasMember(v any, name string) bool {
	switch v := v.(type) {
	case map[string]any:
		return v[name] != nil
	case []any:
		return slices.ContainsFunc(v, func(e any) bool { return hasMember(e, name) })
	}
	return false
}

// TestBots: crawlers are not stored, and their SDK is told success, so that it does not
// send again; a shop's server may be called as it likes.
func TestBots(t *testing.T) {
	const bot, person = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
	reg := prometheus.NewRegistry()
	log := newFakeLog(1)
	g := newRoleGateway(t, log, func(o *Options) { o.DropBots, o.Metrics = true, reg })
	agent := func(a string) func(*http.Request) { return with("User-Agent", a) }
	of := func(a string) string {
		return fmt.Sprintf(`{"type":"page","userId":"u","context":{"userAgent":%q}}`, a)
	}
	for _, tt := range []struct {
		body   string
		agent  string
		key    string
		stored int
	}{
		{of(person), person, "browser", 1},
		{of(person), bot, "browser", 0},
		{of(bot), person, "browser", 0},
		{batch(of(bot), of(person), of(bot), `{"type":"page","userId":"u"}`), person, "browser", 2},
		{batch(of(person), of(person)), bot, "browser", 0},
		{of(bot), bot, "server", 1},
		{of(strings.Repeat("bot ", 5000)), "", "browser", 0},
	} {
		before := len(log.all())
		path := "/v1/page"
		if strings.HasPrefix(tt.body, `{"batch"`) {
			path = "/v1/batch"
		}
		w := post(g, path, tt.body, as(tt.key), agent(tt.agent))
		if stored := len(log.all()) - before; w.Code != 200 || stored != tt.stored || len(log.dead()) != 0 {
			t.Errorf("%.80s of %s: %d %s, %d stored", tt.body, tt.agent, w.Code, w.Body, stored)
		}
		if path == "/v1/batch" && !strings.Contains(w.Body.String(), `"refused":2,"bots":2}`) {
			t.Errorf("%s", w.Body)
		}
	}
	if n := counterOf(t, reg, "offerstream_gateway_events_rejected_total", "bot"); n != 7 {
		t.Errorf("%v counted", n)
	}
}

// FuzzBots: whatever an agent's name is, it is read.
func FuzzBots(f *testing.F) {
	for _, s := range []string{"", "Googlebot", "Mozilla/5.0 (", "a/b/(c;", "(((((", "Mozilla/5.0 (iPhone; CPU iPhone OS 14_7_1 like Mac OS X)"} {
		f.Add(s)
	}
	f.Fuzz(func(_ *testing.T, agent string) { new(bots).bot(agent) })
}

// TestRequestIDs: each answer names its request, by the name that it came with if that
// can be one.
func TestRequestIDs(t *testing.T) {
	g := newGateway(t, newFakeLog(1))
	seen := map[string]bool{}
	for _, path := range []string{"/v1/track", "/v1/batch", "/nothing", "/healthz"} {
		for given, kept := range map[string]bool{"": false, "a-1_b.c=": true, strings.Repeat("x", 64): true, strings.Repeat("x", 65): false, "a b": false, `"`: false} {
			w := post(g, path, "x", func(r *http.Request) {
				if given != "" {
					r.Header.Set("X-Request-Id", given)
				}
			})
			id := w.Header().Get("X-Request-Id")
			if (id == given) != kept || !kept && seen[id] || w.Code >= 400 && !strings.Contains(w.Body.String(), `"request":"`+id+`"`) {
				t.Errorf("%s with %q: %q, %s", path, given, id, w.Body)
			}
			seen[id] = true
		}
	}
}

// TestRemedies: each reason has a word on what to do.
func TestRemedies(t *testing.T) {
	for reason, body := range map[string]string{"json": "[", "identity": `{"event":"A"}`, "name": `{"userId":"u"}`, "type": `{"type":"x","userId":"u"}`, "size": strings.Repeat(" ", 40000)} {
		var a struct{ Reason, Error, Do string }
		if err := json.Unmarshal(post(newGateway(t, newFakeLog(1)), "/v1/track", body).Body.Bytes(), &a); err != nil || a.Reason != reason || a.Error == "" || a.Do != remedies[reason] {
			t.Errorf("%.20s: %+v, %v", body, a, err)
		}
	}
	for reason, do := range remedies {
		if do == "" || strings.ToLower(reason) != reason {
			t.Errorf("%s: %q", reason, do)
		}
	}
	if _, err := config.Gateway([]string{"--write-key=k", "--redact=context.ip"}, nil, nil); err != nil {
		t.Error(err)
	}
}
