package window

import (
	"fmt"
	"math"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types/ref"

	"offerstream/pipeline/value"
)

// An Aggregate says what a feature keeps of its entries, and what it reads as.
// A new one is a row of Aggregates, and what the row names; nothing else knows
// it by name.
type Aggregate struct {
	Name  string
	Of    Operand                                      // what it wants of `of`
	Rows  bool                                         // it keeps rows of items: fields, key, keep and remove_on are its keys
	Stays bool                                         // its entries are stays, which are open until the user's next view
	Type  func(of *cel.Type) *cel.Type                 // that expressions see; of may be nil, where it did not compile
	Take  func(value.Value) (v value.Value, err error) // what `of` gave, as an entry keeps it; nil: as it is

	// A series: width is the size of an entry, whose second word is the value.
	width int
	fold  func(bucket []byte, v int64) // adds a value to a bucket; nil: the number of entries is all
	sum   func(in part) value.Value    // of what lies in the window

	// A window, where width is 0.
	buckets  bool                                            // what is beyond the bound folds; else it leaves
	replaces func(f *Shape, holds []byte, e Entry) bool      // whether e takes the place of what an entry holds
	pick     func(f *Shape, rec []byte, c int64) value.Value // of what lies after c; rec may be nil
	read     func(f *Shape, rec []byte, c int64) ref.Val     // in place of pick, where it is no single value
}

// An Operand is what an aggregate wants of `of`.
type Operand uint8

// The operands.
const (
	Nothing  Operand = iota // no `of`
	Numbers                 // numbers
	Measures                // numbers or durations
	Scalars                 // anything but lists and maps
)

// Wrong says what the operand is, where a type cannot be it.
func (o Operand) Wrong(of *cel.Type) string {
	switch of.Kind() {
	case cel.DynKind:
		return ""
	case cel.IntKind, cel.UintKind, cel.DoubleKind:
		return ""
	case cel.DurationKind:
		if o == Measures {
			return ""
		}
	case cel.ListKind, cel.MapKind, cel.StructKind:
		if o == Scalars {
			return "single values"
		}
	}
	switch o {
	case Numbers:
		return "numbers"
	case Measures:
		return "numbers or durations"
	}
	return ""
}

// Aggregates are all that there are. Definitions know them by name.
var Aggregates = [...]*Aggregate{
	{Name: "count", Type: always(cel.IntType), width: timeBytes,
		sum: func(in part) value.Value { return value.OfInt(in.count()) }},
	{Name: "sum", Of: Numbers, Type: always(cel.DoubleType), Take: micros, width: 2 * timeBytes, fold: add,
		sum: func(in part) value.Value { return value.OfDouble(float64(in.total()) / 1e6) }},
	{Name: "min", Of: Numbers, Type: always(cel.NullableType(cel.DoubleType)), Take: finite, width: 2 * timeBytes, fold: extremes,
		sum: func(in part) value.Value { return in.extreme(2, func(a, b float64) bool { return a < b }) }},
	{Name: "max", Of: Numbers, Type: always(cel.NullableType(cel.DoubleType)), Take: finite, width: 2 * timeBytes, fold: extremes,
		sum: func(in part) value.Value { return in.extreme(3, func(a, b float64) bool { return a > b }) }},
	{Name: "avg", Of: Numbers, Type: always(cel.NullableType(cel.DoubleType)), Take: micros, width: 2 * timeBytes, fold: add, sum: average},
	{Name: "distinct", Of: Scalars, Type: always(cel.IntType), replaces: sameValue, pick: number},
	{Name: "first", Of: Scalars, Type: nullable, buckets: true, pick: first},
	{Name: "last", Of: Scalars, Type: nullable, buckets: true, pick: last},
	{Name: "list", Rows: true, Type: always(cel.ListType(cel.MapType(cel.StringType, cel.DynType))), replaces: sameRow, read: readRows},
	{Name: "dwell", Stays: true, Type: always(cel.DurationType), Take: stay, width: 2 * timeBytes, fold: add,
		sum: func(in part) value.Value { return value.OfDuration(in.stayed()) }},
	quantiles,
}

