package expr

import (
	"cmp"
	"slices"
	"strings"

	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"github.com/valyala/fastjson"

	"offerstream/pipeline/value"
)

// A shortcut evaluates an expression of a common form without CEL, at a tenth
// of the cost: comparisons, &&, || and ! of literals, paths into the event, and
// features. Its result is exactly that of CEL, or ok is false and CEL must
// evaluate: for a missing field, a null, and values that CEL does not compare.
// A text in the result is valid as long as the event.
type shortcut func(sc Scope) (v value.Value, ok bool)

// shortcuts makes the shortcuts of checked expressions.
type shortcuts struct{ names Names }

// shortcut returns the shortcut for e, nil if e is not of a common form.
func (s shortcuts) shortcut(e celast.Expr) shortcut {
	switch e.Kind() {
	case celast.LiteralKind:
		return literal(e)
	case celast.IdentKind:
		return s.ident(e.AsIdent())
	case celast.SelectKind:
		return s.path(e)
	case celast.CallKind:
		return s.call(e)
	}
	return nil
}

func constant(v value.Value) shortcut { return func(Scope) (value.Value, bool) { return v, true } }

func literal(e celast.Expr) shortcut {
	if v, ok := literalValue(e); ok {
		return constant(v)
	}
	return nil
}

// literalValue is the value of a literal; ok is false for any other expression.
func literalValue(e celast.Expr) (v value.Value, ok bool) {
	if e.Kind() != celast.LiteralKind {
		return v, false
	}
	switch l := e.AsLiteral().(type) {
	case types.Bool, types.Int, types.Double, types.String:
		v, err := value.Of(l)
		return v, err == nil
	}
	return v, false
}

func (s shortcuts) ident(name string) shortcut {
	if name == "now" {
		return func(sc Scope) (value.Value, bool) { return value.OfTime(sc.Now()), true }
	}
	if f, ok := s.names.Feature(name); ok {
		if !f.Single || f.By {
			return nil
		}
		return func(sc Scope) (value.Value, bool) { return sc.Total(f.Index), true }
	}
	if s.names.Getter != nil {
		return shortcut(s.names.Getter(name))
	}
	return nil
}

// path is the shortcut for event.properties.x (or deeper), item.x, event.time,
// or has(event.properties.x).
func (s shortcuts) path(e celast.Expr) shortcut {
	sel := e.AsSelect()
	op := sel.Operand()
	if sel.IsTestOnly() {
		p := eventPath(op)
		if len(p) != 1 {
			return nil
		}
		within, name := p[0], sel.FieldName()
		return func(sc Scope) (value.Value, bool) { return value.OfBool(sc.Event().Get(within, name) != nil), true }
	}
	if op.Kind() == celast.IdentKind {
		name := sel.FieldName()
		switch op.AsIdent() {
		case "item":
			return func(sc Scope) (value.Value, bool) { return scalarJSON(sc.Item().Get(name)) }
		case "event":
			if name == "time" {
				return func(sc Scope) (value.Value, bool) {
					return value.OfTime(sc.Event().Time), true
				}
			}
		}
		return nil
	}
	return pathIn(eventPath(e))
}

func pathIn(p []string) shortcut {
	if len(p) < 2 {
		return nil
	}
	return func(sc Scope) (value.Value, bool) { return scalarJSON(sc.Event().Get(p...)) }
}

// scalarJSON is a JSON text, number or bool; ok is false for anything else.
func scalarJSON(v *fastjson.Value) (scalar value.Value, ok bool) {
	if v == nil {
		return value.Value{}, false
	}
	switch v.Type() {
	case fastjson.TypeString:
		return value.OfString(value.AliasText(v)), true
	case fastjson.TypeNumber, fastjson.TypeTrue, fastjson.TypeFalse:
		return value.OfJSON(v), true
	}
	return value.Value{}, false
}

func (s shortcuts) call(e celast.Expr) shortcut {
	call := e.AsCall()
	args := call.Args()
	if ns, ok := durationLiteral(e); ok {
		return constant(value.OfDuration(ns))
	}
	if call.IsMemberFunction() {
		return nil
	}
	switch name := call.FunctionName(); name {
	case operators.Index:
		return s.index(e, args)
	case operators.In:
		return s.in(args)
	case operators.LogicalNot:
		if x := s.shortcut(args[0]); x != nil {
			return func(sc Scope) (value.Value, bool) {
				v, ok := x(sc)
				return value.OfBool(v.Bits == 0), ok && v.Kind == value.Bool
			}
		}
	case operators.LogicalAnd, operators.LogicalOr:
		return s.junction(name == operators.LogicalOr, args)
	case operators.Equals, operators.NotEquals, operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		a, b := s.shortcut(args[0]), s.shortcut(args[1])
		if a == nil || b == nil {
			return nil
		}
		if v, ok := literalValue(args[1]); ok {
			return comparisonWith(name, a, v)
		}
		return comparison(name, a, b)
	}
	return nil
}

