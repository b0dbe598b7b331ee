package pipeline

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"github.com/valyala/fastjson"
)

// A Value is one that an entity keeps: what an aggregate holds, a trait, a
// list's field. The zero Value is null.
type Value struct {
	kind valueKind
	bits uint64 // bool, int, uint, double's bits, timestamp and duration in nanoseconds
	str  string // string; json: a list's or map's text
}

type valueKind uint8

const (
	kindNull valueKind = iota
	kindBool
	kindInt
	kindUint
	kindDouble
	kindString
	kindTimestamp
	kindDuration
	kindJSON
)

// scalarValue keeps what an expression gave. Lists and maps are not kept.
func scalarValue(v ref.Val) (Value, error) {
	switch v := v.(type) {
	case types.Null:
		return Value{}, nil
	case types.Bool:
		if v {
			return Value{kind: kindBool, bits: 1}, nil
		}
		return Value{kind: kindBool}, nil
	case types.Int:
		return Value{kind: kindInt, bits: uint64(v)}, nil
	case types.Uint:
		return Value{kind: kindUint, bits: uint64(v)}, nil
	case types.Double:
		return Value{kind: kindDouble, bits: math.Float64bits(float64(v))}, nil
	case types.String:
		return Value{kind: kindString, str: string(v)}, nil
	case types.Timestamp:
		return Value{kind: kindTimestamp, bits: uint64(v.UnixNano())}, nil
	case types.Duration:
		return Value{kind: kindDuration, bits: uint64(v.Duration)}, nil
	}
	return Value{}, fmt.Errorf("a %s cannot be kept", v.Type().TypeName())
}

// jsonValue keeps any JSON.
func jsonValue(v *fastjson.Value) Value {
	switch v.Type() {
	case fastjson.TypeTrue:
		return Value{kind: kindBool, bits: 1}
	case fastjson.TypeFalse:
		return Value{kind: kindBool}
	case fastjson.TypeNumber:
		return Value{kind: kindDouble, bits: math.Float64bits(number(v))}
	case fastjson.TypeString:
		return Value{kind: kindString, str: text(v)}
	case fastjson.TypeObject, fastjson.TypeArray:
		return Value{kind: kindJSON, str: string(v.MarshalTo(nil))}
	}
	return Value{}
}

// cel is the value in an expression.
func (v Value) cel() ref.Val {
	switch v.kind {
	case kindBool:
		return types.Bool(v.bits != 0)
	case kindInt:
		return types.Int(v.bits)
	case kindUint:
		return types.Uint(v.bits)
	case kindDouble:
		return types.Double(math.Float64frombits(v.bits))
	case kindString:
		return types.String(v.str)
	case kindTimestamp:
		return celTime(int64(v.bits))
	case kindDuration:
		return types.Duration{Duration: time.Duration(v.bits)}
	case kindJSON:
		parsed, err := fastjson.Parse(v.str)
		if err != nil {
			return types.NewErr("stored JSON: %v", err)
		}
		return celJSON(parsed)
	}
	return types.NullValue
}

// number is the value as a double where it is a number.
func (v Value) number() (float64, bool) {
	switch v.kind {
	case kindInt:
		return float64(int64(v.bits)), true
	case kindUint:
		return float64(v.bits), true
	case kindDouble:
		return math.Float64frombits(v.bits), true
	}
	return 0, false
}

// same says whether two values are one for `distinct`: ints and doubles of
// the same number are.
func (v Value) same(w Value) bool {
	if a, ok := v.number(); ok {
		b, ok := w.number()
		return ok && a == b
	}
	return v == w
}

// keyText is a value as a key of `by`, `key` and `match`; false for what
// cannot be one.
func keyText(v ref.Val) (string, bool) {
	switch v := v.(type) {
	case types.String:
		return string(v), true
	case types.Bool, types.Int, types.Uint, types.Double, types.Timestamp:
		s, err := printText(v)
		return s, err == nil
	}
	return "", false
}

// jsonKey is keyText of a JSON value; valid as long as the event.
func jsonKey(v *fastjson.Value) (string, bool) {
	if v == nil {
		return "", false
	}
	switch v.Type() {
	case fastjson.TypeString:
		return view(v), true
	case fastjson.TypeNumber:
		f := number(v)
		return FormatDouble(f), !math.IsInf(f, 0)
	case fastjson.TypeTrue:
		return "true", true
	case fastjson.TypeFalse:
		return "false", true
	}
	return "", false
}

