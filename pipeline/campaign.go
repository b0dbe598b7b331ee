package pipeline

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	"github.com/cespare/xxhash/v2"
)

// A Set is a compiled Definition: what Step runs. It is immutable and may be
// shared by any number of folds.
type Set struct {
	def           *Definition
	hash          string
	features      []*feature
	featureIndex  map[string]int
	featureByID   map[uint64]int
	campaigns     []*campaign // by id
	campaignIndex map[string]int
	match         index
	keepSent      int // times that are remembered of a channel
	dwells        []int
}

// Definition is what the set was compiled from.
func (s *Set) Definition() *Definition { return s.def }

// Hash is the Definition's.
func (s *Set) Hash() string { return s.hash }

// A campaign is a compiled Campaign.
type campaign struct {
	def      *Campaign
	index    int
	trigger  uint64 // identity of on, where, match and unless: a change cancels what is pending
	where    []*expr
	cond     []*expr // the conjuncts of `if`
	dwell    []*dwellTerm
	unless   []*expr // its where
	match    keyer
	data     *template
	keepSent int
}

// A dwellTerm is a conjunct of the form dwell >= literal.
type dwellTerm struct {
	conjunct int // index in campaign.cond
	feature  int
	key      *expr // of a feature with by
	need     int64 // nanoseconds
}

var bareName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Compile checks a definition and makes it runnable. The set is nil when
// there are problems; all of them are reported.
func Compile(def *Definition) (*Set, []Problem) {
	c := &compiler{set: &Set{
		def: def, hash: def.Hash(),
		featureIndex: map[string]int{}, featureByID: map[uint64]int{}, campaignIndex: map[string]int{},
		keepSent: rememberedSent,
	}}
	base, err := baseEnv()
	if err != nil {
		return nil, []Problem{{What: "CEL: " + err.Error()}}
	}
	if def.Engine != Engine {
		c.problem(nil, fmt.Sprintf("the set is for engine %d, this is engine %d", def.Engine, Engine), "use the binary that made it, or apply the campaigns again")
	}
	c.about = c.language(base, "about the event only", cel.Variable("event", eventType), cel.Variable("now", cel.TimestampType))
	c.items = c.language(c.about.env, "about the event and its item", cel.Variable("item", cel.DynType))
	for i := range def.Features {
		c.feature(i, &def.Features[i])
	}
	vars := []cel.EnvOption{cel.Variable("session", sessionType), cel.Variable("profile", jsonMapType)}
	for _, f := range c.set.features {
		vars = append(vars, cel.Variable(f.def.Name, f.typ))
	}
	c.state = c.language(c.about.env, "", vars...)
	for i, f := range c.set.features {
		if f.numeric() {
			vars[2+i] = cel.Variable(f.def.Name, dynamic(f))
		}
	}
	if loose, err := c.about.env.Extend(vars...); err == nil {
		c.state.loose = loose
	}
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
	for _, l := range []*language{c.about, c.items, c.state} {
		for _, x := range l.planned {
			x.ast = nil // 3 KB each that nothing reads any more
		}
	}
	return c.set, nil
}

type compiler struct {
	set      *Set
	about    *language // where, by: about the event
	items    *language // of, under a bare by
	state    *language // if, templates
	problems []Problem
}

func (c *compiler) problem(path []string, what, hint string) {
	c.problems = append(c.problems, Problem{Path: path, What: what, Hint: hint})
}

