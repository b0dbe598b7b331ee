package window

import (
	"errors"
	"fmt"
	"math"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types/ref"

	"offerstream/pipeline/value"
)

// An Aggregate describes what a feature keeps of its entries, and how it is
// read. A new aggregate is a row of Aggregates and the functions that the row
// names; no other code refers to it by name.
type Aggregate struct {
	Name     string
	Of       Operand                                      // the operand that `of` must give
	Newest   bool                                         // it keeps the newest entries and folds none; only it takes keep
	Rows     bool                                         // keeps rows of items; only it takes fields, key and remove_on
	Stays    bool                                         // its entries are stays, each of which is open until the user's next view
	Ranks    bool                                         // it is one list of all keys, which needs a half-life and, unless Others, `by`, and has no window
	Others   bool                                         // its keys are those of the other items of an event
	Samples  bool                                         // it is kept as a sample (sampled.go)
	Entities bool                                         // it is one list of entity keys, changed by AddUser, RemoveUser and RenameUser instead of Add; it takes remove_on
	Type     func(of *cel.Type) *cel.Type                 // the type in expressions; of is the type of `of`, nil if there is none or it did not compile
	Take     func(value.Value) (v value.Value, err error) // converts the result of `of` to the value of an entry; nil: no conversion

	// Of an aggregate that is kept as a series:
	width  int                                      // bytes of an entry: its time and, unless only entries are counted, its value
	fold   func(bucket []byte, v int64, first bool) // adds a value to a bucket, which has none if it is the first; nil: only entries are counted
	join   func(bucket, from []byte, first bool)    // adds what a bucket holds to another, but for the number of entries; nil: nothing
	folded int                                      // size of a bucket's value (LANGUAGE.md, rule 18)
	sum    func(in part) value.Value                // the aggregate of the part of a series that lies in the window

	// Of an aggregate that is kept as a window (width is 0):
	keeps    func(b, e Entry) bool                                // entries beyond the bound are folded into buckets, which keep one entry each: whether e takes the place of b; nil: they are removed
	replaces func(f *Shape, content []byte, e Entry) bool         // whether e takes the place of the entry with this content
	pick     func(f *Shape, rec []byte, cutoff int64) value.Value // the aggregate of the entries later than cutoff; rec may be nil

	// Of an aggregate that is not a single value, in place of pick:
	write func(f *Shape, rec []byte, cutoff int64, w *value.Writer) // writes what is read of the entries later than cutoff; rec may be nil
	show  func(f *Shape, r *value.Reader) ref.Val                   // what was written, as an expression sees it
}

// An Operand is the kind of values that an aggregate requires of `of`.
type Operand uint8

// The operands.
const (
	Nothing  Operand = iota // no `of`
	Numbers                 // numbers
	Measures                // numbers or durations
	Scalars                 // any values but lists and maps
)

