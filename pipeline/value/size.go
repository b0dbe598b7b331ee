package value

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/valyala/fastjson"
)

// Size is the number of bytes that count for a value in the limits on what is
// kept of a user (LANGUAGE.md, rule 18): those of a text, or of the JSON of a
// list or map; 8 for a number, time or duration; 1 for a bool; 0 for null. Of an
// integer beyond 64 bits, all digits are kept and count.
func (v Value) Size() int {
	switch v.Kind {
	case Null:
		return 0
	case Bool:
		return 1
	case String, JSON:
		return len(v.Str)
	case Integer:
		return numberSize(v.Str)
	}
	return 8
}

// longestNumber is the length of the longest integer of 64 bits.
const longestNumber = len("-9223372036854775808")

// numberSize is the size of a number: 8, but of a longer integer than 64 bits
// can hold, whose digits are kept, the number of these.
func numberSize(raw string) int {
	if len(raw) <= longestNumber || strings.ContainsAny(raw, ".eE") {
		return 8
	}
	return len(raw)
}

// JSONSize is Size of a JSON value.
func JSONSize(v *fastjson.Value) int {
	switch v.Type() {
	case fastjson.TypeString:
		return len(AliasText(v))
	case fastjson.TypeObject, fastjson.TypeArray:
		return len(AppendCompact(nil, v))
	case fastjson.TypeNumber:
		return numberSize(string(v.MarshalTo(nil)))
	case fastjson.TypeNull:
		return 0
	}
	return 1
}

// CutText is as much of a text as fits into that many bytes, without part of a
// character.
func CutText(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}

// AppendCompact appends the JSON of v without white space: numbers as they are
// spelled, members in their order; of duplicate members only the first, which
// counts. (fastjson's own MarshalTo writes what is no JSON for some control
// characters.)
func AppendCompact(dst []byte, v *fastjson.Value) []byte {
	switch v.Type() {
	case fastjson.TypeString:
		return AppendJSONString(dst, AliasText(v))
	case fastjson.TypeArray:
		dst = append(dst, '[')
		for i, e := range v.GetArray() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = AppendCompact(dst, e)
		}
		return append(dst, ']')
	case fastjson.TypeObject:
		dst = append(dst, '{')
		VisitFirst(v.GetObject(), func(name string, e *fastjson.Value) {
			if dst[len(dst)-1] != '{' {
				dst = append(dst, ',')
			}
			dst = append(AppendJSONString(dst, name), ':')
			dst = AppendCompact(dst, e)
		})
		return append(dst, '}')
	}
	return appendNumber(dst, v)
}

// appendNumber appends null, a bool or a number, as it is spelled; but a double
// that is spelled with many digits with the fewest that read back to it.
func appendNumber(dst []byte, v *fastjson.Value) []byte {
	const many = 32
	n := len(dst)
	dst = v.MarshalTo(dst)
	if len(dst)-n <= many || !bytes.ContainsAny(dst[n:], ".eE") {
		return dst
	}
	f := Number(v)
	switch dst = dst[:n]; {
	case math.IsInf(f, 1):
		return append(dst, "1e999"...)
	case math.IsInf(f, -1):
		return append(dst, "-1e999"...)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}

// VisitFirst calls fn with the members of an object, which may be nil, in their
// order; of duplicate members only with the first. The name is valid as long as
// the parsed bytes.
func VisitFirst(o *fastjson.Object, fn func(name string, v *fastjson.Value)) {
	const few = 16 // up to here, a search is cheaper than a set
	var seen map[string]bool
	if o.Len() > few {
		seen = make(map[string]bool, o.Len())
	}
	o.Visit(func(k []byte, v *fastjson.Value) {
		name := unsafe.String(unsafe.SliceData(k), len(k))
		switch {
		case seen == nil && o.Get(name) != v || seen[name]:
			return
		case seen != nil:
			seen[name] = true
		}
		fn(name, v)
	})
}