// printText is a value inside a template's text.
func printText(v ref.Val) (string, error) {
	switch v := v.(type) {
	case types.String:
		return string(v), nil
	case types.Bool:
		return strconv.FormatBool(bool(v)), nil
	case types.Int:
		return strconv.FormatInt(int64(v), 10), nil
	case types.Uint:
		return strconv.FormatUint(uint64(v), 10), nil
	case types.Double:
		if f := float64(v); !math.IsNaN(f) && !math.IsInf(f, 0) {
			return FormatDouble(f), nil
		}
		return "", fmt.Errorf("%v is not a number that can be shown", float64(v))
	case types.Timestamp:
		return v.UTC().Format(time.RFC3339Nano), nil
	case types.Duration:
		return durationText(v.Duration), nil
	case types.Null:
		return "", fmt.Errorf("the value is null")
	}
	return "", fmt.Errorf("a %s has no text", v.Type().TypeName())
}

// durationText is a duration in seconds, as CEL's string() writes it.
func durationText(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s"
}

func celTime(ns int64) types.Timestamp { return types.Timestamp{Time: time.Unix(0, ns).UTC()} }

// celJSON is a JSON value in an expression: numbers are doubles; objects
// iterate in the order of their keys.
func celJSON(v *fastjson.Value) ref.Val {
	switch v.Type() {
	case fastjson.TypeTrue:
		return types.True
	case fastjson.TypeFalse:
		return types.False
	case fastjson.TypeNumber:
		return types.Double(number(v))
	case fastjson.TypeString:
		return types.String(text(v))
	case fastjson.TypeObject:
		return celMap{jsonObject{v}}
	case fastjson.TypeArray:
		return celJSONList(v.GetArray())
	}
	return types.NullValue
}

func celJSONList(items []*fastjson.Value) ref.Val {
	vals := make([]ref.Val, len(items))
	for i, it := range items {
		vals[i] = celJSON(it)
	}
	return types.NewRefValList(types.DefaultTypeAdapter, vals)
}

// A source is what a celMap reads from.
type source interface {
	find(key string) (ref.Val, bool)
	has(key string) bool // what a feature with `by` lacks is found, as its empty value
	keys() []string      // sorted
	size() int
}

type jsonObject struct{ v *fastjson.Value }

func (o jsonObject) find(key string) (ref.Val, bool) {
	v := o.v.Get(key)
	if v == nil {
		return nil, false
	}
	return celJSON(v), true
}

func (o jsonObject) has(key string) bool { return o.v.Exists(key) }

func (o jsonObject) keys() []string {
	var ks []string
	o.v.GetObject().Visit(func(k []byte, _ *fastjson.Value) { ks = append(ks, string(k)) })
	sort.Strings(ks)
	return slices.Compact(ks) // of a key that stands there twice the first counts
}

func (o jsonObject) size() int { return len(o.keys()) }

// celMap is a map with text keys in an expression. It iterates in the order
// of its keys, because Go's and CEL's own maps iterate in random order.
type celMap struct{ src source }

var _ traits.Mapper = celMap{}

func (m celMap) Find(key ref.Val) (ref.Val, bool) {
	k, ok := keyText(key)
	if !ok {
		return types.MaybeNoSuchOverloadErr(key), false
	}
	return m.src.find(k)
}

func (m celMap) Get(key ref.Val) ref.Val {
	v, ok := m.Find(key)
	if !ok {
		if v != nil {
			return v
		}
		return types.NewErr("no such key: %v", key)
	}
	return v
}

func (m celMap) Contains(key ref.Val) ref.Val {
	k, ok := keyText(key)
	if !ok {
		return types.False
	}
	return types.Bool(m.src.has(k))
}

func (m celMap) Size() ref.Val { return types.Int(m.src.size()) }

func (m celMap) Iterator() traits.Iterator {
	ks := m.src.keys()
	vals := make([]ref.Val, len(ks))
	for i, k := range ks {
		vals[i] = types.String(k)
	}
	return types.NewRefValList(types.DefaultTypeAdapter, vals).Iterator()
}

func (m celMap) Equal(other ref.Val) ref.Val {
	o, ok := other.(traits.Mapper)
	if !ok || o.Size() != m.Size() {
		return types.False
	}
	for _, k := range m.src.keys() {
		v, _ := m.src.find(k)
		w, found := o.Find(types.String(k))
		if !found || types.Equal(v, w) != types.True {
			return types.False
		}
	}
	return types.True
}

func (m celMap) IsSet(key ref.Val) ref.Val { return m.Contains(key) }

func (m celMap) Type() ref.Type { return types.MapType }

func (m celMap) Value() any {
	out := make(map[string]any, m.src.size())
	for _, k := range m.src.keys() {
		v, _ := m.src.find(k)
		out[k] = v.Value()
	}
	return out
}

func (m celMap) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("a map converts to no %v", t)
}

func (m celMap) ConvertToType(t ref.Type) ref.Val {
	switch t {
	case types.MapType:
		return m
	case types.TypeType:
		return types.MapType
	}
	return types.NewErr("a map converts to no %s", t.TypeName())
}

// isMissing tells "no such field" from other errors of an expression.
func isMissing(err error) bool {
	s := err.Error()
	return strings.HasPrefix(s, "no such key") || strings.HasPrefix(s, "no such attribute") || strings.HasPrefix(s, "no such field")
}
