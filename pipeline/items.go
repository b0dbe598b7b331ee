package pipeline

import (
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/expr"
	"offerstream/pipeline/value"
)

// An item is an entity that events are about: its state is the features with `per`.
// The key of its entity is "i:" + kind + ":" + the item's key.
const itemPrefix = "i:"

// ItemKey is the key of the entity of an item.
func ItemKey(kind, key string) string { return itemPrefix + kind + ":" + key }

// splitItemKey is the kind and the item's key in the key of an item's entity.
func splitItemKey(key string) (kind, item string) {
	kind, item, _ = strings.Cut(strings.TrimPrefix(key, itemPrefix), ":")
	return kind, item
}

// IsItem reports whether an entity with a key is an item.
func IsItem(key string) bool { return strings.HasPrefix(key, itemPrefix) }

// itemFeatures compiles the features of items. Their expressions read the user's
// state, so those of users are compiled before; campaigns read both.
func (c *compiler) itemFeatures() {
	for i, it := range c.set.def.Items {
		if _, twice := c.set.kinds[it.Kind]; twice {
			c.problem([]string{"items", it.Kind}, fmt.Sprintf("the kind %q is there twice", it.Kind), "give one of them another name")
		}
		c.set.kinds[it.Kind] = i
		if it.Key == "" {
			c.problem([]string{"items", it.Kind}, "a kind of items needs `key`: the property by which events name its items", "{key: product_id}")
		}
	}
	if !slices.ContainsFunc(c.set.def.Features, func(f campaign.Feature) bool { return f.Per != "" }) {
		return
	}
	c.fed = c.stateful(place{fed: true, more: []variable{{name: "item", typ: cel.DynType}}})
	for i := range c.set.def.Features {
		if def := &c.set.def.Features[i]; def.Per != "" {
			c.feature(i, def)
			c.fedBefore(c.set.features[i], def)
		}
	}
	c.seeState()
}

// fedBefore finds what a feature of items reads as before.x.
func (c *compiler) fedBefore(f *feature, def *campaign.Feature) {
	for _, x := range append(slices.Clone(f.where), f.by.expr, f.of) {
		if x == nil {
			continue
		}
		for _, name := range x.Reads {
			of, ok := strings.CutPrefix(name, "before.")
			if !ok {
				continue
			}
			c.set.readsBefore, f.readsBefore = true, true
			if i, ok := c.set.featureIndex[of]; ok && !slices.Contains(c.set.featBefore, i) {
				c.set.featBefore = append(c.set.featBefore, i)
			}
		}
	}
}

// kind is the index of the kind of items that a feature belongs to.
func (c *compiler) kind(def *campaign.Feature, path func(string) []string) int {
	i, ok := c.set.kinds[def.Per]
	if !ok {
		var names []string
		for _, it := range c.set.def.Items {
			names = append(names, it.Kind)
		}
		hint := "declare it in `items`: " + def.Per + ": {key: " + def.Per + "_id}"
		if near := campaign.Nearest(def.Per, names); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		c.problem(path("per"), fmt.Sprintf("there is no kind of items %q", def.Per), hint)
	}
	return i
}

// users checks a feature with agg: users.
func (c *compiler) users(f *feature, path func(string) []string) {
	def := f.def
	switch {
	case def.By != "" || len(def.Fields) > 0 || def.Key != "" || def.HalfLife != 0:
		c.problem(path("agg"), "users takes no `by`, `key`, `fields` and `half_life`: it is a list of the events' users", "")
	case def.Keep < 0 || def.Keep > campaign.MostKeepUsers:
		c.problem(path("keep"), fmt.Sprintf("%d users, at most %d can be kept", def.Keep, campaign.MostKeepUsers), "")
	}
}

// An itemReads is what a campaign reads of items.
type itemReads struct {
	kind     int    // the index in Definition.Items
	features []int  // that it reads
	before   []int  // that it reads as before.x
	users    int    // the feature of `to`; none: -1
	needs    []bool // by conjunct of `if`: it can be judged only with the item
	whole    bool   // `item` is read, of which the evaluation keeps all fields
	hash     uint64 // of the identities of these features: when it changes, questions are cancelled
}

