package worker

import (
	"encoding/json"
	"testing"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
)

// TestLags: while messages wait for long, nobody is told that an offer may go out.
func TestLags(t *testing.T) {
	now := time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC).UnixNano()
	for _, c := range []struct {
		caughtUp bool
		ago      time.Duration
		want     bool
	}{{true, time.Hour, false}, {true, 0, false}, {false, 0, false}, {false, deliveryLag, false}, {false, deliveryLag + 1, true}} {
		if got := lags(c.caughtUp, now, now-int64(c.ago)); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// TestDeliveryQuery asks an owner whether offers may go out.
func TestDeliveryQuery(t *testing.T) {
	t.Parallel()
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 1)
	def := views(t, 1)
	hash := apply(t, c, def)
	w := start(t, ns.ClientURL(), t.TempDir(), nil)
	w.inForce(t, hash)
	publish(t, c, []scripted{{0, view(0, "ada")}})
	w.applied(t, c)
	ask := func(key string, q pipeline.DeliveryQuery) (a broker.Answer) {
		t.Helper()
		b, err := json.Marshal(broker.Query{Key: key, Deliver: &q})
		if err != nil {
			t.Fatal(err)
		}
		if b, err = c.Request(within(t), c.Names.QuerySubject(0), b); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &a); err != nil {
			t.Fatal(err)
		}
		return a
	}
	seq, now := w.Status()[0].Seq, time.Now().UnixNano()
	q := pipeline.DeliveryQuery{Campaign: def.Campaigns[0].ID, Channel: "web", Kind: "service", Time: now, S: seq, T: now}
	if a := ask("u:ada", q); a.Delivery == nil || a.Delivery.Stops != "" || a.Delivery.Behind || a.Error != "" {
		t.Errorf("of an offer: %+v", a)
	}
	q.S++
	if a := ask("u:ada", q); a.Delivery == nil || !a.Delivery.Behind {
		t.Errorf("of an offer of a message that is not applied: %+v", a)
	}
	q.S, q.Expires = seq, now
	if a := ask("u:ada", q); a.Delivery == nil || a.Delivery.Stops != pipeline.DeliveryExpired {
		t.Errorf("of an offer that has expired by the owner's clock: %+v", a)
	}
	if a := ask("f:x", q); a.Error == "" {
		t.Errorf("of what is no user: %+v", a)
	}
}
