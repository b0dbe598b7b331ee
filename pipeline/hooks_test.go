package pipeline

import (
	"bytes"
	"flag"
	"maps"
	"slices"
	"testing"

	"offerstream/pipeline/campaign"
)

var hookSeeds = flag.Int("hookseeds", 60, "how many seeds TestHooksChangeNothing runs, from -seed on")

// TestHooksChangeNothing runs random cases with all hooks and without any: offers,
// counts and the state of every user are the same, and each end that is counted, and
// each error, is shown once.
func TestHooksChangeNothing(t *testing.T) {
	t.Parallel()
	for s := *seed; s < *seed+uint64(*hookSeeds); s++ {
		c := randomCase(s)
		def, err := campaign.ParseDefinition(c.Set)
		if err != nil {
			t.Fatal(err)
		}
		timed := *def
		timed.Clock = campaign.ClockEvent
		set, problems := Compile(&timed)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		ended, failed, began := map[string]*Counts{}, map[string]uint64{}, map[string]uint64{}
		run := func(hooks bool) (*Backtest, []string) {
			b, err := set.Backtest()
			if err != nil {
				t.Fatal(err)
			}
			if hooks {
				b.Trace(func(tr *Trace) {
					if tr.From == 0 {
						began[tr.Campaign]++
					}
					if tr.Due == NoDue {
						if ended[tr.Campaign] == nil {
							ended[tr.Campaign] = &Counts{}
						}
						ended[tr.Campaign].Ended[tr.Outcome]++
					}
				})
				b.TraceTriggers(func(*TriggerTrace) {})
				b.Failures(func(f Failure) { failed[f.Campaign]++ })
			}
			var offers []string
			for i, line := range c.Events {
				for _, control := range c.Controls {
					if control.At == i {
						b.control(control)
					}
				}
				if err := b.Line(line, func(o *Offer) { offers = append(offers, asJSON(o)) }); err != nil {
					t.Fatal(err)
				}
			}
			return b, offers
		}
		plain, offers := run(false)
		hooked, hookedOffers := run(true)
		if !slices.Equal(offers, hookedOffers) {
			t.Errorf("%d offers, with hooks %d, or others", len(offers), len(hookedOffers))
		}
		counts, features := plain.Counts()
		hookedCounts, hookedFeatures := hooked.Counts()
		if !maps.Equal(counts, hookedCounts) || features != hookedFeatures || plain.Duplicates() != hooked.Duplicates() || plain.Applied != hooked.Applied {
			t.Errorf("counts\n%v\nwith hooks\n%v", counts, hookedCounts)
		}
		if len(plain.Users) != len(hooked.Users) {
			t.Errorf("%d entities, with hooks %d", len(plain.Users), len(hooked.Users))
		}
		for key, e := range plain.Users {
			if h := hooked.Users[key]; h == nil || !bytes.Equal(e.AppendBinary(nil), h.AppendBinary(nil)) {
				t.Errorf("the state of %s is another with hooks", key)
			}
		}
		for id, n := range counts {
			e := ended[id]
			if e == nil {
				e = &Counts{}
			}
			if n.Ended != e.Ended || n.Evaluated != began[id] {
				t.Errorf("%s: %v, traced %v, %d begun", id, n, e.Ended, began[id])
			}
			if n.Missing+n.Errors != failed[id] {
				t.Errorf("%s: %d errors, shown %d", id, n.Missing+n.Errors, failed[id])
			}
		}
		if features.Missing+features.Errors != failed[""] {
			t.Errorf("%d errors of features, shown %d", features.Missing+features.Errors, failed[""])
		}
		if t.Failed() {
			t.Fatalf("seed %d: go test ./pipeline -run TestHooksChangeNothing -hookseeds=1 -seed=%d", s, s)
		}
	}
}
