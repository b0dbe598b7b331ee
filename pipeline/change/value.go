package change

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/value"
)

// A node is a part of a definition in the form of a campaign file: a text, a map or
// a list. Maps have their keys in the order of the definition. nil: it is absent.
type node struct {
	text string
	keys []string
	of   map[string]*node // nil: no map
	list []*node          // nil: no list
	each bool             // the elements of the list are compared one by one
}

func leaf(text string) *node { return &node{text: text} }

func (n *node) set(key string, v *node) {
	if v == nil {
		return
	}
	if n.of == nil {
		n.of = map[string]*node{}
	}
	if n.of[key] == nil {
		n.keys = append(n.keys, key)
	}
	n.of[key] = v
}

func (n *node) remove(keys ...string) {
	n.keys = slices.DeleteFunc(n.keys, func(k string) bool { return slices.Contains(keys, k) })
	for _, k := range keys {
		delete(n.of, k)
	}
}

// rename gives a key another name, in its place.
func (n *node) rename(from, to string) {
	v := n.of[from]
	if v == nil {
		return
	}
	n.remove(to)
	n.keys[slices.Index(n.keys, from)] = to
	delete(n.of, from)
	n.of[to] = v
}

// String is the node on one line, as YAML in its flow form would have it.
func (n *node) String() string {
	switch {
	case n == nil:
		return ""
	case n.of != nil:
		var parts []string
		for _, k := range n.keys {
			parts = append(parts, k+": "+n.of[k].String())
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case n.list != nil:
		var parts []string
		for _, e := range n.list {
			parts = append(parts, e.String())
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return n.text
}

// structure is a part of a definition as a node. Keys that are not set are absent.
func structure(part any) *node { return written(reflect.ValueOf(part), "") }

// oneByOne are the lists whose elements are compared one by one: of others, all is
// shown.
var oneByOne = []string{"if", "any", "steps"}

func written(v reflect.Value, key string) *node {
	switch x := v.Interface().(type) {
	case time.Duration:
		return leaf(campaign.FormatDuration(x))
	case json.RawMessage:
		return data(x)
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return written(v.Elem(), key)
	case reflect.Struct:
		n := &node{of: map[string]*node{}}
		for i := range v.NumField() {
			name, option, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			if name != "-" && (option == "" || !v.Field(i).IsZero()) {
				n.set(name, written(v.Field(i), name))
			}
		}
		asInFile(v.Interface(), n)
		return n
	case reflect.Slice:
		n := &node{list: []*node{}, each: slices.Contains(oneByOne, key)}
		for i := range v.Len() {
			n.list = append(n.list, written(v.Index(i), ""))
		}
		if len(n.list) == 1 && n.list[0].of == nil && key == "on" {
			return n.list[0]
		}
		return n
	case reflect.Int:
		if key == "holdout" {
			return leaf(strconv.FormatFloat(float64(v.Int())/100, 'f', -1, 64) + "%")
		}
	}
	return leaf(fmt.Sprint(v.Interface()))
}

// asInFile turns parts whose form in a definition is another than in a file.
func asInFile(part any, n *node) {
	switch p := part.(type) {
	case campaign.Campaign:
		n.remove("id", "rows", "from", "to")
		n.rename("users", "to")
		if len(p.Let) > 0 {
			lets := &node{of: map[string]*node{}}
			for _, l := range p.Let {
				lets.set(l.Name, leaf(l.Is))
			}
			n.set("let", lets)
		}
		period := &node{}
		for i, at := range []int64{p.From, p.To} {
			if at != 0 {
				period.set([]string{"from", "to"}[i], leaf(value.FormatTime(at)))
			}
		}
		if period.of != nil {
			n.set("period", leaf(period.String()))
			n.keys = append([]string{"period"}, n.keys[:len(n.keys)-1]...)
		}
	case campaign.Feature:
		n.remove("name")
	case campaign.Item:
		n.remove("kind")
	case campaign.Budget:
		if n.remove("per_day"); p.PerDay {
			n.set("per", leaf("day"))
		}
	case campaign.OfferSpec:
		if p.Expires == 0 {
			n.rename("expires_is", "expires")
		}
	case campaign.Fact:
		n.remove("name")
		fields := &node{of: map[string]*node{}}
		for _, f := range p.Fields {
			fields.set(f.Name, leaf(f.Type))
		}
		n.set("fields", fields)
	case campaign.QuietHours:
		n.remove("drop")
		n.set("from", leaf(clock(p.From)))
		n.set("to", leaf(clock(p.To)))
		n.set("then", leaf("hold"))
		if p.Drop {
			n.set("then", leaf("drop"))
		}
	case campaign.Consent:
		n.remove("required")
		for _, channel := range p.Required {
			n.set(channel, leaf("required"))
		}
	case campaign.Unless:
		if p.Within == 0 {
			n.rename("within_is", "within")
		}
		if n.remove("no_restart"); p.NoRestart {
			n.set("restart", leaf("false"))
		}
	case campaign.Brake:
		if n.remove("per_campaign"); p.PerCampaign {
			n.set("per", leaf("campaign"))
		}
	case campaign.Limit:
		if n.remove("per_session"); p.PerSession {
			n.set("per", leaf("session"))
		}
	}
}

// clock is a time of day from its minutes.
func clock(minutes int) string { return fmt.Sprintf("%02d:%02d", minutes/60, minutes%60) }

// policies are the keys of a definition that a file has under `policies`, where those
// of brakes are `brake`.
var policies = []string{"caps", "pause", "quiet_hours", "consent", "holdout", "brakes"}

// settings are the keys of a set that are neither items, features, facts nor campaigns.
func settings(def *campaign.Definition) *node {
	n := structure(def)
	n.remove("items", "features", "facts", "campaigns")
	under := &node{of: map[string]*node{}}
	for _, key := range policies {
		in := key
		if key == "brakes" {
			in = "brake"
		}
		under.set(in, n.of[key])
	}
	n.remove(policies...)
	n.set("policies", under)
	return n
}

// facts compares the declarations of facts, and kinds those of items.
func facts(was, is *campaign.Definition) []Value {
	declared := func(def *campaign.Definition) *node {
		return under("facts", def.Facts, func(f *campaign.Fact) string { return f.Name })
	}
	return differ(declared(was), declared(is))
}

func kinds(was, is *campaign.Definition) []Value {
	declared := func(def *campaign.Definition) *node {
		return under("items", def.Items, func(it *campaign.Item) string { return it.Kind })
	}
	values := differ(declared(was), declared(is))
	// The order of kinds is that in which items are told of an event.
	order := func(def *campaign.Definition) (names []string) {
		for i := range def.Items {
			names = append(names, def.Items[i].Kind)
		}
		return names
	}
	old, new := order(was), order(is)
	if !slices.Equal(old, new) && slices.Equal(slices.Sorted(slices.Values(old)), slices.Sorted(slices.Values(new))) {
		values = append(values, Value{"items", strings.Join(old, ", "), strings.Join(new, ", ")})
	}
	return values
}

// under is a map of parts by name, below a key.
func under[T any](key string, parts []T, name func(*T) string) *node {
	n := &node{of: map[string]*node{}}
	for i := range parts {
		n.set(name(&parts[i]), structure(&parts[i]))
	}
	all := &node{of: map[string]*node{}}
	all.set(key, n)
	return all
}

// data is the data of an offer. Its texts are as they are, but for those that
// would be taken for something else.
func data(raw json.RawMessage) *node {
	var tree any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if dec.Decode(&tree) != nil {
		return leaf(string(raw))
	}
	return dataTree(tree)
}

func dataTree(tree any) *node {
	switch v := tree.(type) {
	case map[string]any:
		n := &node{of: map[string]*node{}}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			n.set(k, dataTree(v[k]))
		}
		return n
	case []any:
		n := &node{list: []*node{}, each: true}
		for _, e := range v {
			n.list = append(n.list, dataTree(e))
		}
		return n
	case string:
		if v == "" || v != strings.TrimSpace(v) || json.Valid([]byte(v)) {
			return leaf(strconv.Quote(v))
		}
		return leaf(v)
	case nil:
		return leaf("null")
	}
	return leaf(fmt.Sprint(tree))
}

// texts calls fn with each text in the data of an offer, as JSON, with its place.
func texts(raw json.RawMessage, place string, fn func(place string, text json.RawMessage)) {
	var tree any
	if json.Unmarshal(raw, &tree) == nil {
		textsIn(tree, place, fn)
	}
}

func textsIn(tree any, place string, fn func(place string, text json.RawMessage)) {
	switch v := tree.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			textsIn(v[k], campaign.Member(place, k), fn)
		}
	case []any:
		for i, e := range v {
			textsIn(e, fmt.Sprintf("%s[%d]", place, i), fn)
		}
	case string:
		text, _ := json.Marshal(v)
		fn(place, text)
	}
}
