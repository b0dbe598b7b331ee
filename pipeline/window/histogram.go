package window

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"offerstream/pipeline/value"
)

// histogram keeps the newest event times. The hours of the day in which they lie
// depend on the zone in which they are read, so whoever reads it counts them
// (HistogramTimes).
var histogram = &Aggregate{Name: "histogram", Newest: true, Type: always(Histogram.Type), write: writeHistogram, show: showHistogram}

// Histogram is the type of a histogram in expressions, which see its size only.
var Histogram = func() *value.Struct {
	s := value.NewStruct("Histogram", map[string]value.Field{
		"size": {Type: cel.IntType, Get: func(times any) ref.Val { return types.Int(len(times.([]int64))) }},
	})
	s.Data = true
	return s
}()

// writeHistogram writes the times later than cutoff.
func writeHistogram(_ *Shape, rec []byte, cutoff int64, w *value.Writer) {
	times := []int64{}
	if rec != nil {
		for offset := entriesOffset(rec); offset < len(rec); {
			var t int64
			if t, _, offset = readEntry(rec, offset); t > cutoff {
				times = append(times, t)
			}
		}
	}
	w.Times(times)
}

// showHistogram is the struct of these times.
func showHistogram(_ *Shape, r *value.Reader) ref.Val { return Histogram.Of(r.Times()) }

// HistogramTimes returns the event times in a histogram that an expression has
// read, oldest first. ok is false if the value is no histogram. The caller must
// not change the times.
func HistogramTimes(v ref.Val) (times []int64, ok bool) {
	target, ok := Histogram.Target(v)
	if !ok {
		return nil, false
	}
	return target.([]int64), true
}