// asks reports whether the campaign is judged at an answer of its item.
func (c *compiled) asks() bool { return c.items != nil && c.items.users < 0 }

// toUsers reports whether the campaign is judged at an item, for the users in a list.
func (c *compiled) toUsers() bool { return c.items != nil && c.items.users >= 0 }

// ReadsItems reports whether a unit reads features of items, or goes to their users.
func (s *Set) ReadsItems(unit string) bool {
	i, ok := s.unitIndex[unit]
	return ok && s.units[i].items != nil
}

// mentionsItems reports whether any expression of the campaign seems to read a feature
// of items, so that it may also read item. Its text tells: what it really reads is known
// only when it is compiled, for which item must be known or unknown before.
func (c *compiler) mentionsItems(def *campaign.Campaign) bool {
	mentions := false
	eachText(def, func(text string) {
		for _, f := range c.set.def.Features {
			mentions = mentions || f.Per != "" && hasWord(text, f.Name)
		}
	})
	return mentions
}

// eachText calls fn with the text of each expression of a campaign that may read
// state.
func eachText(def *campaign.Campaign, fn func(text string)) {
	for _, l := range def.Let {
		fn(l.Is)
	}
	for _, x := range def.If {
		fn(x)
	}
	unless := []*campaign.Unless{def.Unless}
	for i := range def.Any {
		unless = append(unless, def.Any[i].Unless)
	}
	for _, u := range unless {
		if u != nil {
			fn(u.WithinIs)
		}
	}
	for _, x := range []string{def.WhenDue, def.Choose, def.Score, def.Offer.ExpiresIs, string(def.Offer.Data)} {
		fn(x)
	}
	if def.Budget != nil {
		fn(def.Budget.Of)
	}
}

// hasWord reports whether a text has a word that is no field of another: a name, or
// before.name.
func hasWord(text, word string) bool {
	for at := 0; ; {
		i := strings.Index(text[at:], word)
		if i < 0 {
			return false
		}
		from, end := at+i, at+i+len(word)
		at = from + 1
		if end < len(text) && wordByte(text[end]) || from > 0 && wordByte(text[from-1]) {
			continue
		}
		if from > 0 && text[from-1] == '.' && !strings.HasSuffix(text[:from], "before.") {
			continue
		}
		return true
	}
}

func wordByte(b byte) bool {
	return b == '_' || b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}

// itemsOf finds what a campaign reads of items, and refuses what cannot be.
func (c *compiler) itemsOf(cp *compiled, whenDue []*expr.Expr, path func(...string) []string) {
	is := &itemReads{kind: -1, users: -1}
	add := func(place string, name string) {
		of, before := strings.CutPrefix(name, "before.")
		if name == "item" {
			is.whole = true
			return
		}
		i, ok := c.set.featureIndex[of]
		if !ok || c.set.features[i].per == 0 {
			return
		}
		kind := c.set.features[i].per - 1
		switch {
		case place == "at":
			c.problem(path("at"), fmt.Sprintf("%s is of an item; the best hour is of a user", of), "use a feature without `per`")
		case is.kind >= 0 && is.kind != kind:
			c.problem(path(place), fmt.Sprintf("%s is of a %s, and the campaign reads a feature of a %s already", of, c.set.def.Items[kind].Kind, c.set.def.Items[is.kind].Kind), "a campaign can read features of one kind of items: split it")
		case is.kind < 0:
			is.kind = kind
		}
		list := &is.features
		if before {
			list = &is.before
		}
		if !slices.Contains(*list, i) {
			*list = append(*list, i)
		}
	}
	if cp.def.Users != "" {
		c.listed(cp, is, path)
	}
	for i := range cp.lets { // also of those that nothing reads
		cp.reads(cp.lets[i].expr, func(name string) { add("let", name) })
	}
	cp.each(whenDue, func(place string, x *expr.Expr) {
		cp.reads(x, func(name string) { add(place, name) })
	})
	if is.kind < 0 {
		return
	}
	if is.users >= 0 && !slices.Contains(is.features, is.users) {
		is.features = append(is.features, is.users)
	}
	slices.Sort(is.features)
	slices.Sort(is.before)
	if cp.atSessionEnd() {
		c.problem(path("on"), "the end of a session is about no item", "trigger on an event that names one, such as Product Viewed")
	}
	if cp.sequence != nil && is.users >= 0 {
		c.problem(path("to"), "a sequence is of a user; with `to` the trigger is one event about an item", "")
	}
	key := c.set.def.Items[is.kind].Key
	for k := range cp.entries {
		if e := &cp.entries[k]; e.unless != nil && !e.match.none() && e.match.name != key {
			c.problem(path("unless", "match"), fmt.Sprintf("the campaign is judged for each %s: match is its key", c.set.def.Items[is.kind].Kind), "match: "+key)
		}
	}
	c.needs(cp, is)
	var ids []uint64
	for _, i := range append(slices.Clone(is.features), is.before...) {
		ids = append(ids, c.set.features[i].id)
	}
	is.hash = campaign.Identity(ids)
	cp.items = is
}

