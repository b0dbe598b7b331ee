package pipeline

import (
	"fmt"
	"reflect"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"
	"github.com/valyala/fastjson"
)

// A scope is what an expression sees: one event, one user, one moment. It
// reads what is asked for when it is asked.
type scope struct {
	set   *Set
	now   int64
	event *Event
	item  *fastjson.Value // in `of` under a bare `by`
	ent   *Entity

	totals *totals // nil while the user's state may change
}

// totals are the aggregates without `by` that a step has read: many campaigns
// ask for the same.
type totals struct {
	step uint64
	at   []total // by feature
}

type total struct {
	step uint64 // that read it
	v    Value
}

func (t *totals) next(features int) *totals {
	t.step++
	if len(t.at) != features {
		t.at = make([]total, features)
	}
	return t
}

// total is the aggregate, but a list's, of feature i without `by`; its text
// is valid until the state changes.
func (s *scope) total(i int, f *feature) Value {
	if s.totals == nil {
		return f.at(s.ent.feature(i), "", s.now)
	}
	t := &s.totals.at[i]
	if t.step != s.totals.step {
		*t = total{s.totals.step, f.at(s.ent.feature(i), "", s.now)}
	}
	return t.v
}

var _ interpreter.Activation = (*scope)(nil)

func (s *scope) Parent() interpreter.Activation { return nil }

func (s *scope) ResolveName(name string) (any, bool) {
	switch name {
	case "event":
		return &eventVal{s.event}, true
	case "now":
		return celTime(s.now), true
	case "item":
		return celJSON(s.item), true
	case "profile":
		return celMap{profileSource{s.ent}}, true
	case "session":
		return &sessionVal{s}, true
	}
	if i, ok := s.set.featureIndex[name]; ok {
		return s.set.features[i].read(s.ent.feature(i), s.now), true
	}
	return nil, false
}

// Types of the two structs that expressions know.
var (
	eventType   = cel.ObjectType("Event", traits.FieldTesterType, traits.IndexerType)
	sessionType = cel.ObjectType("Session", traits.FieldTesterType, traits.IndexerType)
	jsonMapType = cel.MapType(cel.StringType, cel.DynType)
)

type field struct {
	typ *cel.Type
	get func(target any) ref.Val
}

func eventField(get func(e *Event) ref.Val) func(any) ref.Val {
	return func(t any) ref.Val { return get(t.(*eventVal).e) }
}

func sessionField(get func(s *session) ref.Val) func(any) ref.Val {
	return func(t any) ref.Val {
		sc := t.(*sessionVal).sc
		return get(sc.ent.sessionAt(sc.now))
	}
}

var structs = map[string]map[string]field{
	"Event": {
		"type":       {cel.StringType, eventField(func(e *Event) ref.Val { return types.String(e.Type.String()) })},
		"name":       {cel.StringType, eventField(func(e *Event) ref.Val { return types.String(e.Name) })},
		"id":         {cel.StringType, eventField(func(e *Event) ref.Val { return types.String(strings.Clone(e.ID)) })},
		"user":       {cel.StringType, eventField(func(e *Event) ref.Val { return types.String(strings.Clone(e.User())) })},
		"time":       {cel.TimestampType, eventField(func(e *Event) ref.Val { return celTime(e.Time) })},
		"properties": {jsonMapType, eventField(func(e *Event) ref.Val { return e.object("properties") })},
		"traits":     {jsonMapType, eventField(func(e *Event) ref.Val { return e.object("traits") })},
		"context":    {jsonMapType, eventField(func(e *Event) ref.Val { return e.object("context") })},
		"items":      {cel.ListType(cel.DynType), eventField(func(e *Event) ref.Val { return celJSONList(e.items()) })},
	},
	"Session": {
		"started": {cel.DynType, sessionField(func(s *session) ref.Val {
			if s.count == 0 {
				return types.NullValue
			}
			return celTime(s.started)
		})},
		"count":         {cel.IntType, sessionField(func(s *session) ref.Val { return types.Int(s.count) })},
		"events":        {cel.ListType(cel.StringType), sessionField(func(s *session) ref.Val { return types.NewStringList(types.DefaultTypeAdapter, s.names()) })},
		"referrer_host": {cel.StringType, sessionField(func(s *session) ref.Val { return types.String(s.referrerHost) })},
		"source":        {cel.StringType, sessionField(func(s *session) ref.Val { return types.String(s.source) })},
		"keyword":       {cel.StringType, sessionField(func(s *session) ref.Val { return types.String(s.keyword()) })},
	},
}

