package value

import (
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"github.com/valyala/fastjson"
)

// Text is a JSON string's text, "" for anything else. It lies in the memory
// of what was parsed, and is valid as long as that.
func Text(v *fastjson.Value) string {
	if v == nil || v.Type() != fastjson.TypeString {
		return ""
	}
	b := v.GetStringBytes()
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// CloneText is Text in memory of its own.
func CloneText(v *fastjson.Value) string { return strings.Clone(Text(v)) }

// Absent says that nothing stands there, or null.
func Absent(v *fastjson.Value) bool { return v == nil || v.Type() == fastjson.TypeNull }

// Number reads a JSON number, correctly rounded (fastjson's own reading may
// be one unit in the last place off).
func Number(v *fastjson.Value) float64 {
	var buf [32]byte
	raw := v.MarshalTo(buf[:0])
	f, _ := strconv.ParseFloat(unsafe.String(unsafe.SliceData(raw), len(raw)), 64) // beyond range: an infinity
	return f
}

// Decimal is a JSON number's decimal text: integers as written.
func Decimal(v *fastjson.Value) string {
	raw := string(v.MarshalTo(nil))
	if !strings.ContainsAny(raw, ".eE") {
		return raw
	}
	return FormatDouble(Number(v))
}

// FormatDouble is the shortest decimal text that reads back as f, without an
// exponent and without ".0".
func FormatDouble(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// JSONKey is KeyText of a JSON value; valid as long as what was parsed.
func JSONKey(v *fastjson.Value) (string, bool) {
	if v == nil {
		return "", false
	}
	switch v.Type() {
	case fastjson.TypeString:
		return Text(v), true
	case fastjson.TypeNumber:
		f := Number(v)
		return FormatDouble(f), !math.IsInf(f, 0)
	case fastjson.TypeTrue:
		return "true", true
	case fastjson.TypeFalse:
		return "false", true
	}
	return "", false
}

// CELJSON is a JSON value in an expression: numbers are doubles; objects
// iterate in the order of their keys.
func CELJSON(v *fastjson.Value) ref.Val {
	switch v.Type() {
	case fastjson.TypeTrue:
		return types.True
	case fastjson.TypeFalse:
		return types.False
	case fastjson.TypeNumber:
		return types.Double(Number(v))
	case fastjson.TypeString:
		return types.String(CloneText(v))
	case fastjson.TypeObject:
		return Map{Object{v}}
	case fastjson.TypeArray:
		return CELList(v.GetArray())
	}
	return types.NullValue
}

// CELList is CELJSON of a list.
func CELList(items []*fastjson.Value) ref.Val {
	vals := make([]ref.Val, len(items))
	for i, it := range items {
		vals[i] = CELJSON(it)
	}
	return types.NewRefValList(types.DefaultTypeAdapter, vals)
}

// AppendJSON writes a value as JSON: maps in the order of their keys, times
// and durations as text.
func AppendJSON(dst []byte, v ref.Val) ([]byte, error) {
	switch v := v.(type) {
	case types.Null:
		return append(dst, "null"...), nil
	case types.Bool:
		return strconv.AppendBool(dst, bool(v)), nil
	case types.Int:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case types.Uint:
		return strconv.AppendUint(dst, uint64(v), 10), nil
	case types.Double:
		f := float64(v)
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return dst, fmt.Errorf("%v is not a number that JSON has", f)
		}
		return strconv.AppendFloat(dst, f, 'f', -1, 64), nil
	case types.String, types.Timestamp, types.Duration:
		s, err := PrintText(v)
		return AppendJSONString(dst, s), err
	case traits.Mapper:
		return appendMap(dst, v)
	case traits.Lister:
		dst = append(dst, '[')
		var err error
		for it, i := v.Iterator(), 0; it.HasNext() == types.True; i++ {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = AppendJSON(dst, it.Next()); err != nil {
				return dst, err
			}
		}
		return append(dst, ']'), nil
	case *instance:
		return v.appendJSON(dst)
	case *types.Optional:
		if !v.HasValue() {
			return dst, fmt.Errorf("the value is absent")
		}
		return AppendJSON(dst, v.GetValue())
	}
	return dst, fmt.Errorf("a %s has no JSON", v.Type().TypeName())
}

func appendMap(dst []byte, m traits.Mapper) ([]byte, error) {
	vals := map[string]ref.Val{}
	var keys []string
	for it := m.Iterator(); it.HasNext() == types.True; {
		k := it.Next()
		name, ok := KeyText(k)
		if !ok {
			return dst, fmt.Errorf("a %s is no key", k.Type().TypeName())
		}
		keys = append(keys, name)
		vals[name] = m.Get(k)
	}
	sort.Strings(keys)
	dst = append(dst, '{')
	var err error
	for i, k := range keys {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(AppendJSONString(dst, k), ':')
		if dst, err = AppendJSON(dst, vals[k]); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

// AppendJSONString writes a JSON string, without escaping for HTML.
func AppendJSONString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, r := range s { // invalid UTF-8 becomes U+FFFD
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, '\\', 'n')
		case r == '\t':
			dst = append(dst, '\\', 't')
		case r == '\r':
			dst = append(dst, '\\', 'r')
		case r == '\b':
			dst = append(dst, '\\', 'b')
		case r == '\f':
			dst = append(dst, '\\', 'f')
		case r < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}
