package window

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"cel.dev/cel-go/common/types/traits"

	"offerstream/pipeline/value"
)

// lookFrozen is look at what was frozen.
func lookFrozen(t testing.TB, f *Shape, z Frozen, keys []string) string {
	var lines []string
	if f.Mapped() {
		lines = append(lines, fmt.Sprint(shown(t, f.FrozenBy(z)), f.FrozenBy(z).(traits.Sizer).Size()))
	}
	for _, key := range keys {
		lines = append(lines, fmt.Sprint(key, ": ", shown(t, f.FrozenRead(z, key)), f.FrozenHas(z, key)))
		if f.Single() {
			lines = append(lines, fmt.Sprint(f.FrozenTotal(z, key)))
		}
	}
	return strings.Join(lines, "\n")
}

// TestFrozen: what is frozen of a state reads as the state does, of every aggregate,
// with and without `by`, while the window is full, partly left and empty.
func TestFrozen(t *testing.T) {
	t.Logf("seed %d", *seed)
	keys := []string{"", "k", "ka", "kaa", "kb", "kbb", "nobody"}
	for _, a := range all {
		rng := rand.New(rand.NewPCG(*seed, 8))
		for range 60 {
			f, st := anyShape(rng, a, 12), &State{}
			entries := feeds(rng, f, rng.IntN(60), 1000, "ab")
			feed(f, st, entries, 0)
			now := int64(1000)
			if len(entries) > 0 {
				now = entries[len(entries)-1].now + rng.Int64N(2)*rng.Int64N(int64(f.Within)+300)
			}
			z := f.Freeze(st, now)
			want := look(t, f, st, now, keys)
			f.Drop(st, now+1<<40) // it does not live on in what was frozen
			var w value.Writer
			z.Append(&w)
			r := value.Reader{B: w.B}
			read := ReadFrozen(&r)
			if err := r.Done(); err != nil {
				t.Fatal(err)
			}
			clear(w.B)
			if got := lookFrozen(t, f, read, keys); got != want {
				t.Fatalf("%s within %d:\n%s\nwant\n%s", a.Name, f.Within, got, want)
			}
		}
		f := anyShape(rng, a, 5)
		if got, want := lookFrozen(t, f, Frozen{}, keys), look(t, f, nil, 5, keys); got != want {
			t.Errorf("%s: what nothing was frozen of:\n%s\nwant\n%s", a.Name, got, want)
		}
		if got, want := lookFrozen(t, f, f.Freeze(nil, 5), keys), look(t, f, nil, 5, keys); got != want {
			t.Errorf("%s: nothing, frozen:\n%s\nwant\n%s", a.Name, got, want)
		}
	}
}

// TestFrozenDamaged: damaged bytes read as something, and stop nothing.
func TestFrozenDamaged(t *testing.T) {
	rng := rand.New(rand.NewPCG(*seed, 9))
	for _, a := range all {
		f, st := anyShape(rng, a, 12), &State{}
		feed(f, st, feeds(rng, f, 40, 1000, "ab"), 0)
		z := f.Freeze(st, 1100)
		for n := range len(z.b) {
			f.FrozenRead(Frozen{z.b[:n]}, "k")
			f.FrozenHas(Frozen{z.b[:n]}, "k")
			f.FrozenBy(Frozen{z.b[:n]}).(traits.Sizer).Size()
		}
	}
}
