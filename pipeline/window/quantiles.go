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
var quantiles = &Aggregate{Name: "quantiles", Of: Measures, Take: measure, write: writeQuantiles, show: showQuantiles, Type: func(of *cel.Type) *cel.Type {
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

var percents = [...]int{10, 25, 50, 75, 90}

// ranks are the number of values, and the value at each of percents, null if there
// are none.
type ranks struct {
	size int
	at   [len(percents)]value.Value
}

func quantilesOf(name string, of *cel.Type) *value.Struct {
	fields := map[string]value.Field{
		"size": {Type: cel.IntType, Get: func(q any) ref.Val { return types.Int(q.(*ranks).size) }},
	}
	for i, percent := range percents {
		fields[fmt.Sprintf("p%d", percent)] = value.Field{Type: of, Get: func(q any) ref.Val { return q.(*ranks).at[i].CEL() }}
	}
	s := value.NewStruct(name, fields)
	s.Data = true
	return s
}

// Structs are the types, besides CEL's own, of values that aggregates are read
// as.
func Structs() []*value.Struct {
	return []*value.Struct{numberQuantiles, durationQuantiles, anyQuantiles, ranked, Histogram, crowd}
}

// measure takes a duration, or a number as a double.
func measure(v value.Value) (value.Value, error) {
	if v.Kind == value.Duration {
		return v, nil
	}
	return finite(v)
}

// writeQuantiles writes the ranks of the values later than cutoff.
func writeQuantiles(_ *Shape, rec []byte, cutoff int64, w *value.Writer) {
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
	w.Len(len(values))
	for _, percent := range percents {
		w.Value(nearestRank(values, percent))
	}
}

// showQuantiles is the struct of these ranks.
func showQuantiles(_ *Shape, r *value.Reader) ref.Val {
	q := &ranks{size: int(r.Uint())}
	for i := range q.at {
		q.at[i] = r.Value()
	}
	return anyQuantiles.Of(q)
}

// nearestRank returns the value at a percentile: the one at place
// ceil(percent/100 * n) of the n sorted values, counted from 1. It is null if
// there are no values.
func nearestRank(sorted []value.Value, percent int) value.Value {
	n := len(sorted)
	if n == 0 {
		return value.Value{}
	}
	return sorted[(n*percent+99)/100-1]
}
