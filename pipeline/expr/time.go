package expr

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/lazyregexp"
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

var (
	bareOffset = lazyregexp.New(`^(?:UTC|GMT|utc|gmt)?\s*([+-])\s*([0-9]{1,2}):?([0-9]{2})?$`)
	// abbreviations are those that stand for one zone where they are used; the database
	// knows none of them.
	abbreviations = map[string]string{
		"kst": "Asia/Seoul", "jst": "Asia/Tokyo", "hkt": "Asia/Hong_Kong", "sgt": "Asia/Singapore", "pst": "America/Los_Angeles", "pdt": "America/Los_Angeles", "cet": "Europe/Berlin", "cest": "Europe/Berlin", "bst": "Europe/London", "edt": "America/New_York", "cdt": "America/Chicago", "mdt": "America/Denver",
		"korea": "Asia/Seoul", "z": "UTC",
	}
)

// zoneHint says which zone was probably meant by a name that no zone has.
func zoneHint(name string) string {
	const form = "a name such as Asia/Seoul, or an offset such as +09:00"
	small := strings.ToLower(strings.ReplaceAll(strings.TrimSpace(name), " ", "_"))
	if m := bareOffset.FindStringSubmatch(strings.TrimSpace(name)); m != nil {
		hours, _ := strconv.Atoi(m[2])
		minutes, _ := strconv.Atoi("0" + m[3])
		if hours <= 14 && minutes < 60 {
			return fmt.Sprintf("write %s%02d:%02d", m[1], hours, minutes)
		}
		return form
	}
	if small == "local" || small == "localtime" || small == "system" {
		return "local.hour is the hour in the user's zone; else " + form
	}
	if is := abbreviations[small]; is != "" {
		return fmt.Sprintf("did you mean %q?", is)
	}
	for _, known := range zone.Names() {
		whole := strings.ToLower(known)
		if whole == small || whole[strings.LastIndexByte(whole, '/')+1:] == small {
			return fmt.Sprintf("did you mean %q?", known)
		}
	}
	if best := campaign.Nearest(name, zone.Names()); best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return form
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
