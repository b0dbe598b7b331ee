package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/event"
)

const redeemAnn = `{"code":"ABC-1","userId":"ann","orderId":"o1"}`

// answered is what an answer about a coupon says.
type answered struct {
	Success, Valid        bool
	Reason, Error, Do     string
	State, Code, Campaign string
	OrderID               string `json:"orderId"`
}

func readAnswer(t *testing.T, w *httptest.ResponseRecorder) (a answered) {
	t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	return a
}

// TestCouponAnswers: each state of a coupon has a status, a word, a sentence and what to
// do.
func TestCouponAnswers(t *testing.T) {
	state := pipeline.CouponState{}
	log := newFakeLog(4)
	log.coupon = func(p int, user, code, order string) (pipeline.CouponState, error) {
		if p != event.Partition("u:ann", 4) || user != "u:ann" || code != "ABC-1" {
			t.Errorf("asked partition %d about %s of %s", p, code, user)
		}
		return state, nil
	}
	g := newRoleGateway(t, log)
	for _, tt := range []struct {
		state              string
		redeem, void, look int
		reasons            string // of redeem, void, look
	}{
		{pipeline.CouponUsed, 200, 503, 200, " coupon "},
		{pipeline.CouponTaken, 409, 409, 200, "coupon_used coupon_unredeemed "},
		{pipeline.CouponVoid, 409, 200, 200, "coupon_voided  "},
		{pipeline.CouponExpired, 409, 409, 200, "coupon_expired coupon_unredeemed "},
		{pipeline.CouponUnknown, 404, 404, 404, "coupon_unknown coupon_unknown coupon_unknown"},
		{pipeline.CouponOpen, 503, 409, 200, "coupon coupon_unredeemed "},
	} {
		state = pipeline.CouponState{State: tt.state, Code: "ABC-1", Campaign: "c", OrderID: "o9", Redeemed: "2026-01-02T00:00:00Z", Expires: "2026-01-03T00:00:00Z"}
		var reasons []string
		for i, want := range []int{tt.redeem, tt.void, tt.look} {
			var w *httptest.ResponseRecorder
			if path := []string{"/v1/coupons/redeem", "/v1/coupons/void", "/v1/coupons/ABC-1?userId=ann"}[i]; i < 2 {
				w = post(g, path, redeemAnn, as("server"))
			} else {
				w = get(g, path, as("server"))
			}
			a := readAnswer(t, w)
			reasons = append(reasons, a.Reason)
			if w.Code != want || a.Success != (want == 200) || want == 200 && (a.State != tt.state || a.Campaign != "c") || want != 200 && (a.Error == "" || a.Do == "") {
				t.Errorf("%s, request %d: %d %s, want %d", tt.state, i, w.Code, w.Body, want)
			}
			valid := i == 0 && tt.state == pipeline.CouponUsed || i == 2 && tt.state == pipeline.CouponOpen
			if a.Valid != valid {
				t.Errorf("%s, request %d: valid is %v", tt.state, i, a.Valid)
			}
			if again := w.Header().Get("Retry-After"); (again != "") != (want == 503) {
				t.Errorf("%s, request %d: Retry-After %q", tt.state, i, again)
			}
		}
		if got := strings.Join(reasons, " "); got != tt.reasons {
			t.Errorf("%s: reasons %q, want %q", tt.state, got, tt.reasons)
		}
	}
}

func get(g http.Handler, path string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", path, nil)
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	return w
}

