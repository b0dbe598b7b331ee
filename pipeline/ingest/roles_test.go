package ingest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"offerstream/config"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
)

const testSecret = "0123456789abcdef"

// roleKeys are keys of each role, and of several.
func roleKeys() (keys []config.Key) {
	for _, k := range []config.Key{
		config.KeyOf("browser", "browser", event.Browser), config.KeyOf("verified", "verified", event.Browser),
		config.KeyOf("server", "server", event.Server), config.KeyOf("feeder", "feeder", event.Feeder), config.KeyOf("operator", "operator", event.Operator),
		config.KeyOf("both", "both", event.Browser|event.Server), config.KeyOf("browser+feeder", "browser+feeder", event.Browser|event.Feeder),
		config.KeyOf("server+feeder", "server+feeder", event.Server|event.Feeder),
	} {
		if k.Roles.Has(event.Browser) && !k.Roles.Has(event.Server) {
			k.Secret, k.Verified = []byte(testSecret), k.Name == "verified"
		}
		keys = append(keys, k)
	}
	return keys
}

// newRoleGateway is a gateway with these keys; each is its own name.
func newRoleGateway(t testing.TB, log Log, change ...func(*Options)) *Gateway {
	t.Helper()
	return newGateway(t, log, append([]func(*Options){func(o *Options) { o.ServerKeys, o.Keys = nil, roleKeys() }}, change...)...)
}

func as(key string) func(*http.Request) { return func(r *http.Request) { r.SetBasicAuth(key, "") } }

func with(header, v string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(header, v) }
}

// token is ann's, at the time of the tests.
func token() string {
	return UserToken([]byte(testSecret), "ann", time.Unix(0, testNow).Add(time.Hour))
}

// TestRoles walks keys, events and paths.
func TestRoles(t *testing.T) {
	const anyone, servers = "browser verified both browser+feeder server server+feeder", "server both server+feeder"
	consent := `"event":"Consent Granted","properties":{"channel":"sms"}`
	for _, tt := range []struct {
		event string
		by    string // the keys that may send it without a token
		token string // and those that may with ann's
	}{
		{`{"type":"track","event":"A","userId":"ann","anonymousId":"x"}`, anyone, ""},
		{`{"type":"page","userId":"ann","anonymousId":"x"}`, anyone, ""},
		{`{"type":"page","name":"Consent Granted","userId":"ann","anonymousId":"x"}`, anyone, ""},
		{`{"type":"identify","userId":"ann","anonymousId":"x"}`, anyone, ""},
		{`{"type":"track","event":"consent granted","userId":"ann","anonymousId":"x"}`, anyone, ""},
		{`{"type":"track",` + consent + `,"userId":"ann"}`, servers, "browser verified browser+feeder"},
		{`{"type":"track",` + consent + `,"userId":"ann","anonymousId":"x"}`, servers, "browser verified browser+feeder"},
		{`{"type":"system",` + consent + `,"userId":"ann"}`, servers, "browser verified browser+feeder"},
		{`{"type":"track",` + consent + `,"userId":"bob"}`, servers, ""},
		{`{"type":"track",` + consent + `,"userId":"bob","anonymousId":"ann"}`, servers, ""},
		{`{"type":"track",` + consent + `,"anonymousId":"ann"}`, servers, ""},
		{`{"type":"track",` + consent + `,"userId":"","anonymousId":"ann"}`, servers, ""},
		{`{"type":"track",` + consent + `,"us\u0065rId":"bob","userId":"ann"}`, servers, ""},
		{`{"type":"track","event":"Consent Revoked","userId":"ann"}`, servers, "browser verified browser+feeder"},
		{`{"type":"system","\u0065vent":"Consent Revoke\u0064","event":"A","userId":"bob"}`, servers, ""},
		{`{"type":"track","event":"Coupon Redeemed","userId":"ann"}`, servers, ""},
		{`{"type":"system","event":"Coupon Redeemed","userId":"ann"}`, servers, ""},
		{`{"type":"system","event":"Offer Delivered","userId":"ann"}`, servers, ""},
		{`{"type":"track","event":"Offer Failed","userId":"ann","anonymousId":"x"}`, servers, ""},
		{`{"type":"system","event":"Offer Shown","userId":"ann","anonymousId":"x"}`, anyone, ""},
		{`{"type":"system","event":"Offer Clicked","anonymousId":"x"}`, anyone, ""},
		{`{"type":"track","event":"Offer Dismissed","anonymousId":"x"}`, anyone, ""},
		{`{"type":"system","event":"Offer Sown","userId":"ann"}`, servers, ""},
		{`{"type":"fact","fact":"weather","key":"seoul","values":{}}`, "feeder browser+feeder server+feeder", ""},
		{`{"type":"item","kind":"product","id":"p1","event":"Price Changed"}`, "feeder browser+feeder server both server+feeder", ""},
		{`{"type":"item","kind":"product","id":"p1","event":"Consent Granted","userId":"ann"}`, "feeder browser+feeder server both server+feeder", ""},
		{`{"type":"clock","timestamp":"2026-01-02T15:04:05Z"}`, servers, ""},
		{`{"type":"control","userId":"ann"}`, "", ""},
		{`{"ty\u0070e":"control","type":"page","userId":"ann"}`, "", ""},
	} {
		for _, k := range roleKeys() {
			for _, path := range []string{"/v1/batch", "/v1/track", "/v1/system", "/v1/fact", "/v1/item"} {
				for _, proof := range []bool{false, true} {
					log := newFakeLog(1)
					log.clock = campaign.ClockEvent
					reg := prometheus.NewRegistry()
					g := newRoleGateway(t, log, func(o *Options) { o.Metrics = reg })
					send := strings.Replace(tt.event, `{`, `{"messageId":"m","originalTimestamp":"2026-01-02T15:04:05Z",`, 1)
					if path == "/v1/batch" {
						send = batch(send)
					}
					may := strings.Contains(" "+tt.by+" ", " "+k.Name+" ")
					change := []func(*http.Request){as(k.Name)}
					if proof {
						change = append(change, with(headerToken, token()))
						may = may || strings.Contains(" "+tt.token+" ", " "+k.Name+" ")
					}
					w := post(g, path, send, change...)
					where := fmt.Sprintf("%s of %s to %s (token %v): %d %s", tt.event, k.Name, path, proof, w.Code, w.Body)
					refused := !strings.Contains(w.Body.String(), `"refused":0`)
					switch {
					case path == "/v1/batch" && (w.Code != 200 || refused == may || refused != strings.Contains(w.Body.String(), `"denied":1`)):
						t.Error(where)
					case path != "/v1/batch" && (may && w.Code != 200 || !may && w.Code != 403 && w.Code != 401):
						t.Error(where)
					case len(log.all()) > 0 != may || len(log.dead()) > 0:
						t.Errorf("%s\nstored %q, dead %q", where, log.all(), log.dead())
					case deniedCount(t, reg) > 0 == may:
						t.Errorf("%s\n%v counted", where, deniedCount(t, reg))
					}
				}
			}
		}
	}
}

