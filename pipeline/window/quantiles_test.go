package window

import (
	"fmt"
	"testing"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/traits"

	"offerstream/pipeline/value"
)

// TestNewestOfQuantiles: beyond the bound the newest stay, by event time and then as
// they came; one that is older than all of them is not taken; durations stay durations.
func TestNewestOfQuantiles(t *testing.T) {
	f, st := &Shape{Aggregate: quantiles, Entries: 4, Keys: 1}, &State{}
	add := func(at, v int64) {
		feed(f, st, []fed{{"", Entry{Time: at, Value: value.OfDuration(v)}, 100}}, 0)
	}
	for _, c := range []struct {
		at, v int64
		want  string
	}{
		{10, 1, "1: 1ns 1ns 1ns"}, {20, 5, "2: 1ns 1ns 5ns"}, {10, 3, "3: 1ns 3ns 5ns"}, {30, 9, "4: 1ns 3ns 9ns"},
		{5, 7, "4: 1ns 3ns 9ns"},  // older than all
		{10, 8, "4: 3ns 5ns 9ns"}, // as old as the oldest, but it came later
		{15, 2, "4: 2ns 5ns 9ns"}, // in place of the 3
		{99, 20, "4: 2ns 5ns 20ns"},
	} {
		add(c.at, c.v)
		read := f.Read(st, "", 100).(traits.Indexer)
		get := func(field string) any { return read.Get(types.String(field)).Value() }
		if got := fmt.Sprintf("%v: %v %v %v", get("size"), get("p10"), get("p50"), get("p90")); got != c.want {
			t.Errorf("after %d at %d: %s, want %s", c.v, c.at, got, c.want)
		}
	}
}
