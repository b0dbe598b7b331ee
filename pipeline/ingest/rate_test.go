package ingest

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"offerstream/config"
	"offerstream/pipeline/event"
)

// TestRates: beyond a minute's worth of events a sender is refused with 429, before
// anything is stored, until it has paid off what it owes; others are not.
func TestRates(t *testing.T) {
	const public, other = "198.51.100.7", "198.51.100.8"
	office := func(n int, user string) string {
		all := make([]string, n)
		for i := range all {
			all[i] = fmt.Sprintf(`{"type":"page","userId":%q,"messageId":"%d"}`, strings.ReplaceAll(user, "#", strconv.Itoa(i)), i)
		}
		return batch(all...)
	}
	from := func(a string) func(*http.Request) {
		return func(r *http.Request) { r.RemoteAddr = net.JoinHostPort(a, "9") }
	}
	for _, tt := range []struct {
		name   string
		reason string
		rate   func(*Options)
		key    string
		sends  func(n int) (string, func(*http.Request)) // 60 of these are taken
		free   string                                    // a key whose events are not limited
		frees  func() (string, func(*http.Request))      // whose events are not limited
	}{
		{"address", "address_rate", func(o *Options) { o.AddressRate = 1 }, "browser",
			func(n int) (string, func(*http.Request)) { return office(n, "u#"), from(public) }, "server",
			func() (string, func(*http.Request)) { return office(90, "u#"), from(other) }},
		{"network", "address_rate", func(o *Options) { o.AddressRate = 1 }, "browser",
			func(n int) (string, func(*http.Request)) {
				return office(n, "u#"), from(fmt.Sprintf("2001:db8::%d", n))
			}, "server",
			func() (string, func(*http.Request)) { return office(90, "u#"), from("2001:db8:0:1::1") }},
		{"user", "user_rate", func(o *Options) { o.UserRate = 1 }, "browser",
			func(n int) (string, func(*http.Request)) { return office(n, "ann"), from(public) }, "server",
			func() (string, func(*http.Request)) { return office(90, "bob"), from(public) }},
		{"key", "key_rate", func(o *Options) { o.Keys[2].Rate = 1 }, "server",
			func(n int) (string, func(*http.Request)) { return office(n, "u#"), from(public) }, "browser", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log, now := newFakeLog(2), testNow
			g := newRoleGateway(t, log, tt.rate, func(o *Options) { o.Now = func() int64 { return now } })
			send := func(n, want int) http.Header {
				t.Helper()
				body, change := tt.sends(n)
				before := len(log.all())
				w := post(g, "/v1/batch", body, as(tt.key), change)
				if w.Code != want || want == 429 && !strings.Contains(w.Body.String(), `"reason":"`+tt.reason+`"`) {
					t.Errorf("%d events: %d %s", n, w.Code, w.Body)
				}
				if stored := len(log.all()) - before; stored != 0 && want != 200 || want == 200 && stored != n {
					t.Errorf("%d stored of %d", stored, n)
				}
				return w.Header()
			}
			send(59, 200)
			send(31, 200) // taken whole, as it still owed less than a minute
			if h := send(1, 429); h.Get("Retry-After") != "31" {
				t.Errorf("Retry-After: %s", h.Get("Retry-After"))
			}
			body, change := tt.sends(1)
			if w := post(g, "/v1/batch", body, as(tt.free), change); w.Code != 200 {
				t.Errorf("of another key: %d %s", w.Code, w.Body)
			}
			if tt.frees != nil {
				body, change := tt.frees()
				if w := post(g, "/v1/batch", body, as(tt.key), change); w.Code != 200 {
					t.Errorf("of another sender: %d %s", w.Code, w.Body)
				}
			}
			now += int64(30 * time.Second)
			if h := send(1, 429); h.Get("Retry-After") != "1" {
				t.Errorf("Retry-After: %s", h.Get("Retry-After"))
			}
			now += int64(time.Second)
			send(1, 200)
			send(1, 429)
		})
	}
}

