package deploy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"offerstream/pipeline"
	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/coupon"
	"offerstream/pipeline/event"
	"offerstream/pipeline/ingest"
	"offerstream/pipeline/worker"
)

// A checkout is a deployment with a worker and two gateways, whose campaign gives a
// coupon at each page, with the roles of nats.conf.
type checkout struct {
	t        testing.TB
	ctx      context.Context
	log      *lines
	operator *broker.Conn
	keys     *coupon.Keys
	gateways []*ingest.Gateway
}

func newCheckout(t testing.TB, ns *server.Server) *checkout {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	s := &checkout{t: t, ctx: ctx, log: &lines{}}
	logger := slog.New(slog.NewTextHandler(s.log, nil))
	key, err := coupon.NewKey(bytes.Repeat([]byte{7}, coupon.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	if s.keys, err = coupon.Parse(key.Text()); err != nil {
		t.Fatal(err)
	}
	if s.operator, err = broker.Connect(ctx, broker.Options{URL: as(ns, "operator"), Client: "offerctl", Partitions: 2, Log: logger}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.operator.Close)
	w, err := worker.New(worker.Options{Dir: t.TempDir(), Log: logger, Coupons: s.keys, Connect: func(ctx context.Context) (*broker.Conn, error) {
		return broker.Connect(ctx, broker.Options{URL: as(ns, "worker"), Client: "offerstream-worker", Partitions: 2, Log: logger})
	}})
	if err != nil {
		t.Fatal(err)
	}
	worked := make(chan error, 1)
	workCtx, stop := context.WithCancel(ctx)
	go func() { worked <- w.Run(workCtx) }()
	t.Cleanup(func() {
		stop()
		if err := <-worked; err != nil {
			t.Error(err)
		}
		cancel()
	})
	for range 2 {
		c, err := broker.Connect(ctx, broker.Options{URL: as(ns, "gateway"), Client: "offerstream-gateway", Reconnect: true, Log: logger})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		events, err := c.OpenGatewayLog(ctx)
		if err != nil {
			t.Fatal(err)
		}
		g, err := ingest.New(ingest.Options{Log: events, WriteKeys: []string{"page"}, ServerKeys: []string{"server"}, Logger: logger})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { g.Drain(context.Background()) })
		s.gateways = append(s.gateways, g)
	}
	hash, err := s.operator.PutSet(ctx, &campaign.Definition{Engine: pipeline.Engine, Clock: campaign.ClockBroker, Lateness: campaign.DefaultLateness,
		Bounds: campaign.DefaultBounds, Forget: campaign.Forget{Anonymous: campaign.DefaultForgetAnonymous, Known: campaign.DefaultForgetKnown},
		Coupons:   &campaign.Coupons{Key: key.ID()},
		Campaigns: []campaign.Campaign{{ID: "gift", On: []string{"page"}, Offer: campaign.OfferSpec{Channel: "web", Kind: campaign.Service, Coupon: &campaign.Coupon{Expires: time.Hour}}}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.operator.MakeLive(ctx, hash, 0); err != nil {
		t.Fatal(err)
	}
	return s
}

// send sends a request to one of the gateways.
func (s *checkout) send(g int, method, path, key, body string) (status int, answer string) {
	s.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.SetBasicAuth(key, "")
	w := httptest.NewRecorder()
	s.gateways[g].ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// given waits until so many users have a code, and returns these, by user.
func (s *checkout) given(n int) map[string]string {
	s.t.Helper()
	codes := map[string]string{}
	await(s.t, s.ctx, "the codes", func() bool {
		for p := range s.operator.Partitions {
			if err := s.operator.ScanOffers(s.ctx, p, func(r broker.Record) error {
				var o pipeline.Offer
				if r.Chain == "offers.web" && json.Unmarshal(r.Data, &o) == nil {
					codes[o.Entity()] = o.Coupon.Code
				}
				return nil
			}); err != nil {
				s.t.Fatal(err)
			}
		}
		return len(codes) >= n
	})
	return codes
}

// gift makes the users have a code each; the first events may come before the set is in
// force.
func (s *checkout) gift(users ...string) map[string]string {
	s.t.Helper()
	for p, of := range map[int]string{0: "", 1: ""} {
		for i := 0; of == ""; i++ {
			if user := fmt.Sprint("first-", i); partitionOf("u:"+user) == p {
				of = user
			}
		}
		for n := 0; ; n++ {
			s.send(0, "POST", "/v1/page", "page", fmt.Sprintf(`{"userId":%q,"messageId":"%d"}`, of, n))
			if _, ok := s.had("u:" + of); ok {
				break
			}
		}
	}
	for _, u := range users {
		if status, answer := s.send(0, "POST", "/v1/page", "page", u); status != 200 {
			s.t.Fatal(answer)
		}
	}
	return s.given(len(users) + 2)
}

func (s *checkout) had(key string) (code string, ok bool) {
	s.t.Helper()
	code, ok = s.given(0)[key]
	return code, ok
}

// verified checks that what is stored is what the log gives.
func (s *checkout) verified() {
	s.t.Helper()
	v, err := audit.Verify(s.ctx, s.operator, &audit.VerifyOptions{Settle: within, Coupons: s.keys})
	if err != nil || !v.OK() {
		s.t.Errorf("%+v, %v", v, err)
	}
}

// TestCheckout: two servers redeem a code at once, each by a gateway of its own, and one
// of them gets it; what was redeemed is seen, voided and redeemed once more; a visitor's
// code is the user's after the login. The stored records are those of the log.
func TestCheckout(t *testing.T) {
	s := newCheckout(t, startNATS(t))
	codes := s.gift(`{"userId":"ann"}`, `{"userId":"bob"}`, `{"anonymousId":"vis"}`)
	ask := func(g int, path, user, code, order string) (int, string) {
		return s.send(g, "POST", "/v1/coupons/"+path, "server", fmt.Sprintf(`{"code":%q,"userId":%q,"orderId":%q}`, code, user, order))
	}
	expect := func(want int, like string) func(int, string) {
		return func(status int, answer string) {
			t.Helper()
			if status != want || !strings.Contains(answer, like) {
				t.Errorf("%d %s, want %d %s", status, answer, want, like)
			}
		}
	}
	look := func(user, code string) (int, string) {
		return s.send(1, "GET", "/v1/coupons/"+strings.ToLower(code)+"?userId="+user, "server", "")
	}
	ann := codes["u:ann"]
	expect(200, `"valid":true,"state":"open"`)(look("ann", ann))
	expect(404, `coupon_unknown`)(look("bob", ann))
	var valid atomic.Int32
	var winner atomic.Pointer[string]
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			order := fmt.Sprint("order-", i)
			switch status, answer := ask(i%2, "redeem", "ann", ann, order); status {
			case 200:
				valid.Add(1)
				winner.Store(&order)
			case 409:
				if !strings.Contains(answer, "coupon_used") {
					t.Error(answer)
				}
			default:
				t.Errorf("%d %s", status, answer)
			}
		})
	}
	all.Wait()
	if n := valid.Load(); n != 1 {
		t.Fatalf("%d orders have used the code\n%s", n, s.log.String())
	}
	won := *winner.Load()
	expect(200, `"valid":true`)(ask(1, "redeem", "ann", strings.ToLower(ann), won))
	expect(200, `"valid":false,"state":"used"`)(look("ann", ann))
	expect(404, "coupon_unknown")(ask(0, "redeem", "bob", ann, "b"))
	expect(404, "coupon_unknown")(ask(0, "redeem", "ann", ann[:len(ann)-1]+map[bool]string{true: "0", false: "1"}[ann[len(ann)-1] != '0'], "b"))
	expect(409, "coupon_unredeemed")(ask(0, "void", "ann", ann, "another"))
	expect(200, `"state":"voided"`)(ask(0, "void", "ann", ann, won))
	expect(409, "coupon_voided")(ask(1, "redeem", "ann", ann, won))
	expect(200, `"valid":true`)(ask(1, "redeem", "ann", ann, "once-more"))
	expect(403, "role")(s.send(0, "POST", "/v1/coupons/redeem", "page", `{"code":"x","userId":"ann","orderId":"o"}`))

	vis := codes["a:vis"]
	expect(404, "coupon_unknown")(ask(0, "redeem", "bob", vis, "v"))
	if status, answer := s.send(0, "POST", "/v1/identify", "server", `{"userId":"bob","anonymousId":"vis","traits":{}}`); status != 200 {
		t.Fatal(answer)
	}
	// The same request as before: now the code is bob's, though the event is a duplicate.
	await(t, s.ctx, "bob has the visitor's code", func() bool { status, _ := ask(0, "redeem", "bob", vis, "v"); return status == 200 })
	expect(200, `"success":true`)(s.send(1, "POST", "/v1/track", "server", fmt.Sprintf(`{"event":"Coupon Redeemed","userId":"bob","properties":{"code":%q,"orderId":"plain"}}`, codes["u:bob"]))) // answered as any event
	expect(409, "by order plain")(ask(0, "redeem", "bob", codes["u:bob"], "late"))
	s.verified()
	if strings.Contains(strings.ToLower(s.log.String()), "permission") {
		t.Errorf("somebody met a refusal:\n%s", s.log.String())
	}
}

func partitionOf(key string) int { return event.Partition(key, 2) }

// BenchmarkRedeem measures a request that redeems a code, one at a time, while page
// views come at a rate of their own.
func BenchmarkRedeem(b *testing.B) {
	s := newCheckout(b, startNATS(b))
	var users []string
	for i := range 200 {
		users = append(users, fmt.Sprintf(`{"userId":"u%d"}`, i))
	}
	codes := s.gift(users...)
	stop, load := make(chan struct{}), sync.WaitGroup{}
	load.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			var batch []string
			for i := range 50 {
				batch = append(batch, fmt.Sprintf(`{"type":"track","event":"Seen","userId":"l%d","messageId":"l%d-%d"}`, i, n, i))
			}
			s.send(0, "POST", "/v1/batch", "server", `{"batch":[`+strings.Join(batch, ",")+`]}`)
		}
	})
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		user := fmt.Sprint("u", i%len(users))
		start := time.Now()
		status, answer := s.send(1, "POST", "/v1/coupons/redeem", "server", fmt.Sprintf(`{"code":%q,"userId":%q,"orderId":"o%d"}`, codes["u:"+user], user, i/len(users)))
		took = append(took, time.Since(start))
		if status != 200 && status != 409 {
			b.Fatal(answer)
		}
	}
	close(stop)
	load.Wait()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
}