// deniedCount is the number of events that are counted as refused because of the key.
func deniedCount(t *testing.T, reg prometheus.Gatherer) (n float64) {
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "offerstream_gateway_events_rejected_total" {
			for _, m := range f.GetMetric() {
				switch m.GetLabel()[0].GetValue() {
				case event.DeniedRole, event.DeniedProof, event.DeniedUnproved:
					n += m.GetCounter().GetValue()
				}
			}
		}
	}
	return n
}

// TestItem: an event about an item is in the log of its partition and no other, as it
// came, wherever it was sent. One that is none is refused alone, and is a dead letter
// in a batch; of a key that may not send one it is not.
func TestItem(t *testing.T) {
	const item = `"kind":"product","id":7.0,"event":"Price Changed","properties":{"price":5}`
	const parts = 3
	at := event.Partition(event.ItemKey("product", "7"), parts)
	stamp := `,"receivedAt":"2026-01-02T15:04:05Z"`
	for path, send := range map[string]string{
		"/v1/item":  `{` + item + `,"messageId":"m","userId":"ann","userToken":"` + token() + `","proof":"none"}`,
		"/v1/track": `{"type":"item",` + item + `,"messageId":"m","userId":"ann"}`,
		"/v1/batch": `{"context":{"a":1},"sentAt":"2026-01-02T15:04:05Z","batch":[{"type":"item",` + item + `,"messageId":"m","userId":"ann"}]}`,
	} {
		for _, key := range []string{"server", "feeder", "browser+feeder"} {
			log := newFakeLog(parts)
			w := post(newRoleGateway(t, log), path, send, as(key), with(headerToken, token()))
			if w.Code != 200 || len(log.all()) != 1 || len(log.dead()) > 0 {
				t.Fatalf("%s of %s: %d %s, stored %q, dead %q", path, key, w.Code, w.Body, log.all(), log.dead())
			}
			want := map[string]string{
				"/v1/item":  `{` + item + `,"messageId":"m","userId":"ann"` + stamp + `,"type":"item"}`,
				"/v1/track": `{"type":"item",` + item + `,"messageId":"m","userId":"ann"` + stamp + `}`,
				"/v1/batch": `{"type":"item",` + item + `,"messageId":"m","userId":"ann"` + stamp + `,"sentAt":"2026-01-02T15:04:05Z"}`,
			}[path]
			if got := log.events(at); len(got) != 1 || got[0] != want {
				t.Errorf("%s of %s: partition %d has %q\nwant %q", path, key, at, got, want)
			}
		}
	}
	for no, reason := range map[string]string{
		`{"type":"item","id":"p","event":"E","userId":"ann"}`:                                             "name",
		`{"type":"item","kind":"a:b","id":"p","event":"E"}`:                                               "name",
		`{"type":"item","kind":"p","id":"p","userId":"ann"}`:                                              "name",
		`{"type":"item","kind":"p","event":"E","userId":"ann"}`:                                           "identity",
		`{"type":"item","kind":"p","event":"E","id":"` + strings.Repeat("x", event.MaxItemBytes+1) + `"}`: "identity",
		`{"type":"alias","userId":"ann","previousId":"ann"}`:                                              "identity",
	} {
		log := newFakeLog(parts)
		g := newRoleGateway(t, log)
		if w := post(g, "/v1/item", no, as("server")); w.Code != 400 || !strings.Contains(w.Body.String(), `"reason":"`+reason+`"`) {
			t.Errorf("%.80s: %d %s", no, w.Code, w.Body)
		}
		if w := post(g, "/v1/batch", batch(no), as("server")); w.Code != 200 || len(log.dead()) != 1 || len(log.all()) > 0 {
			t.Errorf("%.80s: %d %s, stored %q, dead %q", no, w.Code, w.Body, log.all(), log.dead())
		}
	}
}