// TestRatesOfProxy: a proxy's own address is not limited, as it stands for many; that of
// a client which says it is a proxy is.
func TestRatesOfProxy(t *testing.T) {
	for _, tt := range []struct {
		peer, forwarded string
		networks        string
		limited         bool
	}{
		{"127.0.0.1:9", "", "", false},
		{"10.0.0.1:9", "", "", false},
		{"10.0.0.1:9", "198.51.100.7", "", true},
		{"198.51.100.7:9", "10.0.0.1", "", true},
		{"10.0.0.1:9", "", "203.0.113.0/24", true},
		{"203.0.113.9:9", "", "203.0.113.0/24", false},
		{"203.0.113.9:9", "198.51.100.7", "203.0.113.0/24", true},
		{"127.0.0.1:9", "", "203.0.113.0/24", true},
	} {
		g := newRoleGateway(t, newFakeLog(1), func(o *Options) {
			if o.AddressRate = 1; tt.networks != "" {
				o.Proxies = []netip.Prefix{netip.MustParsePrefix(tt.networks)}
			}
		})
		peer := func(r *http.Request) {
			if r.RemoteAddr = tt.peer; tt.forwarded != "" {
				r.Header.Set("X-Forwarded-For", tt.forwarded)
			}
		}
		many := batch(strings.Split(strings.Repeat(","+good, 61)[1:], ",{")[0]) // one event
		for range 61 {
			post(g, "/v1/batch", many, as("browser"), peer)
		}
		if w := post(g, "/v1/track", good, as("browser"), peer); (w.Code == 429) != tt.limited {
			t.Errorf("%+v: %d %s", tt, w.Code, w.Body)
		}
	}
}

// TestRateDefaults: an office behind one address sends 5,000 events at once, and so does
// one user.
func TestRateDefaults(t *testing.T) {
	s, err := config.Gateway([]string{"--write-key=k"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	g := newRoleGateway(t, newFakeLog(1), func(o *Options) { o.Exposure = s.Exposure })
	for _, size := range []int{1, 50} {
		for range 5000 / size {
			if w := post(g, "/v1/batch", batch(strings.Split(strings.Repeat(good+"\n", size)[:size*(len(good)+1)-1], "\n")...), as("browser"), with("X-Forwarded-For", "198.51.100.7")); w.Code != 200 {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
		}
		g.rates = newRates()
	}
}

// TestDebtorsBound: there is a limit to how many senders are remembered, and what is
// beyond it is counted, not refused.
func TestDebtorsBound(t *testing.T) {
	r := &rate[uint64]{reason: "x"}
	now := testNow
	for i := range uint64(maxDebtors) {
		if !r.charge(i, 1, 2, now) {
			t.Fatalf("%d debtors", i)
		}
	}
	if r.charge(maxDebtors, 1, 1, now) || r.check(maxDebtors, 1, now) != nil {
		t.Error("a debtor too many is remembered")
	}
	now += 3e9 // all have paid
	if !r.charge(maxDebtors, 1, 1, now) || len(r.debts) != 1 {
		t.Errorf("%d debtors are kept", len(r.debts))
	}

	reg := prometheus.NewRegistry()
	g := newRoleGateway(t, newFakeLog(1), func(o *Options) { o.UserRate, o.Metrics = 1, reg })
	g.rates.users.debts, g.rates.users.swept = r.debts, testNow
	for i := range uint64(maxDebtors) {
		r.debts[i] = testNow + int64(time.Hour)
	}
	if w := post(g, "/v1/page", `{"userId":"ann"}`, as("browser")); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if n := counterOf(t, reg, "offerstream_gateway_limits_reached_total", "debtors"); n != 1 {
		t.Errorf("%v counted", n)
	}
}

// counterOf is the value of a counter with a label's value.
func counterOf(t *testing.T, reg prometheus.Gatherer, name, label string) (n float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == label {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

// TestRateOfBodyKey: a key in the body is limited like one in a header, and so are bodies
// that are not events.
func TestRateOfBodyKey(t *testing.T) {
	log := newFakeLog(1)
	g := newGateway(t, log, func(o *Options) {
		k := config.KeyOf("web", "pk", event.Browser)
		k.Rate = 1
		o.Keys = []config.Key{k}
	})
	for i, body := range []string{`{"writeKey":"pk","batch":[]}`, `{"writeKey":"pk","batch":[7]}`, `{"writeKey":"pk","batch":7}`} {
		for range 20 {
			if w := post(g, "/v1/batch", body, noAuth); w.Code == 429 {
				t.Fatalf("%d: %s", i, w.Body)
			}
		}
	}
	if w := post(g, "/v1/batch", `{"writeKey":"pk","batch":[]}`, noAuth); w.Code != 429 || w.Header().Get("Retry-After") != "1" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