func (c *compiler) language(parent *cel.Env, scope string, vars ...cel.EnvOption) *language {
	env, err := parent.Extend(vars...)
	if err != nil {
		c.problem(nil, "CEL: "+err.Error(), "")
		env = parent
	}
	l := &language{env: env, compiled: map[wording][]*expr{}}
	l.hint = func(name string) string {
		if scope != "" && (name == "session" || name == "profile" || c.isFeature(name)) {
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
		if best := nearest(name, known); best != "" {
			return fmt.Sprintf("did you mean %q?", best)
		}
		return "known are " + strings.Join(known, ", ")
	}
	l.defaulting = c.hasBy
	l.quick.feature = func(name string) (int, *feature, bool) {
		i, ok := c.set.featureIndex[name]
		if !ok {
			return 0, nil, false
		}
		return i, c.set.features[i], true
	}
	return l
}

// laterNames are names that the language has and this engine does not yet.
var laterNames = map[string]string{
	"before": "before is not supported yet",
	"facts":  "facts are not supported yet",
	"local":  "local is not supported yet",
	"row":    "for_each is not supported yet",
	"item":   "item is known only in `of` under a bare `by`; choose is not supported yet",
	"coupon": "coupons are not supported yet",
}

func (c *compiler) isFeature(name string) bool {
	return slices.ContainsFunc(c.set.def.Features, func(f Feature) bool { return f.Name == name })
}

func (c *compiler) hasBy(name string) bool {
	i, ok := c.set.featureIndex[name]
	return ok && !c.set.features[i].by.none()
}

func (c *compiler) keyer(src string, path []string) (k keyer) {
	switch {
	case src == "":
	case bareName.MatchString(src):
		k.name = src
	default:
		k.expr = c.about.compile(src, nil, path, &c.problems)
		if k.expr == nil {
			k.expr = &expr{}
		}
	}
	return k
}

func (c *compiler) feature(i int, def *Feature) {
	path := func(key string) []string { return []string{"features", def.Name, key} }
	agg, ok := aggregates[def.Agg]
	if !ok {
		c.problem(path("agg"), fmt.Sprintf("%q is not an aggregate that this engine has", def.Agg), "count, sum, min, max, avg, distinct, first, last, list or dwell")
		agg = aggCount
	}
	f := &feature{def: def, agg: agg, width: agg.width(), id: identity(def), by: c.keyer(def.By, path("by"))}
	if def.Where != "" {
		f.where = c.about.conjuncts(def.Where, path("where"), &c.problems)
	}
	needsOf := agg != aggCount && agg != aggList && agg != aggDwell
	switch {
	case needsOf && def.Of == "":
		c.problem(path("agg"), def.Agg+" needs `of`", "of: event.properties.price")
	case !needsOf && def.Of != "":
		c.problem(path("of"), def.Agg+" takes no `of`", "leave it out")
	case agg == aggList && len(def.Fields) == 0:
		c.problem(path("agg"), "list needs `fields`", "fields: [product_id, name, price]")
	}
	if def.Of != "" {
		l := c.about
		if f.by.name != "" {
			l = c.items
		}
		f.of = l.compile(def.Of, nil, path("of"), &c.problems)
	}
	f.typ = c.featureType(f, path("of"))
	if !f.by.none() {
		f.typ = cel.MapType(cel.StringType, f.typ)
	}
	for _, r := range def.RemoveOn {
		if f.remove == nil {
			f.remove = map[string]bool{}
		}
		f.remove[r] = true
	}
	if len(def.RemoveOn) > 0 && (agg != aggList || def.Key == "") {
		c.problem(path("remove_on"), "remove_on needs a list with `key`", "key: product_id")
	}
	if agg == aggDwell {
		c.set.dwells = append(c.set.dwells, i)
	}
	c.set.features = append(c.set.features, f)
	c.set.featureIndex[def.Name] = i
	c.set.featureByID[f.id] = i
}

// featureType is the type under which expressions see one aggregate.
func (c *compiler) featureType(f *feature, path []string) *cel.Type {
	switch f.agg {
	case aggCount, aggDistinct:
		if f.agg == aggDistinct {
			c.scalar(f, path)
		}
		return cel.IntType
	case aggSum, aggMin, aggMax, aggAvg:
		if f.of != nil {
			switch f.of.typ.Kind() {
			case cel.IntKind, cel.UintKind, cel.DoubleKind, cel.DynKind:
			default:
				c.problem(path, fmt.Sprintf("%s takes numbers, this is a %s", f.def.Agg, f.of.typ), "")
			}
		}
		if f.agg == aggSum {
			return cel.DoubleType
		}
		return cel.NullableType(cel.DoubleType)
	case aggDwell:
		return cel.DurationType
	case aggList:
		return cel.ListType(jsonMapType)
	}
	if f.of == nil {
		return cel.DynType
	}
	c.scalar(f, path)
	switch f.of.typ.Kind() {
	case cel.BoolKind, cel.IntKind, cel.UintKind, cel.DoubleKind, cel.StringKind:
		return cel.NullableType(f.of.typ)
	case cel.TimestampKind, cel.DurationKind:
		return f.of.typ // CEL lets these be null
	}
	return cel.DynType
}

// numeric says whether the feature reads as numbers of a known type.
func (f *feature) numeric() bool {
	switch f.agg {
	case aggSum, aggMin, aggMax, aggAvg:
		return true
	case aggFirst, aggLast:
		return f.of != nil && slices.Contains([]cel.Kind{cel.IntKind, cel.UintKind, cel.DoubleKind}, f.of.typ.Kind())
	}
	return false
}

// dynamic is a feature's type with its values' type left open.
func dynamic(f *feature) *cel.Type {
	if f.by.none() {
		return cel.DynType
	}
	return jsonMapType
}

func (c *compiler) scalar(f *feature, path []string) {
	if f.of == nil {
		return
	}
	switch f.of.typ.Kind() {
	case cel.ListKind, cel.MapKind, cel.StructKind:
		c.problem(path, fmt.Sprintf("%s takes single values, this is a %s", f.def.Agg, f.of.typ), "")
	}
}

func (c *compiler) campaign(i int, def *Campaign) {
	path := func(keys ...string) []string { return append([]string{"campaigns", def.ID}, keys...) }
	cp := &campaign{def: def, index: i, keepSent: rememberedSent}
	cp.trigger = identity(struct {
		ID     string
		On     []string
		Where  string
		Unless *Unless
	}{def.ID, def.On, def.Where, def.Unless})
	if def.Where != "" {
		cp.where = c.about.conjuncts(def.Where, path("where"), &c.problems)
	}
	for j, src := range def.If {
		for _, x := range c.state.conjuncts(src, path("if", strconv.Itoa(j)), &c.problems) {
			if t := c.dwellTerm(x, path("if", strconv.Itoa(j))); t != nil {
				t.conjunct = len(cp.cond)
				cp.dwell = append(cp.dwell, t)
			}
			cp.cond = append(cp.cond, x)
		}
	}
	if u := def.Unless; u != nil {
		if u.Where != "" {
			cp.unless = c.about.conjuncts(u.Where, path("unless", "where"), &c.problems)
		}
		cp.match = c.keyer(u.Match, path("unless", "match"))
		if u.Within <= 0 {
			c.problem(path("unless"), "unless needs `within`", "within: 1h")
		}
	}
	if def.Offer.Kind != Advertising && def.Offer.Kind != Service {
		c.problem(path("offer", "kind"), fmt.Sprintf("%q is not a kind of offer", def.Offer.Kind), "advertising or service")
	}
	if !Channel(def.Offer.Channel) {
		c.problem(path("offer", "channel"), fmt.Sprintf("%q is not a channel's name", def.Offer.Channel), "1 to 32 of a-z, 0-9, _ and -")
	}
	cp.data = c.template(def.Offer.Data, path("offer", "data"))
	for _, l := range def.Limits {
		cp.keepSent = max(cp.keepSent, l.Max)
	}
	c.set.campaigns = append(c.set.campaigns, cp)
	c.set.campaignIndex[def.ID] = i
}

var channelName = regexp.MustCompile(`^[a-z0-9_-]{1,32}$`)

// Channel says whether name may be a channel: it becomes part of a subject.
func Channel(name string) bool { return channelName.MatchString(name) }

// identity is the hash of a definition, by which a change is told.
func identity(def any) uint64 {
	b, err := json.Marshal(def)
	if err != nil {
		panic("pipeline: " + err.Error())
	}
	return xxhash.Sum64(b)
}

// nearest is the known name that is most like name, "" when none is.
func nearest(name string, known []string) string {
	best, most := "", 3
	sorted := slices.Clone(known)
	sort.Strings(sorted)
	for _, k := range sorted {
		if d := distance(name, k); d < most && d < len(name) {
			best, most = k, d
		}
	}
	return best
}

// distance is the Levenshtein distance of two short names.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			sub := diag
			if a[i] != b[j] {
				sub++
			}
			diag = row[j+1]
			row[j+1] = min(sub, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
