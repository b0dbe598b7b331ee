package window

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"offerstream/pipeline/value"
)

var seed = flag.Uint64("seed", 1, "of TestAggregates")

// naive is what an aggregate of numbers reads as, from all entries in order.
var naive = map[string]func(vs []float64) any{
	"count": func(vs []float64) any { return int64(len(vs)) },
	"sum":   func(vs []float64) any { return total(vs) },
	"avg": func(vs []float64) any {
		if len(vs) == 0 {
			return nil
		}
		return total(vs) / float64(len(vs))
	},
	"min":       func(vs []float64) any { return best(vs, slices.Min[[]float64]) },
	"max":       func(vs []float64) any { return best(vs, slices.Max[[]float64]) },
	"first":     func(vs []float64) any { return best(vs, func(vs []float64) float64 { return vs[0] }) },
	"last":      func(vs []float64) any { return best(vs, func(vs []float64) float64 { return vs[len(vs)-1] }) },
	"distinct":  func(vs []float64) any { s := slices.Sorted(slices.Values(vs)); return int64(len(slices.Compact(s))) },
	"histogram": func(vs []float64) any { return map[string]any{"size": int64(len(vs))} },
	"quantiles": func(vs []float64) any {
		s := slices.Sorted(slices.Values(vs))
		q := map[string]any{"size": int64(len(s))}
		for _, p := range []int{10, 25, 50, 75, 90} {
			q[fmt.Sprint("p", p)] = nil
			for i, v := range s {
				if (i+1)*100 >= p*len(s) {
					q[fmt.Sprint("p", p)] = v
					break
				}
			}
		}
		return q
	},
}

func total(vs []float64) float64 {
	sum := int64(0)
	for _, v := range vs {
		sum += int64(math.RoundToEven(v * 1e6))
	}
	return float64(sum) / 1e6
}

func best(vs []float64, of func([]float64) float64) any {
	if len(vs) == 0 {
		return nil
	}
	return of(vs)
}

// plain is a value of an expression as Go's own.
func plain(v ref.Val) any {
	switch v := v.(type) {
	case types.Int:
		return int64(v)
	case types.Double:
		return float64(v)
	case types.Null:
		return nil
	}
	q, fields := map[string]any{}, anyQuantiles.Fields
	if _, is := HistogramTimes(v); is {
		fields = Histogram.Fields
	}
	for name := range fields {
		q[name] = plain(v.(traits.Indexer).Get(types.String(name)))
	}
	return q
}

// TestAggregates holds every aggregate of single values, over a window that
// holds all its entries exactly, to a list of them: late entries, entries of
// one time, what leaves.
func TestAggregates(t *testing.T) {
	t.Logf("seed %d", *seed)
	for _, a := range all {
		if a.Rows || a.Stays || a.Ranks || a.Entities {
			continue // scenarios and the oracle hold the first two, TestTop the third, TestUsers the last
		}
		expected := naive[a.Name]
		if expected == nil {
			t.Errorf("%s has no naive form here", a.Name)
			continue
		}
		rng := rand.New(rand.NewPCG(*seed, 1))
		for range 40 {
			f := Shape{Aggregate: a, Within: time.Duration(rng.Int64N(60)), Entries: 1000, Keys: 3}
			type entry struct {
				t int64
				v float64
			}
			held, st, now := []entry{}, &State{}, int64(1000)
			var scratch []byte
			for range 60 {
				now += rng.Int64N(5)
				e := entry{now - rng.Int64N(20), float64(rng.IntN(12)) / 4}
				if !f.Left(e.t, now) {
					v := value.OfDouble(e.v)
					if a.Take != nil {
						var err error
						if v, err = a.Take(v); err != nil {
							t.Fatal(err)
						}
					}
					f.Add(st, "k", Entry{Time: e.t, Value: v}, now, &scratch)
					held = append(held, e)
				}
				slices.SortStableFunc(held, func(a, b entry) int { return int(a.t - b.t) })
				var in []float64
				for _, e := range held {
					if f.Within == 0 || e.t > now-int64(f.Within) {
						in = append(in, e.v)
					}
				}
				if got, want := fmt.Sprint(plain(f.Read(st, "k", now))), fmt.Sprint(expected(in)); got != want {
					t.Fatalf("%s within %d at %d of %v reads as %s, want %s", a.Name, f.Within, now, held, got, want)
				}
			}
		}
	}
}

// TestTakes: what an aggregate cannot use is an error, and changes nothing.
func TestTakes(t *testing.T) {
	for _, c := range []struct {
		agg  string
		v    value.Value
		fits bool
	}{
		{"sum", value.OfDouble(9.1e12), true}, {"sum", value.OfDouble(-9.2e12), false}, {"sum", value.OfString("1"), false}, {"avg", value.Value{}, false},
		{"min", value.OfDouble(math.Inf(1)), false}, {"max", value.OfDouble(math.NaN()), false}, {"max", value.OfInt(3), true}, {"min", value.OfBool(true), false},
		{"quantiles", value.OfInt(3), true}, {"quantiles", value.OfDuration(3), true}, {"quantiles", value.OfString("3"), false}, {"quantiles", value.OfTime(3), false},
		{"dwell", value.OfDouble(-5), true}, {"dwell", value.Value{}, true},
	} {
		if _, err := Named(c.agg).Take(c.v); (err == nil) != c.fits {
			t.Errorf("%s of %v: %v", c.agg, c.v, err)
		}
	}
	if Of("distinct", false) != Named("distinct") || Of("distinct", true) != sampled || Of("users", true) != users || Of("users", false) != nil || Of("together", false) != nil || Of("sum", true) != Named("sum") {
		t.Error("items have other aggregates than users, or not")
	}
	if Named("median") != nil || !slices.Contains(Names(), "quantiles") {
		t.Error("the table does not know its aggregates")
	}
}