// Named is the aggregate of that name, nil where there is none.
func Named(name string) *Aggregate {
	for _, a := range Aggregates {
		if a.Name == name {
			return a
		}
	}
	return nil
}

// Names are the aggregates' names, in their order.
func Names() []string {
	var names []string
	for _, a := range Aggregates {
		names = append(names, a.Name)
	}
	return names
}

// Single says that it reads as a single value, which Shape.Total gives.
func (a *Aggregate) Single() bool { return a.read == nil }

// Folds says that what is beyond the bound folds into buckets.
func (a *Aggregate) Folds() bool { return a.width > 0 || a.buckets }

func always(t *cel.Type) func(*cel.Type) *cel.Type {
	return func(*cel.Type) *cel.Type { return t }
}

// nullable is the type of a value that may not be there.
func nullable(of *cel.Type) *cel.Type {
	if of == nil {
		return cel.DynType
	}
	switch of.Kind() {
	case cel.BoolKind, cel.IntKind, cel.UintKind, cel.DoubleKind, cel.StringKind:
		return cel.NullableType(of)
	case cel.TimestampKind, cel.DurationKind:
		return of // CEL lets these be null
	}
	return cel.DynType
}

// finite takes a number, as a double.
func finite(v value.Value) (value.Value, error) {
	x, ok := v.Number()
	if !ok {
		return v, fmt.Errorf("a number is wanted, this is %v", v.CEL())
	}
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return v, fmt.Errorf("a number is wanted, this is %v", x)
	}
	return value.OfDouble(x), nil
}

// maxSum bounds one summand: sums are integers of millionths.
const maxSum = 9.2e12

// micros takes a number as millionths, so that the order of summands does not
// matter.
func micros(v value.Value) (value.Value, error) {
	v, err := finite(v)
	if err != nil {
		return v, err
	}
	x := v.Double()
	if math.Abs(x) >= maxSum {
		return v, fmt.Errorf("a number below %g is wanted, this is %g", maxSum, x)
	}
	return value.OfInt(int64(math.RoundToEven(float64(x * 1e6)))), nil
}

// stay takes dwell_ms, a number of milliseconds, as the length of a stay; what
// is no number begins one that goes on.
func stay(v value.Value) (value.Value, error) {
	ms, ok := v.Number()
	if !ok {
		return value.OfDuration(openStay), nil
	}
	ms = min(max(ms, 0), float64(maxDwell/time.Millisecond))
	return value.OfDuration(int64(math.RoundToEven(float64(ms * 1e6)))), nil
}

func add(b []byte, v int64) { putWord(b, 2, word(b, 2)+v) }

func extremes(b []byte, v int64) {
	if x := double(v); x < double(word(b, 2)) {
		putWord(b, 2, v)
	} else if x > double(word(b, 3)) {
		putWord(b, 3, v)
	}
}

func average(in part) value.Value {
	n := in.count()
	if n == 0 {
		return value.Value{}
	}
	return value.OfDouble(float64(in.total()) / 1e6 / float64(n))
}

// sameValue: distinct keeps a value once, with its newest time.
func sameValue(_ *Shape, holds []byte, e Entry) bool { return heldValue(holds).Same(e.Value) }

// number is how many entries lie after c.
func number(_ *Shape, rec []byte, c int64) value.Value {
	n := int64(0)
	each(rec, c, func([]byte) { n++ })
	return value.OfInt(n)
}

func first(_ *Shape, rec []byte, c int64) (v value.Value) {
	for _, b := range bucketsOf(rec) {
		if b.t > c {
			return b.first.Value
		}
	}
	found := false
	each(rec, c, func(holds []byte) {
		if !found {
			v, found = heldValue(holds), true
		}
	})
	return v
}

func last(_ *Shape, rec []byte, c int64) (v value.Value) {
	for _, b := range bucketsOf(rec) {
		if b.t > c {
			v = b.last.Value
		}
	}
	var newest []byte
	each(rec, c, func(holds []byte) { newest = holds })
	if newest != nil {
		v = heldValue(newest)
	}
	return v
}
