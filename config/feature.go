package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/window"
)

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

// taken are names that expressions need for something else.
var taken = strings.Fields(`
	event now session profile before facts local row item each coupon
	true false null in as break const continue else for function if import let loop package namespace return var void while
	int uint double string bytes bool list map type dyn null_type duration timestamp google
	math sets lists strings optional optional_type cel base64 has all exists exists_one filter transformList transformMap`)

// aggregates are the names of those that there are.
var aggregates = window.Names()

var laterAggregates = []string{"top", "histogram", "users", "together"}

// eventHint says what may stand in `on`.
var eventHint = func() string {
	words := []string{"an event's name", "*"}
	for _, t := range event.Types {
		if t.Selector != "" {
			words = append(words, t.Selector)
		}
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}()

// feature reads one feature and adds it to the set.
func (v value) feature(name string) {
	switch at := start(v.key); {
	case !identifier.MatchString(name):
		v.problemAt(at, fmt.Sprintf("%q is not a feature's name", name), "1 to 64 letters, digits and _, a letter first")
		return
	case strings.HasPrefix(name, "__"):
		v.problemAt(at, fmt.Sprintf("%q is not a feature's name", name), "names that begin with __ are CEL's own")
		return
	case slices.Contains(taken, name):
		v.problemAt(at, fmt.Sprintf("%q means something else in an expression", name), "give the feature another name")
		return
	}
	if first := v.l.places[key(v.path)]; first.n != v.n {
		v.problemAt(start(v.key), fmt.Sprintf("feature %q stands at %s already", name, first.keyPlace()), "rename one")
		return
	}
	f := campaign.Feature{Name: name}
	list := map[string]value{} // keys that only a list has
	has := v.fields(aFeature, fields{
		"on":        func(v value) { f.On = v.events() },
		"where":     func(v value) { f.Where = v.cel() },
		"by":        func(v value) { f.By = v.cel() },
		"agg":       func(v value) { f.Agg = v.aggregate() },
		"of":        func(v value) { f.Of = v.cel() },
		"within":    func(v value) { f.Within = v.duration(time.Second, "within: 30m; without it, for ever") },
		"key":       func(v value) { list["key"] = v; f.Key = v.property() },
		"fields":    func(v value) { list["fields"] = v; f.Fields = v.texts("fields: [product_id, name]") },
		"keep":      func(v value) { list["keep"] = v; f.Keep = v.integer(1, mostEntries) },
		"remove_on": func(v value) { list["remove_on"] = v; f.RemoveOn = v.texts("an event's name") },
	})
	v.needs(has, aFeature, "on", "on: Product Viewed", "agg", "agg: count")
	agg := window.Named(f.Agg)
	if agg != nil && !agg.Rows {
		for _, name := range []string{"key", "fields", "keep", "remove_on"} {
			if c, ok := list[name]; ok {
				c.problemAt(start(c.key), fmt.Sprintf("%s takes no `%s`", f.Agg, name), "only agg: list does")
			}
		}
	}
	if agg != nil && agg.Rows && f.Keep == 0 {
		f.Keep = campaign.DefaultKeep
	}
	if has["fields"] && len(f.Fields) == 0 {
		f.Fields = []string{"wrong"} // for the rest to be checked
	}
	if f.Agg == "" || has["per"] {
		// Its type is unknown: whatever an expression does with it may be right.
		f = campaign.Feature{Name: name, On: f.On, Agg: "last"}
		v.l.silence(v.path)
	}
	v.l.def.Features = append(v.l.def.Features, f)
}

func (v value) aggregate() string {
	t := v.text(strings.Join(aggregates, ", "))
	switch {
	case t == "" || slices.Contains(aggregates, t):
		return t
	case slices.Contains(laterAggregates, t):
		v.notYet(fmt.Sprintf("\"agg: %s\"", t), "has "+strings.Join(aggregates, ", "))
	default:
		v.problem(fmt.Sprintf("%q is not an aggregate", t), didYouMean(t, aggregates))
	}
	return ""
}

// events reads event names.
func (v value) events() []string {
	names := v.texts(eventHint)
	if slices.Contains(names, "session_end") {
		v.unsupported("session_end")
	}
	return names
}

// property reads the bare name of a property of each of event.items.
func (v value) property() string {
	t := v.text("the name of a property, such as product_id")
	if t != "" && !identifier.MatchString(t) {
		v.problem(fmt.Sprintf("%q is not the name of a property", t), "letters, digits and _, a letter first")
		return ""
	}
	return t
}
