package expr

import (
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/ext"

	"offerstream/pipeline/value"
)

// NewEnv is the CEL environment of campaigns, without variables: the standard
// library and cel-go's extensions, arithmetic that mixes ints and doubles
// (because JSON numbers are doubles), what makes integers of JSON exact
// (number.go), durations with days, time zones from package zone instead of the
// host's (time.go), and what finds the greatest of a list (extreme.go). It knows
// the given types, and Event.
func NewEnv(structs ...*value.Struct) (*cel.Env, error) {
	exclude := []*env.Function{
		env.NewFunction(operators.Add), env.NewFunction(operators.Subtract),
		env.NewFunction(operators.Multiply), env.NewFunction(operators.Divide), env.NewFunction(operators.Modulo),
		env.NewFunction(overloads.TypeConvertDuration), env.NewFunction(overloads.TypeConvertString),
	}
	for fn, ids := range zoned {
		f := env.NewFunction(fn)
		for _, id := range ids {
			f.Overloads = append(f.Overloads, &env.Overload{ID: id})
		}
		exclude = append(exclude, f)
	}
	subset := env.NewLibrarySubset()
	subset.ExcludeFunctions = exclude
	opts := []cel.EnvOption{
		cel.StdLib(cel.StdLibSubset(subset)),
		cel.OptionalTypes(), ext.Strings(), ext.Math(), ext.Lists(ext.ListsMaxRangeSize(10_000)), ext.Sets(), ext.Bindings(), ext.TwoVarComprehensions(),
		cel.CrossTypeNumericComparisons(true), cel.DefaultUTCTimeZone(true), cel.EnableMacroCallTracking(),
		cel.CustomTypeProvider(value.NewStructs(append(structs, Event)...)),
		toText(),
	}
	opts = slices.Concat(opts, arithmetic(), timeFunctions(), extremes(structs), sizesOf(structs))
	base, err := cel.NewCustomEnv(opts...)
	if err != nil {
		return nil, err
	}
	return base.Extend(numberFunctions(base.Functions())...)
}

// sizesOf declares size() of the types that have nothing else (value.NewSized).
func sizesOf(structs []*value.Struct) (opts []cel.EnvOption) {
	for _, s := range structs {
		if s.Size != nil {
			of := []*cel.Type{s.Type}
			opts = append(opts, cel.Function(overloads.Size, cel.Overload("size_"+s.Name, of, cel.IntType), cel.MemberOverload(s.Name+"_size", of, cel.IntType)))
		}
	}
	return opts
}
