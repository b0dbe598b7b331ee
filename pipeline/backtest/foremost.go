package backtest

import (
	"cmp"
	"maps"
	"slices"

	"offerstream/pipeline"
)

// Foremost are the names of the campaigns of some results, sorted: at most n, those
// with the most offers, then with the most evaluations. more is how many are left out.
func Foremost(n int, results ...*Result) (ids []string, more int) {
	of := map[string]pipeline.Counts{}
	for _, r := range results {
		for id, c := range r.Campaigns {
			of[id] = of[id].Plus(c.Counts)
		}
	}
	return ForemostOf(n, of)
}

// ForemostOf is Foremost for counts by name.
func ForemostOf(n int, of map[string]pipeline.Counts) (names []string, more int) {
	names = slices.Sorted(maps.Keys(of))
	if len(names) <= n {
		return names, 0
	}
	slices.SortStableFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(of[b].Ended[pipeline.Fired], of[a].Ended[pipeline.Fired]), cmp.Compare(of[b].Evaluated, of[a].Evaluated))
	})
	more = len(names) - n
	names = names[:n]
	slices.Sort(names)
	return names, more
}
