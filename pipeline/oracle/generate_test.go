package oracle

import (
	"bytes"
	"encoding/json"
	"testing"

	definitions "offerstream/pipeline/campaign"
)

// TestGenerate: generated sets are valid, most of them fire, and their
// evaluations end with every outcome.
func TestGenerate(t *testing.T) {
	const seeds = 150
	firing := 0
	seen := map[string]int{}
	for seed := range uint64(seeds) {
		set, events := Generate(seed)
		again, _ := Generate(seed)
		if !bytes.Equal(set, again) {
			t.Fatalf("seed %d: two sets", seed)
		}
		dec := json.NewDecoder(bytes.NewReader(set))
		dec.DisallowUnknownFields()
		var def definitions.Definition
		if err := dec.Decode(&def); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if !bytes.Equal(def.JSON(), set) {
			t.Errorf("seed %d: not the canonical form:\n%s\n%s", seed, set, def.JSON())
		}
		got, err := Run(set, events)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if len(got.Offers) > 0 {
			firing++
		}
		ids := map[string]bool{}
		for _, o := range got.Offers {
			if ids[o.ID] {
				t.Logf("seed %d: offer %s twice", seed, o.ID)
			}
			ids[o.ID] = true
		}
		for _, outcomes := range got.Counts {
			for what, n := range outcomes {
				seen[what] += n
			}
		}
		seen["rejected"] += got.Rejected
		seen["duplicates"] += got.Duplicates
		if n := len(got.Offers); n != countOf(got, "fired") {
			t.Errorf("seed %d: %d offers, %d fired", seed, n, countOf(got, "fired"))
		}
		if got.Pending != countOf(got, "pending") {
			t.Errorf("seed %d: pending %d, counted %d", seed, got.Pending, countOf(got, "pending"))
		}
	}
	t.Logf("%d of %d sets fire; %v", firing, seeds, seen)
	if firing < seeds*7/10 {
		t.Errorf("only %d of %d sets fire", firing, seeds)
	}
	for _, what := range []string{"fired", "condition", "period", "age", "limit", "cap", "pause", "outranked", "duplicate", "error", "cancelled", "superseded", "pending", "rejected", "duplicates"} {
		if seen[what] == 0 {
			t.Errorf("nothing ended as %s", what)
		}
	}
}

func countOf(r Result, what string) int {
	n := 0
	for _, outcomes := range r.Counts {
		n += outcomes[what]
	}
	return n
}
