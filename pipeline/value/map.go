package value

import (
	"fmt"
	"reflect"
	"slices"
	"sort"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"github.com/valyala/fastjson"
)

// A Source supplies the entries of a Map.
type Source interface {
	Find(key string) (ref.Val, bool)
	Has(key string) bool // false for keys that Find finds, but that a feature with `by` does not hold
	Keys() []string      // sorted
	Size() int
}

// An Object is a JSON object as a Source. Of duplicate keys the first counts.
type Object struct{ V *fastjson.Value }

func (o Object) Find(key string) (ref.Val, bool) {
	v := o.V.Get(key)
	if v == nil {
		return nil, false
	}
	return CELJSON(v), true
}

func (o Object) Has(key string) bool { return o.V.Exists(key) }

func (o Object) Keys() []string {
	var ks []string
	o.V.GetObject().Visit(func(k []byte, _ *fastjson.Value) { ks = append(ks, string(k)) })
	sort.Strings(ks)
	return slices.Compact(ks)
}

func (o Object) Size() int { return len(o.Keys()) }

// A Map is a CEL map with text keys. It iterates in the order of its keys,
// because Go's and CEL's own maps iterate in random order.
type Map struct{ Source Source }

var _ traits.Mapper = Map{}

func (m Map) Find(key ref.Val) (ref.Val, bool) {
	k, ok := KeyText(key)
	if !ok {
		return types.MaybeNoSuchOverloadErr(key), false
	}
	return m.Source.Find(k)
}

func (m Map) Get(key ref.Val) ref.Val {
	v, ok := m.Find(key)
	if !ok {
		if v != nil {
			return v
		}
		return types.NewErr("no such key: %v", key)
	}
	return v
}

func (m Map) Contains(key ref.Val) ref.Val {
	k, ok := KeyText(key)
	if !ok {
		return types.False
	}
	return types.Bool(m.Source.Has(k))
}

func (m Map) Size() ref.Val { return types.Int(m.Source.Size()) }

func (m Map) Iterator() traits.Iterator {
	ks := m.Source.Keys()
	vals := make([]ref.Val, len(ks))
	for i, k := range ks {
		vals[i] = types.String(k)
	}
	return types.NewRefValList(types.DefaultTypeAdapter, vals).Iterator()
}

func (m Map) Equal(other ref.Val) ref.Val {
	o, ok := other.(traits.Mapper)
	if !ok {
		return types.False
	}
	return equalMaps(m, o)
}

func (m Map) IsSet(key ref.Val) ref.Val { return m.Contains(key) }

func (m Map) Type() ref.Type { return types.MapType }

func (m Map) Value() any {
	out := make(map[string]any, m.Source.Size())
	for _, k := range m.Source.Keys() {
		v, _ := m.Source.Find(k)
		out[k] = v.Value()
	}
	return out
}

func (m Map) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("a map converts to no %v", t)
}

func (m Map) ConvertToType(t ref.Type) ref.Val {
	switch t {
	case types.MapType:
		return m
	case types.TypeType:
		return types.MapType
	}
	return types.NewErr("a map converts to no %s", t.TypeName())
}
