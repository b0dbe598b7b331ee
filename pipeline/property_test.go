package pipeline

import (
	"encoding/json"
	"flag"
	"fmt"
	"testing"

	"offerstream/pipeline/oracle"
)

var (
	seeds = flag.Int("seeds", 500, "how many seeds TestProperty runs")
	seed  = flag.Uint64("seed", 1, "the first of them")
)

// TestProperty holds the core against the brute-force oracle: the same
// offers, in the same order, ids included, and the same outcomes, on random
// campaigns and random events. With every event the entity also goes through
// its bytes and back.
func TestProperty(t *testing.T) {
	offers := 0
	for s := *seed; s < *seed+uint64(*seeds); s++ {
		offers += compareWithOracle(t, s)
		if t.Failed() {
			t.Fatalf("seed %d: go test ./pipeline -run TestProperty -seeds=1 -seed=%d", s, s)
		}
	}
	t.Logf("%d seeds from %d, %d offers", *seeds, *seed, offers)
}

func compareWithOracle(t *testing.T, seed uint64) int {
	set, events := oracle.Generate(seed)
	want, err := oracle.Run(set, events)
	if err != nil {
		t.Fatalf("seed %d: oracle: %v", seed, err)
	}
	def, err := ParseDefinition(set)
	if err != nil {
		t.Fatal(err)
	}
	b, problems := NewBacktest(def)
	for _, p := range problems {
		t.Error(p)
	}
	if b == nil {
		return 0
	}
	var got []*Offer
	for _, line := range events {
		if err := b.Line(line, func(o *Offer) { got = append(got, o) }); err != nil {
			t.Fatal(err)
		}
		b.recode(t)
	}
	for i := 0; i < max(len(got), len(want.Offers)); i++ {
		g, w := "nothing", "nothing"
		if i < len(got) {
			g = asJSON(got[i])
		}
		if i < len(want.Offers) {
			w = asJSON(want.Offers[i])
		}
		if g != w {
			t.Errorf("offer %d:\n got %s\nwant %s", i, g, w)
			break
		}
	}
	counts, _ := b.Counts()
	for name, c := range counts {
		g := map[string]int{}
		for _, o := range c.Outcomes() {
			if o.N > 0 {
				g[o.Name] = int(o.N)
			}
		}
		if c.Pending() > 0 {
			g["pending"] = int(c.Pending())
		}
		if w := want.Counts[name]; fmt.Sprint(g) != fmt.Sprint(nonzero(w)) {
			t.Errorf("%s:\n got %v\nwant %v", name, g, w)
		}
	}
	return len(got)
}

// recode passes every entity that the last line touched through its bytes.
func (b *Backtest) recode(t *testing.T) {
	for key, e := range b.Users {
		if e.last != b.fold.cur.LogTime || len(key)%2 == 0 { // half of them, so that both ways are seen
			continue
		}
		got, err := DecodeEntity(key, e.AppendBinary(nil))
		if err != nil {
			t.Fatal(err)
		}
		if a, b := string(e.AppendBinary(nil)), string(got.AppendBinary(nil)); a != b {
			t.Fatalf("entity %s changes in its bytes:\n%x\n%x", key, a, b)
		}
		b.Users[key] = got
	}
}

func nonzero(m map[string]int) map[string]int {
	out := map[string]int{}
	for k, v := range m {
		if v != 0 && k != "evaluated" {
			out[k] = v
		}
	}
	return out
}

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
