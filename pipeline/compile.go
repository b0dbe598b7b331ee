package pipeline

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/expr"
	"offerstream/pipeline/window"
)

// Engine is the number of the semantics that this binary implements. It changes
// whenever the same log would give other offers (testdata/golden/<Engine>). A
// binary also runs sets of the previous engine (PROTOCOL.md, D3), but none from
// before oldestEngine, which was never released.
const (
	Engine       = 2
	oldestEngine = 2
)

// runs reports whether a binary with engine newest runs sets of an engine.
func runs(engine, newest int) bool {
	return engine == newest || engine == newest-1 && engine >= oldestEngine
}

// engines names the engines that a binary with engine newest runs.
func engines(newest int) string {
	if runs(newest-1, newest) {
		return fmt.Sprintf("%d and engine %d", newest-1, newest)
	}
	return strconv.Itoa(newest)
}

// A Set is a compiled Definition. It is immutable, and any number of folds may
// share it.
type Set struct {
	def           *campaign.Definition
	hash          string
	features      []*feature
	featureIndex  map[string]int
	featureByID   map[uint64]int
	campaigns     []*compiled // by id
	campaignIndex map[string]int
	match         index
	keepSent      int   // how many times of offers an entity remembers per channel
	dwells        []int // indices of the features that aggregate stays
}

// Definition is the definition from which the set was compiled.
func (s *Set) Definition() *campaign.Definition { return s.def }

// Hash is the Hash of the Definition.
func (s *Set) Hash() string { return s.hash }

// A compiled is a compiled campaign.
type compiled struct {
	def     *campaign.Campaign
	trigger uint64 // campaign.Campaign.TriggerID
	where   []*expr.Expr
	cond    []*expr.Expr // the conjuncts of `if`
	dwell   []*dwellTerm // those of cond that ask for a dwell
	unless  []*expr.Expr // the conjuncts of unless.where
	match   keyer
	gates   []ownGate      // in the order in which they are judged
	data    *expr.Template // nil: the offer has no data
	// What an evaluation keeps of its event while it waits for a dwell or an absence:
	afterDwell, afterAbsence *event.Fields
	keepSent                 int // how many times of its offers an entity remembers
}

// envs makes the CEL environments of expressions about an event, and, under a
// bare `by`, about an item of it. All sets share them, because making them is
// slow.
var envs = sync.OnceValues(func() (envs struct{ about, items *cel.Env }, err error) {
	base, err := expr.NewEnv(append(window.Structs(), sessionType)...)
	if err == nil {
		envs.about, err = base.Extend(cel.Variable("event", expr.Event.Type), cel.Variable("now", cel.TimestampType))
	}
	if err == nil {
		envs.items, err = envs.about.Extend(cel.Variable("item", cel.DynType))
	}
	return envs, err
})

// Compile checks a definition and makes it runnable. It reports all problems;
// if there are any, the set is nil.
func Compile(def *campaign.Definition) (*Set, []campaign.Problem) { return compileFor(def, Engine) }

// compileFor is Compile for a binary with engine newest.
func compileFor(def *campaign.Definition, newest int) (*Set, []campaign.Problem) {
	c := &compiler{set: &Set{
		def: def, hash: def.Hash(),
		featureIndex: map[string]int{}, featureByID: map[uint64]int{}, campaignIndex: map[string]int{},
		keepSent: rememberedSent,
	}}
	envs, err := envs()
	if err != nil {
		return nil, []campaign.Problem{{What: "CEL: " + err.Error()}}
	}
	if !runs(def.Engine, newest) {
		c.problem(nil, fmt.Sprintf("the set is for engine %d, this binary runs engine %s", def.Engine, engines(newest)), "use the binary that made it, or apply the campaigns again")
	}
	c.about = c.language(envs.about, "about the event only")
	c.items = c.language(envs.items, "about the event and its item")
	for i := range def.Features {
		c.feature(i, &def.Features[i])
	}
	c.seeState()
	for i := range def.Campaigns {
		c.campaign(i, &def.Campaigns[i])
	}
	for _, cp := range def.Caps {
		c.set.keepSent = max(c.set.keepSent, cp.Max)
	}
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	c.set.match.build(c.set)
	for _, l := range []*expr.Language{c.about, c.items, c.state} {
		l.Finish()
	}
	return c.set, nil
}

type compiler struct {
	set      *Set
	about    *expr.Language // of where, by and match: about the event
	items    *expr.Language // of `of` under a bare `by`: about an item of the event
	state    *expr.Language // of if, when_due and templates: about the entity's state
	problems []campaign.Problem
	fields   map[string]*event.Fields // by their keys
}

func (c *compiler) problem(path []string, what, hint string) { c.reporter(path)(0, 0, what, hint) }

// reporter reports problems of the expression at path.
func (c *compiler) reporter(path []string) expr.Report {
	return func(line, col int, what, hint string) {
		c.problems = append(c.problems, campaign.Problem{Path: path, Line: line, Col: col, What: what, Hint: hint})
	}
}

