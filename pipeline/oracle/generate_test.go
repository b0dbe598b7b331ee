package oracle

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"testing"

	definitions "offerstream/pipeline/campaign"
)

// TestRandom: generated sets are valid, most of them fire, and in all of them
// together everything happens that can.
func TestRandom(t *testing.T) {
	seen := checkCases(t, 150, Random)
	rare := []string{"outcome duplicate", "held again", "hold cancelled", "dwell superseded", "bound on bytes: histogram", "bound on bytes: top", "bound on bytes of what waits", "absence that is over at once", "quiet hours lifted by a consent"} // the property test of the core has more seeds
	for _, what := range Required() {
		if seen[what] == 0 && !slices.Contains(rare, what) {
			t.Errorf("never: %s", what)
		}
	}
}

// checkCases runs generated cases. It returns what happened in them.
func checkCases(t *testing.T, seeds int, random func(uint64) Case) map[string]int {
	t.Helper()
	firing := 0
	seen := map[string]int{}
	for seed := range uint64(seeds) {
		c := random(seed)
		if again := random(seed); !bytes.Equal(c.Set, again.Set) || !slices.EqualFunc(c.Events, again.Events, bytes.Equal) {
			t.Fatalf("seed %d: two cases", seed)
		}
		dec := json.NewDecoder(bytes.NewReader(c.Set))
		dec.DisallowUnknownFields()
		var def definitions.Definition
		if err := dec.Decode(&def); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if !bytes.Equal(def.JSON(), c.Set) {
			t.Errorf("seed %d: not the canonical form:\n%s\n%s", seed, c.Set, def.JSON())
		}
		got, err := c.Run()
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if len(got.Offers) > 0 {
			firing++
		}
		got.tell(seen)
		if n := len(got.Offers); n != got.count("fired")+got.count("withheld") {
			t.Errorf("seed %d: %d offers, %d fired, %d withheld", seed, n, got.count("fired"), got.count("withheld"))
		}
		if got.Pending != got.count("pending") {
			t.Errorf("seed %d: pending %d, counted %d", seed, got.Pending, got.count("pending"))
		}
		for id, n := range got.Evaluations {
			for _, ended := range got.Counts[id] {
				n -= ended
			}
			if n != 0 {
				t.Errorf("seed %d: campaign %s has %d evaluations more than outcomes: %v", seed, id, n, got.Counts[id])
			}
		}
	}
	t.Logf("%d of %d sets fire", firing, seeds)
	for _, what := range slices.Sorted(maps.Keys(seen)) {
		t.Logf("%8d %s", seen[what], what)
	}
	if firing < seeds*7/10 {
		t.Errorf("only %d of %d sets fire", firing, seeds)
	}
	return seen
}

func (r Result) count(outcome string) int {
	n := 0
	for _, outcomes := range r.Counts {
		n += outcomes[outcome]
	}
	return n
}

// tell adds what happened.
func (r Result) tell(seen map[string]int) {
	for what, n := range r.Met {
		seen[what] += n
	}
	for _, outcomes := range r.Counts {
		for what, n := range outcomes {
			seen["outcome "+what] += n
		}
	}
	seen["rejected"] += r.Rejected
	seen["duplicates"] += r.Duplicates
}

// TestWithout: a case without a construct is still a case.
func TestWithout(t *testing.T) {
	for name := range removals {
		for seed := range uint64(5) {
			c := Random(seed).Without(name)
			if _, err := c.Run(); err != nil {
				t.Errorf("seed %d without %s: %v", seed, name, err)
			}
			if d := c.definition(); d.Campaigns == nil && name == "at" {
				t.Errorf("seed %d without %s has no campaign", seed, name)
			}
		}
	}
	c := Random(3)
	only := c.Only(c.definition().Campaigns[0].ID).OnlyUser(`"u1"`)
	if n := len(only.definition().Campaigns); n != 1 || len(only.Events) != len(c.Events) {
		t.Errorf("%d campaigns, %d lines", n, len(only.Events))
	}
}

// TestRandomMixed: the same with items, budgets and merges.
func TestRandomMixed(t *testing.T) {
	seen := checkCases(t, 150, RandomMixed)
	for _, what := range RequiredMixed() {
		if seen[what] == 0 {
			t.Errorf("never: %s", what)
		}
	}
}
