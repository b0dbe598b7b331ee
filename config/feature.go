package config

import (
	"fmt"
	"slices"
	"strings"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/lazyregexp"
	"offerstream/pipeline/window"
)

var identifier = lazyregexp.New(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

// celWords are the names that CEL itself reserves.
var celWords = strings.Fields(`
	true false null in as break const continue else for function if import let loop package namespace return var void while`)

// taken holds the names that already mean something else in an expression.
var taken = slices.Concat(celWords, strings.Fields(`
	event now session profile before facts local row item each coupon
	int uint double string bytes bool list map type dyn null_type duration timestamp google
	math sets lists strings optional optional_type cel base64 has all exists exists_one filter transformList transformMap`))

// aggregates are the names of all aggregates.
var aggregates = func() []string {
	names := append(window.Names(), "top", "histogram", aggUsers, aggTogether)
	slices.Sort(names)
	return slices.Compact(names)
}()

// The aggregates that only items have.
const (
	aggUsers    = "users"
	aggTogether = "together"
)

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
	has := v.fields(aFeature, fields{
		"per":       func(v value) { f.Per = v.text(v.row.hint()) },
		"on":        func(v value) { f.On = v.events() },
		"where":     func(v value) { f.Where = v.cel() },
		"by":        func(v value) { f.By = v.cel() },
		"agg":       func(v value) { f.Agg = v.aggregate() },
		"of":        func(v value) { f.Of = v.cel() },
		"within":    func(v value) { f.Within = v.span() },
		"half_life": func(v value) { f.HalfLife = v.span() },
		"key":       func(v value) { f.Key = v.property() },
		"fields":    func(v value) { f.Fields = v.fieldNames() },
		"keep":      func(value) {}, // below, when the aggregate is known
		"remove_on": func(v value) { f.RemoveOn = v.events() },
	})
	fits := f.Agg == "" || v.fits(f.Agg, has)
	f.Keep = has.keep(f.Agg)
	if has.has("fields") && len(f.Fields) == 0 {
		f.Fields = []string{"wrong"} // any name, so that the rest can be checked
	}
	if f.Agg == "" || !fits {
		// The feature's type is unknown, so no use of it in an expression can
		// be called wrong.
		f = campaign.Feature{Name: name, On: f.On, Agg: "last"}
		v.l.silence(v.path)
	}
	v.l.def.Features = append(v.l.def.Features, f)
}

// fits reports the keys that a feature's aggregate does not take. It returns
// false if the aggregate has no meaning with the keys that are given.
func (v value) fits(agg string, has present) bool {
	sound := true
	refuse := func(why string, names ...string) {
		for _, name := range names {
			if c, ok := has[name]; ok {
				c.problemAt(start(c.key), fmt.Sprintf("%s takes no `%s`", agg, name), why)
			}
		}
	}
	unfit := func(why string, names ...string) {
		refuse(why, names...)
		sound = sound && !slices.ContainsFunc(names, has.has)
	}
	needs := func(keysAndHints ...string) {
		v.needs(has, agg, keysAndHints...)
		for i := 0; i < len(keysAndHints); i += 2 {
			sound = sound && has.has(keysAndHints[i])
		}
	}
	a := window.Named(agg)
	lists, users := a != nil && a.Rows && agg != aggUsers, agg == aggUsers
	if !lists {
		refuse("only agg: list takes it", "key", "fields")
	}
	if !lists && !users {
		refuse("only agg: list and agg: users take it", "remove_on")
	}
	switch {
	case !users && (a == nil || !a.Newest):
		refuse("only list, distinct, histogram and users keep the newest", "keep")
	case agg == "distinct" && has.has("per"):
		refuse("of an item it is exact to 16,384 values, and an estimate beyond that", "keep")
	}
	switch agg {
	case "top":
		unfit("it counts touches, which fade with half_life", "of", "within")
		needs("by", "by: category", "half_life", "half_life: 7d")
		return sound
	case aggTogether:
		unfit("it counts touches, which fade with half_life", "of", "within")
		unfit("its keys are those of the other items in the event", "by")
		needs("per", "per: product", "half_life", "half_life: 30d")
		return sound
	case aggUsers:
		unfit("its entries are the users of the events", "of", "by")
		needs("per", "per: product")
	}
	refuse("only agg: top and agg: together take it", "half_life")
	if c, ok := has["per"]; ok && a != nil && a.Stays {
		c.problemAt(start(c.key), "a dwell is of a user: it lasts until the user's next view, and an item has none", "remove `per`")
		return false
	}
	return sound
}

// keep reads how many entries a feature keeps, or fills it in.
func (has present) keep(agg string) int {
	most, otherwise := mostEntries, 0
	switch a := window.Named(agg); {
	case agg == aggUsers:
		most, otherwise = campaign.MostKeepUsers, campaign.DefaultKeepUsers
	case a != nil && a.Rows:
		otherwise = campaign.DefaultKeep
	}
	if c, ok := has["keep"]; ok {
		return c.integer(1, most)
	}
	return otherwise
}

// featureName reports a name that a feature cannot have, or that another
// feature of the set has.
func (v value) featureName(name string) bool {
	if !v.variable("feature", name, taken) {
		return false
	}
	if first := v.l.places[key(v.path)]; first.n != v.n {
		v.problemAt(start(v.key), fmt.Sprintf("feature %q is already defined at %s", name, first.keyPlace()), "rename one")
		return false
	}
	return true
}

// variable reports a name that cannot be one in an expression. of says what has
// the name.
func (v value) variable(of, name string, taken []string) bool {
	switch at := start(v.key); {
	case !identifier.MatchString(name):
		v.problemAt(at, fmt.Sprintf("%q is not a %s's name", name, of), "1 to 64 letters, digits and _, a letter first")
	case strings.HasPrefix(name, "__"):
		v.problemAt(at, fmt.Sprintf("%q is not a %s's name", name, of), "names that begin with __ are CEL's own")
	case slices.Contains(taken, name):
		v.problemAt(at, fmt.Sprintf("%q means something else in an expression", name), "give the "+of+" another name")
	default:
		return true
	}
	return false
}

// aggregate reads `agg`.
func (v value) aggregate() string {
	t := v.text(strings.Join(aggregates, ", "))
	switch {
	case t == "" || slices.Contains(aggregates, t):
		return t
	default:
		v.problem(fmt.Sprintf("%q is not an aggregate", t), didYouMean(t, aggregates))
	}
	return ""
}

// events reads event names.
func (v value) events() []string {
	names := v.eventNames()
	if slices.Contains(names, campaign.SessionEnd) {
		v.problem(campaign.SessionEnd+" is no event", "only `on` of a campaign takes it, alone")
	}
	return names
}

// property reads a bare name: that property of each element of event.items.
func (v value) property() string {
	t := v.text("the name of a property, such as product_id")
	v.blanksInName()
	if t != "" && !campaign.PropertyName(t) {
		v.problem(fmt.Sprintf("%q is not the name of a property", t), "letters of any script, digits, _ $ @ # : and -, with single spaces between words")
		return ""
	}
	return t
}
