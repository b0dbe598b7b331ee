package value

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"sort"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"github.com/valyala/fastjson"
)

// Parse parses JSON from outside; no other function does. The parser leaves two
// things to chance that events must not depend on: of two spellings of the same
// key, one with escapes, it finds now one and now the other, and half a surrogate
// pair reads as its own escape. After Parse, the first of equal keys counts, and
// half a pair is U+FFFD.
func Parse(p *fastjson.Parser, b []byte) (*fastjson.Value, error) {
	if bytes.IndexByte(b, '\\') < 0 {
		return p.ParseBytes(b)
	}
	v, err := p.ParseBytes(mendSurrogates(b))
	if err == nil {
		unescapeKeys(v)
	}
	return v, err
}

// unescapeKeys makes the keys of all objects comparable: Visit unescapes them.
func unescapeKeys(v *fastjson.Value) {
	switch v.Type() {
	case fastjson.TypeObject:
		v.GetObject().Visit(func(_ []byte, in *fastjson.Value) { unescapeKeys(in) })
	case fastjson.TypeArray:
		for _, in := range v.GetArray() {
			unescapeKeys(in)
		}
	}
}

// mendSurrogates replaces each escape of half a surrogate pair by \ufffd, in a copy
// if there is any.
func mendSurrogates(b []byte) []byte {
	copied := false
	for i := bytes.IndexByte(b, '\\'); i >= 0 && i+1 < len(b); {
		switch r := escapedRune(b[i:]); {
		case !utf16.IsSurrogate(r):
			i += 2 // past the escaped character, which may be a backslash
		case utf16.DecodeRune(r, escapedRune(b[i+6:])) != utf8.RuneError:
			i += 12
		default:
			if !copied {
				b, copied = bytes.Clone(b), true
			}
			i += copy(b[i:], `\ufffd`)
		}
		next := bytes.IndexByte(b[i:], '\\')
		if next < 0 {
			break
		}
		i += next
	}
	return b
}

// escapedRune is the number in an escape such as \ud83d at the beginning of b, -1
// if none is there.
func escapedRune(b []byte) rune {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return -1
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return rune(n)
}

// AliasText returns the text of a JSON string, "" for any other JSON. The text
// aliases the parsed bytes and is valid only as long as they are.
func AliasText(v *fastjson.Value) string {
	if v == nil || v.Type() != fastjson.TypeString {
		return ""
	}
	b := v.GetStringBytes()
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// CloneText is AliasText with a copy of the text.
func CloneText(v *fastjson.Value) string { return strings.Clone(AliasText(v)) }

// Absent reports whether a JSON value is missing or null.
func Absent(v *fastjson.Value) bool { return v == nil || v.Type() == fastjson.TypeNull }

// Number reads a JSON number, correctly rounded. (fastjson's own conversion can
// be off by one unit in the last place.)
func Number(v *fastjson.Value) float64 {
	var f float64
	spelled(v, func(raw string) { f, _ = strconv.ParseFloat(raw, 64) }) // a number out of range becomes an infinity
	return f
}

// FormatDouble is the shortest decimal text that parses to f, without an
// exponent and without ".0". -0 is 0.
func FormatDouble(f float64) string {
	if f == 0 {
		return "0"
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

// AliasJSONKey is KeyText for a JSON value. Like AliasText, the key may alias
// the parsed bytes.
func AliasJSONKey(v *fastjson.Value) (string, bool) {
	if v == nil {
		return "", false
	}
	switch v.Type() {
	case fastjson.TypeString:
		return AliasText(v), true
	case fastjson.TypeNumber:
		return Decimal(v)
	case fastjson.TypeTrue:
		return "true", true
	case fastjson.TypeFalse:
		return "false", true
	}
	return "", false
}

// CELJSON converts a JSON value to CEL: numbers become doubles or JSONIntegers,
// and objects iterate in the order of their keys.
func CELJSON(v *fastjson.Value) ref.Val {
	switch v.Type() {
	case fastjson.TypeTrue:
		return types.True
	case fastjson.TypeFalse:
		return types.False
	case fastjson.TypeNumber:
		return ofNumber(v).CEL()
	case fastjson.TypeString:
		return types.String(CloneText(v))
	case fastjson.TypeObject:
		return Map{Object{v}}
	case fastjson.TypeArray:
		return CELList(v.GetArray())
	}
	return types.NullValue
}

// CELList converts a JSON array to CEL, as CELJSON does.
func CELList(items []*fastjson.Value) ref.Val {
	vals := make([]ref.Val, len(items))
	for i, it := range items {
		vals[i] = CELJSON(it)
	}
	return types.NewRefValList(types.DefaultTypeAdapter, vals)
}

// AppendJSON appends a CEL value as JSON: maps in the order of their keys,
// times and durations as text.
func AppendJSON(dst []byte, v ref.Val) ([]byte, error) {
	switch v := v.(type) {
	case types.Null:
		return append(dst, "null"...), nil
	case types.Bool:
		return strconv.AppendBool(dst, bool(v)), nil
	case types.Int, types.Uint, types.Double, JSONInteger:
		s, _, err := printNumber(v)
		return append(dst, s...), err
	case types.String, types.Timestamp, types.Duration:
		s, err := PrintText(v)
		return AppendJSONString(dst, s), err
	case traits.Mapper:
		return appendMap(dst, v)
	case traits.Lister:
		return appendList(dst, v)
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

func appendList(dst []byte, list traits.Lister) (_ []byte, err error) {
	dst = append(dst, '[')
	for it, i := list.Iterator(), 0; it.HasNext() == types.True; i++ {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = AppendJSON(dst, it.Next()); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

func appendMap(dst []byte, m traits.Mapper) ([]byte, error) {
	vals := map[string]ref.Val{}
	var keys []string
	for it := m.Iterator(); it.HasNext() == types.True; {
		k := it.Next()
		name, ok := KeyText(k)
		if !ok {
			return dst, fmt.Errorf("a %s cannot be a key", k.Type().TypeName())
		}
		if _, twice := vals[name]; twice {
			return dst, fmt.Errorf("two keys of the map have the text %q", name)
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

// AppendJSONString appends s as a JSON string. It does not escape for HTML.
// Invalid UTF-8 becomes U+FFFD.
func AppendJSONString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	from := 0 // what is before it has been appended
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			if r, n := utf8.DecodeRuneInString(s[i:]); r != utf8.RuneError || n > 1 {
				i += n
				continue
			}
		} else if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		dst = appendEscape(append(dst, s[from:i]...), c)
		i++
		from = i
	}
	return append(append(dst, s[from:]...), '"')
}

// appendEscape appends a byte that cannot be in a JSON string as it is.
func appendEscape(dst []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\t':
		return append(dst, '\\', 't')
	case '\r':
		return append(dst, '\\', 'r')
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	}
	if c >= utf8.RuneSelf {
		return utf8.AppendRune(dst, utf8.RuneError)
	}
	return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}

// Ordinary returns the offset of the first byte from i on that ends the ordinary part
// of a JSON string: a quote, a backslash or a control character. If there is none, it
// is len(b) or more. It looks at eight bytes at once; the lowest bit of a mask is that
// of the first such byte.
func Ordinary(b []byte, i int) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		quote, back := x^('"'*ones), x^('\\'*ones)
		if m := ((quote-ones)&^quote | (back-ones)&^back | (x-' '*ones)&^x) & highs; m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
	}
	for i < len(b) && b[i] >= ' ' && b[i] != '"' && b[i] != '\\' {
		i++
	}
	return i
}
