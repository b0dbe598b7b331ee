package worker

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
)

// TestCouponQuery: a question about a coupon waits until the owner has applied its
// message, and one that does not wait overtakes it.
func TestCouponQuery(t *testing.T) {
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 1)
	def := waiting(t, campaign.ClockBroker, time.Minute)
	hash := apply(t, c, def)
	w := start(t, ns.ClientURL(), t.TempDir(), nil)
	await(t, "the set is in force", func() bool {
		all := w.Status()
		return len(all) > 0 && all[0].Owned && all[0].Set == hash
	})
	ask := func(q broker.CouponQuery) *nats.Subscription {
		t.Helper()
		inbox := c.NC.NewInbox()
		sub, err := c.NC.SubscribeSync(inbox)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { sub.Unsubscribe() })
		data, err := json.Marshal(q)
		if err == nil {
			err = c.NC.PublishRequest(c.Names.CouponsSubject(0), inbox, data)
		}
		if err != nil {
			t.Fatal(err)
		}
		return sub
	}
	told := func(sub *nats.Subscription, within time.Duration) (a broker.Answer, ok bool) {
		t.Helper()
		m, err := sub.NextMsg(within)
		if err != nil {
			return a, false
		}
		if err := json.Unmarshal(m.Data, &a); err != nil {
			t.Fatal(err)
		}
		return a, true
	}
	for i := 0; ; i++ {
		_, end, err := c.Extent(within(t), 0)
		if err != nil {
			t.Fatal(err)
		}
		q := broker.CouponQuery{Key: "u:ann", Code: "A", Order: "o"}
		q.Seq = end + 1
		waits := ask(q)
		q.Seq = 0
		if a, ok := told(ask(q), 2*time.Minute); !ok || a.Coupon == nil || a.Coupon.State != pipeline.CouponUnknown {
			t.Fatalf("as it is: %+v", a)
		}
		if n, _, err := waits.Pending(); n > 0 || err != nil {
			t.Fatal("the question about a message that is not there was answered")
		}
		publish(t, c, []scripted{{0, fmt.Appendf(nil, `{"type":"track","event":"x","userId":"ann","messageId":"%d"}`, i)}})
		if a, ok := told(waits, couponsFor); ok { // else this machine was so slow that the question has ended
			if a.Coupon == nil || a.Coupon.State != pipeline.CouponUnknown {
				t.Errorf("after the message: %+v", a)
			}
			break
		}
	}
	if a, ok := told(ask(broker.CouponQuery{}), 2*time.Minute); !ok || a.Error == "" {
		t.Errorf("no question: %+v", a)
	}
}

// TestCouponBound: more questions than a worker lets wait are refused, and those whose
// time is over end.
func TestCouponBound(t *testing.T) {
	w, err := New(Options{Dir: t.TempDir(), Log: quiet(), Connect: nil})
	if err != nil {
		t.Fatal(err)
	}
	p := &partition{w: w, log: quiet(), coupons: make(chan broker.Question, mostCouponQueries)}
	a := &attempt{p: p}
	refused := 0
	q := broker.Question{Data: []byte(`{"key":"u:ann","code":"A","seq":7}`), Answer: func(b []byte) error { refused++; return nil }}
	for range 2 {
		for range mostCouponQueries {
			p.coupons <- q
		}
		a.answerCoupons()
	}
	if len(a.asked) != mostCouponQueries || refused != mostCouponQueries {
		t.Errorf("%d questions wait, %d are refused; want %d of each", len(a.asked), refused, mostCouponQueries)
	}
	for i := range a.asked {
		a.asked[i].until = time.Time{}
	}
	if a.answerCoupons(); len(a.asked) != 0 || refused != mostCouponQueries {
		t.Errorf("%d questions wait whose time is over", len(a.asked))
	}
}