// Mismatch returns "" if values of type t can be the operand, or if only their
// evaluation can tell. Otherwise it describes the values that the operand
// requires.
func (o Operand) Mismatch(t *cel.Type) string {
	switch t.Kind() {
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

// Aggregates are all aggregates. Definitions refer to them by name.
var Aggregates = [...]*Aggregate{
	{Name: "count", Type: always(cel.IntType), width: timeBytes, folded: 8,
		sum: func(in part) value.Value { return value.OfInt(in.count()) }},
	{Name: "sum", Of: Numbers, Type: always(cel.DoubleType), Take: micros, width: 2 * timeBytes, fold: add, join: addBucket, folded: 8,
		sum: func(in part) value.Value { return value.OfDouble(in.total().millionths()) }},
	{Name: "min", Of: Numbers, Type: always(cel.NullableType(cel.DoubleType)), Take: finite, width: 2 * timeBytes, fold: extremes, join: bothExtremes, folded: 8,
		sum: func(in part) value.Value { return in.extreme(2, func(a, b float64) bool { return a < b }) }},
	{Name: "max", Of: Numbers, Type: always(cel.NullableType(cel.DoubleType)), Take: finite, width: 2 * timeBytes, fold: extremes, join: bothExtremes, folded: 8,
		sum: func(in part) value.Value { return in.extreme(3, func(a, b float64) bool { return a > b }) }},
	{Name: "avg", Of: Numbers, Type: always(cel.NullableType(cel.DoubleType)), Take: micros, width: 2 * timeBytes, fold: add, join: addBucket, folded: 16, sum: average},
	{Name: "distinct", Newest: true, Of: Scalars, Type: always(cel.IntType), Take: texted, replaces: sameValue, pick: number},
	{Name: "first", Of: Scalars, Type: nullable, keeps: earlier, pick: first},
	{Name: "last", Of: Scalars, Type: nullable, keeps: later, pick: last},
	{Name: "list", Newest: true, Rows: true, Type: always(cel.ListType(cel.MapType(cel.StringType, cel.DynType))), replaces: sameRow, write: writeRows, show: showRows},
	{Name: "dwell", Stays: true, Type: always(cel.DurationType), Take: stay, width: 2 * timeBytes, fold: add, join: addBucket, folded: 8,
		sum: func(in part) value.Value { return value.OfDuration(in.stayed()) }},
	quantiles,
	top,
	histogram,
}

// ofItems are the aggregates that only items have, and those that items have in
// place of one of Aggregates.
var ofItems = [...]*Aggregate{users, together, sampled}

// Of is the aggregate of that name of a feature of users, or if per of items; nil
// if there is none.
func Of(name string, per bool) *Aggregate {
	for _, a := range ofItems {
		if per && a.Name == name {
			return a
		}
	}
	return Named(name)
}

// Named is the aggregate of that name, nil if there is none.
func Named(name string) *Aggregate {
	for _, a := range Aggregates {
		if a.Name == name {
			return a
		}
	}
	return nil
}

// Names are the names of all aggregates, in the order of Aggregates.
func Names() []string {
	var names []string
	for _, a := range Aggregates {
		names = append(names, a.Name)
	}
	return names
}

// Single reports whether the aggregate is read as a single value (by
// Shape.Total).
func (a *Aggregate) Single() bool { return a.show == nil && !a.Ranks && !a.Entities }

// Folds reports whether entries beyond the bound are folded into buckets.
func (a *Aggregate) Folds() bool { return a.width > 0 && !a.Ranks || a.keeps != nil }

func always(t *cel.Type) func(*cel.Type) *cel.Type {
	return func(*cel.Type) *cel.Type { return t }
}

// nullable is the type t with null as an additional value. t is nil if it is
// not known.
func nullable(t *cel.Type) *cel.Type {
	if t == nil {
		return cel.DynType
	}
	switch t.Kind() {
	case cel.BoolKind, cel.IntKind, cel.UintKind, cel.DoubleKind, cel.StringKind:
		return cel.NullableType(t)
	case cel.TimestampKind, cel.DurationKind:
		return t // CEL allows null for these
	}
	return cel.DynType
}

// finite takes a number as a double; infinities and NaN are errors.
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

// maxSum bounds one summand: sums are kept as integers of millionths.
const maxSum = 9.2e12

// Micros takes a number as sums do: as an integer of millionths.
func Micros(v value.Value) (value.Value, error) { return micros(v) }

// micros takes a number as an integer of millionths, so that the order of the
// summands does not change a sum.
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

// stay takes dwell_ms, a number of milliseconds, as the length of a stay. If it
// is not a number, the stay is open.
func stay(v value.Value) (value.Value, error) {
	ms, ok := v.Number()
	if !ok {
		return value.OfDuration(openStay), nil
	}
	ms = min(max(ms, 0), float64(maxDwell/time.Millisecond))
	return value.OfDuration(int64(math.RoundToEven(float64(ms * 1e6)))), nil
}

// add adds to the sum in a bucket.
func add(b []byte, v int64, _ bool) {
	sum := wide{word(b, 3), uint64(word(b, 2))}.plus(widen(v))
	putWord(b, 2, int64(sum.low))
	putWord(b, 3, sum.high)
}

// addBucket adds a bucket's sum to that of another.
func addBucket(b, from []byte, _ bool) {
	sum := wide{word(b, 3), uint64(word(b, 2))}.plus(wide{word(from, 3), uint64(word(from, 2))})
	putWord(b, 2, int64(sum.low))
	putWord(b, 3, sum.high)
}

// bothExtremes adds a bucket's extremes to those of another.
func bothExtremes(b, from []byte, first bool) {
	extremes(b, word(from, 2), first)
	extremes(b, word(from, 3), false)
}

func extremes(b []byte, v int64, first bool) {
	if x := double(v); first || x < double(word(b, 2)) {
		putWord(b, 2, v)
	}
	if x := double(v); first || x > double(word(b, 3)) {
		putWord(b, 3, v)
	}
}

func average(in part) value.Value {
	n := in.count()
	if n == 0 {
		return value.Value{}
	}
	return value.OfDouble(in.total().millionths() / float64(n))
}

// sameValue makes distinct keep each value once, with its newest time. Values
// are told apart by their texts, as keys are: 17 and "17" are one.
func sameValue(_ *Shape, content []byte, e Entry) bool {
	old := aliasValue(content)
	if old.Kind == value.String && e.Value.Kind == value.String {
		return old.Str == e.Value.Str
	}
	if old == e.Value {
		return true
	}
	a, isNumber := old.Number()
	b, both := e.Value.Number()
	if isNumber && both && a != b {
		return false
	}
	x, err := value.PrintText(old.CEL())
	if err != nil {
		return false
	}
	y, err := value.PrintText(e.Value.CEL())
	return err == nil && x == y
}

// ErrSkip reports that a value adds no entry, which is not an error.
var ErrSkip = errors.New("the value adds no entry")

// texted takes a value that has a text, and skips null.
func texted(v value.Value) (value.Value, error) {
	if v.Kind == value.Null {
		return v, ErrSkip
	}
	if v.Kind == value.String {
		return v, nil
	}
	_, err := value.PrintText(v.CEL())
	return v, err
}

// number counts the entries later than cutoff.
func number(_ *Shape, rec []byte, cutoff int64) value.Value {
	n := int64(0)
	each(rec, cutoff, func([]byte) { n++ })
	return value.OfInt(n)
}

func earlier(b, e Entry) bool { return e.Time < b.Time }

func later(b, e Entry) bool { return b.Time <= e.Time }

func first(_ *Shape, rec []byte, cutoff int64) (v value.Value) {
	for _, b := range bucketsOf(rec) {
		if b.t > cutoff {
			return b.kept.Value
		}
	}
	found := false
	each(rec, cutoff, func(content []byte) {
		if !found {
			v, found = aliasValue(content), true
		}
	})
	return v
}

func last(_ *Shape, rec []byte, cutoff int64) (v value.Value) {
	for _, b := range bucketsOf(rec) {
		if b.t > cutoff {
			v = b.kept.Value
		}
	}
	var newest []byte
	each(rec, cutoff, func(content []byte) { newest = content })
	if newest != nil {
		v = aliasValue(newest)
	}
	return v
}
