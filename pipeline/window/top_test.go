package window

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"offerstream/pipeline/value"
)

// slowDecay is floor(w * floor(2^32 * 2^(-steps/8)) / 2^32), with numbers of any
// size.
func slowDecay(w *big.Int, steps *big.Int) *big.Int {
	if steps.Cmp(big.NewInt(1000)) > 0 {
		return new(big.Int)
	}
	const precision = 2000
	eighth := new(big.Float).SetPrec(precision).SetFloat64(0.5)
	for range 3 {
		eighth.Sqrt(eighth)
	}
	if steps.Int64()%8 == 0 { // a power of 2 has no rounding
		eighth.SetFloat64(0.5)
		steps = new(big.Int).Div(steps, big.NewInt(8))
	}
	factor := new(big.Float).SetPrec(precision).SetFloat64(1 << 32)
	for range steps.Int64() {
		factor.Mul(factor, eighth)
	}
	whole, _ := factor.Int(nil)
	return new(big.Int).Rsh(new(big.Int).Mul(w, whole), 32)
}

// stepsOf counts the steps between two times with numbers of any size; Div
// rounds down.
func stepsOf(halfLife time.Duration, from, now int64) *big.Int {
	length := big.NewInt(int64(halfLife) / 8)
	step := func(t int64) *big.Int { return new(big.Int).Div(big.NewInt(t), length) }
	return new(big.Int).Sub(step(now), step(from))
}

// A slowTop is a top with weights of any size. Its keys are in the order of
// their last touches.
type slowTop []slowKey

type slowKey struct {
	key     string
	weight  *big.Int
	touched int64
}

func (s *slowTop) touch(key string, halfLife time.Duration, now int64, most int) (reached bool) {
	one := big.NewInt(1 << 20)
	at := slices.IndexFunc(*s, func(k slowKey) bool { return k.key == key })
	if at >= 0 {
		k := (*s)[at]
		*s = append(slices.Delete(*s, at, at+1), slowKey{key, one.Add(one, slowDecay(k.weight, stepsOf(halfLife, k.touched, now))), now})
		return false
	}
	if len(*s) == most {
		least, reached := 0, true
		weights := s.weights(halfLife, now)
		for i, w := range weights {
			if w.Cmp(weights[least]) < 0 {
				least = i
			}
		}
		*s = append(slices.Delete(*s, least, least+1), slowKey{key, one, now})
		return reached
	}
	*s = append(*s, slowKey{key, one, now})
	return false
}

func (s *slowTop) weights(halfLife time.Duration, now int64) (all []*big.Int) {
	for _, k := range *s {
		all = append(all, slowDecay(k.weight, stepsOf(halfLife, k.touched, now)))
	}
	return all
}

// text is the ranking as the test writes that of the engine.
func (s *slowTop) text(halfLife time.Duration, now int64) string {
	weights := s.weights(halfLife, now)
	var lines []string
	for len(lines) < len(*s) {
		best := -1
		for i, w := range weights {
			if w != nil && (best < 0 || w.Cmp(weights[best]) >= 0) {
				best = i
			}
		}
		score, _ := new(big.Float).Quo(new(big.Float).SetInt(weights[best]), big.NewFloat(1<<20)).Float64()
		lines = append(lines, fmt.Sprint((*s)[best].key, " ", score))
		weights[best] = nil
	}
	return strings.Join(lines, "\n")
}

// rankingText is a top as an expression sees it, a line for each key.
func rankingText(v ref.Val) string {
	var lines []string
	for it := v.(traits.Lister).Iterator(); it.HasNext() == types.True; {
		e := it.Next().(traits.Indexer)
		lines = append(lines, fmt.Sprint(e.Get(types.String("key")).Value(), " ", e.Get(types.String("score")).Value()))
	}
	return strings.Join(lines, "\n")
}

// TestTop holds a top to one with numbers of any size: few and many keys, times
// before and after 1970, short and long absences, half-lives that are no
// multiple of eight.
func TestTop(t *testing.T) {
	t.Logf("seed %d", *seed)
	rng := rand.New(rand.NewPCG(*seed, 4))
	for range 60 {
		f := Shape{Aggregate: top, Entries: 1 + rng.IntN(9), Keys: 1 + rng.IntN(6), Grouped: true, HalfLife: time.Duration(8 + rng.Int64N(200))}
		st, model, now := &State{}, slowTop{}, rng.Int64N(4000)-2000
		var scratch []byte
		for range 120 {
			switch rng.IntN(12) {
			case 0:
				now += rng.Int64N(int64(f.HalfLife) * 40)
			case 1, 2, 3:
				now += rng.Int64N(int64(f.HalfLife))
			}
			key := fmt.Sprint("k", rng.IntN(8))
			reached := f.Add(st, key, Entry{Time: now - rng.Int64N(50), Value: value.OfDouble(7)}, now, &scratch)
			if want := model.touch(key, f.HalfLife, now, f.Keys); (reached == 1) != want {
				t.Fatalf("the bound was reached %d times, want %v", reached, want)
			}
			read := now + rng.Int64N(3)*rng.Int64N(int64(f.HalfLife)*3)
			if got, want := rankingText(f.Read(st, "", read)), model.text(f.HalfLife, read); got != want {
				t.Fatalf("half-life %d, at %d:\n%s\nwant\n%s", f.HalfLife, read, got, want)
			}
		}
	}
}