// seeState makes the language of expressions about the entity's state.
func (c *compiler) seeState() {
	vars := []cel.EnvOption{cel.Variable("session", sessionType.Type), cel.Variable("profile", expr.JSONMap)}
	loose := slices.Clone(vars)
	for _, f := range c.set.features {
		vars = append(vars, cel.Variable(f.def.Name, f.typ))
		loose = append(loose, cel.Variable(f.def.Name, f.loose()))
	}
	env, err := c.about.Env().Extend(vars...)
	if err != nil {
		c.problem(nil, "CEL: "+err.Error(), "")
		env = c.about.Env()
	}
	c.state = c.language(env, "")
	if env, err := c.about.Env().Extend(loose...); err == nil {
		c.state.Loosen(env)
	}
}

// language makes a language. scope describes, for hints, what its expressions
// may be about; it is empty for the language about the entity's state.
func (c *compiler) language(env *cel.Env, scope string) *expr.Language {
	return expr.NewLanguage(env, expr.Names{
		Hint: func(name string) string { return c.hint(name, scope) },
		Feature: func(name string) (expr.Feature, bool) {
			i, ok := c.set.featureIndex[name]
			if !ok {
				return expr.Feature{}, false
			}
			f := c.set.features[i]
			return expr.Feature{Index: i, By: !f.by.none(), Single: f.shape.Single()}, true
		},
	})
}

// hint tells what to do about an unknown name.
func (c *compiler) hint(name, scope string) string {
	if strings.Contains(name, ".") {
		return "" // the language knows the names with dots
	}
	isFeature := slices.ContainsFunc(c.set.def.Features, func(f campaign.Feature) bool { return f.Name == name })
	if scope != "" && (name == "session" || name == "profile" || isFeature) {
		return "an expression here is " + scope + "; conditions about state belong in `if`"
	}
	if h, ok := laterNames[name]; ok {
		return h
	}
	known := []string{"event", "now"}
	if scope == "" {
		known = append(known, "session", "profile")
		for _, f := range c.set.def.Features {
			known = append(known, f.Name)
		}
	}
	if best := campaign.Nearest(name, known); best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "known are " + strings.Join(known, ", ")
}

// laterNames are names of the language that this engine does not support yet.
var laterNames = map[string]string{
	"before": "before is not supported yet",
	"clock":  "clock() is not supported yet",
	"facts":  "facts are not supported yet",
	"local":  "local is not supported yet",
	"row":    "for_each is not supported yet",
	"item":   "item is known only in `of` under a bare `by`; choose is not supported yet",
	"coupon": "coupons are not supported yet",
}

// keyer compiles a `by` or `match`.
func (c *compiler) keyer(src string, path []string) (k keyer) {
	switch {
	case src == "":
	case campaign.PropertyName(src):
		k.name = src
	default:
		if k.expr = c.about.Compile(src, nil, c.reporter(path)); k.expr == nil {
			k.expr = &expr.Expr{} // a placeholder: a set with problems never runs
		} else if wrong := k.expr.NoKey(); wrong != "" {
			c.problem(path, wrong, "by: event.properties.category, for example")
		}
	}
	return k
}

// where compiles a condition about the event, nil if src is empty.
func (c *compiler) where(src string, path []string) []*expr.Expr {
	if src == "" {
		return nil
	}
	return c.about.Conjuncts(src, c.reporter(path))
}

func (c *compiler) feature(i int, def *campaign.Feature) {
	path := func(key string) []string { return []string{"features", def.Name, key} }
	agg := window.Named(def.Agg)
	if agg == nil {
		c.problem(path("agg"), fmt.Sprintf("%q is not an aggregate that this engine has", def.Agg), strings.Join(window.Names(), ", "))
		agg = window.Aggregates[0]
	}
	bounds := c.set.def.Bounds
	f := &feature{def: def, id: def.FeatureID(), by: c.keyer(def.By, path("by")), where: c.where(def.Where, path("where")), remove: len(def.RemoveOn) > 0,
		shape: window.Shape{Aggregate: agg, Within: def.Within, Entries: bounds.Entries, Keys: bounds.Keys, Grouped: def.By != "", Keyed: def.Key != "", Fields: def.Fields}}
	if agg.Rows {
		f.shape.Entries = def.Keep
	}
	c.operand(f, path)
	switch {
	case agg.Rows && len(def.Fields) == 0:
		c.problem(path("agg"), agg.Name+" needs `fields`", "fields: [product_id, name, price]")
	case f.remove && (!agg.Rows || def.Key == ""):
		c.problem(path("remove_on"), "remove_on needs a list with `key`", "key: product_id")
	}
	if agg.Stays {
		c.set.dwells = append(c.set.dwells, i)
	}
	c.set.features = append(c.set.features, f)
	c.set.featureIndex[def.Name] = i
	c.set.featureByID[f.id] = i
}

