package window

import (
	"cmp"
	"math"
	"math/big"
	"math/bits"
	"slices"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"offerstream/pipeline/value"
)

// top ranks the keys of `by`. A touch adds to the weight of its key, and weights
// decay by log time: they halve every Shape.HalfLife, in steps. It is kept as a
// series under each key, of one entry: the log time of the last touch, and the
// weight then. It has no window, so only other keys, or the bound on bytes,
// remove a key. The keys of a State are in the order of their last touches.
var top = &Aggregate{Name: "top", Ranks: true, Type: always(cel.ListType(ranked.Type)), width: 2 * timeBytes}

// together ranks the other items that come in an item's events. Its keys are
// given by the caller: it has no `by`.
var together = &Aggregate{Name: "together", Ranks: true, Others: true, Type: top.Type, width: top.width}

const (
	touchWeight   = 1 << 20 // what a touch adds
	halfLifeSteps = 8       // steps in which a weight halves; they begin at multiples of their length since 1970
	factorBits    = 32      // factors are in units of 2^-32
)

// factors are what is left of a weight after that many steps:
// floor(2^32 * 2^(-i/8)). After more steps nothing is left.
var factors = sync.OnceValue(func() *[halfLifeSteps*factorBits + 1]uint64 {
	var all [halfLifeSteps*factorBits + 1]uint64
	for i := range all {
		// 2^(32 - i/8) is the eighth root of 2^(256 - i). The integer part of a
		// root of an integer part is that of the root.
		n := new(big.Int).Lsh(big.NewInt(1), uint(halfLifeSteps*factorBits-i))
		all[i] = n.Sqrt(n.Sqrt(n.Sqrt(n))).Uint64()
	}
	return &all
})

// stepsBetween is the number of steps that begin after the time from, up to now.
func (f *Shape) stepsBetween(from, now int64) int64 {
	length := max(int64(f.HalfLife)/halfLifeSteps, 1)
	step := func(t int64) int64 {
		n := t / length
		if t%length < 0 {
			n-- // / rounds up before 1970
		}
		return n
	}
	return max(value.Minus(step(now), step(from)), 0)
}

// weight is the weight at now of the key that has this record.
func (f *Shape) weight(rec []byte, now int64) int64 {
	_, entry := f.series(rec)
	steps, w := f.stepsBetween(word(entry, 0), now), word(entry, 1)
	if steps >= int64(len(factors())) {
		return 0
	}
	high, low := bits.Mul64(uint64(w), factors()[steps])
	return int64(high<<(64-factorBits) | low>>factorBits) // at most w, because a factor is at most 2^32
}

// rank is Add of a top. Beyond the bound on keys, the key with the least weight
// leaves; of equals, that with the older touch.
func (f *Shape) rank(st *State, key string, now int64) (reached uint64) {
	return f.addWeight(st, key, touchWeight, now)
}

// addWeight touches a key, which adds a weight to it.
func (f *Shape) addWeight(st *State, key string, more, now int64) (reached uint64) {
	weight := int64(0)
	if i := st.index(key); i >= 0 {
		st.moveLast(i)
		last := int(st.keys) - 1
		weight = f.weight(st.record(last), now)
		f.removeEntries(st, last, 1)
	} else {
		reached = f.boundRanks(st, f.Keys-1, now)
		st.append(key)
	}
	weight = min(weight, math.MaxInt64-more) + more
	f.addSeries(st, int(st.keys)-1, now, weight, 1)
	return reached
}

// boundRanks removes the keys with the least weights until there are no more than a
// number.
func (f *Shape) boundRanks(st *State, most int, now int64) (reached uint64) {
	for ; int(st.keys) > most; reached++ {
		f.forget(st, f.lightest(st, now))
	}
	return reached
}

// unionRanks adds the weights of a to those of u, as they are at now; then the bound
// on keys applies.
func (f *Shape) unionRanks(u, a *State, now int64) uint64 {
	all := *f
	all.Keys = math.MaxInt
	for i := range int(a.keys) {
		all.addWeight(u, a.key(i), f.weight(a.record(i), now), now)
	}
	return f.boundRanks(u, f.Keys, now)
}

// lightest is the key with the least weight at now; of equals, that with the
// oldest touch.
func (f *Shape) lightest(st *State, now int64) (found int) {
	least := int64(math.MaxInt64)
	for i := range int(st.keys) {
		if w := f.weight(st.record(i), now); w < least {
			found, least = i, w
		}
	}
	return found
}

// A weighted is a key and its weight.
type weighted struct {
	key    string
	weight int64
}

// ranked is the type of an element of a top.
var ranked = func() *value.Struct {
	s := value.NewStruct("Ranked", map[string]value.Field{
		"key":   {Type: cel.StringType, Get: func(p any) ref.Val { return types.String(p.(weighted).key) }},
		"score": {Type: cel.DoubleType, Get: func(p any) ref.Val { return types.Double(float64(p.(weighted).weight) / touchWeight) }},
	})
	s.Data = true
	return s
}()

// weights are the keys of a top with their weights at now, the greatest first; of
// equals, the one touched last. st may be nil.
func (f *Shape) weights(st *State, now int64) (keys []weighted) {
	if st != nil {
		for i := int(st.keys) - 1; i >= 0; i-- {
			keys = append(keys, weighted{strings.Clone(st.key(i)), f.weight(st.record(i), now)})
		}
	}
	slices.SortStableFunc(keys, func(a, b weighted) int { return cmp.Compare(b.weight, a.weight) })
	return keys
}

// rankingOf is a top as an expression sees it.
func rankingOf(keys []weighted) ref.Val {
	list := make([]ref.Val, len(keys))
	for i, k := range keys {
		list[i] = ranked.Of(k)
	}
	return types.NewRefValList(types.DefaultTypeAdapter, list)
}
