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

// quantiles keeps the newest values, by event time, and reads as a struct: how
// many there are, and the value below which so many percent of them lie, by
// nearest rank. Numbers are read as doubles; durations stay durations. Where
// `of` gives both, numbers rank below durations.
var quantiles = &Aggregate{Name: "quantiles", Of: Measures, Take: measure, read: readQuantiles, Type: func(of *cel.Type) *cel.Type {
	switch {
	case of == nil || of.Kind() == cel.DynKind:
		return anyQuantiles.Type
	case of.Kind() == cel.DurationKind:
		return durationQuantiles.Type
	}
	return numberQuantiles.Type
}}

// The types of quantiles, by what is known of the values' type when a set is
// compiled. CEL lets a duration be null.
var (
	numberQuantiles   = quantilesOf("Quantiles", cel.NullableType(cel.DoubleType))
	durationQuantiles = quantilesOf("DurationQuantiles", cel.DurationType)
	anyQuantiles      = quantilesOf("AnyQuantiles", cel.DynType)
)

func quantilesOf(name string, of *cel.Type) *value.Struct {
	fields := map[string]value.Field{
		"size": {Type: cel.IntType, Get: func(of any) ref.Val { return types.Int(len(of.([]value.Value))) }},
	}
	for _, percent := range []int{10, 25, 50, 75, 90} {
		fields[fmt.Sprintf("p%d", percent)] = value.Field{Type: of, Get: func(of any) ref.Val { return nearestRank(of.([]value.Value), percent) }}
	}
	s := value.NewStruct(name, fields)
	s.Data = true
	return s
}

// Structs are the types that aggregates read as, beside CEL's own.
func Structs() []*value.Struct {
	return []*value.Struct{numberQuantiles, durationQuantiles, anyQuantiles}
}

// measure takes a number, as a double, or a duration.
func measure(v value.Value) (value.Value, error) {
	if v.Kind == value.Duration {
		return v, nil
	}
	return finite(v)
}

// readQuantiles is the struct of the values that lie after c, in their order.
func readQuantiles(_ *Shape, rec []byte, c int64) ref.Val {
	values := []value.Value{}
	each(rec, c, func(holds []byte) { values = append(values, heldValue(holds)) })
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

// nearestRank is the smallest value that at least so many percent of the values,
// which are in order, do not exceed; null where there are none.
func nearestRank(sorted []value.Value, percent int) ref.Val {
	n := len(sorted)
	if n == 0 {
		return types.NullValue
	}
	return sorted[(n*percent+99)/100-1].CEL()
}
