package bench

import (
	"encoding/json"
	"testing"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
)

// TestEvents checks the properties of generated events: half of them match a
// trigger, whether there are few campaigns or many.
func TestEvents(t *testing.T) {
	shipped, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	if match, _ := matching(t, shipped, 20_000); match < .48 || match > .52 {
		t.Errorf("%.3f of the events match a trigger, half are to", match)
	}
	for _, k := range []int{10, 1000, 2000} { // 2000 behaves like 25,000, and compiles in a second
		if match, met := matching(t, generatedCampaigns(k), 2000); match < .48 || match > .52 || met < 1 || met > 3 {
			t.Errorf("with %d campaigns, %.3f of the events match one, want half; such an event matches %.2f, want 1 to 3", k, match, met)
		}
	}
}

// matching returns the share of events that match `on` and `where` of at least
// one campaign, and how many campaigns such an event matches on average.
func matching(t *testing.T, def *campaign.Definition, n int) (share, evaluated float64) {
	t.Helper()
	set, problems := pipeline.Compile(def)
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	fold, err := pipeline.NewFold(pipeline.Cursor{Set: set.Hash(), Epoch: 1}, func(string) (*pipeline.Set, error) { return set, nil }, pipeline.Memory{})
	if err != nil {
		t.Fatal(err)
	}
	gen, before, matches, features := newGenerator(1, 1000), uint64(0), 0, 0
	names, dwells := map[string]bool{}, false
	for _, f := range def.Features {
		for _, name := range append(f.On, f.RemoveOn...) {
			names[name] = true
		}
		dwells = dwells || f.Agg == "dwell"
	}
	last := map[string]string{}
	for i := range n {
		raw := gen.next(nil)
		var ev struct{ UserID, Event string }
		if err := json.Unmarshal(raw, &ev); err != nil {
			t.Fatal(err)
		}
		if names[ev.Event] || dwells && last[ev.UserID] == "Product Viewed" {
			features++
		}
		last[ev.UserID] = ev.Event
		m := pipeline.Message{Seq: uint64(i + 1), Stored: int64(i+1) * 1e6, Kind: pipeline.In, Data: raw}
		if err := fold.Begin(m); err != nil {
			t.Fatal(err)
		}
		for more := true; more; {
			if more, err = fold.Next(); err != nil {
				t.Fatal(err)
			}
		}
		now, campaigns := uint64(0), map[string]pipeline.Counts(nil)
		campaigns, _ = fold.Counts()
		for _, c := range campaigns {
			now += c.Evaluated
		}
		if now > before {
			matches++
		}
		before = now
	}
	share, evaluated = float64(matches)/float64(n), float64(before)/float64(n)
	t.Logf("%d campaigns: %.3f of the events match, %.2f campaigns an event; %.3f of the events move a feature, all of them the session", len(def.Campaigns), share, evaluated, float64(features)/float64(n))
	return share, evaluated
}
