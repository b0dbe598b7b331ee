package value

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// A Struct is a type of fixed fields that expressions know, such as event.
type Struct struct {
	Name   string
	Type   *cel.Type
	Fields map[string]Field
	Data   bool // its values have JSON: an object of the fields
}

// A Field is one of a Struct's.
type Field struct {
	Type *cel.Type
	Get  func(of any) ref.Val // of is what Struct.Of was given
}

// NewStruct declares a type. Its values have all the fields.
func NewStruct(name string, fields map[string]Field) *Struct {
	return &Struct{Name: name, Type: cel.ObjectType(name, traits.FieldTesterType, traits.IndexerType), Fields: fields}
}

// Of is a value of the type, whose fields read of.
func (s *Struct) Of(of any) ref.Val { return &instance{s, of} }

// instance is a Struct's value in an expression.
type instance struct {
	*Struct
	of any
}

func (v *instance) Type() ref.Type          { return v.Struct.Type }
func (v *instance) Value() any              { return v }
func (v *instance) Equal(o ref.Val) ref.Val { return types.Bool(ref.Val(v) == o) }

func (v *instance) Get(name ref.Val) ref.Val {
	s, ok := name.(types.String)
	if f, found := v.Fields[string(s)]; ok && found {
		return f.Get(v.of)
	}
	return types.NewErr("no such field: %v", name)
}

func (v *instance) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("a %s converts to no %v", v.Name, t)
}

func (v *instance) ConvertToType(t ref.Type) ref.Val {
	return types.NewErr("a %s converts to no %s", v.Name, t.TypeName())
}

// appendJSON writes the fields, in the order of their names.
func (v *instance) appendJSON(dst []byte) (_ []byte, err error) {
	if !v.Data {
		return dst, fmt.Errorf("a %s has no JSON", v.Name)
	}
	dst = append(dst, '{')
	for i, name := range slices.Sorted(maps.Keys(v.Fields)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(AppendJSONString(dst, name), ':')
		if dst, err = AppendJSON(dst, v.Fields[name].Get(v.of)); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

// Structs tells CEL the fields of some types.
type Structs struct {
	types.Provider
	known map[string]*Struct
}

// NewStructs makes a provider of these types and no others.
func NewStructs(all ...*Struct) Structs {
	s := Structs{types.NewEmptyRegistry(), map[string]*Struct{}}
	for _, t := range all {
		s.known[t.Name] = t
	}
	return s
}

// FindStructType is types.Provider's.
func (s Structs) FindStructType(name string) (*types.Type, bool) {
	if t := s.known[name]; t != nil {
		return types.NewTypeTypeWithParam(t.Type), true
	}
	return s.Provider.FindStructType(name)
}

// FindStructFieldNames is types.Provider's.
func (s Structs) FindStructFieldNames(name string) ([]string, bool) {
	t := s.known[name]
	if t == nil {
		return s.Provider.FindStructFieldNames(name)
	}
	var names []string
	for f := range t.Fields {
		names = append(names, f)
	}
	return names, true
}

// FindStructFieldType is types.Provider's.
func (s Structs) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	t := s.known[name]
	if t == nil {
		return s.Provider.FindStructFieldType(name, field)
	}
	f, ok := t.Fields[field]
	if !ok {
		return nil, false
	}
	return &types.FieldType{
		Type:  f.Type,
		IsSet: func(any) bool { return true },
		GetFrom: func(target any) (any, error) {
			v, ok := target.(*instance)
			if !ok {
				return nil, fmt.Errorf("a %T is no %s", target, name)
			}
			return f.Get(v.of), nil
		},
	}, true
}
