package expr

import (
	"math"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/decls"
	"cel.dev/cel-go/common/functions"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"offerstream/pipeline/value"
)

// numberFunctions declares the functions that exactNumbers uses. native are
// CEL's own.
func numberFunctions(native map[string]*decls.FunctionDecl) []cel.EnvOption {
	unary := func(name string, do functions.UnaryOp) cel.EnvOption {
		return cel.Function(name, cel.Overload(name+"_1", []*cel.Type{cel.DynType}, cel.DynType), cel.SingletonUnaryBinding(do))
	}
	binary := func(name string, do functions.BinaryOp) cel.EnvOption {
		return cel.Function(name, cel.Overload(name+"_2", []*cel.Type{cel.DynType, cel.DynType}, cel.DynType), cel.SingletonBinaryBinding(do))
	}
	ordered := func(name string, holds func(order types.Int) bool) cel.EnvOption {
		return binary(name, func(a, b ref.Val) ref.Val {
			if isNaN(a) || isNaN(b) {
				return types.False
			}
			order := value.Compare(a, b)
			if n, ok := order.(types.Int); ok {
				return types.Bool(holds(n))
			}
			return order
		})
	}
	extreme := func(name string, sign types.Int) cel.EnvOption {
		return cel.Function(name,
			cel.Overload(name+"_1", []*cel.Type{cel.DynType}, cel.DynType, cel.UnaryBinding(func(v ref.Val) ref.Val { return extremeOf(v, sign) })),
			cel.Overload(name+"_2", []*cel.Type{cel.DynType, cel.DynType}, cel.DynType, cel.BinaryBinding(func(a, b ref.Val) ref.Val { return beyond(a, b, sign) })))
	}
	return []cel.EnvOption{
		binary("@equals", value.Equal),
		binary("@differs", func(a, b ref.Val) ref.Val {
			if equal, ok := value.Equal(a, b).(types.Bool); ok {
				return !equal
			}
			return types.MaybeNoSuchOverloadErr(a)
		}),
		ordered("@less", func(order types.Int) bool { return order < 0 }),
		ordered("@lessOrEquals", func(order types.Int) bool { return order <= 0 }),
		ordered("@greater", func(order types.Int) bool { return order > 0 }),
		ordered("@greaterOrEquals", func(order types.Int) bool { return order >= 0 }),
		binary("@within", in),
		extreme("@least", -1),
		extreme("@greatest", 1),
		unary("@sort", func(list ref.Val) ref.Val { return sortBy(list, list) }),
		binary("@sortBy", sortBy),
		unary("@distinct", distinct),
		binary("@format", formatWith(native["format"])),
		unary("@int", toInteger(types.IntType)),
		unary("@uint", toInteger(types.UintType)),
		unary("@double", toDouble),
		unary("@key", toKey),
		unary("@index", toIndex),
		unary("@native", toNative),
	}
}

// toInteger converts a whole number to an int or a uint; other values stay.
func toInteger(t ref.Type) functions.UnaryOp {
	return func(v ref.Val) ref.Val {
		switch n := toNative(v).(type) {
		case types.Double:
			return whole(n, n.ConvertToType(t))
		case types.Int, types.Uint:
			return n.ConvertToType(t)
		default:
			return n
		}
	}
}

// whole is the integer that d was converted to, an error unless d is whole.
func whole(d types.Double, integer ref.Val) ref.Val {
	if f := float64(d); math.Trunc(f) != f {
		return types.NewErr("%v is no whole number", f)
	}
	return integer
}

func toDouble(v ref.Val) ref.Val {
	if n, ok := v.(value.JSONInteger); ok {
		return n.Double()
	}
	return v
}

// toKey converts what can be a key to its text.
func toKey(v ref.Val) ref.Val {
	if key, ok := value.KeyText(v); ok {
		return types.String(key)
	}
	return v
}

// toIndex converts an integer for use as an index, where CEL takes no other
// types than its own.
func toIndex(v ref.Val) ref.Val {
	n, ok := v.(value.JSONInteger)
	if !ok {
		return v
	}
	if native := n.Native(); native.Type() != types.DoubleType {
		return native
	}
	return types.String(n)
}

// toNative converts JSON integers, also the elements of a list, to numbers of
// CEL, which compares those of the same type.
func toNative(v ref.Val) ref.Val {
	switch v := v.(type) {
	case value.JSONInteger:
		return v.Native()
	case traits.Lister:
		var all []ref.Val
		for it := v.Iterator(); it.HasNext() == types.True; {
			all = append(all, toNative(it.Next()))
		}
		return types.NewRefValList(types.DefaultTypeAdapter, all)
	}
	return v
}

func isNaN(v ref.Val) bool {
	d, ok := v.(types.Double)
	return ok && math.IsNaN(float64(d))
}

// in is `x in c`: whether a list contains the value, or a map the key.
func in(x, c ref.Val) ref.Val {
	switch c := c.(type) {
	case traits.Mapper:
		found := c.Contains(toIndex(x))
		if key, ok := value.KeyText(x); ok && found == types.False {
			return c.Contains(types.String(key))
		}
		return found
	case traits.Lister:
		for it := c.Iterator(); it.HasNext() == types.True; {
			if value.Equal(x, it.Next()) == types.True {
				return types.True
			}
		}
		return types.False
	}
	return types.MaybeNoSuchOverloadErr(c)
}

