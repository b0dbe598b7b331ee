package expr

import (
	"slices"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/parser"

	"offerstream/pipeline/value"
)

// extremes declares what finds the greatest or least element of a list:
//
//	list.max_by(i, key), list.min_by(i, key)  the element i whose key is the greatest or least
//	list.max(), list.min()                    the greatest or least element
//
// The first of equals counts, and an empty list has null. Keys are all numbers, or
// all of one type that has an order. map.values() is the list of a map's values,
// in the order of its keys.
func extremes(structs []*value.Struct) []cel.EnvOption {
	// The results have the type of the elements, but may be null. No type of CEL says
	// that of any type (and an overload for list(A) would collide with the others), so
	// there is an overload for each, and maps and lists become dyn. What is in a
	// list(dyn) is dyn too, because it matches all the overloads.
	type result struct{ of, is *cel.Type }
	var ordered []result
	for _, t := range []*cel.Type{cel.IntType, cel.UintType, cel.DoubleType, cel.StringType, cel.BoolType, cel.BytesType} {
		ordered = append(ordered, result{t, cel.NullableType(t)})
	}
	ordered = append(ordered, result{cel.TimestampType, cel.TimestampType}, result{cel.DurationType, cel.DurationType})
	a, b := cel.TypeParamType("A"), cel.TypeParamType("B")
	keyed := append(slices.Clone(ordered), result{cel.ListType(a), cel.DynType}, result{cel.MapType(a, b), cel.DynType})
	for _, s := range slices.Concat(structs, []*value.Struct{Event}) {
		keyed = append(keyed, result{s.Type, s.Type})
	}
	extreme := func(name string, sign types.Int) []cel.EnvOption {
		plain := []cel.FunctionOpt{cel.SingletonUnaryBinding(func(list ref.Val) ref.Val { return extreme(list, list, sign) }, traits.ListerType)}
		for _, r := range ordered {
			plain = append(plain, cel.MemberOverload("list_"+name+"_"+r.of.String(), []*cel.Type{cel.ListType(r.of)}, r.is))
		}
		byKey := []cel.FunctionOpt{cel.SingletonBinaryBinding(func(list, keys ref.Val) ref.Val { return extreme(list, keys, sign) }, traits.ListerType)}
		for _, r := range keyed {
			byKey = append(byKey, cel.Overload(name+"_by_"+r.of.String(), []*cel.Type{cel.ListType(r.of), cel.ListType(cel.DynType)}, r.is))
		}
		macro := cel.ReceiverMacro(name+"_by", 2, func(f cel.MacroExprFactory, list celast.Expr, args []celast.Expr) (celast.Expr, *cel.Error) {
			return extremeMacro(f, "@"+name+"_by", list, args)
		})
		return []cel.EnvOption{cel.Function(name, plain...), cel.Function("@"+name+"_by", byKey...), cel.Macros(macro)}
	}
	values := cel.Function("values", cel.MemberOverload("map_values", []*cel.Type{cel.MapType(a, b)}, cel.ListType(b), cel.UnaryBinding(mapValues)))
	return append(append(extreme("max", 1), extreme("min", -1)...), values)
}

// extremeMacro expands list.max_by(i, key) to a call of function with the list
// and the list of the keys. The list is bound to a name, so that it is evaluated
// once.
func extremeMacro(f cel.MacroExprFactory, function string, list celast.Expr, args []celast.Expr) (celast.Expr, *cel.Error) {
	const name = "@list"
	keys, err := parser.MakeMap(f, f.NewIdent(name), args)
	if err != nil {
		return nil, err
	}
	return f.NewComprehension(f.NewList(), "#unused", name, list, f.NewLiteral(types.False), f.NewIdent(name), f.NewCall(function, f.NewIdent(name), keys)), nil
}

// extreme is the element of a list with the greatest (sign 1) or least (sign -1)
// key; null if the list is empty.
func extreme(list, keys ref.Val, sign types.Int) ref.Val {
	all, err := keyedBy(list, keys)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return types.NullValue
	}
	best := all[0]
	for _, e := range all[1:] {
		if order, _ := value.Compare(e.key, best.key).(types.Int); order == sign {
			best = e
		}
	}
	return best.el
}

// A keyed is an element of a list with its key.
type keyed struct{ key, el ref.Val }

// keyedBy are the elements of a list with their keys, which all can be compared with
// each other.
func keyedBy(list, keys ref.Val) (all []keyed, err ref.Val) {
	l, ok := list.(traits.Lister)
	if !ok {
		return nil, types.MaybeNoSuchOverloadErr(list)
	}
	k, ok := keys.(traits.Lister)
	if !ok {
		return nil, types.MaybeNoSuchOverloadErr(keys)
	}
	for i, j := l.Iterator(), k.Iterator(); i.HasNext() == types.True && j.HasNext() == types.True; {
		all = append(all, keyed{j.Next(), i.Next()})
		if err := orderless(all[len(all)-1].key, all[0].key); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// orderless is the error of a key that cannot be compared with another one; nil if
// it can be.
func orderless(key, other ref.Val) ref.Val {
	switch _, ok := key.(traits.Comparer); {
	case !ok:
		return types.NewErr("a %s cannot be ordered", key.Type().TypeName())
	case key.Type() != other.Type() && !(isNumber(key) && isNumber(other)):
		return types.NewErr("values of different types cannot be ordered")
	case isNaN(key):
		return types.NewErr("NaN has no order")
	}
	return nil
}

func mapValues(v ref.Val) ref.Val {
	m, ok := v.(traits.Mapper)
	if !ok {
		return types.MaybeNoSuchOverloadErr(v)
	}
	var all []ref.Val
	for it := m.Iterator(); it.HasNext() == types.True; {
		all = append(all, m.Get(it.Next()))
	}
	return types.NewRefValList(types.DefaultTypeAdapter, all)
}
