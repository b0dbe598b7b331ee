package oracle

import (
	"math/big"
	"slices"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// A ranked is a key of a top feature.
type ranked struct {
	key    string
	weight *big.Int // as of step
	step   int64
	last   entry // the place of the last touch, by log time
}

// stepOf returns the span in which a time is; eight spans are a half-life.
func (f *feature) stepOf(now int64) int64 {
	n, span := big.NewInt(now), big.NewInt(max(f.HalfLife/8, 1))
	return n.Div(n, span).Int64() // Div rounds down, also below zero
}

// decayed returns the key's weight some steps later: of 2^32 parts,
// floor(2^32 * 2^(-steps/8)). That is the eighth root of 2^(256-steps).
func (r *ranked) decayed(step int64) *big.Int {
	steps := step - r.step
	if steps > 256 {
		return new(big.Int)
	}
	factor := new(big.Int).Lsh(big.NewInt(1), uint(256-steps))
	for range 3 {
		factor.Sqrt(factor)
	}
	w := factor.Mul(factor, r.weight)
	return w.Rsh(w, 32)
}

// touchTop adds a touch. Of more keys than the bound allows, the lowest of the
// others goes; of equals, the one whose last touch is older.
func (s *state) touchTop(now int64, e entry) {
	step, weight := s.f.stepOf(now), big.NewInt(1<<20)
	if i := slices.IndexFunc(s.top, func(r *ranked) bool { return r.key == e.key }); i >= 0 {
		weight.Add(weight, s.top[i].decayed(step))
		s.top = slices.Delete(s.top, i, i+1)
	}
	if len(s.top) >= s.f.bounds.Keys {
		s.sortTop(step)
		s.top, s.folds = s.top[:len(s.top)-1], true
	}
	s.top = append(s.top, &ranked{e.key, weight, step, entry{at: now, pos: e.pos, item: e.item}})
}

// sortTop sorts the keys, the highest first.
func (s *state) sortTop(step int64) {
	slices.SortFunc(s.top, func(a, b *ranked) int {
		if n := b.decayed(step).Cmp(a.decayed(step)); n != 0 {
			return n
		}
		return (&entry{pos: b.last.pos, item: b.last.item}).before(&entry{pos: a.last.pos, item: a.last.item})
	})
}

// readTop returns the keys and their scores, the highest first.
func (s *state) readTop(now int64) ref.Val {
	step, vals := s.f.stepOf(now), []ref.Val{}
	s.sortTop(step)
	for _, r := range s.top {
		score, _ := new(big.Rat).SetFrac(r.decayed(step), big.NewInt(1<<20)).Float64()
		vals = append(vals, textMap{values: map[string]ref.Val{"key": types.String(r.key), "score": types.Double(score)}})
	}
	return listOf(vals)
}

// evictTop removes the key that was touched longest ago.
func (s *state) evictTop() {
	oldest := slices.MinFunc(s.top, func(a, b *ranked) int { return a.last.before(&b.last) })
	s.top = slices.DeleteFunc(s.top, func(r *ranked) bool { return r == oldest })
}