// TestCouponEvents: what is stored is the event that the fold knows, of the same id
// however the code was typed; another order, user or path is another event.
func TestCouponEvents(t *testing.T) {
	log := newFakeLog(1)
	log.coupon = func(int, string, string, string) (pipeline.CouponState, error) {
		return pipeline.CouponState{State: pipeline.CouponUsed}, nil
	}
	g := newRoleGateway(t, log)
	ids := map[string]string{}
	for i, tt := range []struct{ path, body, as string }{
		{"redeem", `{"code":"ab-0l","userId":"ann","orderId":"o1"}`, "one"},
		{"redeem", `{"userId":"ann","code":" ABO1","orderId":"o1","writeKey":"x"}`, "one"},
		{"redeem", `{"code":"ab-0l","userId":"ann","orderId":17}`, "17"},
		{"redeem", `{"code":"ab-0l","userId":"bob","orderId":"o1"}`, "bob"},
		{"void", `{"code":"ab-0l","userId":"ann","orderId":"o1"}`, "void"},
	} {
		if w := post(g, "/v1/coupons/"+tt.path, tt.body, as("server")); w.Code != 200 && tt.path == "redeem" {
			t.Fatalf("%s: %d %s", tt.body, w.Code, w.Body)
		}
		lines := log.events(0)
		if len(lines) != i+1 {
			t.Fatalf("%d events are stored", len(lines))
		}
		var ev struct {
			Type, Event, UserID, MessageID, Proof string
			Properties                            struct{ Code, OrderID string }
		}
		if err := json.Unmarshal([]byte(lines[i]), &ev); err != nil {
			t.Fatal(err)
		}
		name := map[string]string{"redeem": pipeline.CouponRedeemed, "void": pipeline.CouponVoided}[tt.path]
		if ev.Type != "system" || ev.Event != name || ev.Properties.Code == "" || ev.Properties.OrderID == "" || ev.Proof != "" || ev.UserID == "" {
			t.Errorf("stored is %s", lines[i])
		}
		if was := ids[tt.as]; was != "" && was != ev.MessageID {
			t.Errorf("%s has the id %s, and before %s", tt.body, ev.MessageID, was)
		}
		for other, id := range ids {
			if other != tt.as && id == ev.MessageID {
				t.Errorf("%s and %s have one id", other, tt.as)
			}
		}
		ids[tt.as] = ev.MessageID
	}
}

// TestCouponRefusals: who may not ask, and what is no question. Nothing is stored.
func TestCouponRefusals(t *testing.T) {
	log := newFakeLog(1)
	log.coupon = func(int, string, string, string) (pipeline.CouponState, error) {
		t.Error("the owner is asked")
		return pipeline.CouponState{}, nil
	}
	g := newRoleGateway(t, log)
	for _, tt := range []struct {
		path, body, key string
		want            int
		reason          string
	}{
		{"redeem", redeemAnn, "browser", 403, "role"}, {"redeem", redeemAnn, "verified", 401, "unproved"}, {"redeem", redeemAnn, "feeder", 403, "role"},
		{"redeem", redeemAnn, "operator", 403, "role"}, {"redeem", redeemAnn, "nobody", 401, "key"}, {"void", redeemAnn, "browser", 403, "role"},
		{"redeem", `{"userId":"ann","orderId":"o1"}`, "server", 400, "coupon_fields"}, {"redeem", `{"code":"","userId":"ann","orderId":"o1"}`, "server", 400, "coupon_fields"},
		{"redeem", `{"code":"x","userId":"ann","orderId":1.5}`, "server", 400, "coupon_fields"}, {"redeem", `{"code":"x","userId":{},"orderId":"o"}`, "server", 400, "coupon_fields"},
		{"redeem", fmt.Sprintf(`{"code":%q,"userId":"ann","orderId":"o"}`, strings.Repeat("x", 257)), "server", 400, "coupon_fields"},
		{"redeem", `[]`, "server", 400, "json"}, {"redeem", `{"code"`, "server", 400, "json"}, {"redeem", redeemAnn + `{}`, "server", 400, "json"},
		{"else", redeemAnn, "server", 404, "path"},
	} {
		if w := post(g, "/v1/coupons/"+tt.path, tt.body, as(tt.key)); w.Code != tt.want || readAnswer(t, w).Reason != tt.reason {
			t.Errorf("%s %s as %s: %d %s, want %d %s", tt.path, tt.body, tt.key, w.Code, w.Body, tt.want, tt.reason)
		}
	}
	for _, tt := range []struct {
		path, key string
		want      int
	}{{"ABC?userId=ann", "browser", 403}, {"ABC?userId=ann", "feeder", 403}, {"ABC?userId=ann", "", 401}, {"ABC?userId=ann", "nobody", 401}, {"ABC", "server", 400}, {"redeem?userId=ann", "server", 405}} {
		if w := get(g, "/v1/coupons/"+tt.path, as(tt.key)); w.Code != tt.want {
			t.Errorf("GET %s as %q: %d %s, want %d", tt.path, tt.key, w.Code, w.Body, tt.want)
		}
	}
	if n := len(log.events(0)); n > 0 {
		t.Errorf("%d events are stored", n)
	}
}

