package window

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"

	"offerstream/pipeline/value"
)

// records checks that a state's size is that of its records.
func records(t testing.TB, f *Shape, st *State) {
	t.Helper()
	sum := Size{}
	for i := range int(st.keys) * min(len(st.b), 1) {
		sum = sum.Plus(f.size(st.record(i)))
	}
	if sum != st.Size() {
		t.Fatalf("%s: the state has the size %v, its records %v", f.Name, st.Size(), sum)
	}
}

// TestUnion: where nothing is folded, the union of two states is what one state is
// that was given the entries of the first and then those of the second; also while
// entries leave it one by one.
func TestUnion(t *testing.T) {
	t.Logf("seed %d", *seed)
	keys := []string{"", "k", "ka", "kaa", "kb", "kbb", "kc", "kcc"}
	for _, a := range all {
		rng := rand.New(rand.NewPCG(*seed, 10))
		for range 200 {
			f := anyShape(rng, a, 5)
			f.Entries, f.Keys = 1000, 50
			ofU := feeds(rng, f, rng.IntN(30), 1000, "ab")
			began := 1000 + rng.Int64N(200)
			if f.Rows && f.Keyed || f.Ranks || f.Entities { // what comes later is later
				began = 1300
			}
			ofA := feeds(rng, f, rng.IntN(30), began, "bc")
			now := int64(1500)
			if f.Ranks { // all at once, so that decay is rounded once
				for i := range ofA {
					ofA[i].now = now
				}
			}
			u, other, want := &State{}, &State{}, &State{}
			feed(f, u, ofU, 0)
			feed(f, other, ofA, 0)
			feed(f, want, ofU, 0)
			feed(f, want, ofA, now)
			if reached := f.Union(u, other, now); reached != 0 {
				t.Fatalf("%s: a bound was reached %d times", a.Name, reached)
			}
			for u.keys > 0 || want.keys > 0 {
				f.Drop(u, now)
				f.Drop(want, now)
				records(t, f, u)
				if got, want := look(t, f, u, now, keys), look(t, f, want, now, keys); got != want {
					t.Fatalf("%s within %d of\n%v\nand\n%v:\n%s\nwant\n%s", a.Name, f.Within, ofU, ofA, got, want)
				}
				if got, want := order(f, u), order(f, want); got != want {
					t.Fatalf("%s within %d of\n%v\nand\n%v: the keys are %s, want %s", a.Name, f.Within, ofU, ofA, got, want)
				}
				if f.Entities {
					break
				}
				f.RemoveOldest(u)
				f.RemoveOldest(want)
			}
		}
	}
}

// order is the keys of a state in their order, if it is not only that of touches by
// what has left.
func order(f *Shape, st *State) string {
	var ks []string
	switch {
	case f.Entities:
		f.Users(st, 1500, 0, func(_ int, key string) bool {
			ks = append(ks, key)
			return true
		})
	case f.Within == 0:
		for i := range int(st.keys) {
			ks = append(ks, st.key(i))
		}
	}
	return strings.Join(ks, " ")
}

// TestUnionOfFolded: with buckets, the bounds hold, and what does not depend on when
// an entry folded is that of all entries.
func TestUnionOfFolded(t *testing.T) {
	t.Logf("seed %d", *seed)
	for _, a := range all {
		rng := rand.New(rand.NewPCG(*seed, 11))
		for range 100 {
			f := anyShape(rng, a, 6)
			ofU, ofA := feeds(rng, f, rng.IntN(60), 1000, "a"), feeds(rng, f, rng.IntN(60), 1000+rng.Int64N(900), "a")
			f.Keys = 3
			u, other, want := &State{}, &State{}, &State{}
			feed(f, u, ofU, 0)
			feed(f, other, ofA, 0)
			feed(f, want, ofU, 0)
			feed(f, want, ofA, 2000)
			before := stored(t, other)
			f.Union(u, other, 2000)
			records(t, f, u)
			if string(stored(t, other).b) != string(before.b) || other.Size() != before.Size() {
				t.Fatalf("%s: the other state changed", a.Name)
			}
			_, folded := f.KeysHolding(u)
			for i := range int(u.keys) * min(len(u.b), 1) {
				size := f.size(u.record(i))
				if most := f.Entries + 66; !f.Samples && size.Entries > most || !f.Folds() && folded > 0 {
					t.Fatalf("%s: %d entries, at most %d are allowed", a.Name, size.Entries, most)
				}
			}
			if f.Within == 0 && slices.Contains([]string{"count", "sum", "min", "max", "avg", "dwell", "last"}, a.Name) {
				if got, want := look(t, f, u, 2000, []string{"", "k", "ka", "kaa"}), look(t, f, want, 2000, []string{"", "k", "ka", "kaa"}); got != want {
					t.Fatalf("%s of\n%v\nand\n%v:\n%s\nwant\n%s", a.Name, ofU, ofA, got, want)
				}
			}
		}
	}
}