// extremeOf is the greatest (sign 1) or least (sign -1) number of a list, or v
// itself if it is a number.
func extremeOf(v ref.Val, sign types.Int) ref.Val {
	list, ok := v.(traits.Lister)
	if !ok {
		return beyond(v, v, sign)
	}
	var best ref.Val
	for it := list.Iterator(); it.HasNext() == types.True; {
		el := it.Next()
		if best == nil {
			best = el
		}
		if best = beyond(best, el, sign); types.IsError(best) {
			return best
		}
	}
	if best == nil {
		return types.NewErr("the list is empty")
	}
	return best
}

// beyond is the greater (sign 1) or lesser (sign -1) of two numbers.
func beyond(a, b ref.Val, sign types.Int) ref.Val {
	if !isNumber(a) || !isNumber(b) {
		return types.NewErr("a number is wanted")
	}
	switch order := value.Compare(b, a).(type) {
	case types.Int:
		if order == sign {
			return b
		}
		return a
	default:
		return order
	}
}

func isNumber(v ref.Val) bool {
	switch v.(type) {
	case types.Int, types.Uint, types.Double, value.JSONInteger:
		return true
	}
	return false
}

// sortBy sorts a list by the list of its elements' keys, which are all numbers, or
// all of one type. Elements with the same key stay in their order.
func sortBy(list, keys ref.Val) ref.Val {
	all, err := keyedBy(list, keys)
	if err != nil {
		return err
	}
	slices.SortStableFunc(all, func(a, b keyed) int {
		order, _ := value.Compare(a.key, b.key).(types.Int)
		return int(order)
	})
	sorted := make([]ref.Val, len(all))
	for i, e := range all {
		sorted[i] = e.el
	}
	return types.NewRefValList(types.DefaultTypeAdapter, sorted)
}

// distinct is the list without the elements that equal an earlier one.
func distinct(v ref.Val) ref.Val {
	list, ok := v.(traits.Lister)
	if !ok {
		return types.MaybeNoSuchOverloadErr(v)
	}
	var all []ref.Val
	for it := list.Iterator(); it.HasNext() == types.True; {
		el := it.Next()
		if !slices.ContainsFunc(all, func(other ref.Val) bool { return value.Equal(other, el) == types.True }) {
			all = append(all, el)
		}
	}
	return types.NewRefValList(types.DefaultTypeAdapter, all)
}

// toText redeclares string(): it prints numbers as templates do.
func toText() cel.EnvOption {
	print := cel.UnaryBinding(func(v ref.Val) ref.Val {
		if !isNumber(v) {
			return v.ConvertToType(types.StringType)
		}
		s, err := value.PrintText(v)
		if err != nil {
			return types.WrapErr(err)
		}
		return types.String(s)
	})
	from := func(t *cel.Type, id string) cel.FunctionOpt {
		return cel.Overload(id, []*cel.Type{t}, cel.StringType, print)
	}
	return cel.Function(overloads.TypeConvertString,
		from(cel.StringType, overloads.StringToString), from(cel.BoolType, overloads.BoolToString), from(cel.BytesType, overloads.BytesToString),
		from(cel.DoubleType, overloads.DoubleToString), from(cel.IntType, overloads.IntToString), from(cel.UintType, overloads.UintToString),
		from(cel.DurationType, overloads.DurationToString), from(cel.TimestampType, overloads.TimestampToString))
}

// formatWith makes a format() that prints integers of JSON exactly, and takes
// whole doubles where CEL's takes ints only.
func formatWith(native *decls.FunctionDecl) functions.BinaryOp {
	bindings, err := native.Bindings()
	if err != nil {
		return func(ref.Val, ref.Val) ref.Val { return types.WrapErr(err) }
	}
	format := bindings[0].Function
	return func(text, args ref.Val) ref.Val {
		s, ok := text.(types.String)
		list, isList := args.(traits.Lister)
		if !ok || !isList {
			return types.MaybeNoSuchOverloadErr(text)
		}
		verbs := []byte(s)
		at := places(verbs)
		var all []ref.Val
		for it := list.Iterator(); it.HasNext() == types.True; {
			v := formatted(it.Next())
			if n := len(all); n < len(at) && verbs[at[n]] == 'd' && v.Type() == types.StringType && list.Get(types.Int(n)).Type() != types.StringType {
				verbs[at[n]] = 's' // an integer beyond 64 bits, as its digits
			}
			all = append(all, v)
		}
		return format(types.String(verbs), types.NewRefValList(types.DefaultTypeAdapter, all))
	}
}

// places are the indices of the verbs in a text for format(): %s, %.2f.
func places(text []byte) (at []int) {
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			continue
		}
		for i++; i < len(text) && strings.IndexByte(".0123456789", text[i]) >= 0; i++ {
		}
		if i < len(text) && text[i] != '%' {
			at = append(at, i)
		}
	}
	return at
}

// formatted converts numbers, also in lists and maps, to those that CEL's format
// prints exactly: whole doubles to ints, and integers beyond 64 bits to texts.
func formatted(v ref.Val) ref.Val {
	switch v := v.(type) {
	case types.Double:
		if n := v.ConvertToType(types.IntType); n.Equal(v) == types.True && math.Abs(float64(v)) <= exactInt {
			return n
		}
	case value.JSONInteger:
		return toIndex(v)
	case traits.Lister:
		var all []ref.Val
		for it := v.Iterator(); it.HasNext() == types.True; {
			all = append(all, formatted(it.Next()))
		}
		return types.NewRefValList(types.DefaultTypeAdapter, all)
	case traits.Mapper:
		all := map[ref.Val]ref.Val{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			key := it.Next()
			all[key] = formatted(v.Get(key))
		}
		return types.NewRefValMap(types.DefaultTypeAdapter, all)
	}
	return v
}
