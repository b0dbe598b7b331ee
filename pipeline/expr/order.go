package expr

import (
	"cmp"
	"slices"

	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/parser"

	"offerstream/pipeline/value"
)

// CEL keeps a map that an expression makes in a map of Go, whose order is random.
// So an expression may not loop over such a map, and where one leaves its
// expression, it gets the order of its keys.

// made are the names that an expression binds to values in which a map may be that
// it makes.
type made map[string]bool

// madeBy finds those names in a whole expression.
func madeBy(whole celast.Expr) made {
	m := made{}
	for before := -1; before < len(m); {
		before = len(m)
		celast.PostOrderVisit(whole, celast.NewExprVisitor(func(e celast.Expr) {
			if e.Kind() != celast.ComprehensionKind {
				return
			}
			loop := e.AsComprehension()
			// The accumulator of CEL's own macros is not a name that a loop can be over.
			if accu := loop.AccuVar(); accu != parser.HiddenAccumulatorName && accu != parser.AccumulatorName && m.in(loop.AccuInit()) {
				m[accu] = true
			}
			if m.in(loop.IterRange()) {
				m[loop.IterVar()] = true
				m[loop.IterVar2()] = true
			}
		}))
	}
	return m
}

// in reports whether e makes a map or contains one of the names.
func (m made) in(e celast.Expr) bool {
	found := false
	celast.PostOrderVisit(e, celast.NewExprVisitor(func(e celast.Expr) {
		found = found || e.Kind() == celast.MapKind || e.Kind() == celast.IdentKind && m[e.AsIdent()]
	}))
	return found
}

// mayHoldMap reports whether a value of type t may be a map or contain one.
func mayHoldMap(t *types.Type) bool {
	switch t.Kind() {
	case types.MapKind, types.DynKind, types.TypeParamKind:
		return true
	case types.ListKind, types.OpaqueKind:
		return slices.ContainsFunc(t.Parameters(), mayHoldMap)
	}
	return false
}

// order is a value in which all maps iterate in the order of their keys' texts.
func order(v ref.Val) ref.Val {
	switch v := v.(type) {
	case value.Map, inOrder:
		return v
	case traits.Mapper:
		return inOrder{v}
	case traits.Lister:
		var all []ref.Val
		for it := v.Iterator(); it.HasNext() == types.True; {
			all = append(all, order(it.Next()))
		}
		return types.NewRefValList(types.DefaultTypeAdapter, all)
	case *types.Optional:
		if v.HasValue() {
			return types.OptionalOf(order(v.GetValue()))
		}
	}
	return v
}

// inOrder is a map of CEL, or of a type of cel-go, that iterates in the order of
// its keys' texts.
type inOrder struct{ traits.Mapper }

func (m inOrder) Find(key ref.Val) (ref.Val, bool) {
	v, ok := m.Mapper.Find(key)
	if ok {
		v = order(v)
	}
	return v, ok
}

func (m inOrder) Get(key ref.Val) ref.Val { return order(m.Mapper.Get(key)) }

func (m inOrder) Iterator() traits.Iterator {
	var keys []ref.Val
	for it := m.Mapper.Iterator(); it.HasNext() == types.True; {
		keys = append(keys, it.Next())
	}
	text := func(key ref.Val) string {
		s, _ := value.KeyText(key) // bools, numbers and texts have one
		return s
	}
	slices.SortFunc(keys, func(a, b ref.Val) int {
		// 1 and "1" may be two keys of one map.
		return cmp.Or(cmp.Compare(text(a), text(b)), cmp.Compare(a.Type().TypeName(), b.Type().TypeName()))
	})
	return types.NewRefValList(types.DefaultTypeAdapter, keys).Iterator()
}
