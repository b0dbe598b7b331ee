package survey_test

import (
	"fmt"
	"strings"
	"testing"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/oracle"
	"offerstream/pipeline/survey"
)

// TestRandom compares what a survey counts with what the core counts and traces on
// random sets and events: outcomes, and for campaigns without rows how often each
// conjunct of `where` held.
func TestRandom(t *testing.T) {
	t.Parallel()
	conjuncts, held := 0, 0
	for seed := uint64(1); seed <= 40; seed++ {
		c := oracle.Random(seed)
		def, err := campaign.ParseDefinition(c.Set)
		if err != nil {
			t.Fatal(err)
		}
		s, err := survey.New(def)
		if err != nil {
			t.Fatal(err)
		}
		b, problems := pipeline.NewBacktest(def)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		met := map[string][]int{} // by campaign and entry: how often each conjunct held, and the events
		b.TraceTriggers(func(tr *pipeline.TriggerTrace) {
			key := fmt.Sprint(tr.Campaign, " ", tr.Entry)
			for len(met[key]) <= len(tr.Parts) {
				met[key] = append(met[key], 0)
			}
			for i, p := range tr.Parts {
				if p.OK {
					met[key][i]++
				}
			}
			met[key][len(tr.Parts)]++
		})
		events := uint64(0)
		for _, line := range c.Events {
			if err := s.Event(line); err != nil {
				if _, refused := err.(*event.Reject); !refused {
					t.Fatal(err)
				}
			}
			before := b.Duplicates()
			if err := b.Line(line, func(*pipeline.Offer) {}); err != nil {
				t.Fatal(err)
			}
			if b.Refused == nil && b.Duplicates() == before && !strings.Contains(string(line), `"type":"clock"`) && !strings.Contains(string(line), `"type":"fact"`) && len(line) > 0 {
				events++
			}
		}
		r := s.Result()
		if r.Events != events || r.Users != b.UserCount() || r.Duplicates != b.Duplicates() {
			t.Errorf("%d events, %d users, %d duplicates; the core has %d, %d, %d", r.Events, r.Users, r.Duplicates, events, b.UserCount(), b.Duplicates())
		}
		counts := map[string]pipeline.Counts{}
		all, _ := b.Counts()
		for unit, n := range all {
			id, _, _ := strings.Cut(unit, "/")
			counts[id] = counts[id].Plus(n)
		}
		for _, c := range r.Campaigns {
			n := counts[c.ID]
			if c.Evaluations != n.Evaluated || c.Offers != n.Ended[pipeline.Fired] || c.Pending != n.Pending() {
				t.Errorf("%s: %+v, the core has %v", c.ID, c, n)
			}
			for _, o := range pipeline.Outcomes() {
				if o != pipeline.Fired && c.Ended[o.String()] != n.Ended[o] {
					t.Errorf("%s: %s is %d, the core has %d", c.ID, o, c.Ended[o.String()], n.Ended[o])
				}
			}
			entry := 0
			for _, tr := range c.Triggers {
				if tr.Unless || c.Rows > 0 {
					continue
				}
				want := met[fmt.Sprint(c.ID, " ", entry)]
				entry++
				if want == nil {
					want = make([]int, len(tr.Where)+1)
				}
				for i, w := range tr.Where {
					conjuncts, held = conjuncts+1, held+int(w.Held)
					if i < len(want)-1 && int(w.Held) != want[i] || int(w.Of) != want[len(want)-1] {
						t.Errorf("%s, %q of entry %d: %d of %d, the core has %v", c.ID, w.Text, entry-1, w.Held, w.Of, want)
					}
				}
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if conjuncts == 0 || held == 0 {
		t.Errorf("%d conjuncts, held %d times", conjuncts, held)
	}
}
