package event

import "github.com/valyala/fastjson"

// NoObject is an object without members.
var NoObject = fastjson.MustParse("{}")

// Object is the event's properties, traits or context, NoObject if the event
// has none.
func (e *Event) Object(name string) *fastjson.Value {
	v := e.Get(name)
	if v == nil || v.Type() != fastjson.TypeObject {
		return NoObject
	}
	return v
}

// Items is event.items: the elements of properties.products if there are any,
// else the properties themselves.
func (e *Event) Items() []*fastjson.Value {
	if products := e.Get("properties").GetArray("products"); len(products) > 0 {
		return products
	}
	e.sole[0] = e.Object("properties")
	return e.sole[:]
}