// TestCouponKeyInBody: the key may be in the body, from which it is not stored.
func TestCouponKeyInBody(t *testing.T) {
	log := newFakeLog(1)
	log.coupon = func(int, string, string, string) (pipeline.CouponState, error) {
		return pipeline.CouponState{State: pipeline.CouponUsed}, nil
	}
	g := newRoleGateway(t, log)
	for key, want := range map[string]int{"server": 200, "browser": 403, "": 401} {
		body := fmt.Sprintf(`{"code":"ABC-1","userId":"ann","orderId":"o1","writeKey":%q}`, key)
		if w := post(g, "/v1/coupons/redeem", body, noAuth); w.Code != want {
			t.Errorf("%q: %d %s, want %d", key, w.Code, w.Body, want)
		}
	}
	if all := log.events(0); len(all) != 1 || strings.Contains(all[0], "writeKey") || strings.Contains(all[0], "server") {
		t.Errorf("stored are %v", all)
	}
}

// TestCouponSilence: where nobody answers, the request has failed, and may be sent again.
func TestCouponSilence(t *testing.T) {
	log := newFakeLog(1)
	g := newRoleGateway(t, log)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/v1/coupons/ABC?userId=ann", nil).WithContext(ctx)
	r.SetBasicAuth("server", "")
	if g.ServeHTTP(w, r); w.Code != 503 || readAnswer(t, w).Reason != "coupon" || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	log.set(func() {
		log.coupon = func(int, string, string, string) (pipeline.CouponState, error) {
			return pipeline.CouponState{}, context.DeadlineExceeded
		}
	})
	if w := post(g, "/v1/coupons/redeem", redeemAnn, as("server")); w.Code != 503 || !strings.Contains(readAnswer(t, w).Do, "same request again") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	log.publish = func(ctx context.Context, _ int, _ string, _ []byte) error { <-ctx.Done(); return ctx.Err() }
	start := time.Now()
	if w := post(g, "/v1/coupons/redeem", redeemAnn, as("server")); w.Code != 503 || readAnswer(t, w).Reason != "coupon" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	t.Logf("a log that does not answer: after %s", time.Since(start))
}

// TestCouponAtOnce: many servers ask at once; each has the answer to its own order.
func TestCouponAtOnce(t *testing.T) {
	log := newFakeLog(2)
	log.coupon = func(_ int, _, _, order string) (pipeline.CouponState, error) {
		return pipeline.CouponState{State: map[bool]string{true: pipeline.CouponUsed, false: pipeline.CouponTaken}[order == "o7"], OrderID: "o7"}, nil
	}
	g := newRoleGateway(t, log)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			w := post(g, "/v1/coupons/redeem", fmt.Sprintf(`{"code":"x","userId":"ann","orderId":"o%d"}`, i), as("server"))
			if want := map[bool]int{true: 200, false: 409}[i == 7]; w.Code != want {
				t.Errorf("order %d: %d %s", i, w.Code, w.Body)
			}
		})
	}
	all.Wait()
}
