package window

import (
	"cmp"
	"fmt"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"offerstream/pipeline/value"
)

// quantiles keeps the newest values, by event time. It is read as a struct: the
// number of values, and for each percentage the value at that rank (the nearest
// rank). Numbers are read as doubles, durations as durations. If `of` gives
// both, numbers rank below durations.
var quantiles = &Aggregate{Name: "quantiles", Of: Measures, Take: measure, read: readQuantiles, Type: func(of *cel.Type) *cel.Type {
	switch {
	case of == nil || of.Kind() == cel.DynKind:
		return anyQuantiles.Type
	case of.Kind() == cel.DurationKind:
		return durationQuantiles.Type
	}
	return numberQuantiles.Type
}}

// The types of quantiles: for numbers, for durations, and for values whose type
// is not known when the set is compiled. CEL allows null for a duration.
var (
	numberQuantiles   = quantilesOf("Quantiles", cel.NullableType(cel.DoubleType))
	durationQuantiles = quantilesOf("DurationQuantiles", cel.DurationType)
	anyQuantiles      = quantilesOf("AnyQuantiles", cel.DynType)
)

func quantilesOf(name string, of *cel.Type) *value.Struct {
	fields := map[string]value.Field{
		"size": {Type: cel.IntType, Get: func(values any) ref.Val { return types.Int(len(values.([]value.Value))) }},
	}
	for _, percent := range []int{10, 25, 50, 75, 90} {
		fields[fmt.Sprintf("p%d", percent)] = value.Field{Type: of, Get: func(values any) ref.Val { return nearestRank(values.([]value.Value), percent) }}
	}
	s := value.NewStruct(name, fields)
	s.Data = true
	return s
}

// Structs are the types, besides CEL's own, of values that aggregates are read
// as.
func Structs() []*value.Struct {
	return []*value.Struct{numberQuantiles, durationQuantiles, anyQuantiles, ranked, Histogram}
}

// measure takes a duration, or a number as a double.
func measure(v value.Value) (value.Value, error) {
	if v.Kind == value.Duration {
		return v, nil
	}
	return finite(v)
}

// readQuantiles is the struct of the values later than cutoff, which it sorts.
func readQuantiles(_ *Shape, rec []byte, cutoff int64) ref.Val {
	values := []value.Value{}
	each(rec, cutoff, func(content []byte) { values = append(values, aliasValue(content)) })
	slices.SortFunc(values, func(a, b value.Value) int {
		if a.Kind != b.Kind {
			return cmp.Compare(a.Kind, b.Kind) // value.Double is less than value.Duration
		}
		if a.Kind == value.Duration {
			return cmp.Compare(int64(a.Bits), int64(b.Bits))
		}
		return cmp.Compare(a.Double(), b.Double())
	})
	return anyQuantiles.Of(values)
}

// nearestRank returns the value at a percentile: the one at place
// ceil(percent/100 * n) of the n sorted values, counted from 1. It is null if
// there are no values.
func nearestRank(sorted []value.Value, percent int) ref.Val {
	n := len(sorted)
	if n == 0 {
		return types.NullValue
	}
	return sorted[(n*percent+99)/100-1].CEL()
}
