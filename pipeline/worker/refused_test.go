package worker

import (
	"strings"
	"testing"
	"time"

	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
)

// limit changes the largest message that a stream takes (-1: any): with 1, it refuses
// every publish, while reading and everything else works.
func limit(t *testing.T, c *broker.Conn, stream string, bytes int32) {
	t.Helper()
	st, err := c.JS.Stream(within(t), stream)
	if err != nil {
		t.Fatal(err)
	}
	cfg := st.CachedInfo().Config
	cfg.MaxMsgSize = bytes
	if _, err := c.JS.UpdateStream(within(t), cfg); err != nil {
		t.Fatal(err)
	}
}

// TestReadyTellsRefusals: a worker whose publishes NATS refuses (leases, offers,
// ticks) is not ready and says why, also in its report, until they are stored again.
func TestReadyTellsRefusals(t *testing.T) {
	t.Parallel()
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 1)
	def := views(t, 1)
	def.Campaigns = append(def.Campaigns, def.Campaigns[0])
	def.Campaigns[1].ID = "later"
	def.Campaigns[1].Unless = &campaign.Unless{On: []string{"Order Completed"}, Within: 2 * time.Second}
	hash := apply(t, c, def)
	w := start(t, ns.ClientURL(), t.TempDir(), nil)
	w.inForce(t, hash)
	await(t, "it is ready", func() bool { return w.Ready() == nil })
	says := func(words string) func() bool {
		return func() bool { err := w.Ready(); return err != nil && strings.Contains(err.Error(), words) }
	}

	limit(t, c, "KV_GROUP", 1)
	await(t, "the lease is refused", says("the lease has not been renewed"))
	if r := w.reports(); !strings.Contains(r.Refused, "message size exceeds") {
		t.Errorf("%+v", r)
	}
	limit(t, c, "KV_GROUP", -1)
	await(t, "the lease is stored", func() bool { return w.Ready() == nil })

	limit(t, c, "OFFERS", 1)
	publish(t, c, []scripted{{0, view(1, "ada")}})
	await(t, "the offer is refused", says("offers.web.0"))
	if r := w.reports(); len(r.Partitions) != 1 || !strings.Contains(r.Partitions[0].Refused, "offers.web.0") {
		t.Errorf("%+v", r)
	}
	limit(t, c, "OFFERS", -1)
	await(t, "the offer is stored", func() bool { return w.Ready() == nil })

	w.applied(t, c)
	publish(t, c, []scripted{{0, view(2, "ada")}})
	w.applied(t, c)
	limit(t, c, "EVENTS-0", 1)
	await(t, "the tick is refused", says("the log has taken no tick"))
	limit(t, c, "EVENTS-0", -1)
	await(t, "the tick is stored", func() bool { return w.Ready() == nil })
	w.applied(t, c)
	verified(t, c)
}
