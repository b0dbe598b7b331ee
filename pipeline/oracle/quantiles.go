package oracle

import (
	"math"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// quantiles is the aggregate of that name over entries: by nearest rank, the
// least value that is not exceeded by at least so many of a hundred. Numbers
// are less than durations.
func quantiles(es []*entry) ref.Val {
	less := func(a, b ref.Val) bool {
		d, aIs := a.(types.Duration)
		e, bIs := b.(types.Duration)
		switch {
		case aIs && bIs:
			return d.Duration < e.Duration
		case aIs != bIs:
			return bIs
		}
		return a.(types.Double) < b.(types.Double)
	}
	q := textMap{values: map[string]ref.Val{"size": types.Int(len(es))}}
	for name, percent := range map[string]int{"p10": 10, "p25": 25, "p50": 50, "p75": 75, "p90": 90} {
		q.values[name] = types.NullValue
		for _, e := range es {
			n := 0 // how many values are not above this one
			for _, o := range es {
				if !less(e.value, o.value) {
					n++
				}
			}
			if best := q.values[name]; n*100 >= percent*len(es) && (best == types.NullValue || less(e.value, best)) {
				q.values[name] = e.value
			}
		}
	}
	return q
}

// measure says whether quantiles take a value, and what of it.
func measure(v ref.Val) (ref.Val, bool) {
	if d, ok := v.(types.Duration); ok {
		return d, true
	}
	n, ok := double(v)
	return types.Double(n), ok && !math.IsNaN(n) && !math.IsInf(n, 0)
}
