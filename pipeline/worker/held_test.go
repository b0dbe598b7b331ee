package worker

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
)

// TestForgetsEarly: a set that forgets earlier than the log does is not put in force.
func TestForgetsEarly(t *testing.T) {
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 1)
	def := views(t, 1)
	def.Forget.Anonymous = 6 * 24 * time.Hour
	apply(t, c, def)
	live, _, err := c.Live(within(t))
	if err != nil {
		t.Fatal(err)
	}
	a, log := looking(t, c, pipeline.Cursor{}, &live, nil)
	a.control.look(within(t), a)
	if got := controls(t, c); len(got) > 0 || !strings.Contains(log.String(), "forget.anonymous is 6d, and the log keeps events for 7d") {
		t.Errorf("%d control messages, and the log says\n%s", len(got), log.String())
	}
}

// TestLowPools: of a pool of which little is left the owner warns once, and again when
// it was filled and runs low again; and says so in its report.
func TestLowPools(t *testing.T) {
	def := timed(views(t, 1))
	def.Campaigns[0].Offer.Coupon = &campaign.Coupon{Pool: "spring"}
	set, problems := pipeline.Compile(def)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	log := &said{}
	w, err := New(Options{Dir: t.TempDir(), Log: log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	fold, err := pipeline.NewFold(pipeline.Cursor{Set: set.Hash()}, func(string) (*pipeline.Set, error) { return set, nil }, pipeline.Memory{})
	if err != nil {
		t.Fatal(err)
	}
	a := &attempt{p: &partition{w: w, log: w.opt.Log}, fold: fold}
	look := func() { a.held.looked = time.Time{}; a.holdings() }
	look()
	look()
	if n := strings.Count(log.String(), "a pool has few codes left"); n != 1 {
		t.Errorf("%d warnings:\n%s", n, log.String())
	}
	if low := a.p.status.held.Load().low(); len(low) != 1 || low["spring"] != (pipeline.PoolState{}) {
		t.Errorf("low: %v", low)
	}
	if err := fold.Begin(pipeline.Message{Seq: 1, Kind: pipeline.In, Data: []byte(`{"type":"codes","pool":"spring","codes":["A1"],"timestamp":"2026-01-01T10:00:00Z"}`)}); err != nil {
		t.Fatal(err)
	}
	for more := true; more; {
		if more, err = fold.Next(); err != nil {
			t.Fatal(err)
		}
	}
	look()
	if is := a.p.status.held.Load(); len(is.low()) > 0 || is.pools["spring"].Left != 1 || len(a.held.low) > 0 {
		t.Errorf("%+v", is)
	}
	var none *holding
	if none.low() != nil {
		t.Error("nothing is low of nothing")
	}
}

// TestQueries: an owner answers what is asked of items, of pools, and of all budgets
// and pools.
func TestQueries(t *testing.T) {
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 1)
	def := views(t, 1)
	def.Items = []campaign.Item{{Kind: "product", Key: "product_id"}}
	live := broker.Live{}
	apply(t, c, def)
	a, _ := looking(t, c, pipeline.Cursor{Set: def.Hash()}, &live, nil)
	for query, want := range map[string]string{
		`{"key":"i:product:p1"}`: `{"item":{"key":"i:product:p1",`,
		`{"key":"i:brand:p1"}`:   `{"error":"the set in force has no items of kind `,
		`{"key":"p:spring"}`:     `{"pool":{"imported":0,"given":0,"left":0}}`,
		`{"key":"","held":true}`: `{"held":{}}`,
		`{"key":"u:ada"}`:        `{"user":{"key":"u:ada",`,
		`{"key":""}`:             `{"error":"the query cannot be decoded`,
	} {
		b, err := json.Marshal(a.find([]byte(query)))
		if err != nil {
			t.Fatal(err)
		}
		if got := string(b); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

// TestCountEvents: what belongs to no campaign is counted once in the metrics.
func TestCountEvents(t *testing.T) {
	set, problems := pipeline.Compile(timed(views(t, 1)))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	reg := prometheus.NewRegistry()
	w, err := New(Options{Dir: t.TempDir(), Log: quiet(), Metrics: reg})
	if err != nil {
		t.Fatal(err)
	}
	fold, err := pipeline.NewFold(pipeline.Cursor{Set: set.Hash()}, func(string) (*pipeline.Set, error) { return set, nil }, pipeline.Memory{})
	if err != nil {
		t.Fatal(err)
	}
	a := &attempt{p: &partition{w: w, log: w.opt.Log}, fold: fold, counted: map[string]pipeline.Counts{}}
	for i, line := range []string{
		`{"type":"item","kind":"product","id":"p1","event":"Price Changed","timestamp":"2026-01-01T10:00:00Z"}`,
		`{"type":"identify","userId":"ada","anonymousId":"x","timestamp":"2026-01-01T10:00:01Z"}`,
		`{"type":"identify","userId":"eve","anonymousId":"x","timestamp":"2026-01-01T10:00:02Z"}`,
	} {
		if err := fold.Begin(pipeline.Message{Seq: uint64(i + 1), Kind: pipeline.In, Data: []byte(line)}); err != nil {
			t.Fatal(err)
		}
		for more := true; more; {
			if more, err = fold.Next(); err != nil {
				t.Fatal(err)
			}
		}
		a.count(true)
		a.count(true)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, f := range families {
		switch name := f.GetName(); name {
		case "offerstream_worker_event_problems_total", "offerstream_worker_mails_dropped_total", "offerstream_worker_claims_refused_total":
			for _, m := range f.GetMetric() {
				of := ""
				for _, l := range m.GetLabel() {
					of = l.GetValue()
				}
				got += fmt.Sprintf("%s %s %v\n", strings.TrimPrefix(name, "offerstream_worker_"), of, m.GetCounter().GetValue())
			}
		}
	}
	want := `claims_refused_total  1
event_problems_total fact 0
event_problems_total item 1
event_problems_total timestamp 0
mails_dropped_total  0
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// timed is a set under clock: event.
func timed(def *campaign.Definition) *campaign.Definition {
	def.Clock = campaign.ClockEvent
	return def
}