// operand compiles a feature's `of`, and sets the type that expressions see of
// the feature.
func (c *compiler) operand(f *feature, path func(string) []string) {
	def, agg := f.def, f.shape.Aggregate
	switch wants := agg.Of != window.Nothing; {
	case wants && def.Of == "":
		c.problem(path("agg"), agg.Name+" needs `of`", "of: event.properties.price")
	case !wants && def.Of != "":
		c.problem(path("of"), agg.Name+" takes no `of`", "leave it out")
	}
	var of *cel.Type
	if def.Of != "" {
		l := c.about
		if f.by.name != "" {
			l = c.items
		}
		if f.of = l.Compile(def.Of, nil, c.reporter(path("of"))); f.of != nil {
			of = f.of.Type
			if wanted := agg.Of.Mismatch(of); wanted != "" {
				c.problem(path("of"), fmt.Sprintf("%s takes %s, this is a %s", agg.Name, wanted, of), "")
			}
		}
	}
	if f.typ = agg.Type(of); !f.by.none() {
		f.typ = cel.MapType(cel.StringType, f.typ)
	}
}

// loose is the feature's type in a loosened language: dyn if it is a number
// that is not always an int, else the ordinary type.
func (f *feature) loose() *cel.Type {
	one := f.typ
	if !f.by.none() {
		one = f.typ.Parameters()[1]
	}
	switch one.Kind() {
	case cel.IntKind, cel.UintKind, cel.DoubleKind, cel.StructKind:
	default:
		return f.typ
	}
	if one == cel.IntType {
		return f.typ
	}
	if f.by.none() {
		return cel.DynType
	}
	return expr.JSONMap
}

func (c *compiler) campaign(i int, def *campaign.Campaign) {
	path := func(keys ...string) []string { return append([]string{"campaigns", def.ID}, keys...) }
	cp := &compiled{def: def, keepSent: rememberedSent, trigger: def.TriggerID(), where: c.where(def.Where, path("where"))}
	for j, src := range def.If {
		report := c.reporter(path("if", strconv.Itoa(j)))
		for _, x := range c.state.Conjuncts(src, report) {
			if t := c.dwellTerm(x, report); t != nil {
				t.conjunct = len(cp.cond)
				cp.dwell = append(cp.dwell, t)
			}
			cp.cond = append(cp.cond, x)
		}
	}
	if u := def.Unless; u != nil {
		cp.unless = c.where(u.Where, path("unless", "where"))
		cp.match = c.keyer(u.Match, path("unless", "match"))
		if u.Within <= 0 {
			c.problem(path("unless"), "unless needs `within`", "within: 1h")
		}
	}
	if def.Offer.Kind != campaign.Advertising && def.Offer.Kind != campaign.Service {
		c.problem(path("offer", "kind"), fmt.Sprintf("%q is not a kind of offer", def.Offer.Kind), "advertising or service")
	}
	if !campaign.Channel(def.Offer.Channel) {
		c.problem(path("offer", "channel"), fmt.Sprintf("%q is not a channel's name", def.Offer.Channel), "1 to 32 of a-z, 0-9, _ and -")
	}
	cp.gates = c.gates(def)
	cp.data = c.state.Template(def.Offer.Data, func(within []string, line, col int, what, hint string) {
		c.reporter(append(path("offer", "data"), within...))(line, col, what, hint)
	})
	c.readLater(cp)
	for _, l := range def.Limits {
		cp.keepSent = max(cp.keepSent, l.Max)
	}
	c.set.campaigns = append(c.set.campaigns, cp)
	c.set.campaignIndex[def.ID] = i
}

// readLater finds what a campaign's expressions read of the event after a wait.
func (c *compiler) readLater(cp *compiled) {
	if len(c.problems) > 0 {
		return
	}
	var absence event.Fields
	if due := cp.def.WhenDue; due != "" {
		for _, x := range c.state.Conjuncts(due, nil) { // the gate has compiled it
			x.AddFields(&absence)
		}
	}
	if cp.data != nil {
		cp.data.AddFields(&absence)
	}
	cp.afterAbsence = c.shared(absence)
	dwell := absence.Clone()
	for _, x := range cp.cond {
		x.AddFields(&dwell)
	}
	if cp.match.expr != nil {
		cp.match.expr.AddFields(&dwell)
	}
	if cp.match.name != "" {
		dwell.AddItems()
	}
	cp.afterDwell = c.shared(dwell)
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

// dwellTerm recognises a conjunct that asks whether a dwell is long enough. It
// returns nil for any other.
func (c *compiler) dwellTerm(x *expr.Expr, report expr.Report) *dwellTerm {
	least, ok := c.state.Least(x, report)
	if !ok {
		return nil
	}
	i, ok := c.set.featureIndex[least.Name]
	if !ok || !c.set.features[i].shape.Stays || (least.Key == nil) != c.set.features[i].by.none() {
		return nil
	}
	return &dwellTerm{feature: i, key: least.Key, need: least.Need}
}
