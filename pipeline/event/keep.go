package event

import (
	"fmt"
	"slices"
	"strings"

	"github.com/valyala/fastjson"

	"offerstream/pipeline/value"
)

// Fields are the parts of an event that expressions read: paths such as
// properties.price. The zero value reads nothing but the event's type, id and
// user.
type Fields struct {
	Name  bool // event.name
	items bool // event.items
	paths []string
	// The members that are kept: of an event with products, if the items are read,
	// and of any other event.
	withProducts, without members
}

// members is a tree of names. A member without a tree of its own is read whole.
type members []member

type member struct {
	name string
	json []byte // the name as the key of a JSON object, with the colon
	in   members
}

// separator is between the names of a path in Fields.paths. It cannot be in an
// expression.
const separator = "\x00"

// Add adds a path, which begins with properties, traits or context.
func (f *Fields) Add(path ...string) {
	text := strings.Join(path, separator)
	if !slices.Contains(f.paths, text) {
		f.paths = append(f.paths, text)
		slices.Sort(f.paths)
		f.withProducts, f.without = f.withProducts.add(path), f.without.add(path)
	}
}

// AddItems adds event.items.
func (f *Fields) AddItems() {
	f.items = true
	f.withProducts, f.without = f.withProducts.add([]string{"properties", "products"}), f.without.add([]string{"properties"})
}

// add adds a path to a tree, whose names stay sorted.
func (ms members) add(path []string) members {
	i, found := slices.BinarySearchFunc(ms, path[0], func(m member, name string) int { return strings.Compare(m.name, name) })
	switch {
	case !found && len(path) == 1:
		return slices.Insert(ms, i, newMember(path[0], nil))
	case !found:
		return slices.Insert(ms, i, newMember(path[0], members(nil).add(path[1:])))
	case len(path) == 1:
		ms[i].in = nil
	case ms[i].in != nil:
		ms[i].in = ms[i].in.add(path[1:])
	}
	return ms
}

func newMember(name string, in members) member {
	return member{name, append(value.AppendJSONString(nil, name), ':'), in}
}

// Clone is a copy that can be changed.
func (f *Fields) Clone() Fields {
	c := Fields{Name: f.Name}
	for _, p := range f.paths {
		c.Add(strings.Split(p, separator)...)
	}
	if f.items {
		c.AddItems()
	}
	return c
}

// Key identifies fields: equal keys mean equal fields.
func (f *Fields) Key() string {
	return fmt.Sprint(f.Name, f.items, strings.Join(f.paths, "\x01"))
}

// Paths are the paths that are read, such as properties, price; of the items the
// properties.
func (f *Fields) Paths() (paths [][]string) {
	for _, p := range f.paths {
		paths = append(paths, strings.Split(p, separator))
	}
	if f.items && !slices.Contains(f.paths, "properties") {
		paths = append(paths, []string{"properties"})
	}
	return paths
}

// AppendKept appends, as the JSON of an event, what is left of the event if
// only its type, id, user (of an event about an item: its kind and the item's id) and
// these fields are kept. size is that of the
// fields: of each the bytes of its name, below properties, traits or context,
// and those of its value (value.JSONSize). Every event has a name; of one that
// is not read, the beginning is kept.
func (e *Event) AppendKept(dst []byte, f *Fields) (_ []byte, size int) {
	text := func(name, s string) {
		dst = append(append(dst, ',', '"'), name...)
		dst = value.AppendJSONString(append(dst, '"', ':'), s)
	}
	dst = append(append(append(dst, `{"type":"`...), e.Type.String()...), '"')
	if field := Types[e.Type].NameField; field != "" {
		name := e.Name
		if f.Name {
			size += len("name") + len(name)
		} else {
			name = value.CutText(name, MaxName)
		}
		text(field, name)
	}
	text("messageId", e.ID)
	switch {
	case e.Type == Item: // its Key may be that of a user, to whom a campaign turns
		text("kind", e.Kind)
		text("id", e.ItemID)
	case e.Key[0] == 'u':
		text("userId", e.User())
	default:
		text("anonymousId", e.User())
	}
	kept := f.without
	if f.items && e.hasProducts() {
		kept = f.withProducts
	}
	for _, m := range kept {
		if v := e.Object(m.name); v != NoObject {
			dst = append(append(dst, ','), m.json...)
			dst = appendMembers(dst, v, m.in, "", &size)
		}
	}
	return append(dst, '}'), size
}

// appendMembers appends the wanted members of an object, all if wanted is nil.
// It adds to size that of each member that is kept whole: its name with those
// above it, and its value.
func appendMembers(dst []byte, o *fastjson.Value, wanted members, above string, size *int) []byte {
	if wanted == nil {
		value.VisitFirst(o.GetObject(), func(name string, v *fastjson.Value) {
			*size += len(above) + len(name) + value.JSONSize(v)
		})
		return value.AppendCompact(dst, o)
	}
	dst = append(dst, '{')
	for _, m := range wanted {
		v := o.Get(m.name)
		if v == nil {
			continue
		}
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		dst = append(dst, m.json...)
		if m.in != nil && v.Type() == fastjson.TypeObject {
			dst = appendMembers(dst, v, m.in, above+m.name+".", size)
			continue
		}
		dst = value.AppendCompact(dst, v)
		*size += len(above) + len(m.name) + value.JSONSize(v)
	}
	return append(dst, '}')
}

// hasProducts reports whether Items are those of properties.products.
func (e *Event) hasProducts() bool {
	if e.Type == Item {
		return false
	}
	items := e.Items()
	return len(items) != 1 || items[0] != e.Object("properties")
}
