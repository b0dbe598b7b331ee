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

// A Struct is a CEL type with fixed fields, such as that of `event`.
type Struct struct {
	Name   string
	Type   *cel.Type
	Fields map[string]Field
	Size   func(target any) int // what size() of a value is; nil: it has none
	Data   bool                 // values of the type can be written as JSON: an object of their fields
}

// A Field is one field of a Struct.
type Field struct {
	Type *cel.Type
	Get  func(target any) ref.Val // target is the argument of Struct.Of
}

// NewStruct declares a type. Every value of it has all the fields.
func NewStruct(name string, fields map[string]Field) *Struct {
	return &Struct{Name: name, Type: cel.ObjectType(name, traits.FieldTesterType, traits.IndexerType), Fields: fields}
}

// NewSized declares a type of which nothing but its size can be read.
func NewSized(name string, size func(target any) int) *Struct {
	return &Struct{Name: name, Type: cel.ObjectType(name, traits.SizerType), Size: size}
}

// Of returns a value of the type; its fields read target.
func (s *Struct) Of(target any) ref.Val { return &instance{s, target} }

// Target is what Of made a value of; ok is false if the value is not of the type.
func (s *Struct) Target(v ref.Val) (target any, ok bool) {
	if i, is := v.(*instance); is && i.Struct == s {
		return i.target, true
	}
	return nil, false
}

// An instance is a value of a Struct in an expression.
type instance struct {
	*Struct
	target any
}

func (v *instance) Type() ref.Type          { return v.Struct.Type }
func (v *instance) Value() any              { return v }
func (v *instance) Equal(o ref.Val) ref.Val { return types.Bool(ref.Val(v) == o) }

func (v *instance) Get(name ref.Val) ref.Val {
	s, ok := name.(types.String)
	if f, found := v.Fields[string(s)]; ok && found {
		return f.Get(v.target)
	}
	return types.NewErr("no such field: %v", name)
}

// Size implements traits.Sizer. CEL asks only for that of a type declared by NewSized.
func (v *instance) Size() ref.Val {
	if v.Struct.Size == nil {
		return types.MaybeNoSuchOverloadErr(v)
	}
	return types.Int(v.Struct.Size(v.target))
}

func (v *instance) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("a %s converts to no %v", v.Name, t)
}

func (v *instance) ConvertToType(t ref.Type) ref.Val {
	return types.NewErr("a %s converts to no %s", v.Name, t.TypeName())
}

// appendJSON appends the fields as a JSON object, in the order of their names.
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
		if dst, err = AppendJSON(dst, v.Fields[name].Get(v.target)); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

// Structs is a types.Provider that tells CEL the fields of some Structs.
type Structs struct {
	types.Provider
	known map[string]*Struct
}

// NewStructs makes a provider of the given types and no others.
func NewStructs(all ...*Struct) Structs {
	s := Structs{types.NewEmptyRegistry(), map[string]*Struct{}}
	for _, t := range all {
		s.known[t.Name] = t
	}
	return s
}

// FindStructType implements types.Provider.
func (s Structs) FindStructType(name string) (*types.Type, bool) {
	if t := s.known[name]; t != nil {
		return types.NewTypeTypeWithParam(t.Type), true
	}
	return s.Provider.FindStructType(name)
}

// FindStructFieldNames implements types.Provider.
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

// FindStructFieldType implements types.Provider.
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
		GetFrom: func(of any) (any, error) {
			v, ok := of.(*instance)
			if !ok {
				return nil, fmt.Errorf("a %T is no %s", of, name)
			}
			return f.Get(v.target), nil
		},
	}, true
}
