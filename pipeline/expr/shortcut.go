package expr

import (
	"math"

	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"github.com/valyala/fastjson"

	"offerstream/pipeline/value"
)

// A shortcut evaluates an expression of a common shape without CEL, at a tenth
// of the cost: comparisons, &&, || and ! over literals, paths into the event,
// and features. Either it has just what CEL would give, or it says no: a field
// that is missing, a null, types that do not go together, and all else is
// CEL's to judge. A text in its value is valid as long as the event.
type shortcut func(sc Scope) (v value.Value, ok bool)

// shortcuts makes shortcuts of checked expressions.
type shortcuts struct {
	feature func(name string) (Feature, bool)
}

// of returns the shortcut for e, nil where e has no such shape.
func (s shortcuts) of(e celast.Expr) shortcut {
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
	switch v := e.AsLiteral().(type) {
	case types.Bool, types.Int, types.Double, types.String:
		val, err := value.Of(v)
		if err == nil {
			return constant(val)
		}
	}
	return nil
}

func (s shortcuts) ident(name string) shortcut {
	if name == "now" {
		return func(sc Scope) (value.Value, bool) { return value.OfTime(sc.Now()), true }
	}
	f, ok := s.feature(name)
	if !ok || !f.Single || f.By {
		return nil
	}
	return func(sc Scope) (value.Value, bool) { return sc.Total(f.Index), true }
}

// path is event.properties.x, also deeper, item.x, or has() of the first.
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
			return func(sc Scope) (value.Value, bool) { return plainJSON(sc.Item().Get(name)) }
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
	return func(sc Scope) (value.Value, bool) { return plainJSON(sc.Event().Get(p...)) }
}

// plainJSON is a JSON text, number or bool.
func plainJSON(v *fastjson.Value) (value.Value, bool) {
	if v == nil {
		return value.Value{}, false
	}
	switch v.Type() {
	case fastjson.TypeString:
		return value.OfString(value.Text(v)), true
	case fastjson.TypeNumber, fastjson.TypeTrue, fastjson.TypeFalse:
		return value.OfJSON(v), true
	}
	return value.Value{}, false
}

func (s shortcuts) call(e celast.Expr) shortcut {
	c := e.AsCall()
	args := c.Args()
	if ns, ok := durationLiteral(e); ok {
		return constant(value.OfDuration(ns))
	}
	if c.IsMemberFunction() {
		return nil
	}
	switch name := c.FunctionName(); name {
	case operators.Index:
		return s.index(e, args)
	case operators.In:
		return s.in(args)
	case operators.LogicalNot:
		if x := s.of(args[0]); x != nil {
			return func(sc Scope) (value.Value, bool) {
				v, ok := x(sc)
				return value.OfBool(v.Bits == 0), ok && v.Kind == value.Bool
			}
		}
	case operators.LogicalAnd, operators.LogicalOr:
		return s.junction(name == operators.LogicalOr, args)
	case operators.Equals, operators.NotEquals, operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		a, b := s.of(args[0]), s.of(args[1])
		if a == nil || b == nil {
			return nil
		}
		return comparison(name, a, b)
	}
	return nil
}

// index is feature[key], or event.properties["x"].
func (s shortcuts) index(e celast.Expr, args []celast.Expr) shortcut {
	if p := eventPath(e); p != nil {
		return pathIn(p)
	}
	if args[0].Kind() != celast.IdentKind {
		return nil
	}
	f, ok := s.feature(args[0].AsIdent())
	key := s.of(args[1])
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

// in is x in ["a", "b"], or x in feature.
func (s shortcuts) in(args []celast.Expr) shortcut {
	x := s.of(args[0])
	if x == nil {
		return nil
	}
	if args[1].Kind() == celast.IdentKind {
		f, ok := s.feature(args[1].AsIdent())
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
	if args[1].Kind() != celast.ListKind {
		return nil
	}
	var texts []string
	for _, el := range args[1].AsList().Elements() {
		t := textLiteral(el)
		if t == nil {
			return nil
		}
		texts = append(texts, *t)
	}
	return func(sc Scope) (value.Value, bool) {
		v, ok := x(sc)
		if !ok || v.Kind != value.String {
			return value.Value{}, false
		}
		for _, t := range texts {
			if t == v.Str {
				return value.OfBool(true), true
			}
		}
		return value.OfBool(false), true
	}
}

// junction is && or ||: decided as soon as one side decides it.
func (s shortcuts) junction(or bool, args []celast.Expr) shortcut {
	parts := make([]shortcut, len(args))
	for i, a := range args {
		if parts[i] = s.of(a); parts[i] == nil {
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
	var holds func(c int) bool
	switch op {
	case operators.Equals:
		holds = func(c int) bool { return c == 0 }
	case operators.NotEquals:
		holds = func(c int) bool { return c != 0 }
	case operators.Less:
		holds = func(c int) bool { return c < 0 }
	case operators.LessEquals:
		holds = func(c int) bool { return c <= 0 }
	case operators.Greater:
		holds = func(c int) bool { return c > 0 }
	default:
		holds = func(c int) bool { return c >= 0 }
	}
	return func(sc Scope) (value.Value, bool) {
		v, ok := a(sc)
		if !ok {
			return value.Value{}, false
		}
		w, ok := b(sc)
		if !ok {
			return value.Value{}, false
		}
		c, ok := compare(v, w)
		return value.OfBool(holds(c)), ok
	}
}

// exact bounds the ints that are doubles without rounding.
const exact = 1 << 53

// compare orders two values of one kind, or an int and a double; false where
// CEL may see it otherwise.
func compare(v, w value.Value) (int, bool) {
	switch {
	case v.Kind == value.String && w.Kind == value.String:
		switch {
		case v.Str < w.Str:
			return -1, true
		case v.Str > w.Str:
			return 1, true
		}
		return 0, true
	case v.Kind == w.Kind && (v.Kind == value.Int || v.Kind == value.Duration || v.Kind == value.Time || v.Kind == value.Bool):
		return order(int64(v.Bits), int64(w.Bits)), true
	case (v.Kind == value.Int || v.Kind == value.Double) && (w.Kind == value.Int || w.Kind == value.Double):
		x, y := v.Double(), w.Double()
		if !(math.Abs(x) <= exact && math.Abs(y) <= exact) {
			return 0, false
		}
		return order(x, y), true
	}
	return 0, false
}

func order[T int64 | float64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
