package event

import (
	"cmp"
	"slices"
	"strings"

	"github.com/valyala/fastjson"
)

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

// Items is event.items, of which each is an object: the products of
// properties.products if there are any, else the properties themselves. An event
// about an item has that item alone: its properties, with its key after SetItem.
func (e *Event) Items() []*fastjson.Value {
	if e.items == nil {
		if e.Type != Item {
			e.items = products(e.Get("properties").Get("products"))
		}
		if len(e.items) == 0 {
			e.sole[0] = e.Object("properties")
			e.items = e.sole[:]
		}
	}
	return e.items
}

// products are the items in properties.products: the objects of a list; the
// values of a map that has only objects, which is how PHP writes a list from which
// something was removed; any other map is one product.
func products(v *fastjson.Value) []*fastjson.Value {
	switch {
	case v == nil:
		return nil
	case v.Type() == fastjson.TypeArray:
		list := v.GetArray()
		if slices.ContainsFunc(list, notObject) {
			list = slices.DeleteFunc(slices.Clone(list), notObject)
		}
		return list
	case notObject(v):
		return nil
	}
	members := inOrder(v.GetObject())
	if len(members) == 0 {
		return nil
	}
	items := make([]*fastjson.Value, len(members))
	for i, m := range members {
		if items[i] = m.value; notObject(m.value) {
			return []*fastjson.Value{v}
		}
	}
	return items
}

func notObject(v *fastjson.Value) bool { return v.Type() != fastjson.TypeObject }

// A keyed is a member of a map of products.
type keyed struct {
	key     string
	integer bool
	sign    int    // of an integer: -1, 0 or 1
	digits  string // of an integer: without leading zeros
	value   *fastjson.Value
}

// inOrder are the members of a map in the order of their keys: integers by value,
// then the others by bytes. Of equal keys the first counts.
func inOrder(o *fastjson.Object) []keyed {
	members := make([]keyed, 0, o.Len())
	o.Visit(func(key []byte, v *fastjson.Value) {
		m := keyed{key: string(key), value: v}
		m.readInteger()
		members = append(members, m)
	})
	slices.SortStableFunc(members, keyed.compare)
	return slices.CompactFunc(members, func(a, b keyed) bool { return a.key == b.key })
}

// readInteger reads a key that is an integer, of any length: digits after an
// optional minus.
func (m *keyed) readInteger() {
	digits, negative := strings.CutPrefix(m.key, "-")
	if m.integer = digits != "" && strings.Trim(digits, "0123456789") == ""; !m.integer {
		return
	}
	m.digits = strings.TrimLeft(digits, "0")
	switch {
	case m.digits == "":
	case negative:
		m.sign = -1
	default:
		m.sign = 1
	}
}

func (m keyed) compare(o keyed) int {
	switch {
	case m.integer && !o.integer:
		return -1
	case o.integer && !m.integer:
		return 1
	}
	magnitude := cmp.Or(cmp.Compare(len(m.digits), len(o.digits)), strings.Compare(m.digits, o.digits))
	return cmp.Or(cmp.Compare(m.sign, o.sign), m.sign*magnitude, strings.Compare(m.key, o.key))
}
