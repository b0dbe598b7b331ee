package oracle

import (
	"errors"
	"maps"
	"math"
	"slices"
	"sort"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// An own is a function that takes the place of one of CEL's, or that converts an
// argument for it.
type own func(args []ref.Val) (ref.Val, error)

// replaced are the functions that replace those of CEL, by CEL's names.
var replaced = map[string]own{
	operators.Equals:        func(v []ref.Val) (ref.Val, error) { return types.Bool(equal(v[0], v[1])), nil },
	operators.NotEquals:     func(v []ref.Val) (ref.Val, error) { return types.Bool(!equal(v[0], v[1])), nil },
	operators.Less:          ordering(func(n int) bool { return n < 0 }),
	operators.LessEquals:    ordering(func(n int) bool { return n <= 0 }),
	operators.Greater:       ordering(func(n int) bool { return n > 0 }),
	operators.GreaterEquals: ordering(func(n int) bool { return n >= 0 }),
	operators.In:            within,
	"math.@max":             func(v []ref.Val) (ref.Val, error) { return most(v, 1) },
	"math.@min":             func(v []ref.Val) (ref.Val, error) { return most(v, -1) },
	"sort":                  func(v []ref.Val) (ref.Val, error) { return sorted(v[0], v[0]) },
	"@sortByAssociatedKeys": func(v []ref.Val) (ref.Val, error) { return sorted(v[0], v[1]) },
	"distinct":              unique,
}

// conversions names, by function, the converter of its arguments. The receiver is
// none of them.
var conversions = map[string]string{
	"format": "printable", operators.Negate: "floating", "double": "floating", "timestamp": "whole", "lists.range": "whole",
	"slice": "whole", "flatten": "whole", "charAt": "whole", "indexOf": "whole", "lastIndexOf": "whole", "replace": "whole", "split": "whole", "substring": "whole",
	"math.bitAnd": "whole", "math.bitOr": "whole", "math.bitXor": "whole", "math.bitNot": "whole", "math.bitShiftLeft": "whole", "math.bitShiftRight": "whole",
	"math.abs": "floating", "math.ceil": "floating", "math.floor": "floating", "math.round": "floating", "math.trunc": "floating", "math.sign": "floating",
	"math.sqrt": "floating", "math.isNaN": "floating", "math.isInf": "floating", "math.isFinite": "floating",
	"sets.contains": "simple", "sets.equivalent": "simple", "sets.intersects": "simple", "hasOnly": "simple", "hasAny": "simple", "hasAll": "simple", "hasExactly": "simple",
}

var converters = map[string]own{
	"whole": func(v []ref.Val) (ref.Val, error) {
		if n, ok := v[0].(integer); ok {
			return n.plain(), nil
		}
		d, ok := v[0].(types.Double)
		if ok && float64(d) != math.Trunc(float64(d)) {
			return nil, errors.New("no whole number")
		}
		if ok {
			return d.ConvertToType(types.IntType), nil
		}
		return v[0], nil
	},
	"floating": func(v []ref.Val) (ref.Val, error) {
		if n, ok := v[0].(integer); ok {
			return n.double(), nil
		}
		return v[0], nil
	},
	"simple":    func(v []ref.Val) (ref.Val, error) { return each(v[0], simple), nil },
	"printable": func(v []ref.Val) (ref.Val, error) { return each(v[0], printable), nil },
	"text": func(v []ref.Val) (ref.Val, error) {
		if key, ok := keyText(v[0]); ok {
			return types.String(key), nil
		}
		return v[0], nil
	},
	"place": func(v []ref.Val) (ref.Val, error) {
		n, ok := v[0].(integer)
		switch {
		case !ok:
			return v[0], nil
		case n.big().IsInt64() || n.big().IsUint64():
			return n.plain(), nil
		}
		return types.String(n.text), nil
	},
}

// each applies f to a value, or to all that is in lists.
func each(v ref.Val, f func(ref.Val) ref.Val) ref.Val {
	list, ok := v.(traits.Lister)
	if !ok {
		return f(v)
	}
	var all []ref.Val
	for _, el := range elements(list) {
		all = append(all, each(el, f))
	}
	return listOf(all)
}

// simple replaces an integer of JSON by a number that CEL has.
func simple(v ref.Val) ref.Val {
	if n, ok := v.(integer); ok {
		return n.plain()
	}
	return v
}

// printable replaces a number by what CEL's format prints exactly.
func printable(v ref.Val) ref.Val {
	if d, ok := v.(types.Double); ok && math.Abs(float64(d)) < 1<<53 && math.Trunc(float64(d)) == float64(d) {
		return types.Int(d)
	}
	if n, ok := v.(integer); ok && n.plain().Type() == types.DoubleType {
		return types.String(n.text)
	}
	return simple(v)
}

func ordering(holds func(int) bool) own {
	return func(v []ref.Val) (ref.Val, error) {
		for _, x := range v {
			if d, ok := x.(types.Double); ok && math.IsNaN(float64(d)) {
				return types.False, nil
			}
		}
		n, err := order(v[0], v[1])
		return types.Bool(holds(n)), err
	}
}

// within is `x in container`.
func within(v []ref.Val) (ref.Val, error) {
	switch c := v[1].(type) {
	case traits.Lister:
		return types.Bool(slices.ContainsFunc(elements(c), func(el ref.Val) bool { return equal(v[0], el) })), nil
	case traits.Mapper:
		for it := c.Iterator(); it.HasNext() == types.True; {
			key := it.Next()
			text, ok := keyText(v[0])
			if equal(key, v[0]) || ok && key.Equal(types.String(text)) == types.True {
				return types.True, nil
			}
		}
		return types.False, nil
	}
	return nil, errors.New("in is for lists and maps")
}

// most returns the greatest (sign 1) or least (sign -1) number.
func most(v []ref.Val, sign int) (ref.Val, error) {
	if list, ok := v[0].(traits.Lister); ok {
		v = elements(list)
	}
	if len(v) == 0 {
		return nil, errors.New("an empty list")
	}
	best := v[0]
	for _, x := range v {
		n, err := order(x, best)
		if _, _, ok := numeric(x); err != nil || !ok {
			return nil, errors.New("no number")
		}
		if n == sign {
			best = x
		}
	}
	return best, nil
}

func sorted(list, keys ref.Val) (ref.Val, error) {
	els, by := elements(list), elements(keys)
	places := make([]int, len(els))
	var wrong error
	for i := range places {
		places[i] = i
		if _, err := order(by[i], by[0]); err != nil {
			wrong = err
		}
	}
	if wrong != nil {
		return nil, wrong
	}
	sort.SliceStable(places, func(i, j int) bool {
		n, _ := order(by[places[i]], by[places[j]])
		return n < 0
	})
	var all []ref.Val
	for _, i := range places {
		all = append(all, els[i])
	}
	return listOf(all), nil
}

func unique(v []ref.Val) (ref.Val, error) {
	var all []ref.Val
	for _, x := range elements(v[0]) {
		if !slices.ContainsFunc(all, func(o ref.Val) bool { return equal(o, x) }) {
			all = append(all, x)
		}
	}
	return listOf(all), nil
}

// declareOwn declares the own functions. A name with a # can stand in no
// expression.
func declareOwn() []cel.EnvOption {
	var opts []cel.EnvOption
	declare := func(name string, f own) {
		binding := cel.FunctionBinding(func(args ...ref.Val) ref.Val {
			v, err := f(args)
			if err != nil {
				return types.WrapErr(err)
			}
			return v
		})
		opts = append(opts, cel.Function("#"+name,
			cel.Overload("#"+name+"1", []*cel.Type{cel.DynType}, cel.DynType, binding),
			cel.Overload("#"+name+"2", []*cel.Type{cel.DynType, cel.DynType}, cel.DynType, binding)))
	}
	for name, f := range replaced {
		declare(name, f)
	}
	for name, f := range converters {
		declare(name, f)
	}
	return opts
}

// useOwn returns expression e, a part of whole, with calls of the own functions.
func useOwn(whole *ast.AST, e ast.Expr) *ast.AST {
	fac, id := ast.NewExprFactory(), slices.Max(slices.Collect(maps.Keys(whole.TypeMap())))
	out := ast.NewCheckedAST(ast.NewAST(fac.CopyExpr(e), whole.SourceInfo()), whole.TypeMap(), maps.Clone(whole.ReferenceMap()))
	ast.PostOrderVisit(out.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind {
			return
		}
		call := e.AsCall()
		name, args := call.FunctionName(), slices.Clone(call.Args())
		if replaced[name] != nil {
			if call.IsMemberFunction() {
				args = append([]ast.Expr{call.Target()}, args...)
			}
			delete(out.ReferenceMap(), e.ID())
			e.SetKindCase(fac.NewCall(e.ID(), "#"+name, args...))
			return
		}
		for i, arg := range args {
			conversion := conversions[name]
			if (name == operators.Index || name == operators.OptIndex) && i == 1 {
				conversion = "place"
				if t := whole.GetType(args[0].ID()); t.Kind() == types.MapKind && t.Parameters()[0].Kind() == types.StringKind {
					conversion = "text"
				}
			}
			if conversion != "" {
				id++
				args[i] = fac.NewCall(id, "#"+conversion, arg)
			}
		}
		if call.IsMemberFunction() {
			target := call.Target()
			if strings.HasPrefix(name, "has") {
				id++
				target = fac.NewCall(id, "#simple", target)
			}
			e.SetKindCase(fac.NewMemberCall(e.ID(), name, target, args...))
			return
		}
		e.SetKindCase(fac.NewCall(e.ID(), name, args...))
	}))
	return out
}
