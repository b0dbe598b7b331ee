package value

import (
	"cmp"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"github.com/valyala/fastjson"
)

// exactly bounds the integers that all doubles hold exactly: those of a smaller
// magnitude are doubles, longer ones are JSONIntegers.
const exactly = 1 << 53

// A JSONInteger is an integer of JSON whose magnitude is 2^53 or more, as its
// digits. In an expression it is a double (LANGUAGE.md, rule 19), but it keeps
// its digits, which are its text, and its value, by which it is compared. CEL
// compares doubles as such, so expressions compare with Equal and Compare
// instead.
type JSONInteger string

var _ traits.Comparer = JSONInteger("")

// Double is the double nearest to the integer; beyond all doubles, an infinity.
func (n JSONInteger) Double() types.Double {
	f, _ := strconv.ParseFloat(string(n), 64)
	return types.Double(f)
}

// Native is the integer as an int or uint of CEL, else as a double.
func (n JSONInteger) Native() ref.Val {
	if i, err := strconv.ParseInt(string(n), 10, 64); err == nil {
		return types.Int(i)
	}
	if u, err := strconv.ParseUint(string(n), 10, 64); err == nil {
		return types.Uint(u)
	}
	return n.Double()
}

func (n JSONInteger) Type() ref.Type                { return types.DoubleType }
func (n JSONInteger) Value() any                    { return float64(n.Double()) }
func (n JSONInteger) Equal(other ref.Val) ref.Val   { return Equal(n, other) }
func (n JSONInteger) Compare(other ref.Val) ref.Val { return Compare(n, other) }

func (n JSONInteger) ConvertToNative(t reflect.Type) (any, error) {
	return n.Double().ConvertToNative(t)
}

func (n JSONInteger) ConvertToType(t ref.Type) ref.Val {
	if t == types.StringType {
		return types.String(n)
	}
	return n.Native().ConvertToType(t)
}

// parseNumber reads a number of JSON. ok is false for an integer that may not be
// held by the double f.
func parseNumber(raw string) (f float64, ok bool) {
	if n, ok := smallInteger(raw); ok {
		return n, true
	}
	f, _ = strconv.ParseFloat(raw, 64) // a number out of range becomes an infinity
	return f, math.Abs(f) < exactly || strings.ContainsAny(raw, ".eE")
}

// smallInteger reads an integer of at most 15 digits; ok is false for any other
// text. Most numbers are such, and ParseFloat takes several times as long.
func smallInteger(raw string) (f float64, ok bool) {
	digits, negative := strings.CutPrefix(raw, "-")
	if len(digits) == 0 || len(digits) > 15 {
		return 0, false
	}
	n := int64(0)
	for i := range len(digits) {
		d := digits[i] - '0'
		if d > 9 {
			return 0, false
		}
		n = n*10 + int64(d)
	}
	if negative {
		n = -n
	}
	return float64(n), true
}

// ofNumber is a number of JSON as a Value.
func ofNumber(v *fastjson.Value) (n Value) {
	spelled(v, func(raw string) {
		if f, ok := parseNumber(raw); ok {
			n = OfDouble(f)
		} else {
			n = Value{Kind: Integer, Str: strings.Clone(raw)}
		}
	})
	return n
}

// spellings holds memory for the spellings of numbers.
var spellings = sync.Pool{New: func() any { return new([]byte) }}

// spelled calls fn with a number of JSON as it is spelled. The text is valid
// until fn returns.
func spelled(v *fastjson.Value, fn func(raw string)) {
	b := spellings.Get().(*[]byte)
	*b = v.MarshalTo((*b)[:0])
	fn(unsafe.String(unsafe.SliceData(*b), len(*b)))
	spellings.Put(b)
}

// Decimal is a number of JSON as text, as a key or an id: an integer keeps its
// digits, however many, and any other number is FormatDouble of a double. ok is
// false for a number beyond all doubles that is not spelled as an integer, such as
// 1e999.
func Decimal(v *fastjson.Value) (text string, ok bool) {
	spelled(v, func(raw string) {
		f, isDouble := parseNumber(raw)
		switch {
		case !isDouble:
			text, ok = strings.Clone(raw), true
		case !math.IsInf(f, 0):
			text, ok = FormatDouble(f), true
		}
	})
	return text, ok
}

// A number is any number, so that it can be compared with any other.
type number struct {
	form      form
	double    float64 // the number as a double, unless it is whole
	negative  bool    // of a whole number
	magnitude uint64  // of a whole number
}

type form uint8

const (
	fraction form = iota // a double
	whole                // an integer of at most 64 bits
	beyond               // a longer integer, which compares as a double
)

func ofInt(n int64) number {
	if n < 0 {
		return number{form: whole, negative: true, magnitude: -uint64(n)}
	}
	return number{form: whole, magnitude: uint64(n)}
}

func ofDigits(digits string) number {
	switch n := JSONInteger(digits).Native().(type) {
	case types.Int:
		return ofInt(int64(n))
	case types.Uint:
		return number{form: whole, magnitude: uint64(n)}
	case types.Double:
		return number{form: beyond, double: float64(n)}
	}
	panic("unreachable")
}

// numberOf is the number that a value of an expression is; ok is false for other
// values.
func numberOf(v ref.Val) (n number, ok bool) {
	switch v := v.(type) {
	case types.Double:
		return number{double: float64(v)}, true
	case types.Int:
		return ofInt(int64(v)), true
	case types.Uint:
		return number{form: whole, magnitude: uint64(v)}, true
	case JSONInteger:
		return ofDigits(string(v)), true
	}
	return number{}, false
}

