package pipeline

import (
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/expr"
	"offerstream/pipeline/window"
)

// A Set is a compiled Definition. It is immutable, and any number of folds may
// share it.
type Set struct {
	def          *campaign.Definition
	hash         string
	features     []*feature
	featureIndex map[string]int
	featureByID  map[uint64]int
	facts        map[string]*campaign.Fact
	units        []unit // campaigns by id, each with its rows in their order
	unitIndex    map[string]int32
	match        index
	keepSent     int            // how many times of offers an entity remembers per channel
	dwells       []int          // indices of the features that aggregate stays
	sessionEnds  []int          // indices of the units that a session's end triggers
	ends         endings        // the events of all `unless`
	readsBefore  bool           // any campaign, or feature of items, reads anything as before.x
	featBefore   []int          // the features that features of items read as before.x
	spends       bool           // any campaign has a budget or a pool
	kinds        map[string]int // the kinds of items, by name: the index in Definition.Items
}

// Definition is the definition from which the set was compiled.
func (s *Set) Definition() *campaign.Definition { return s.def }

// Hash is the Hash of the Definition.
func (s *Set) Hash() string { return s.hash }

// A unit is what is evaluated: a campaign, or a row of one with for_each. All
// rows share what is compiled.
type unit struct {
	*compiled
	id      string // the campaign's id, with that of the row: "name/row"
	trigger uint64 // campaign.Campaign.TriggerID, with the row's values
	row     int32  // its number among the campaign's rows; noRow: the campaign has none
}

const noRow = -1

// Compile checks a definition and makes it runnable. It reports all problems;
// if there are any, the set is nil.
func Compile(def *campaign.Definition) (*Set, []campaign.Problem) {
	return (&compiler{}).compile(def, Engine)
}

// Check is Compile for the author of a definition: it also reports what runs but
// cannot be meant, such as a comparison that never holds, and warns of what is
// probably not meant. The set is nil if there are problems that are no warnings.
// Workers do not ask this of a set that is already in force.
func Check(def *campaign.Definition) (*Set, []campaign.Problem) {
	return (&compiler{strict: true}).compile(def, Engine)
}

func (c *compiler) compile(def *campaign.Definition, newest int) (*Set, []campaign.Problem) {
	c.set = &Set{
		def: def, hash: def.Hash(),
		featureIndex: map[string]int{}, featureByID: map[uint64]int{}, facts: map[string]*campaign.Fact{},
		features: make([]*feature, len(def.Features)), kinds: map[string]int{}, keepSent: rememberedSent,
	}
	envs, err := envs()
	if err != nil {
		return nil, []campaign.Problem{{What: "CEL: " + err.Error()}}
	}
	if !runs(def.Engine, newest) {
		c.problem(nil, fmt.Sprintf("the set is for engine %d, this binary runs engine %s", def.Engine, engines(newest)), "use the binary that made it, or apply the campaigns again")
	}
	c.about = c.language(envs.about, place{scope: "about the event only"})
	c.items = c.language(envs.items, place{scope: "about the event and its item"})
	for i := range def.Features {
		if def.Features[i].Per == "" {
			c.feature(i, &def.Features[i])
		}
	}
	for i := range def.Facts {
		c.set.facts[def.Facts[i].Name] = &def.Facts[i]
	}
	c.seeState()
	c.itemFeatures()
	units := 0
	for i := range def.Campaigns {
		units += max(len(def.Campaigns[i].Rows), 1)
	}
	c.set.units, c.set.unitIndex = make([]unit, 0, units), make(map[string]int32, units)
	for i := range def.Campaigns {
		c.campaign(&def.Campaigns[i])
	}
	for _, cp := range def.Caps {
		c.set.keepSent = max(c.set.keepSent, cp.Max)
	}
	if c.failed() {
		return nil, c.problems
	}
	c.set.match.build(c.set)
	for _, l := range c.languages {
		l.Finish()
	}
	return c.set, c.problems
}

// failed reports whether any problem is more than a warning.
func (c *compiler) failed() bool {
	return slices.ContainsFunc(c.problems, func(p campaign.Problem) bool { return !p.Warning })
}

type compiler struct {
	set       *Set
	about     *expr.Language // of where, by and match: about the event
	items     *expr.Language // of `of` under a bare `by`: about an item of the event
	state     *expr.Language // of if, when_due and templates: about the entity's state
	fed       *expr.Language // of features of items: about the event, an item of it, and the user's state
	languages []*expr.Language
	own       map[string]*wording // languages of campaigns with rows, `let` or `choose`, by their names
	problems  []campaign.Problem
	strict    bool                     // it compiles for the author (Check)
	warning   bool                     // what is reported now is a warning
	shapes    map[string]*expr.Shape   // one of each
	fields    map[string]*event.Fields // by their keys
}

func (c *compiler) problem(path []string, what, hint string) { c.reporter(path)(0, 0, what, hint) }

// reporter reports problems of the expression at path.
func (c *compiler) reporter(path []string) expr.Report {
	return func(line, col int, what, hint string) {
		c.problems = append(c.problems, campaign.Problem{Path: path, Line: line, Col: col, What: what, Hint: hint, Warning: c.warning})
	}
}

