package explain

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/oracle"
)

// TestOutcomes compares, for each evaluation of 200 random sets, the outcome that the
// explanation tells with the one that the fold counted.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	met := map[string]int{}
	evaluations := 0
	for seed := uint64(1); seed <= 200; seed++ {
		c := oracle.Random(seed)
		def, err := campaign.ParseDefinition(c.Set)
		if err != nil {
			t.Fatal(err)
		}
		b, problems := pipeline.NewBacktest(def)
		if len(problems) > 0 {
			t.Fatalf("seed %d: %v", seed, problems)
		}
		r := New()
		r.Watch(b)
		for _, line := range c.Events {
			if err := b.Line([]byte(line), func(*pipeline.Offer) {}); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		want, _ := b.Counts()
		got := map[string]map[string]uint64{}
		for key := range b.Users {
			for unit, counts := range r.Counts(key) {
				if got[unit] == nil {
					got[unit] = map[string]uint64{}
				}
				for what, n := range counts {
					got[unit][what] += n
				}
			}
			tellStory(t, seed, r.Story(Query{User: key}), met)
		}
		for unit, n := range want {
			told := map[string]uint64{}
			if n.Evaluated > 0 {
				told[evaluated] = n.Evaluated
			}
			for o, ended := range n.Ended {
				if ended > 0 {
					told[pipeline.Outcome(o).String()] = ended
				}
			}
			if !maps.Equal(told, got[unit]) && len(told)+len(got[unit]) > 0 {
				t.Fatalf("seed %d: campaign %s: the fold counted %v, the explanation tells %v", seed, unit, told, got[unit])
			}
			evaluations += int(n.Evaluated)
		}
	}
	t.Logf("%d evaluations", evaluations)
	for _, o := range pipeline.Outcomes() {
		if met[o.String()] == 0 && o != pipeline.Paused && o != pipeline.Lost && o != pipeline.OverBudget { // an operator's, which the events do not have, and those of budgets, which these sets do not have
			t.Errorf("no explanation of the outcome %s", o)
		}
	}
	if met[outcomePending] == 0 {
		t.Error("no explanation of a pending evaluation")
	}
}

// tellStory checks that a story tells something of each evaluation.
func tellStory(t *testing.T, seed uint64, s *Story, met map[string]int) {
	t.Helper()
	for _, c := range s.Campaigns {
		if c.Sentence == "" {
			t.Fatalf("seed %d: %s of %s has no sentence", seed, c.Campaign, s.User)
		}
		for _, e := range c.Evaluations {
			met[e.Outcome]++
			plain := strings.TrimSuffix(e.Sentence, ".")
			if plain == fmt.Sprintf("No %s offer: %s", e.Campaign, e.Outcome) || strings.HasSuffix(plain, ": ") || e.Outcome == "" {
				t.Fatalf("seed %d: the sentence of %s, %s, tells nothing: %s", seed, e.Campaign, e.Outcome, e.Sentence)
			}
		}
	}
	var b strings.Builder
	if err := s.WriteText(&b); err != nil {
		t.Fatal(err)
	}
}

// Counts are the outcomes of a user's evaluations, by unit: "evaluated", and each
// outcome in the words of LANGUAGE.md, rule 13. They cover all evaluations that began
// while the recorder watched.
func (r *Recorder) Counts(key string) map[string]map[string]uint64 {
	all := map[string]map[string]uint64{}
	if u := r.users[key]; u != nil {
		for _, h := range u.campaigns {
			for unit, counts := range h.counts {
				all[unit] = counts
			}
		}
	}
	return all
}
