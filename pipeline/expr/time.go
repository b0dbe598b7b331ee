package expr

import (
	"fmt"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/zone"
)

// zoned are the overloads that take a time zone, by function. Those of CEL read
// the zone data of the host, so they are left out and declared anew.
var zoned = map[string][]string{
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

// timeFunctions declares the functions of times and durations that differ from
// CEL's or that CEL lacks.
func timeFunctions() []cel.EnvOption {
	opts := []cel.EnvOption{
		cel.Function(overloads.TypeConvertDuration,
			cel.Overload("text_to_duration", []*cel.Type{cel.StringType}, cel.DurationType, cel.UnaryBinding(readDuration)),
			cel.Overload(overloads.DurationToDuration, []*cel.Type{cel.DurationType}, cel.DurationType, cel.UnaryBinding(func(v ref.Val) ref.Val { return v }))),
		cel.Function("clock", cel.Overload("clock_duration", []*cel.Type{cel.DurationType}, cel.StringType,
			cel.UnaryBinding(func(v ref.Val) ref.Val { return types.String(clock(v.(types.Duration).Duration)) }))),
	}
	for function, ids := range zoned {
		for _, id := range ids {
			opts = append(opts, cel.Function(function, cel.MemberOverload(id, []*cel.Type{cel.TimestampType, cel.StringType}, cel.IntType,
				cel.BinaryBinding(func(t, name ref.Val) ref.Val {
					return inZone(t.(types.Timestamp), string(name.(types.String)), function)
				}))))
		}
	}
	return opts
}

func readDuration(v ref.Val) ref.Val {
	d, err := campaign.ParseDuration(string(v.(types.String)))
	if err != nil {
		return types.WrapErr(err)
	}
	return types.Duration{Duration: d}
}

// inZone calls a function of a time by the wall clock of a zone: a zone's name, or
// an offset such as +09:00.
func inZone(t types.Timestamp, name, function string) ref.Val {
	if strings.Contains(name, ":") { // an offset, for which CEL needs no zone data
		return t.Receive(function, "", []ref.Val{types.String(name)})
	}
	loc, ok := zone.Load(name)
	if !ok {
		return types.NewErr("no time zone is named %q", name)
	}
	return types.Timestamp{Time: t.In(loc)}.Receive(function, "", nil)
}

// clock is a duration as m:ss, from an hour on as h:mm:ss. Fractions of a second
// are cut.
func clock(d time.Duration) string {
	sign, s := "", int64(d/time.Second)
	if s < 0 {
		sign, s = "-", -s
	}
	if s < 60*60 {
		return fmt.Sprintf("%s%d:%02d", sign, s/60, s%60)
	}
	return fmt.Sprintf("%s%d:%02d:%02d", sign, s/3600, s/60%60, s%60)
}
