package expr

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// arithmetic redeclares + - * / with additional overloads that mix ints and
// doubles.
func arithmetic() []cel.EnvOption {
	n, d, u := cel.IntType, cel.DoubleType, cel.UintType
	operator := func(name, id string, same []*cel.Type, do func(a, b ref.Val) ref.Val, more ...cel.FunctionOpt) cel.EnvOption {
		opts := more
		for _, t := range same {
			opts = append(opts, cel.Overload(id+"_"+t.String(), []*cel.Type{t, t}, t))
		}
		opts = append(opts,
			cel.Overload(id+"_int_double", []*cel.Type{n, d}, d), cel.Overload(id+"_double_int", []*cel.Type{d, n}, d),
			cel.SingletonBinaryBinding(func(a, b ref.Val) ref.Val {
				switch x := a.(type) {
				case types.Int:
					if _, ok := b.(types.Double); ok {
						a = types.Double(x)
					}
				case types.Double:
					if y, ok := b.(types.Int); ok {
						b = types.Double(y)
					}
				}
				return do(a, b)
			}))
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
		operator(operators.Multiply, "times", []*cel.Type{n, d, u}, multiplyVals),
		operator(operators.Divide, "divide", []*cel.Type{n, d, u}, divideVals),
	}
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
	if x, ok := a.(traits.Multiplier); ok {
		return x.Multiply(b)
	}
	return types.MaybeNoSuchOverloadErr(a)
}

func divideVals(a, b ref.Val) ref.Val {
	if x, ok := a.(traits.Divider); ok {
		return x.Divide(b)
	}
	return types.MaybeNoSuchOverloadErr(a)
}