// warn makes a report one of warnings.
func (c *compiler) warn(report expr.Report) expr.Report {
	return func(line, col int, what, hint string) {
		c.warning = true
		report(line, col, what, hint)
		c.warning = false
	}
}

// keyer compiles a `by` or `match`.
func (c *compiler) keyer(l *expr.Language, src string, path []string) (k keyer) {
	switch {
	case src == "":
	case campaign.PropertyName(src):
		k.name = src
	default:
		if k.expr = l.Compile(src, nil, c.reporter(path)); k.expr == nil {
			k.expr = &expr.Expr{} // a placeholder: a set with problems never runs
		} else if wrong := k.expr.NoKey(); wrong != "" {
			c.problem(path, wrong, "by: event.properties.category, for example")
		}
	}
	return k
}

// where compiles a condition about the event, nil if src is empty.
func (c *compiler) where(l *expr.Language, src string, path []string) []*expr.Expr {
	if src == "" {
		return nil
	}
	return l.Conjuncts(src, c.reporter(path))
}

func (c *compiler) feature(i int, def *campaign.Feature) {
	path := func(key string) []string { return []string{"features", def.Name, key} }
	agg := window.Of(def.Agg, def.Per != "")
	about, items := c.about, c.items
	if def.Per != "" {
		about, items = c.fed, c.fed
	}
	if agg == nil {
		c.problem(path("agg"), fmt.Sprintf("%q is not an aggregate that this engine has", def.Agg), strings.Join(window.Names(), ", "))
		agg = window.Aggregates[0]
	}
	bounds := c.set.def.Bounds
	f := &feature{def: def, id: def.FeatureID(), by: c.keyer(about, def.By, path("by")), where: c.where(about, def.Where, path("where")), remove: len(def.RemoveOn) > 0,
		shape: window.Shape{Aggregate: agg, Within: def.Within, Entries: bounds.Entries, Keys: bounds.Keys, Grouped: def.By != "", Keyed: def.Key != "", Fields: def.Fields, HalfLife: def.HalfLife}}
	if agg.Rows || agg.Entities || agg.Newest && def.Keep > 0 {
		f.shape.Entries = def.Keep
	}
	if def.Per != "" {
		f.per = 1 + c.kind(def, path)
	}
	c.operand(f, about, items, path)
	switch {
	case agg.Stays && f.per > 0:
		c.problem(path("agg"), agg.Name+" is of a user, not of an item", "leave out `per`, or use sum with of: event.properties.dwell_ms")
	case (agg.Entities || agg.Others) && f.per == 0:
		c.problem(path("agg"), agg.Name+" is of an item, not of a user", "per: product, one of `items`")
	case agg.Entities:
		c.users(f, path)
	case agg.Others && (def.By != "" || def.HalfLife <= 0):
		c.problem(path("agg"), agg.Name+" needs `half_life`, and takes no `by`", "half_life: 30d")
	case agg.Others:
	case agg.Rows && len(def.Fields) == 0:
		c.problem(path("agg"), agg.Name+" needs `fields`", "fields: [product_id, name, price]")
	case agg.Ranks && (def.By == "" || def.HalfLife <= 0):
		c.problem(path("agg"), agg.Name+" needs `by` and `half_life`", "by: event.properties.brand, half_life: 7d")
	case agg.Ranks && def.Within > 0:
		c.problem(path("within"), agg.Name+" takes no `within`: what is old counts less and less", "half_life: 7d")
	case !agg.Ranks && def.HalfLife != 0:
		c.problem(path("half_life"), agg.Name+" takes no `half_life`", "only agg: top takes it")
	case f.remove && (!agg.Rows || def.Key == ""):
		c.problem(path("remove_on"), "remove_on needs a list with `key`", "key: product_id")
	}
	if agg.Stays {
		c.set.dwells = append(c.set.dwells, i)
	}
	c.set.features[i] = f
	c.set.featureIndex[def.Name] = i
	c.set.featureByID[f.id] = i
}

// operand compiles a feature's `of`, and sets the type that expressions see of
// the feature.
func (c *compiler) operand(f *feature, about, items *expr.Language, path func(string) []string) {
	def, agg := f.def, f.shape.Aggregate
	switch wants := agg.Of != window.Nothing; {
	case wants && def.Of == "":
		c.problem(path("agg"), agg.Name+" needs `of`", "of: event.properties.price")
	case !wants && def.Of != "":
		c.problem(path("of"), agg.Name+" takes no `of`", "leave it out")
	}
	var of *cel.Type
	if def.Of != "" {
		l := about
		if f.by.name != "" {
			l = items
		}
		if f.of = l.Compile(def.Of, nil, c.reporter(path("of"))); f.of != nil {
			of = f.of.Type
			if wanted := agg.Of.Mismatch(of); wanted != "" {
				c.problem(path("of"), fmt.Sprintf("%s takes %s, this is a %s", agg.Name, wanted, of), "")
			}
		}
	}
	if f.typ = agg.Type(of); f.grouped() {
		f.typ = cel.MapType(cel.StringType, f.typ)
	}
}

// shared is the same pointer for all fields that are equal.
func (c *compiler) shared(f event.Fields) *event.Fields {
	if c.fields == nil {
		c.fields = map[string]*event.Fields{}
	}
	key := f.Key()
	if c.fields[key] == nil {
		c.fields[key] = &f
	}
	return c.fields[key]
}
