package scenario

import (
	"slices"
	"testing"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/explain"
	"offerstream/pipeline/oracle"
)

// TestStages: a scenario can name each stage and outcome of the evaluations of random
// sets.
func TestStages(t *testing.T) {
	met := map[string]bool{}
	for seed := uint64(1); seed <= 25; seed++ {
		c := oracle.Random(seed)
		def, err := campaign.ParseDefinition(c.Set)
		if err != nil {
			t.Fatal(err)
		}
		b, problems := pipeline.NewBacktest(def)
		if len(problems) > 0 {
			t.Fatalf("seed %d: %v", seed, problems)
		}
		r := explain.New()
		r.Watch(b)
		for _, line := range c.Events {
			if err := b.Line(line, func(*pipeline.Offer) {}); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		for key := range b.Users {
			for _, c := range r.Story(explain.Query{User: key}).Campaigns {
				for _, e := range c.Evaluations {
					met[e.Stage] = true
					if !slices.Contains(ExplainedOutcomes(), e.Outcome) {
						t.Errorf("seed %d: the outcome %q cannot be named", seed, e.Outcome)
					}
				}
			}
		}
	}
	for _, name := range Stages() {
		delete(met, name)
	}
	if len(met) > 0 {
		t.Errorf("stages that cannot be named: %v", met)
	}
}
