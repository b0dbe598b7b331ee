package expr

import (
	"cmp"
	"math"
	"slices"
	"strings"

	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"

	"offerstream/pipeline/value"
)

// A kind is a type of values that can be compared with one another.
type kind uint8

const (
	aNumber kind = iota
	aText
	aTruth
	aSpan
	aMoment
	aNull
)

// A point is a value of a kind.
type point struct {
	kind kind
	n    float64
	s    string
}

func (p point) compare(q point) int {
	if p.kind == aText {
		return strings.Compare(p.s, q.s)
	}
	return cmp.Compare(p.n, q.n)
}

// A stretch is a set of values: those of one kind from lo to hi, or with others
// all values of other kinds. A nil end is open without bound.
type stretch struct {
	kind           kind
	others         bool
	lo, hi         *point
	loOpen, hiOpen bool // lo, hi themselves are not in it
}

// Whole numbers beyond these are not all doubles, so that no claim is made about
// them.
const mostExact = 1 << 53

// pointOf is the value of a literal; ok is false for any other expression.
func pointOf(e celast.Expr) (p point, ok bool) {
	if ns, ok := durationLiteral(e); ok {
		return point{kind: aSpan, n: float64(ns)}, true
	}
	if ns, ok := timeLiteral(e); ok {
		return point{kind: aMoment, n: float64(ns)}, true
	}
	if e.Kind() != celast.LiteralKind {
		return p, false
	}
	switch l := e.AsLiteral().(type) {
	case types.Int:
		p = point{kind: aNumber, n: float64(l)}
	case types.Uint:
		p = point{kind: aNumber, n: float64(l)}
	case types.Double:
		p = point{kind: aNumber, n: float64(l)}
	case types.String:
		return point{kind: aText, s: string(l)}, true
	case types.Bool:
		return truthOf(bool(l)), true
	case types.Null:
		return point{kind: aNull}, true
	default:
		return p, false
	}
	return p, math.Abs(p.n) < mostExact
}

func truthOf(b bool) point {
	if b {
		return point{kind: aTruth, n: 1}
	}
	return point{kind: aTruth}
}

// timeLiteral is the time, in nanoseconds since 1970, of timestamp("..."); ok is
// false for any other expression.
func timeLiteral(e celast.Expr) (ns int64, ok bool) {
	if e.Kind() != celast.CallKind || e.AsCall().FunctionName() != overloads.TypeConvertTimestamp || len(e.AsCall().Args()) != 1 {
		return 0, false
	}
	t := textLiteral(e.AsCall().Args()[0])
	if t == nil {
		return 0, false
	}
	ns, err := value.ParseTime(*t)
	return ns, err == nil
}

// only is the set of one value.
func only(p point) stretch { return stretch{kind: p.kind, lo: &p, hi: &p} }

// holding is the set of values for which a comparison with p holds.
func holding(op string, p point) []stretch {
	below := stretch{kind: p.kind, hi: &p, hiOpen: true}
	above := stretch{kind: p.kind, lo: &p, loOpen: true}
	switch op {
	case operators.Equals:
		return []stretch{only(p)}
	case operators.NotEquals:
		return []stretch{{kind: p.kind, others: true}, below, above}
	case operators.Less:
		return []stretch{below}
	case operators.LessEquals:
		below.hiOpen = false
		return []stretch{below}
	case operators.Greater:
		return []stretch{above}
	}
	above.loOpen = false
	return []stretch{above}
}

// closed is the set with closed ends instead of open ones, for kinds whose values
// are whole numbers.
func (s stretch) closed(whole bool) stretch {
	if s.others || s.kind == aText || !whole && s.kind != aTruth {
		return s
	}
	if s.kind == aTruth {
		least, most := truthOf(false), truthOf(true)
		if s.lo == nil {
			s.lo = &least
		}
		if s.hi == nil {
			s.hi = &most
		}
	}
	if s.lo != nil {
		lo := *s.lo
		if lo.n = math.Ceil(s.lo.n); s.loOpen && lo.n == s.lo.n {
			lo.n++
		}
		s.lo, s.loOpen = &lo, false
	}
	if s.hi != nil {
		hi := *s.hi
		if hi.n = math.Floor(s.hi.n); s.hiOpen && hi.n == s.hi.n {
			hi.n--
		}
		s.hi, s.hiOpen = &hi, false
	}
	return s
}

// apart reports whether no value is in both sets. whole: the values are whole
// numbers.
func (s stretch) apart(t stretch, whole bool) bool {
	switch {
	case s.others && t.others:
		return false
	case s.others || t.others:
		return s.kind == t.kind
	case s.kind != t.kind:
		return true
	}
	s, t = s.closed(whole), t.closed(whole)
	lo, loOpen := s.lo, s.loOpen
	if lo == nil || t.lo != nil && (t.lo.compare(*lo) > 0 || t.lo.compare(*lo) == 0 && t.loOpen) {
		lo, loOpen = t.lo, t.loOpen
	}
	hi, hiOpen := s.hi, s.hiOpen
	if hi == nil || t.hi != nil && (t.hi.compare(*hi) < 0 || t.hi.compare(*hi) == 0 && t.hiOpen) {
		hi, hiOpen = t.hi, t.hiOpen
	}
	if lo == nil || hi == nil {
		return false
	}
	order := lo.compare(*hi)
	return order > 0 || order == 0 && (loOpen || hiOpen)
}

// apart reports whether no value is in both of two unions of sets.
func apart(a, b []stretch, whole bool) bool {
	return !slices.ContainsFunc(a, func(s stretch) bool {
		return slices.ContainsFunc(b, func(t stretch) bool { return !s.apart(t, whole) })
	})
}

// covers reports whether a union of sets has all values of another.
func covers(union []stretch, all stretch, whole bool) bool {
	if all.others {
		return slices.ContainsFunc(union, func(s stretch) bool { return s.others && s.kind == all.kind })
	}
	// What is left of all, from the left: what begins at lo (not with it, if loOpen).
	rest := all.closed(whole)
	if rest.lo != nil && rest.hi != nil && rest.lo.compare(*rest.hi) > 0 {
		return true
	}
	for range union {
		i := slices.IndexFunc(union, func(s stretch) bool {
			if s.others && s.kind != rest.kind {
				return true
			}
			if s.others || s.kind != rest.kind {
				return false
			}
			s = s.closed(whole)
			if s.lo != nil && (rest.lo == nil || s.lo.compare(*rest.lo) > 0 || s.lo.compare(*rest.lo) == 0 && s.loOpen && !rest.loOpen) {
				return false
			}
			// It must go further than where the rest begins.
			return s.hi == nil || rest.lo == nil || s.hi.compare(*rest.lo) > 0 || s.hi.compare(*rest.lo) == 0 && !s.hiOpen && !rest.loOpen
		})
		if i < 0 {
			return false
		}
		s := union[i].closed(whole)
		if s.others || s.hi == nil {
			return true
		}
		if rest.hi != nil {
			if order := s.hi.compare(*rest.hi); order > 0 || order == 0 && (!s.hiOpen || rest.hiOpen) {
				return true
			}
		}
		lo := *s.hi
		rest.lo, rest.loOpen = &lo, !s.hiOpen
		if rest = rest.closed(whole); rest.hi != nil && rest.lo.compare(*rest.hi) > 0 {
			return true
		}
	}
	return false
}