// TestFactors: the factors are those of the definition, and the first beyond
// them would be 0.
func TestFactors(t *testing.T) {
	if factors()[0] != 1<<32 || factors()[8] != 1<<31 || factors()[1] != 3938502375 || factors()[len(factors())-1] != 1 {
		t.Errorf("%d, %d, %d, %d", factors()[0], factors()[1], factors()[8], factors()[len(factors())-1])
	}
	one := new(big.Int).Lsh(big.NewInt(1), 32)
	for i, factor := range factors() {
		if want := slowDecay(one, big.NewInt(int64(i))); want.Cmp(new(big.Int).SetUint64(factor)) != 0 {
			t.Errorf("factor %d is %d, want %d", i, factor, want)
		}
	}
	if beyond := slowDecay(one, big.NewInt(int64(len(factors())))); beyond.Sign() != 0 {
		t.Errorf("factor %d is %d", len(factors()), beyond)
	}
}

// TestTopAtTheEnds: the greatest weight stays it, and neither the first nor the
// last time that there is is taken for another.
func TestTopAtTheEnds(t *testing.T) {
	f, st := Shape{Aggregate: top, Keys: 2, Grouped: true, HalfLife: 8}, &State{}
	var scratch []byte
	f.Add(st, "a", Entry{}, 0, &scratch)
	_, entry := f.series(st.record(0))
	putWord(entry, 1, math.MaxInt64-5)
	f.Add(st, "a", Entry{}, 0, &scratch)
	if w := f.weight(st.record(0), 0); w != math.MaxInt64 {
		t.Errorf("the weight is %d", w)
	}
	if w := f.weight(st.record(0), 8); w != math.MaxInt64>>1 {
		t.Errorf("a half-life later the weight is %d", w)
	}
	f.Add(st, "b", Entry{}, -math.MaxInt64, &scratch)
	if got := rankingText(f.Read(st, "", math.MaxInt64)); got != "b 0\na 0" {
		t.Errorf("at the last time: %s", got)
	}
	if steps := f.stepsBetween(-9, -7); steps != 2 {
		t.Errorf("%d steps from -9 to -7, want 2: -8 and -7", steps)
	}
}

// TestTopReads: a top is one list, which can be written as JSON and outlives the
// state; reading it changes nothing.
func TestTopReads(t *testing.T) {
	f, st := Shape{Aggregate: top, Keys: 4, Grouped: true, HalfLife: 80}, &State{}
	var scratch []byte
	for _, key := range []string{"a", "b", "b", "c"} {
		f.Add(st, key, Entry{}, 100, &scratch)
	}
	if f.Mapped() || f.Single() || f.Folds() {
		t.Error("a top is no map, no single value, and folds nothing")
	}
	if empty := rankingText(f.Read(nil, "", 100)); empty != "" {
		t.Errorf("without a state: %s", empty)
	}
	before := slices.Clone(st.b)
	read := f.Read(st, "", 180)
	if !slices.Equal(before, st.b) {
		t.Error("reading changed the state")
	}
	clear(st.b)
	got, err := value.AppendJSON(nil, read)
	if want := `[{"key":"b","score":1},{"key":"c","score":0.5},{"key":"a","score":0.5}]`; err != nil || string(got) != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
}

// TestTopSize: a key counts as one entry of 16 bytes, its text and 8 bytes, and
// the one touched longest ago leaves first, whatever its weight.
func TestTopSize(t *testing.T) {
	f, st := Shape{Aggregate: top, Keys: 4, Grouped: true, HalfLife: time.Hour}, &State{}
	var scratch []byte
	for i, key := range []string{"old", "old", "old", "b", "c", "b"} {
		f.Add(st, key, Entry{Time: -int64(i)}, int64(i/5), &scratch)
	}
	if want := (Size{3, 3*(16+8) + 5}); st.Size() != want {
		t.Errorf("the size is %v, want %v", st.Size(), want)
	}
	if held, folded := f.KeysHolding(st); held != 3 || folded != 0 {
		t.Errorf("%d keys hold something, %d a bucket", held, folded)
	}
	f.Drop(st, math.MaxInt64)
	for _, want := range []string{"b 2\nc 1", "b 2", ""} {
		f.RemoveOldest(st)
		if got := rankingText(f.Read(st, "", 1)); got != want {
			t.Errorf("%q is left, want %q", got, want)
		}
	}
}
