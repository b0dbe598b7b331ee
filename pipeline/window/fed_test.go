package window

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"offerstream/pipeline/value"
)

// all are all aggregates.
var all = slices.Concat(Aggregates[:], ofItems[:])

// A fed is what was added to a state, and when.
type fed struct {
	key string
	e   Entry
	now int64
}

// feeds are random entries of an aggregate, about as they come: some late, of few
// keys and values.
func feeds(rng *rand.Rand, f *Shape, n int, now int64, names string) (all []fed) {
	for range n {
		now += rng.Int64N(8)
		e := Entry{Time: now - rng.Int64N(2)*rng.Int64N(30), Value: value.OfDouble(float64(rng.IntN(20)) / 4)}
		text := func(most int) string { return strings.Repeat(names[rng.IntN(len(names)):][:1], rng.IntN(most)) }
		switch {
		case f.Rows:
			e.Value, e.Row = value.Value{}, &Row{Key: text(3), Fields: []value.Value{value.OfString(text(4)), value.OfDouble(e.Value.Double())}, Has: []bool{rng.IntN(3) > 0, true}}
		case f.Of == Scalars && rng.IntN(2) == 0:
			e.Value = value.OfString(text(4))
		case f.Of == Measures && rng.IntN(3) == 0:
			e.Value = value.OfDuration(rng.Int64N(99))
		case f.Stays:
			e.Value = value.OfDuration(rng.Int64N(int64(maxDwell)))
		case f.Take != nil:
			e.Value, _ = f.Take(e.Value)
		}
		if f.Entities || f.Keyed { // a late one replaces a newer, and then whether the key is there depends on when what left was dropped
			e.Time = now
		}
		key := ""
		if f.Grouped || f.Ranks || f.Entities {
			key = "k" + text(3)
		}
		if f.Entities {
			key = "u:" + key
		}
		all = append(all, fed{key, e, now})
	}
	return all
}

// feed adds entries to a state. A time that is not 0 is that at which all come.
func feed(f *Shape, st *State, entries []fed, now int64) {
	var scratch []byte
	for _, e := range entries {
		if now != 0 {
			e.now = now
		}
		switch {
		case f.Left(e.e.Time, e.now):
		case f.Entities:
			f.AddUser(st, e.key, e.e.Time, e.now)
		default:
			f.Add(st, e.key, e.e, e.now, &scratch)
		}
	}
}

// anyShape is a random shape of an aggregate.
func anyShape(rng *rand.Rand, a *Aggregate, most int) *Shape {
	f := &Shape{Aggregate: a, Within: time.Duration(rng.Int64N(2) * rng.Int64N(400)), Entries: 1 + rng.IntN(most), Keys: 1 + rng.IntN(most), Grouped: rng.IntN(2) == 0, HalfLife: time.Duration(8 + rng.Int64N(200))}
	if a.Rows {
		f.Fields, f.Keyed = []string{"x", "y"}, rng.IntN(2) == 0
	}
	if a.Ranks {
		f.Within = 0
	}
	if a.Entities {
		f.Grouped = false
	}
	return f
}

// shown is a value as an expression sees it.
func shown(t testing.TB, v ref.Val) string {
	t.Helper()
	if _, ok := crowd.Target(v); ok {
		return fmt.Sprint(v.(traits.Sizer).Size(), " users")
	}
	b, err := value.AppendJSON(nil, v)
	if err != nil {
		t.Fatal(err)
	}
	times, is := HistogramTimes(v)
	return fmt.Sprint(string(b), v.Type(), times, is)
}

// look is all that can be read of a state at a time.
func look(t testing.TB, f *Shape, st *State, now int64, keys []string) string {
	var lines []string
	if f.Mapped() {
		lines = append(lines, fmt.Sprint(shown(t, f.By(st, now)), f.By(st, now).(traits.Sizer).Size()))
	}
	for _, key := range keys {
		lines = append(lines, fmt.Sprint(key, ": ", shown(t, f.Read(st, key, now)), f.Has(st, key, now)))
		if f.Single() {
			lines = append(lines, fmt.Sprint(f.Total(st, key, now)))
		}
	}
	return strings.Join(lines, "\n")
}
