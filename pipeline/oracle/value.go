package oracle

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"sort"
	"strconv"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// plain returns the shortest decimal text of a double, without exponent, ".0" and
// the sign of -0.
func plain(f float64) string {
	if f == 0 {
		return "0"
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

// clock returns a time as RFC 3339 in UTC.
func clock(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }

func timestamp(ns int64) ref.Val { return types.Timestamp{Time: time.Unix(0, ns).UTC()} }

// fromJSON returns a JSON value as a value in expressions: numbers are doubles
// or integers.
func fromJSON(v any) ref.Val {
	switch v := v.(type) {
	case bool:
		return types.Bool(v)
	case string:
		return types.String(v)
	case json.Number:
		return fromNumber(v.String())
	case []any:
		return fromList(v)
	case *object:
		m := textMap{values: map[string]ref.Val{}}
		for key, val := range v.vals {
			m.values[key] = fromJSON(val)
		}
		return m
	}
	return types.NullValue
}

func fromList(list []any) ref.Val {
	vals := []ref.Val{}
	for _, v := range list {
		vals = append(vals, fromJSON(v))
	}
	return types.NewRefValList(types.DefaultTypeAdapter, vals)
}

// keyText returns the text of a value that is used as a key. It returns false
// for null, lists, maps and other values that cannot be keys.
func keyText(v ref.Val) (string, bool) {
	switch v := v.(type) {
	case types.String, types.Bool, types.Int, types.Uint, types.Double, integer, types.Timestamp, types.Duration:
		s, err := shown(v)
		return s, err == nil
	}
	return "", false
}

// shown returns the text of a value inside a longer text.
func shown(v ref.Val) (string, error) {
	switch v := v.(type) {
	case types.String:
		return string(v), nil
	case types.Bool:
		return fmt.Sprint(bool(v)), nil
	case types.Int:
		return fmt.Sprint(int64(v)), nil
	case types.Uint:
		return fmt.Sprint(uint64(v)), nil
	case types.Double:
		if f := float64(v); !math.IsNaN(f) && !math.IsInf(f, 0) {
			return plain(f), nil
		}
		return "", errors.New("not a finite number")
	case integer:
		return v.text, nil
	case types.Timestamp:
		return v.Time.UTC().Format(time.RFC3339Nano), nil
	case types.Duration:
		return plain(v.Duration.Seconds()) + "s", nil
	}
	return "", fmt.Errorf("a %s has no text", v.Type().TypeName())
}

// toJSON returns a value in the types that encoding/json writes.
func toJSON(v ref.Val) (any, error) {
	switch v := v.(type) {
	case types.Null:
		return nil, nil
	case types.String:
		return string(v), nil
	case types.Bool:
		return bool(v), nil
	case types.Timestamp, types.Duration:
		return shown(v)
	case types.Int, types.Uint, types.Double, integer:
		s, err := shown(v)
		return json.Number(s), err
	case traits.Mapper:
		out := map[string]any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			key := it.Next()
			name, ok := keyText(key)
			if !ok {
				return nil, fmt.Errorf("a %s as a key", key.Type().TypeName())
			}
			val, err := toJSON(v.Get(key))
			if err != nil {
				return nil, err
			}
			if _, twice := out[name]; twice {
				return nil, fmt.Errorf("two keys with the text %q", name)
			}
			out[name] = val
		}
		return out, nil
	case traits.Lister:
		out := []any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			val, err := toJSON(it.Next())
			if err != nil {
				return nil, err
			}
			out = append(out, val)
		}
		return out, nil
	}
	return nil, fmt.Errorf("a %s has no JSON", v.Type().TypeName())
}

// A textMap is a map with text keys in an expression. Go's and CEL's own maps
// iterate in random order; this one in the order of its keys. If other is set,
// it is the value of every key that is not in the map.
type textMap struct {
	values map[string]ref.Val
	other  ref.Val
}

var _ traits.Mapper = textMap{}

func (m textMap) keys() []string {
	ks := []string{}
	for k := range m.values {
		ks = append(ks, k)
	}
	sort.Strings(ks)
	return ks
}

func (m textMap) Find(key ref.Val) (ref.Val, bool) {
	k, ok := keyText(key)
	if !ok {
		return types.MaybeNoSuchOverloadErr(key), false
	}
	if v, ok := m.values[k]; ok {
		return v, true
	}
	return m.other, m.other != nil
}

func (m textMap) Get(key ref.Val) ref.Val {
	v, ok := m.Find(key)
	if !ok && v == nil {
		return types.NewErr("no such key: %v", key)
	}
	return v
}

func (m textMap) Contains(key ref.Val) ref.Val {
	k, ok := keyText(key)
	_, in := m.values[k]
	return types.Bool(ok && in)
}

func (m textMap) Size() ref.Val { return types.Int(len(m.values)) }

func (m textMap) Iterator() traits.Iterator {
	return types.NewStringList(types.DefaultTypeAdapter, m.keys()).Iterator()
}

func (m textMap) Equal(o ref.Val) ref.Val {
	return types.Bool(equal(m, o))
}

func (m textMap) Type() ref.Type { return types.MapType }
func (m textMap) Value() any     { return m.values }

func (m textMap) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("a map is not a %v", t)
}

func (m textMap) ConvertToType(t ref.Type) ref.Val {
	switch t {
	case types.MapType:
		return m
	case types.TypeType:
		return types.MapType
	}
	return types.NewErr("a map is not a %s", t.TypeName())
}