// TestItemID: an item event without messageId is known again by its bytes.
func TestItemID(t *testing.T) {
	log := newFakeLog(1)
	g := newRoleGateway(t, log)
	const item = `{"kind":"product","id":"p1","event":"Price Changed"}`
	for range 2 {
		post(g, "/v1/item", item, as("feeder"))
	}
	var d event.Decoder
	for _, text := range log.all() {
		if ev, err := d.Decode([]byte(text)); err != nil || !ev.HasID || ev.ID != event.ContentID([]byte(item)) {
			t.Errorf("stored %q: %v", text, err)
		}
	}
	if len(log.all()) != 2 {
		t.Errorf("stored %q", log.all())
	}
}

// TestRolesBeforeOtherReasons: an event that its key may not send is refused for
// this reason, also if it is refused for another one that may pass.
func TestRolesBeforeOtherReasons(t *testing.T) {
	log := newFakeLog(1)
	log.clock = campaign.ClockEvent
	g := newRoleGateway(t, log)
	noTime := `{"type":"track","event":"Coupon Redeemed","userId":"ann"}`
	if w := post(g, "/v1/track", noTime, as("browser")); w.Code != 403 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	post(g, "/v1/batch", `{"context":{"x":"`+strings.Repeat("x", event.MaxEventBytes)+`"},`+batch(noTime)[1:], as("browser"))
	if len(log.dead()) > 0 {
		t.Errorf("dead letters %q", log.dead())
	}
}

// TestClockRole: a clock event of a key that may not send one is refused for this
// reason also where nobody can send one, and is no dead letter then.
func TestClockRole(t *testing.T) {
	clock := `{"type":"clock","timestamp":"2026-01-02T15:04:05Z"}`
	for key, dead := range map[string]int{"browser": 0, "feeder": 0, "operator": 0, "server": 1} {
		log := newFakeLog(1)
		w := post(newRoleGateway(t, log), "/v1/batch", batch(clock), as(key))
		if strings.Contains(w.Body.String(), `"denied":1`) != (dead == 0) || len(log.dead()) != dead || len(log.all()) > 0 {
			t.Errorf("%s: %d %s, dead %q, stored %q", key, w.Code, w.Body, log.dead(), log.all())
		}
	}
}

// TestDeniedLog: of the events that their keys may not send, one is logged for each
// reason in ten seconds, and tells how many were not.
func TestDeniedLog(t *testing.T) {
	var out bytes.Buffer
	now := testNow
	g := newRoleGateway(t, newFakeLog(1), func(o *Options) {
		o.Logger, o.Now = slog.New(slog.NewJSONHandler(&out, nil)), func() int64 { return now }
	})
	coupon, consent := `{"type":"track","event":"Coupon Redeemed","userId":"ann"}`, `{"type":"track","event":"Consent Granted","userId":"ann"}`
	post(g, "/v1/batch", batch(coupon, coupon, consent, coupon), as("browser"))
	now += deniedEvery - 1
	post(g, "/v1/track", coupon, as("browser"))
	now++
	post(g, "/v1/track", coupon, as("browser+feeder"))
	var got []string
	for line := range strings.SplitSeq(strings.TrimSpace(out.String()), "\n") {
		var l struct {
			Reason, Key string
			More        int `json:"not_logged_before"`
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(l.Reason, " ", l.Key, " ", l.More))
	}
	if fmt.Sprint(got) != "[role browser 0 proof browser 0 role browser+feeder 3]" {
		t.Errorf("%q", got)
	}
}

// TestFactEverywhere: a fact is in the log of every partition before the answer, and
// the request fails if one does not take it.
func TestFactEverywhere(t *testing.T) {
	log := newFakeLog(3)
	g := newRoleGateway(t, log)
	fact := `{"fact":"weather","key":"seoul","values":{"dust":90},"messageId":"m"}`
	if w := post(g, "/v1/fact", fact, as("feeder")); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if w := post(g, "/v1/batch", `{"context":{"a":1},`+batch(fact[:1] + `"type":"fact",` + fact[1:])[1:], as("feeder")); !strings.Contains(w.Body.String(), `"accepted":1,"refused":0`) {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	for p := range 3 {
		got := log.events(p)
		if len(got) != 2 || got[0] != fact[:len(fact)-1]+`,"receivedAt":"2026-01-02T15:04:05Z","type":"fact"}` || strings.Contains(got[1], "context") {
			t.Errorf("partition %d has %q", p, got)
		}
	}
}
