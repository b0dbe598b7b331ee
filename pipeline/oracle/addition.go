package oracle

import (
	"errors"
	"fmt"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/parser"
)

// additions are the functions that CEL does not have: max_by, min_by, max, min,
// values and clock.
func additions() []cel.EnvOption {
	method := func(name string, f func(ref.Val) (ref.Val, error)) cel.EnvOption {
		return cel.Function(name, cel.MemberOverload("own_"+name, []*cel.Type{cel.DynType}, cel.DynType, cel.UnaryBinding(func(v ref.Val) ref.Val {
			return orError(f(v))
		})))
	}
	by := func(name string, sign int) []cel.EnvOption {
		// list.max_by(i, key) is #max_by(list, list.map(i, key)).
		expand := func(eh cel.MacroExprFactory, target ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
			keys, err := parser.MakeMap(eh, eh.Copy(target), args)
			if err != nil {
				return nil, err
			}
			return eh.NewCall("#"+name, target, keys), nil
		}
		return []cel.EnvOption{
			cel.Macros(cel.ReceiverMacro(name, 2, expand)),
			cel.Function("#"+name, cel.Overload("own_"+name, []*cel.Type{cel.DynType, cel.DynType}, cel.DynType, cel.BinaryBinding(func(list, keys ref.Val) ref.Val {
				return orError(foremost(list, keys, sign))
			}))),
		}
	}
	opts := append(by("max_by", 1), by("min_by", -1)...)
	return append(opts,
		method("max", func(list ref.Val) (ref.Val, error) { return foremost(list, list, 1) }),
		method("min", func(list ref.Val) (ref.Val, error) { return foremost(list, list, -1) }),
		method("values", valuesOf),
		cel.Function("clock", cel.Overload("own_clock", []*cel.Type{cel.DynType}, cel.StringType, cel.UnaryBinding(func(v ref.Val) ref.Val {
			d, ok := v.(types.Duration)
			if !ok {
				return types.MaybeNoSuchOverloadErr(v)
			}
			return types.String(onClock(d.Duration))
		}))))
}

func orError(v ref.Val, err error) ref.Val {
	if err != nil {
		return types.WrapErr(err)
	}
	return v
}

// foremost returns the first element whose key none exceeds (sign 1), or that
// exceeds none (sign -1): null for an empty list.
func foremost(list, keys ref.Val, sign int) (ref.Val, error) {
	_, ok := list.(traits.Lister)
	if !ok {
		return nil, errors.New("this is for lists")
	}
	els, by := elements(list), elements(keys)
	if len(els) == 0 {
		return types.NullValue, nil
	}
	best := 0
	for i := range els {
		n, err := order(by[i], by[best])
		if err != nil {
			return nil, err
		}
		if n == sign {
			best = i
		}
	}
	return els[best], nil
}

// valuesOf returns the values of a map, in the order of its keys.
func valuesOf(v ref.Val) (ref.Val, error) {
	m, ok := v.(textMap)
	if !ok {
		return nil, errors.New("values is for maps")
	}
	vals := []ref.Val{}
	for _, key := range m.keys() {
		vals = append(vals, m.values[key])
	}
	return listOf(vals), nil
}

// onClock returns a duration as m:ss, from an hour on as h:mm:ss.
func onClock(d time.Duration) string {
	sign := ""
	if d < 0 {
		sign, d = "-", -d
	}
	h, m, s := int64(d/time.Hour), int64(d%time.Hour/time.Minute), int64(d%time.Minute/time.Second)
	if h > 0 {
		return fmt.Sprintf("%s%d:%02d:%02d", sign, h, m, s)
	}
	return fmt.Sprintf("%s%d:%02d", sign, m, s)
}
