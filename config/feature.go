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

// taken holds the names that already mean something else in an expression.
var taken = strings.Fields(`
	event now session profile before facts local row item each coupon
	true false null in as break const continue else for function if import let loop package namespace return var void while
	int uint double string bytes bool list map type dyn null_type duration timestamp google
	math sets lists strings optional optional_type cel base64 has all exists exists_one filter transformList transformMap`)

// aggregates are the names of all aggregates that this engine has.
var aggregates = window.Names()

// laterAggregates are the aggregates of the language that this engine refuses.
var laterAggregates = []string{"top", "histogram", "users", "together"}

// eventHint says which values `on` takes.
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
	if !v.featureName(name) {
		return
	}
	f := campaign.Feature{Name: name}
	list := map[string]value{} // the keys that only `agg: list` takes
	has := v.fields(aFeature, fields{
		"on":        func(v value) { f.On = v.events() },
		"where":     func(v value) { f.Where = v.cel() },
		"by":        func(v value) { f.By = v.cel() },
		"agg":       func(v value) { f.Agg = v.aggregate() },
		"of":        func(v value) { f.Of = v.cel() },
		"within":    func(v value) { f.Within = v.duration(time.Second, "within: 30m; without the key, for ever") },
		"key":       func(v value) { list["key"] = v; f.Key = v.property() },
		"fields":    func(v value) { list["fields"] = v; f.Fields = v.texts("fields: [product_id, name]") },
		"keep":      func(v value) { list["keep"] = v; f.Keep = v.integer(1, mostEntries) },
		"remove_on": func(v value) { list["remove_on"] = v; f.RemoveOn = v.texts("an event's name") },
	})
	v.needs(has, aFeature, "on", "on: Product Viewed", "agg", "agg: count")
	if agg := window.Named(f.Agg); agg != nil && agg.Rows {
		if f.Keep == 0 {
			f.Keep = campaign.DefaultKeep
		}
	} else if agg != nil {
		refuseListKeys(f.Agg, list)
	}
	if has["fields"] && len(f.Fields) == 0 {
		f.Fields = []string{"wrong"} // any name, so that the rest can be checked
	}
	if f.Agg == "" || has["per"] {
		// The feature's type is unknown, so no use of it in an expression can
		// be called wrong.
		f = campaign.Feature{Name: name, On: f.On, Agg: "last"}
		v.l.silence(v.path)
	}
	v.l.def.Features = append(v.l.def.Features, f)
}

// featureName reports a name that a feature cannot have, or that another
// feature of the set has.
func (v value) featureName(name string) bool {
	switch at := start(v.key); {
	case !identifier.MatchString(name):
		v.problemAt(at, fmt.Sprintf("%q is not a feature's name", name), "1 to 64 letters, digits and _, a letter first")
		return false
	case strings.HasPrefix(name, "__"):
		v.problemAt(at, fmt.Sprintf("%q is not a feature's name", name), "names that begin with __ are CEL's own")
		return false
	case slices.Contains(taken, name):
		v.problemAt(at, fmt.Sprintf("%q means something else in an expression", name), "give the feature another name")
		return false
	}
	if first := v.l.places[key(v.path)]; first.n != v.n {
		v.problemAt(start(v.key), fmt.Sprintf("feature %q is already defined at %s", name, first.keyPlace()), "rename one")
		return false
	}
	return true
}

// refuseListKeys reports the keys that only `agg: list` takes, for a feature
// with another aggregate.
func refuseListKeys(agg string, given map[string]value) {
	for _, name := range []string{"key", "fields", "keep", "remove_on"} {
		if c, ok := given[name]; ok {
			c.problemAt(start(c.key), fmt.Sprintf("%s takes no `%s`", agg, name), "only agg: list takes it")
		}
	}
}

// aggregate reads `agg`.
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

// property reads a bare name: that property of each element of event.items.
func (v value) property() string {
	t := v.text("the name of a property, such as product_id")
	if t != "" && !campaign.PropertyName(t) {
		v.problem(fmt.Sprintf("%q is not the name of a property", t), "letters of any script, digits, _ $ @ # : and -, with single spaces between words")
		return ""
	}
	return t
}
