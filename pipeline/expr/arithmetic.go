package expr

import (
	"math"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"offerstream/pipeline/value"
)

// arithmetic redeclares + - * / % with additional overloads that mix ints, uints
// and doubles, because all numbers of JSON are doubles, and that scale durations.
func arithmetic() []cel.EnvOption {
	n, d, u := cel.IntType, cel.DoubleType, cel.UintType
	operator := func(name, id string, same []*cel.Type, do func(a, b ref.Val) ref.Val, more ...cel.FunctionOpt) cel.EnvOption {
		opts := more
		overload := func(a, b, r *cel.Type) {
			opts = append(opts, cel.Overload(id+"_"+a.String()+"_"+b.String(), []*cel.Type{a, b}, r))
		}
		for _, t := range same {
			overload(t, t, t)
		}
		for _, t := range []*cel.Type{n, u} {
			overload(t, d, d)
			overload(d, t, d)
		}
		overload(n, u, n)
		overload(u, n, n)
		opts = append(opts, cel.SingletonBinaryBinding(func(a, b ref.Val) ref.Val { return do(alike(a, b)) }))
		return cel.Function(name, opts...)
	}
	pair := func(id string, a, b, r *cel.Type) cel.FunctionOpt { return cel.Overload(id, []*cel.Type{a, b}, r) }
	list := cel.ListType(cel.TypeParamType("A"))
	ts, du := cel.TimestampType, cel.DurationType
	return []cel.EnvOption{
		operator(operators.Add, "plus", []*cel.Type{n, d, u, cel.StringType, cel.BytesType, du}, addVals,
			pair("plus_list", list, list, list), pair("plus_timestamp_duration", ts, du, ts), pair("plus_duration_timestamp", du, ts, ts)),
		operator(operators.Subtract, "minus", []*cel.Type{n, d, u, du}, subtractVals,
			pair("minus_timestamp_timestamp", ts, ts, du), pair("minus_timestamp_duration", ts, du, ts)),
		operator(operators.Multiply, "times", []*cel.Type{n, d, u}, multiplyVals,
			pair("times_duration_int", du, n, du), pair("times_duration_double", du, d, du), pair("times_duration_uint", du, u, du),
			pair("times_int_duration", n, du, du), pair("times_double_duration", d, du, du), pair("times_uint_duration", u, du, du)),
		operator(operators.Divide, "divide", []*cel.Type{n, d, u}, divideVals,
			pair("divide_duration_int", du, n, du), pair("divide_duration_double", du, d, du), pair("divide_duration_uint", du, u, du)),
		operator(operators.Modulo, "modulo", []*cel.Type{n, d, u}, moduloVals),
	}
}

// alike converts two numbers of different types to one: to doubles if one of them
// is a double or a JSON integer, to ints if one is an int and the other a uint.
func alike(a, b ref.Val) (ref.Val, ref.Val) {
	if x, ok := a.(value.JSONInteger); ok {
		a = x.Double()
	}
	if y, ok := b.(value.JSONInteger); ok {
		b = y.Double()
	}
	switch x := a.(type) {
	case types.Int:
		switch y := b.(type) {
		case types.Double:
			a = types.Double(x)
		case types.Uint:
			b = y.ConvertToType(types.IntType) // or an error, which the operator returns
		}
	case types.Uint:
		switch b.(type) {
		case types.Double:
			a = types.Double(x)
		case types.Int:
			a = x.ConvertToType(types.IntType)
		}
	case types.Double:
		switch y := b.(type) {
		case types.Int:
			b = types.Double(y)
		case types.Uint:
			b = types.Double(y)
		}
	}
	return a, b
}

func addVals(a, b ref.Val) ref.Val {
	if x, ok := a.(traits.Adder); ok {
		return x.Add(b)
	}
	return types.MaybeNoSuchOverloadErr(a)
}

func subtractVals(a, b ref.Val) ref.Val {
	if x, ok := a.(traits.Subtractor); ok {
		return x.Subtract(b)
	}
	return types.MaybeNoSuchOverloadErr(a)
}

func multiplyVals(a, b ref.Val) ref.Val {
	if x, ok := a.(types.Duration); ok {
		return scaled(x, b, false)
	}
	if y, ok := b.(types.Duration); ok {
		return multiplyVals(y, a)
	}
	if x, ok := a.(traits.Multiplier); ok {
		return x.Multiply(b)
	}
	return types.MaybeNoSuchOverloadErr(a)
}

func divideVals(a, b ref.Val) ref.Val {
	if x, ok := a.(types.Duration); ok {
		return scaled(x, b, true)
	}
	if x, ok := a.(traits.Divider); ok {
		return x.Divide(b)
	}
	return types.MaybeNoSuchOverloadErr(a)
}

// scaled is a duration multiplied or divided by a number: computed in doubles, and
// rounded to the nearest nanosecond, halves to even.
func scaled(d types.Duration, by ref.Val, divide bool) ref.Val {
	var n float64
	switch by := by.(type) {
	case types.Double:
		n = float64(by)
	case types.Int:
		n = float64(by)
	case types.Uint:
		n = float64(by)
	default:
		return types.MaybeNoSuchOverloadErr(by)
	}
	ns := float64(float64(d.Duration) * n)
	if divide {
		if n == 0 {
			return types.NewErr("division by zero")
		}
		ns = float64(float64(d.Duration) / n)
	}
	if ns = math.RoundToEven(ns); math.IsNaN(ns) || math.Abs(ns) >= 1<<63 {
		return types.NewErr("the duration is out of range")
	}
	return types.Duration{Duration: time.Duration(ns)}
}

// moduloVals is % of CEL, and of doubles the remainder of the division, with the
// sign of a, as of ints. 0 on the right is an error for doubles too.
func moduloVals(a, b ref.Val) ref.Val {
	x, aDouble := a.(types.Double)
	y, bDouble := b.(types.Double)
	if aDouble && bDouble {
		if y == 0 {
			return types.NewErr("modulus by zero")
		}
		return types.Double(math.Mod(float64(x), float64(y)))
	}
	if x, ok := a.(traits.Modder); ok {
		return x.Modulo(b)
	}
	return types.MaybeNoSuchOverloadErr(a)
}