// TestUnionOfRows: of two rows with one key the later stays, and of two of one time
// that of the second.
func TestUnionOfRows(t *testing.T) {
	f := &Shape{Aggregate: Named("list"), Entries: 10, Keys: 1, Keyed: true, Fields: []string{"x"}}
	row := func(t int64, key, x string) fed {
		return fed{"", Entry{Time: t, Row: &Row{Key: key, Fields: []value.Value{value.OfString(x)}, Has: []bool{true}}}, t}
	}
	u, a := &State{}, &State{}
	feed(f, u, []fed{row(5, "late", "u"), row(3, "tie", "u"), row(1, "early", "u"), row(2, "mine", "u")}, 0)
	feed(f, a, []fed{row(4, "late", "a"), row(3, "tie", "a"), row(2, "early", "a"), row(2, "yours", "a")}, 0)
	f.Union(u, a, 9)
	got := shown(t, f.Read(u, "", 9))
	if want := `[{"x":"u"},{"x":"a"},{"x":"a"},{"x":"a"},{"x":"u"}]`; !strings.HasPrefix(got, want) {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestUnionOfSamples: of more values than are held, those below the same bound stay
// as if all had come to one, whichever of the two has the higher j.
func TestUnionOfSamples(t *testing.T) {
	f := &Shape{Aggregate: sampled, Keys: 1}
	for _, c := range [][2][2]int{{{0, 10_000}, {5000, 20_000}}, {{0, 40_000}, {0, 10}}, {{0, 10}, {0, 90_000}}, {{0, 70_000}, {60_000, 150_000}}, {{0, 0}, {0, 70_000}}} {
		u, a, values := &State{}, &State{}, map[uint64]bool{}
		for side, st := range []*State{u, a} {
			for i := c[side][0]; i < c[side][1]; i++ {
				f.Add(st, "", Entry{Time: int64(i), Value: value.OfString(fmt.Sprint(i))}, int64(i), nil)
				values[xxhash.Sum64String(fmt.Sprint(i))] = true
			}
		}
		reached := f.Union(u, a, 1<<20)
		records(t, f, u)
		j := 0
		for ; len(values) > mostSampled; j++ {
			for sum := range values {
				if sum>>(64-j-1) != 0 {
					delete(values, sum)
				}
			}
		}
		if got := int(f.Total(u, "", 1<<20).Bits); got != len(values)<<j {
			t.Errorf("of %v: %d, want %d with j %d; a bound was reached %d times", c, got, len(values)<<j, j, reached)
		}
	}
}

// TestUnionOfRanks: weights are decayed to now and added; the keys of the second are
// the latest touched, and the lightest of the others leaves.
func TestUnionOfRanks(t *testing.T) {
	f := &Shape{Aggregate: top, Keys: 3, Grouped: true, HalfLife: 80}
	u, a := &State{}, &State{}
	touch := func(st *State, now int64, keys string) {
		for _, key := range strings.Fields(keys) {
			f.Add(st, key, Entry{}, now, nil)
		}
	}
	touch(u, 0, "x x x x y z z")
	touch(a, 80, "x y w")
	if reached := f.Union(u, a, 160); reached != 1 {
		t.Errorf("a bound was reached %d times", reached)
	}
	if got, want := rankingText(f.Read(u, "", 160)), "x 1.5\ny 0.75\nw 0.5"; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// TestUnionOfManyBuckets: visitors whose clocks were far ahead cannot give a series
// more buckets than it can count.
func TestUnionOfManyBuckets(t *testing.T) {
	f := &Shape{Aggregate: Named("count"), Entries: 1, Keys: 1, Within: 6400}
	u := &State{}
	for visitor := range int64(6) {
		a := &State{}
		for i := range int64(64) {
			now := visitor*6400 + i*100
			f.Add(a, "", Entry{Time: now}, now, nil)
		}
		f.Union(u, a, 10)
		records(t, f, u)
	}
	if n := int(f.Total(u, "", 10).Bits); n != maxBuckets+1 {
		t.Errorf("%d are held", n)
	}
}