// asDouble is the double nearest to the number.
func (n number) asDouble() float64 {
	switch {
	case n.form != whole:
		return n.double
	case n.negative:
		return -float64(n.magnitude)
	}
	return float64(n.magnitude)
}

// sign is -1, 0 or 1 for a whole number.
func (n number) sign() int {
	switch {
	case n.magnitude == 0:
		return 0
	case n.negative:
		return -1
	}
	return 1
}

// compareNumbers orders two numbers exactly, but as doubles if one of them is an
// integer beyond 64 bits. ok is false if one of them is NaN, which has no order.
func compareNumbers(a, b number) (order int, ok bool) {
	switch {
	case math.IsNaN(a.double) || math.IsNaN(b.double):
		return 0, false
	case a.form == whole && b.form == whole:
		return compareWhole(a, b), true
	case a.form == whole && b.form == fraction:
		return compareMixed(a, b.double), true
	case a.form == fraction && b.form == whole:
		return -compareMixed(b, a.double), true
	}
	return cmp.Compare(a.asDouble(), b.asDouble()), true
}

func compareWhole(a, b number) int {
	if order := cmp.Compare(a.sign(), b.sign()); order != 0 {
		return order
	}
	return a.sign() * cmp.Compare(a.magnitude, b.magnitude)
}

// compareMixed orders an integer and a double that is not NaN.
func compareMixed(n number, f float64) int {
	const beyond64 = 1 << 64
	switch {
	case f >= beyond64:
		return -1
	case f <= -beyond64:
		return 1
	}
	integral := math.Trunc(f)
	t := number{form: whole, negative: integral < 0, magnitude: uint64(math.Abs(integral))}
	if order := compareWhole(n, t); order != 0 {
		return order
	}
	return cmp.Compare(integral, f)
}

// Compare orders two values of an expression as < and > do: numbers by their
// value, whatever their types, all others as CEL does. The result is an int (-1,
// 0 or 1) or an error.
func Compare(a, b ref.Val) ref.Val {
	x, aNumber := numberOf(a)
	y, bNumber := numberOf(b)
	if aNumber && bNumber {
		order, ok := compareNumbers(x, y)
		if !ok {
			return types.NewErr("NaN has no order")
		}
		return types.Int(order)
	}
	if c, ok := a.(traits.Comparer); ok && !aNumber && !bNumber {
		return c.Compare(b)
	}
	return types.MaybeNoSuchOverloadErr(a)
}

// Equal compares two values of an expression as == does: numbers by their value,
// whatever their types, also in lists and maps; all others as CEL does.
func Equal(a, b ref.Val) ref.Val {
	x, aNumber := numberOf(a)
	y, bNumber := numberOf(b)
	if aNumber || bNumber {
		order, ok := compareNumbers(x, y)
		return types.Bool(aNumber && bNumber && ok && order == 0)
	}
	switch a := a.(type) {
	case traits.Lister:
		if b, ok := b.(traits.Lister); ok {
			return equalLists(a, b)
		}
	case traits.Mapper:
		if b, ok := b.(traits.Mapper); ok {
			return equalMaps(a, b)
		}
	case *types.Optional:
		if b, ok := b.(*types.Optional); ok && a.HasValue() && b.HasValue() {
			return Equal(a.GetValue(), b.GetValue())
		}
	}
	return types.Equal(a, b)
}

func equalLists(a, b traits.Lister) ref.Val {
	if a.Size() != b.Size() {
		return types.False
	}
	for i, j := a.Iterator(), b.Iterator(); i.HasNext() == types.True; {
		if equal := Equal(i.Next(), j.Next()); equal != types.True {
			return equal
		}
	}
	return types.True
}

func equalMaps(a, b traits.Mapper) ref.Val {
	if a.Size() != b.Size() {
		return types.False
	}
	for it := a.Iterator(); it.HasNext() == types.True; {
		key := it.Next()
		v, ok := a.Find(key)
		w, found := b.Find(key)
		if !ok || !found {
			return types.False
		}
		if equal := Equal(v, w); equal != types.True {
			return equal
		}
	}
	return types.True
}

// CompareValues orders two Values as Compare does. ok is false if they are not
// both numbers, or one of them is NaN.
func CompareValues(v, w Value) (order int, ok bool) {
	if v.Kind == Double && w.Kind == Double { // most numbers are
		x, y := math.Float64frombits(v.Bits), math.Float64frombits(w.Bits)
		return cmp.Compare(x, y), x == x && y == y
	}
	a, ok := v.number()
	if !ok {
		return 0, false
	}
	b, ok := w.number()
	if !ok {
		return 0, false
	}
	return compareNumbers(a, b)
}

// number is the number that a Value is; ok is false for other kinds.
func (v Value) number() (n number, ok bool) {
	switch v.Kind {
	case Int:
		return ofInt(int64(v.Bits)), true
	case Uint:
		return number{form: whole, magnitude: v.Bits}, true
	case Double:
		return number{double: math.Float64frombits(v.Bits)}, true
	case Integer:
		return ofDigits(v.Str), true
	}
	return number{}, false
}

// printNumber is the text of a number; ok is false for other values. NaN and the
// infinities have none.
func printNumber(v ref.Val) (text string, ok bool, err error) {
	switch v := v.(type) {
	case types.Int:
		return strconv.FormatInt(int64(v), 10), true, nil
	case types.Uint:
		return strconv.FormatUint(uint64(v), 10), true, nil
	case JSONInteger:
		return string(v), true, nil
	case types.Double:
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			return "", true, fmt.Errorf("%v is not a number that can be shown", f)
		}
		return FormatDouble(float64(v)), true, nil
	}
	return "", false, nil
}