// needs finds which conjuncts of `if` need the item.
func (c *compiler) needs(cp *compiled, is *itemReads) {
	is.needs = make([]bool, len(cp.cond))
	for i, x := range cp.cond {
		cp.reads(x, func(name string) {
			at, ok := c.set.featureIndex[strings.TrimPrefix(name, "before.")]
			is.needs[i] = is.needs[i] || name == "item" || ok && c.set.features[at].per > 0
		})
	}
	for _, t := range cp.dwell {
		is.needs[t.conjunct] = true
	}
}

// listed finds the list of users that the campaign's offer goes to.
func (c *compiler) listed(cp *compiled, is *itemReads, path func(...string) []string) {
	i, ok := c.set.featureIndex[cp.def.Users]
	if !ok || c.set.features[i].per == 0 || !c.set.features[i].shape.Entities {
		var names []string
		for _, f := range c.set.features {
			if f.shape.Entities {
				names = append(names, f.def.Name)
			}
		}
		hint := "to: watchers, a feature with `per` and agg: users"
		if near := campaign.Nearest(cp.def.Users, names); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		c.problem(path("to"), fmt.Sprintf("%q is not a feature with agg: users", cp.def.Users), hint)
		return
	}
	is.users, is.kind = i, c.set.features[i].per-1
}

// keyName is the property by which events name the items of the campaign's kind.
func (c *liveCampaign) keyName(set *Set) string { return set.def.Items[c.items.kind].Key }

// spanOf evaluates an expression whose value is a span of time, such as
// `unless.within`, at most a limit. ok is false where there is none: for null, 0, a
// negative span and an error, which is returned, too.
func spanOf(x *expr.Expr, sc *scope, most int64) (span int64, ok bool, err error) {
	v, err := x.Value(sc)
	if err != nil {
		return 0, false, err
	}
	if v.Kind != value.Duration {
		if v.Kind == value.Null {
			return 0, false, nil
		}
		return 0, false, fmt.Errorf("a duration is wanted, this is %v", v.CEL())
	}
	if span = int64(v.Bits); span <= 0 {
		return 0, false, nil
	}
	return min(span, most), true, nil
}

// span compiles an expression whose value is a span of time.
func (c *compiler) span(l *expr.Language, src string, atMost int64, path []string) *expr.Expr {
	if src == "" {
		return nil
	}
	x := l.Compile(src, nil, c.reporter(path))
	if x != nil {
		switch x.Type.Kind() {
		case cel.DynKind, cel.DurationKind, cel.NullTypeKind:
		default:
			c.problem(path, "a duration is wanted, this is "+expr.InWords(x.Type.String()), "within: buy_after.p50 * 0.8, for example")
		}
	}
	if atMost <= 0 {
		c.problem(path, "an expression needs `at_most`", "at_most: 30d")
	}
	return x
}

// itemAt is the index of the first of an event's items with a key, -1 if none has it.
func (s *scope) itemAt(name, key string) int {
	for i, it := range s.event.Items() {
		if k, ok := value.AliasJSONKey(it.Get(name)); ok && k == key {
			return i
		}
	}
	return -1
}
