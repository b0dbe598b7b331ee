package expr

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/value"
)

// NewEnv is the CEL environment of campaigns, without variables: the standard
// library and cel-go's extensions, arithmetic that mixes ints and doubles
// (because JSON numbers are doubles), what makes integers of JSON exact
// (number.go), durations with days, and no time zones, because those come from the
// host. It knows the given types, and Event.
func NewEnv(structs ...*value.Struct) (*cel.Env, error) {
	exclude := []*env.Function{
		env.NewFunction(operators.Add), env.NewFunction(operators.Subtract),
		env.NewFunction(operators.Multiply), env.NewFunction(operators.Divide), env.NewFunction(operators.Modulo),
		env.NewFunction(overloads.TypeConvertDuration), env.NewFunction(overloads.TypeConvertString),
	}
	for fn, ids := range zonedOverloads {
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
		cel.Function(overloads.TypeConvertDuration,
			cel.Overload("text_to_duration", []*cel.Type{cel.StringType}, cel.DurationType, cel.UnaryBinding(readDuration)),
			cel.Overload(overloads.DurationToDuration, []*cel.Type{cel.DurationType}, cel.DurationType, cel.UnaryBinding(func(v ref.Val) ref.Val { return v }))),
	}
	opts = append(append(opts, toText()), arithmetic()...)
	base, err := cel.NewCustomEnv(opts...)
	if err != nil {
		return nil, err
	}
	return base.Extend(numberFunctions(base.Functions())...)
}

// zonedOverloads are the overloads that take a time zone, by function. They are
// left out.
var zonedOverloads = map[string][]string{
	overloads.TimeGetFullYear:     {overloads.TimestampToYearWithTz},
	overloads.TimeGetMonth:        {overloads.TimestampToMonthWithTz},
	overloads.TimeGetDayOfYear:    {overloads.TimestampToDayOfYearWithTz},
	overloads.TimeGetDate:         {overloads.TimestampToDayOfMonthOneBasedWithTz},
	overloads.TimeGetDayOfMonth:   {overloads.TimestampToDayOfMonthZeroBasedWithTz},
	overloads.TimeGetDayOfWeek:    {overloads.TimestampToDayOfWeekWithTz},
	overloads.TimeGetHours:        {overloads.TimestampToHoursWithTz},
	overloads.TimeGetMinutes:      {overloads.TimestampToMinutesWithTz},
	overloads.TimeGetSeconds:      {overloads.TimestampToSecondsWithTz},
	overloads.TimeGetMilliseconds: {overloads.TimestampToMillisecondsWithTz},
}

func readDuration(v ref.Val) ref.Val {
	d, err := campaign.ParseDuration(string(v.(types.String)))
	if err != nil {
		return types.WrapErr(err)
	}
	return types.Duration{Duration: d}
}