var noObject = fastjson.MustParse("{}")

func (e *Event) object(name string) ref.Val {
	v := e.get(name)
	if v == nil || v.Type() != fastjson.TypeObject {
		v = noObject
	}
	return celMap{jsonObject{v}}
}

// items is event.items: properties.products where there are any, else the
// properties themselves.
func (e *Event) items() []*fastjson.Value {
	props := e.get("properties")
	if products := props.GetArray("products"); len(products) > 0 {
		return products
	}
	if props == nil || props.Type() != fastjson.TypeObject {
		props = noObject
	}
	e.sole[0] = props
	return e.sole[:]
}

// objects tells CEL the fields of the structs.
type objects struct{ types.Provider }

func (o objects) FindStructType(name string) (*types.Type, bool) {
	switch name {
	case "Event":
		return types.NewTypeTypeWithParam(eventType), true
	case "Session":
		return types.NewTypeTypeWithParam(sessionType), true
	}
	return o.Provider.FindStructType(name)
}

func (o objects) FindStructFieldNames(name string) ([]string, bool) {
	fs, ok := structs[name]
	if !ok {
		return o.Provider.FindStructFieldNames(name)
	}
	var names []string
	for f := range fs {
		names = append(names, f)
	}
	return names, true
}

func (o objects) FindStructFieldType(name, fieldName string) (*types.FieldType, bool) {
	fs, ok := structs[name]
	if !ok {
		return o.Provider.FindStructFieldType(name, fieldName)
	}
	f, ok := fs[fieldName]
	if !ok {
		return nil, false
	}
	return &types.FieldType{
		Type:    f.typ,
		IsSet:   func(any) bool { return true },
		GetFrom: func(target any) (any, error) { return f.get(target), nil },
	}, true
}

// eventVal and sessionVal are the structs as CEL values.
type (
	eventVal   struct{ e *Event }
	sessionVal struct{ sc *scope }
)

func (v *eventVal) Type() ref.Type             { return eventType }
func (v *eventVal) Value() any                 { return v }
func (v *eventVal) Equal(o ref.Val) ref.Val    { return types.Bool(ref.Val(v) == o) }
func (v *eventVal) Get(name ref.Val) ref.Val   { return getField("Event", v, name) }
func (v *sessionVal) Type() ref.Type           { return sessionType }
func (v *sessionVal) Value() any               { return v }
func (v *sessionVal) Equal(o ref.Val) ref.Val  { return types.Bool(ref.Val(v) == o) }
func (v *sessionVal) Get(name ref.Val) ref.Val { return getField("Session", v, name) }

func (v *eventVal) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("an event converts to no %v", t)
}
func (v *eventVal) ConvertToType(t ref.Type) ref.Val {
	return types.NewErr("an event converts to no %s", t.TypeName())
}
func (v *sessionVal) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("a session converts to no %v", t)
}
func (v *sessionVal) ConvertToType(t ref.Type) ref.Val {
	return types.NewErr("a session converts to no %s", t.TypeName())
}

func getField(typ string, target any, name ref.Val) ref.Val {
	s, ok := name.(types.String)
	if f, found := structs[typ][string(s)]; ok && found {
		return f.get(target)
	}
	return types.NewErr("no such field: %v", name)
}
