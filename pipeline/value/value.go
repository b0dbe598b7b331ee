package value

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"github.com/valyala/fastjson"
)

// A Value is what an entity keeps of a single thing: an aggregate's value, a
// trait, a field of a list's row. The zero Value is null.
type Value struct {
	Kind Kind
	Bits uint64 // a bool, int or uint, the bits of a double, or nanoseconds of a time or duration
	Str  string // the text of a string; the JSON of a list or map; the digits of an integer
}

// A Kind is the type of a Value. Records store it, so existing numbers never
// change.
type Kind uint8

// The kinds.
const (
	Null     Kind = 0
	Bool     Kind = 1
	Int      Kind = 2
	Uint     Kind = 3
	Double   Kind = 4
	String   Kind = 5
	Time     Kind = 6
	Duration Kind = 7
	JSON     Kind = 8 // a list or a map
	Integer  Kind = 9 // a JSONInteger
)

// OfBool makes a Value; so do OfInt, OfDouble, OfString, OfTime and OfDuration.
// Times are nanoseconds since 1970, durations nanoseconds.
func OfBool(b bool) Value {
	if b {
		return Value{Kind: Bool, Bits: 1}
	}
	return Value{Kind: Bool}
}

func OfInt(n int64) Value      { return Value{Kind: Int, Bits: uint64(n)} }
func OfDouble(f float64) Value { return Value{Kind: Double, Bits: math.Float64bits(f)} }
func OfString(s string) Value  { return Value{Kind: String, Str: s} }
func OfTime(ns int64) Value    { return Value{Kind: Time, Bits: uint64(ns)} }
func OfDuration(d int64) Value { return Value{Kind: Duration, Bits: uint64(d)} }

// Of converts the result of an expression. Lists and maps cannot be kept.
func Of(v ref.Val) (Value, error) {
	switch v := v.(type) {
	case types.Null:
		return Value{}, nil
	case types.Bool:
		return OfBool(bool(v)), nil
	case types.Int:
		return OfInt(int64(v)), nil
	case types.Uint:
		return Value{Kind: Uint, Bits: uint64(v)}, nil
	case types.Double:
		return OfDouble(float64(v)), nil
	case JSONInteger:
		return Value{Kind: Integer, Str: string(v)}, nil
	case types.String:
		return OfString(string(v)), nil
	case types.Timestamp:
		return OfTime(Nanos(v.Time)), nil
	case types.Duration:
		return OfDuration(int64(v.Duration)), nil
	}
	return Value{}, fmt.Errorf("a %s cannot be kept", v.Type().TypeName())
}

// OfJSON converts any JSON value.
func OfJSON(v *fastjson.Value) Value {
	switch v.Type() {
	case fastjson.TypeTrue, fastjson.TypeFalse:
		return OfBool(v.Type() == fastjson.TypeTrue)
	case fastjson.TypeNumber:
		return ofNumber(v)
	case fastjson.TypeString:
		return OfString(CloneText(v))
	case fastjson.TypeObject, fastjson.TypeArray:
		return Value{Kind: JSON, Str: string(AppendCompact(nil, v))}
	}
	return Value{}
}

// CEL converts the Value for use in an expression.
func (v Value) CEL() ref.Val {
	switch v.Kind {
	case Bool:
		return types.Bool(v.Bits != 0)
	case Int:
		return types.Int(v.Bits)
	case Uint:
		return types.Uint(v.Bits)
	case Double:
		return types.Double(math.Float64frombits(v.Bits))
	case Integer:
		return JSONInteger(v.Str)
	case String:
		return types.String(v.Str)
	case Time:
		return CELTime(int64(v.Bits))
	case Duration:
		return types.Duration{Duration: time.Duration(v.Bits)}
	case JSON:
		parsed, err := fastjson.Parse(v.Str)
		if err != nil {
			return types.NewErr("stored JSON: %v", err)
		}
		return CELJSON(parsed)
	}
	return types.NullValue
}

// CELTime converts nanoseconds since 1970 to a CEL timestamp.
func CELTime(ns int64) types.Timestamp { return types.Timestamp{Time: time.Unix(0, ns).UTC()} }

// Number is a numeric Value as a double; ok is false for other kinds.
func (v Value) Number() (f float64, ok bool) {
	n, ok := v.number()
	return n.asDouble(), ok
}

// Double is a numeric Value as a double, 0 for other kinds.
func (v Value) Double() float64 {
	f, _ := v.Number()
	return f
}

// Same reports whether `distinct` counts two values as one: whether their texts
// are the same, as with keys. null, lists and maps have no text, and are the same
// only as themselves.
func (v Value) Same(w Value) bool {
	if v.Kind == w.Kind && v.Kind != Double {
		return v == w
	}
	if v.Kind == Double && w.Kind == Double {
		return v.Double() == w.Double()
	}
	a, aOK := KeyText(v.CEL())
	b, bOK := KeyText(w.CEL())
	return aOK && bOK && a == b
}

// KeyText is a value as the text of a key (`by`, `key`, `match`); ok is false
// for a value that cannot be a key.
func KeyText(v ref.Val) (key string, ok bool) {
	switch v.(type) {
	case types.String, types.Bool, types.Int, types.Uint, types.Double, JSONInteger, types.Timestamp, types.Duration:
		s, err := PrintText(v)
		return s, err == nil
	}
	return "", false
}

// PrintText is a value as it appears inside a template's text.
func PrintText(v ref.Val) (string, error) {
	if s, ok, err := printNumber(v); ok {
		return s, err
	}
	switch v := v.(type) {
	case types.String:
		return string(v), nil
	case types.Bool:
		return strconv.FormatBool(bool(v)), nil
	case types.Timestamp:
		return v.UTC().Format(time.RFC3339Nano), nil
	case types.Duration:
		return strconv.FormatFloat(v.Seconds(), 'f', -1, 64) + "s", nil // as CEL's string() writes it
	case types.Null:
		return "", fmt.Errorf("the value is null")
	}
	return "", fmt.Errorf("a %s has no text", v.Type().TypeName())
}