// index is the shortcut for feature[key] or event.properties["x"].
func (s shortcuts) index(e celast.Expr, args []celast.Expr) shortcut {
	if p := eventPath(e); p != nil {
		return pathIn(p)
	}
	if args[0].Kind() != celast.IdentKind {
		return nil
	}
	f, ok := s.names.Feature(args[0].AsIdent())
	key := s.shortcut(args[1])
	if !ok || key == nil || !f.Single || !f.By {
		return nil
	}
	return func(sc Scope) (value.Value, bool) {
		k, ok := key(sc)
		if !ok || k.Kind != value.String {
			return value.Value{}, false
		}
		return sc.Under(f.Index, k.Str), true
	}
}

// in is the shortcut for x in ["a", "b"] or x in feature.
func (s shortcuts) in(args []celast.Expr) shortcut {
	x := s.shortcut(args[0])
	if x == nil {
		return nil
	}
	switch args[1].Kind() {
	case celast.IdentKind:
		return s.inFeature(x, args[1].AsIdent())
	case celast.ListKind:
		return s.inList(x, args[1].AsList())
	}
	return nil
}

func (s shortcuts) inFeature(x shortcut, name string) shortcut {
	f, ok := s.names.Feature(name)
	if !ok || !f.By {
		return nil
	}
	return func(sc Scope) (value.Value, bool) {
		k, ok := x(sc)
		if !ok || k.Kind != value.String {
			return value.Value{}, false
		}
		return value.OfBool(sc.Has(f.Index, k.Str)), true
	}
}

// inList makes the shortcut for x in a list, for a text x.
func (s shortcuts) inList(x shortcut, list celast.ListExpr) shortcut {
	if len(list.OptionalIndices()) > 0 {
		return nil
	}
	var texts []string
	var others []shortcut
	for _, el := range list.Elements() {
		if t := textLiteral(el); t != nil {
			texts = append(texts, *t)
			continue
		}
		other := s.shortcut(el)
		if other == nil {
			return nil
		}
		others = append(others, other)
	}
	return func(sc Scope) (value.Value, bool) {
		v, ok := x(sc)
		if !ok || v.Kind != value.String {
			return value.Value{}, false
		}
		found := slices.Contains(texts, v.Str)
		for _, other := range others { // all of them: an error in any is an error of the list
			w, ok := other(sc)
			if !ok {
				return value.Value{}, false
			}
			found = found || w.Kind == value.String && w.Str == v.Str
		}
		return value.OfBool(found), true
	}
}

// junction is the shortcut for && or ||. It stops at the first operand that
// decides the result.
func (s shortcuts) junction(or bool, args []celast.Expr) shortcut {
	parts := make([]shortcut, len(args))
	for i, a := range args {
		if parts[i] = s.shortcut(a); parts[i] == nil {
			return nil
		}
	}
	return func(sc Scope) (value.Value, bool) {
		for _, p := range parts {
			v, ok := p(sc)
			if !ok || v.Kind != value.Bool {
				return value.Value{}, false
			}
			if (v.Bits != 0) == or {
				return value.OfBool(or), true
			}
		}
		return value.OfBool(!or), true
	}
}

func comparison(op string, a, b shortcut) shortcut {
	holds := ordered(op)
	return func(sc Scope) (value.Value, bool) {
		v, ok := a(sc)
		if !ok {
			return value.Value{}, false
		}
		w, ok := b(sc)
		if !ok {
			return value.Value{}, false
		}
		order, ok := compare(v, w)
		return value.OfBool(holds.has(order)), ok
	}
}

// comparisonWith is comparison with a literal, which most conditions compare with.
func comparisonWith(op string, a shortcut, w value.Value) shortcut {
	holds := ordered(op)
	return func(sc Scope) (value.Value, bool) {
		v, ok := a(sc)
		if !ok {
			return value.Value{}, false
		}
		order, ok := compare(v, w)
		return value.OfBool(holds.has(order)), ok
	}
}

// orders are the orders of two values of which a comparison holds.
type orders struct{ less, equal, greater bool }

func ordered(op string) orders {
	switch op {
	case operators.Equals:
		return orders{equal: true}
	case operators.NotEquals:
		return orders{less: true, greater: true}
	case operators.Less:
		return orders{less: true}
	case operators.LessEquals:
		return orders{less: true, equal: true}
	case operators.Greater:
		return orders{greater: true}
	}
	return orders{equal: true, greater: true}
}

func (o orders) has(order int) bool {
	switch {
	case order < 0:
		return o.less
	case order > 0:
		return o.greater
	}
	return o.equal
}

// exactInt bounds the ints that all doubles hold exactly.
const exactInt = 1 << 53

// compare orders two values of one kind, or two numbers. ok is false if CEL might
// order them differently.
func compare(v, w value.Value) (order int, ok bool) {
	switch {
	case v.Kind == value.String && w.Kind == value.String:
		return strings.Compare(v.Str, w.Str), true
	case v.Kind == w.Kind && (v.Kind == value.Int || v.Kind == value.Duration || v.Kind == value.Time || v.Kind == value.Bool):
		return cmp.Compare(int64(v.Bits), int64(w.Bits)), true
	}
	return value.CompareValues(v, w)
}
