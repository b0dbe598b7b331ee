package window

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"offerstream/pipeline/value"
)

// A grant is an entry of a budget: exact, or folded into the bucket of a time.
type grant struct {
	t, v   int64
	folded bool
}

// TestTakeBack holds a sum from which values are taken back to a list of what it
// holds, exact and folded.
func TestTakeBack(t *testing.T) {
	t.Logf("seed %d", *seed)
	rng := rand.New(rand.NewPCG(*seed, 12))
	for range 200 {
		f := &Shape{Aggregate: Named("sum"), Entries: 1 + rng.IntN(6), Keys: 1, Within: time.Duration(rng.Int64N(2) * (64 + rng.Int64N(500)))}
		st, held, now := &State{}, []grant{}, int64(1000)
		for range 120 {
			now += rng.Int64N(10)
			if rng.IntN(3) > 0 {
				g := grant{t: now - rng.Int64N(2)*rng.Int64N(50), v: rng.Int64N(3)}
				if !f.Left(g.t, now) {
					feed(f, st, []fed{{"", Entry{Time: g.t, Value: value.OfInt(g.v)}, now}}, 0)
					held = append(held, g)
				}
			} else {
				g := grant{t: now - rng.Int64N(100), v: rng.Int64N(4)}
				if len(held) > 0 && rng.IntN(4) > 0 {
					g = held[rng.IntN(len(held))]
				}
				got, want := TakeBack(f, st, g.t, g.v, now), false
				i := slices.IndexFunc(held, func(h grant) bool { return !h.folded && h.t == g.t && h.v == g.v })
				if i < 0 {
					i = slices.IndexFunc(held, func(h grant) bool { return h.folded && f.bucketTime(h.t) == f.bucketTime(g.t) })
				}
				if want = i >= 0 && !f.Left(g.t, now); want {
					rest := held[i].v - g.v
					folded := held[i].folded
					held = slices.Delete(held, i, i+1)
					j := slices.IndexFunc(held, func(h grant) bool { return h.folded && f.bucketTime(h.t) == f.bucketTime(g.t) })
					if folded && j >= 0 { // the bucket has an entry less, and what remains of that one
						held[j].v += rest
					}
				}
				if got != want {
					t.Fatalf("%v of %v within %d at %d: taken back %v, want %v", g, held, f.Within, now, got, want)
				}
			}
			held = fold(f, held, now)
			records(t, f, st)
			sum := new(big.Int)
			for _, h := range held {
				sum.Add(sum, big.NewInt(h.v))
			}
			if high, low := f.SumMicros(st, now); new(big.Int).Add(new(big.Int).Lsh(big.NewInt(high), 64), new(big.Int).SetUint64(low)).Cmp(sum) != 0 {
				t.Fatalf("%v within %d at %d: the sum is %d, %d, want %v", held, f.Within, now, high, low, sum)
			}
		}
	}
}

// fold drops what has left the window, and folds the oldest exact entries beyond the
// bound.
func fold(f *Shape, held []grant, now int64) []grant {
	slices.SortStableFunc(held, func(a, b grant) int { return int(a.t - b.t) })
	held = slices.DeleteFunc(held, func(g grant) bool {
		t := g.t
		if g.folded {
			t = f.bucketTime(t)
		}
		return f.Left(t, now)
	})
	exact := 0
	for i := len(held) - 1; i >= 0; i-- {
		if !held[i].folded {
			if exact++; exact > f.Entries {
				held[i].folded = true
			}
		}
	}
	return held
}

// TestSumAtMost holds the comparison with a bound to that of numbers of any size.
func TestSumAtMost(t *testing.T) {
	t.Logf("seed %d", *seed)
	rng := rand.New(rand.NewPCG(*seed, 13))
	f := &Shape{Aggregate: Named("sum"), Entries: 3, Keys: 1}
	for range 2000 {
		any := func() int64 {
			return []int64{math.MaxInt64, math.MinInt64, 0, 1, -1, rng.Int64(), -rng.Int64N(9)}[rng.IntN(7)]
		}
		st, sum := &State{}, new(big.Int)
		for range rng.IntN(6) {
			v := any()
			feed(f, st, []fed{{"", Entry{Time: 1, Value: value.OfInt(v)}, 1}}, 0)
			sum.Add(sum, big.NewInt(v))
		}
		add, most := any(), any()
		if want := sum.Add(sum, big.NewInt(add)).Cmp(big.NewInt(most)) <= 0; f.SumAtMost(st, 2, add, most) != want {
			t.Fatalf("%v at most %d: want %v", sum, most, want)
		}
	}
	if !f.SumAtMost(nil, 0, 5, 5) || f.SumAtMost(nil, 0, 6, 5) || TakeBack(f, &State{}, 0, 0, 0) {
		t.Error("an empty budget is not empty")
	}
}
