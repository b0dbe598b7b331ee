package window

import (
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline/value"
)

// TestSize holds the size that a state keeps up to date to that of all its
// records, through everything that changes a state; and checks that the oldest
// leaves first, until nothing is left.
func TestSize(t *testing.T) {
	t.Logf("seed %d", *seed)
	for _, a := range all {
		if a.Entities {
			continue // TestUsers
		}
		rng := rand.New(rand.NewPCG(*seed, 2))
		for range 60 {
			f := Shape{Aggregate: a, Within: time.Duration(rng.Int64N(100)), Entries: 1 + rng.IntN(8), Keys: 1 + rng.IntN(4), Grouped: rng.IntN(2) == 0, Keyed: a.Rows, Fields: []string{"x"}}
			st, now := &State{}, int64(1000)
			var scratch []byte
			check := func(what string) {
				t.Helper()
				sum := Size{}
				for i := range int(st.keys) {
					sum = sum.Plus(f.size(st.record(i)))
				}
				if sum != st.Size() {
					t.Fatalf("%s %s: the state has the size %v, its records %v", a.Name, what, st.Size(), sum)
				}
			}
			text := func() string { return strings.Repeat("x", rng.IntN(6)) }
			for range 100 {
				now += rng.Int64N(6)
				e := Entry{Time: now - rng.Int64N(20), Value: value.OfDouble(float64(rng.IntN(12)) / 4)}
				switch {
				case a.Rows:
					e.Value, e.Row = value.Value{}, &Row{Key: text(), Fields: []value.Value{value.OfString(text())}, Has: []bool{rng.IntN(3) > 0}}
				case a.Of == Scalars && rng.IntN(2) == 0:
					e.Value = value.OfString(text())
				case a.Stays:
					e.Value = value.OfDuration(openStay)
				case a.Take != nil:
					e.Value, _ = a.Take(e.Value)
				}
				key := ""
				if f.Grouped {
					key = text()
				}
				switch n := rng.IntN(20); {
				case n == 0:
					f.Drop(st, now)
					check("after Drop")
				case n == 1:
					f.RemoveOldest(st)
					check("after RemoveOldest")
				case n == 2 && a.Rows:
					f.RemoveRow(st, text())
					check("after RemoveRow")
				case n < 6 && a.Stays:
					f.Close(st, now)
					check("after Close")
				case !f.Left(e.Time, now):
					f.Add(st, key, e, now, &scratch)
					check("after Add")
				}
			}
			for last := int64(-1); st.keys > 0; {
				o := oldest{}
				for i := range int(st.keys) {
					if k := f.oldestOf(st.record(i)); k.held && (!o.held || k.t < o.t) {
						o = k
					}
				}
				if o.t < last {
					t.Fatalf("%s: %d left after %d", a.Name, o.t, last)
				}
				last = o.t
				before := st.Size().Entries
				f.RemoveOldest(st)
				check("at the end")
				if st.Size().Entries != before-1 {
					t.Fatalf("%s: %d entries are left of %d", a.Name, st.Size().Entries, before)
				}
			}
			if st.Size() != (Size{}) || len(st.b) != 0 {
				t.Fatalf("%s: an empty state has the size %v and %d bytes", a.Name, st.Size(), len(st.b))
			}
		}
	}
}

// TestWide holds sums of 128 bits to those of any size.
func TestWide(t *testing.T) {
	t.Logf("seed %d", *seed)
	rng := rand.New(rand.NewPCG(*seed, 3))
	for range 2000 {
		got, want := wide{}, new(big.Int)
		for range 1 + rng.IntN(40) {
			v := int64(rng.Uint64()) >> rng.IntN(64)
			got = got.plus(widen(v))
			want.Add(want, big.NewInt(v))
		}
		sum, _ := new(big.Rat).SetFrac(want, big.NewInt(1e6)).Float64()
		if got.millionths() != sum {
			t.Fatalf("%v reads as %v, the sum is %v", got, got.millionths(), sum)
		}
	}
}
