package expr

import (
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
	"github.com/valyala/fastjson"

	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// A Scope is what an expression sees: one event, one entity, one log time. It
// reads a value only when the expression uses it. Features are identified by
// Feature.Index.
type Scope interface {
	interpreter.Activation // resolves names, with Common for those that every scope has

	Now() int64
	Event() *event.Event
	Item() *fastjson.Value // the item of the event that the expression is about, else nil

	Total(feature int) value.Value             // of a Single feature without `by`
	Under(feature int, key string) value.Value // of a Single feature with `by`
	Has(feature int, key string) bool          // whether the key has an entry in the window
}

// Common resolves the names that mean the same in every scope.
func Common(sc Scope, name string) (any, bool) {
	switch name {
	case "event":
		return Event.Of(sc.Event()), true
	case "now":
		return value.CELTime(sc.Now()), true
	case "item":
		return value.CELJSON(sc.Item()), true
	}
	return nil, false
}

// JSONMap is the CEL type of a JSON object.
var JSONMap = cel.MapType(cel.StringType, cel.DynType)

// Event is the CEL type of `event`.
var Event = value.NewStruct("Event", map[string]value.Field{
	"type":       {Type: cel.StringType, Get: ofEvent(func(e *event.Event) ref.Val { return types.String(e.Type.String()) })},
	"name":       {Type: cel.StringType, Get: ofEvent(func(e *event.Event) ref.Val { return types.String(e.Name) })},
	"id":         {Type: cel.StringType, Get: ofEvent(func(e *event.Event) ref.Val { return types.String(strings.Clone(e.ID)) })},
	"user":       {Type: cel.StringType, Get: ofEvent(user)},
	"time":       {Type: cel.TimestampType, Get: ofEvent(func(e *event.Event) ref.Val { return value.CELTime(e.Time) })},
	"properties": {Type: JSONMap, Get: object("properties")},
	"traits":     {Type: JSONMap, Get: object("traits")},
	"context":    {Type: JSONMap, Get: object("context")},
	"items":      {Type: cel.ListType(cel.DynType), Get: ofEvent(func(e *event.Event) ref.Val { return value.CELList(e.Items()) })},
})

// user is the entity key of the event's user. An event about an item has none.
func user(e *event.Event) ref.Val {
	switch {
	case strings.HasPrefix(e.Key, "i:"):
		return types.NewErr("no such field: user (the event is about an item)")
	case e.Bare:
		return types.String(strings.Clone(e.User()))
	}
	return types.String(strings.Clone(e.Key))
}

func ofEvent(get func(e *event.Event) ref.Val) func(any) ref.Val {
	return func(target any) ref.Val { return get(target.(*event.Event)) }
}

func object(name string) func(any) ref.Val {
	return ofEvent(func(e *event.Event) ref.Val { return value.Map{Source: value.Object{V: e.Object(name)}} })
}
