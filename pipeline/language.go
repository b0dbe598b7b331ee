package pipeline

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/expr"
	"offerstream/pipeline/value"
	"offerstream/pipeline/window"
)

// envs makes the CEL environments of expressions about an event, under a bare
// `by` about an item of it, and about state without an event. All sets share
// them, because making them is slow.
var envs = sync.OnceValues(func() (envs struct{ about, items, noEvent *cel.Env }, err error) {
	base, err := expr.NewEnv(append(window.Structs(), sessionType)...)
	if err == nil {
		envs.noEvent, err = base.Extend(cel.Variable("now", cel.TimestampType))
	}
	if err == nil {
		envs.about, err = envs.noEvent.Extend(cel.Variable("event", expr.Event.Type))
	}
	if err == nil {
		envs.items, err = envs.about.Extend(cel.Variable("item", cel.DynType))
	}
	return envs, err
})

// A place says what expressions in one kind of place may use beyond the event.
type place struct {
	scope   string // for hints: what expressions may be about; empty: also about state
	noEvent bool
	fed     bool       // they are of a feature of items
	item    bool       // they are judged at an item: of state they see that of the item alone
	more    []variable // rows, lets, item, coupon
}

// A variable is a name in expressions.
type variable struct {
	name  string
	typ   *cel.Type
	shape *expr.Shape // what is known beyond the type; of equal shapes there is one
}

// localNames are the names of local time.
var localNames = []variable{{name: "local.hour", typ: cel.IntType}, {name: "local.minute", typ: cel.IntType}, {name: "local.weekday", typ: cel.StringType}, {name: "local.date", typ: cel.StringType}}

// stateVariables are the names in expressions about state. loose are the same
// with the type dyn for numbers that are not always ints.
func (c *compiler) stateVariables(p place) (all, loose []cel.EnvOption) {
	add := func(name string, t, l *cel.Type) {
		all, loose = append(all, cel.Variable(name, t)), append(loose, cel.Variable(name, l))
	}
	if !p.item {
		c.userVariables(add)
	}
	known := slices.DeleteFunc(slices.Clone(c.set.features), func(f *feature) bool { return f == nil || p.item && f.per == 0 })
	for _, f := range known {
		add(f.def.Name, f.typ, f.loose())
	}
	if p.noEvent {
		return all, loose
	}
	if !p.item {
		add("before.session", sessionType.Type, sessionType.Type)
		add("before.profile", expr.JSONMap, expr.JSONMap)
	}
	for _, f := range known {
		add("before."+f.def.Name, f.typ, f.loose())
	}
	return all, loose
}

// userVariables are the names of what is known of a user besides features.
func (c *compiler) userVariables(add func(name string, t, loose *cel.Type)) {
	add("session", sessionType.Type, sessionType.Type)
	add("profile", expr.JSONMap, expr.JSONMap)
	for _, v := range localNames {
		add(v.name, v.typ, v.typ)
	}
	for _, f := range c.set.def.Facts {
		t := cel.MapType(cel.StringType, expr.JSONMap)
		add("facts."+f.Name, t, t)
	}
}

// seeState makes the language of expressions about the entity's state.
func (c *compiler) seeState() { c.state = c.stateful(place{}) }

// stateful makes a language about state.
func (c *compiler) stateful(p place) *expr.Language {
	base := baseEnv(p.noEvent)
	vars, loose := c.stateVariables(p)
	for _, v := range p.more {
		l := v.typ
		if l == cel.DoubleType {
			l = cel.DynType
		}
		vars, loose = append(vars, cel.Variable(v.name, v.typ)), append(loose, cel.Variable(v.name, l))
	}
	env := c.extend(base, vars)
	l := c.language(env, p)
	if env, err := base.Extend(loose...); err == nil {
		l.Loosen(env)
	}
	return l
}

// baseEnv is the environment of expressions about an event, or where there is none.
// Compile has seen that it could be made.
func baseEnv(noEvent bool) *cel.Env {
	envs, _ := envs()
	if noEvent {
		return envs.noEvent
	}
	return envs.about
}

// extend is an environment with more names.
func (c *compiler) extend(base *cel.Env, more []cel.EnvOption) *cel.Env {
	env, err := base.Extend(more...)
	if err != nil {
		c.problem(nil, "CEL: "+err.Error(), "")
		return base
	}
	return env
}

// language makes a language of expressions in a place.
func (c *compiler) language(env *cel.Env, p place) *expr.Language {
	l := expr.NewLanguage(env, expr.Names{
		Hint: func(name string) string { return c.hint(name, p) },
		Feature: func(name string) (expr.Feature, bool) {
			i, ok := c.set.featureIndex[name]
			if !ok {
				return expr.Feature{}, false
			}
			f := c.set.features[i]
			return expr.Feature{Index: i, By: f.grouped(), Key: keyOf(f.def.By), Single: f.shape.Single(), Stays: f.shape.Stays, Most: f.most()}, true
		},
		Getter:    rowGetter,
		Fields:    c.factFields,
		OnlyByKey: func(name string) bool { return strings.HasPrefix(name, "facts.") },
		Strict:    c.strict,
		Shape:     func(name string) *expr.Shape { return c.shape(name, p) },
		Domain:    localDomain,
	})
	c.languages = append(c.languages, l)
	return l
}

// rowGetter reads a value of the campaign's row without CEL.
func rowGetter(name string) expr.Getter {
	column, ok := strings.CutPrefix(name, "row.")
	if !ok {
		return nil
	}
	return func(sc expr.Scope) (value.Value, bool) { return sc.(*scope).c.value(column) }
}

// factFields are the fields of a declared fact.
func (c *compiler) factFields(name string) (fields []string) {
	of, ok := strings.CutPrefix(name, "facts.")
	if f := c.set.facts[of]; ok && f != nil {
		for _, field := range f.Fields {
			fields = append(fields, field.Name)
		}
	}
	return fields
}

// mostKnown bounds how many names a hint lists.
const mostKnown = 12

// hint tells what to do about an unknown name.
func (c *compiler) hint(name string, p place) string {
	root, _, dotted := strings.Cut(name, ".")
	if dotted {
		return "" // the language knows the names with dots
	}
	isState := slices.Contains([]string{"session", "profile", "before", "local", "facts"}, root) ||
		slices.ContainsFunc(c.set.def.Features, func(f campaign.Feature) bool { return f.Name == name })
	switch {
	case p.fed && slices.ContainsFunc(c.set.def.Features, func(f campaign.Feature) bool { return f.Name == name && f.Per != "" }):
		return "a feature of items can read features of users, and none of items"
	case p.scope != "" && isState:
		return "an expression here is " + p.scope + "; conditions about state belong in `if`"
	case p.noEvent && (root == "event" || root == "before"):
		return "a session's end has no event"
	}
	if h, ok := misplaced[root]; ok {
		return h
	}
	known := []string{"event", "now"}
	if p.noEvent {
		known = known[1:]
	}
	for _, v := range p.more {
		if !strings.Contains(v.name, ".") {
			known = append(known, v.name)
		}
	}
	if p.scope == "" {
		known = append(known, "session", "profile")
		for _, f := range c.set.def.Features {
			known = append(known, f.Name)
		}
	}
	best, word := campaign.Nearest(name, known), expr.ForeignWord(name)
	switch {
	case best != "" && word != "":
		return fmt.Sprintf("did you mean %q? Or %s", best, word)
	case best != "":
		return fmt.Sprintf("did you mean %q?", best)
	case word != "":
		return word
	}
	list := "known are " + strings.Join(known[:min(len(known), mostKnown)], ", ")
	if len(known) > mostKnown {
		list += fmt.Sprintf(" and %d more", len(known)-mostKnown)
	}
	if p.noEvent {
		return list
	}
	if p.scope == "" {
		return fmt.Sprintf("did you mean %s, or the trait %s? %s", campaign.Member("event.properties", name), campaign.Member("profile", name), strings.ToUpper(list[:1])+list[1:])
	}
	return fmt.Sprintf("did you mean %s? %s", campaign.Member("event.properties", name), strings.ToUpper(list[:1])+list[1:])
}

// misplaced tells where names can be used that are known only in some places.
var misplaced = map[string]string{
	"before":          "before.x is x without this event: before.session, before.profile and before with each feature",
	"facts":           "facts are declared in `facts`, and read as facts.weather[key].field",
	"local":           "known are local.hour, local.minute, local.weekday and local.date",
	"row":             "rows are those of `for_each`; known are the names of their values",
	"item":            "item is known in `of` under a bare `by`, and in templates of a campaign with `choose`",
	"unsubscribe_url": "unsubscribe_url is known in templates of an offer whose channel has `consent: required`: on others there is no consent that the link could revoke",
	"coupon":          "coupon.code, coupon.url and coupon.expires are known in templates of an offer with `coupon`",
}

// rowNames are the names of the values of the campaign's rows.
func (c *compiler) rowNames(cp *compiled) (rows []variable) {
	for _, name := range cp.columns {
		rows = append(rows, variable{"row." + name, cel.DynType, c.column(cp, name)})
	}
	return rows
}

// A wording is the languages of one campaign's expressions.
type wording struct {
	about *expr.Language // of where and match
	cond  *expr.Language // of if and let
	state *expr.Language // of when_due, at, choose and score
}

// A let is a compiled `let`.
type let struct {
	name string
	expr *expr.Expr
}

// wordingOf makes the languages of a campaign, and compiles its `let`.
func (c *compiler) wordingOf(cp *compiled) wording {
	noEvent, atItem := cp.atSessionEnd(), cp.def.Users != ""
	cp.itemNamed = atItem || c.mentionsItems(cp.def)
	if len(cp.columns) == 0 && len(cp.def.Let) == 0 && !noEvent && !cp.itemNamed {
		return wording{c.about, c.state, c.state}
	}
	rows := c.rowNames(cp)
	about, state := rows, rows
	if cp.itemNamed {
		state = append(slices.Clone(rows), variable{name: "item", typ: cel.DynType})
	}
	w := c.worded(about, state, noEvent, atItem)
	for i, l := range cp.def.Let {
		report := later(cp.def.Let[i:], c.reporter([]string{"campaigns", cp.def.ID, "let", l.Name}))
		x, general := c.letOf(w, l, report)
		v := variable{name: l.Name, typ: cel.DynType} // where it fails, so that its readers do not
		if x != nil {
			cp.lets = append(cp.lets, let{l.Name, x})
			v.typ, v.shape = x.Type, c.same(x.Shape)
		}
		state = append(slices.Clone(state), v)
		if general {
			about = append(slices.Clone(about), v)
		}
		w = c.worded(about, state, noEvent, atItem)
	}
	return w
}

// letOf compiles a `let`. general: it is about the event only, so that `where`
// can use it.
func (c *compiler) letOf(w wording, l campaign.Let, report expr.Report) (x *expr.Expr, general bool) {
	quiet := true
	x = w.about.Compile(l.Is, nil, func(int, int, string, string) { quiet = false })
	if x != nil && quiet {
		return x, true
	}
	x = w.cond.Compile(l.Is, nil, report)
	return x, x == nil
}

// later reports an unknown name that this `let` or a later one has, too.
func later(lets []campaign.Let, report expr.Report) expr.Report {
	return func(line, col int, what, hint string) {
		for i, l := range lets {
			if what != fmt.Sprintf("nothing here is named %q", l.Name) {
				continue
			}
			if hint = "it is a later name of `let`: put it before this one"; i == 0 {
				hint = "a name of `let` cannot use itself"
			}
		}
		report(line, col, what, hint)
	}
}

// worded are languages with more names, the same ones for the same names. atItem:
// conditions are judged at an item.
func (c *compiler) worded(about, state []variable, noEvent, atItem bool) wording {
	key := fmt.Sprint(about, state, noEvent, atItem)
	if w := c.own[key]; w != nil {
		return *w
	}
	var vars []cel.EnvOption
	for _, v := range about {
		vars = append(vars, cel.Variable(v.name, v.typ))
	}
	env := c.extend(baseEnv(noEvent), vars)
	w := &wording{about: c.language(env, place{scope: "about the event only", noEvent: noEvent, more: about}), state: c.stateful(place{noEvent: noEvent, more: state})}
	if w.cond = w.state; atItem {
		w.cond = c.stateful(place{scope: "about the event and the item, for whoever is in the list", item: true, more: state})
	}
	if c.own == nil {
		c.own = map[string]*wording{}
	}
	c.own[key] = w
	return *w
}

// shown is the language of a campaign's templates.
func (c *compiler) shown(cp *compiled, w wording) *expr.Language {
	var more []variable
	if cp.choose != nil {
		t := cp.choose.Type
		if t.Kind() == cel.OpaqueKind && t.TypeName() == "optional_type" {
			t = t.Parameters()[0]
		}
		more = append(more, variable{"item", t, c.same(cp.choose.Shape.Value())})
	} else if cp.def.Choose != "" {
		more = append(more, variable{name: "item", typ: cel.DynType}) // the mistake in choose is reported
	} else if cp.itemNamed && cp.def.Offer.Coupon != nil {
		more = append(more, variable{name: "item", typ: cel.DynType})
	}
	if cp.def.Offer.Coupon != nil {
		more = append(more, variable{name: "coupon.code", typ: cel.StringType}, variable{name: "coupon.url", typ: cel.StringType}, variable{name: "coupon.expires", typ: cel.TimestampType})
	}
	if c.unsubscribes(cp) {
		more = append(more, variable{name: unsubscribeURL, typ: cel.StringType})
	}
	if len(more) == 0 {
		return w.state
	}
	more = append(more, c.rowNames(cp)...)
	for _, l := range cp.def.Let {
		v := variable{name: l.Name, typ: cel.DynType}
		if x := cp.let(l.Name); x != nil {
			v.typ, v.shape = x.Type, c.same(x.Shape)
		}
		more = append(more, v)
	}
	return c.worded(nil, more, cp.atSessionEnd(), false).state
}

// unsubscribeURL is the name of the link with which the user revokes his consent to the
// offer's channel.
const unsubscribeURL = "unsubscribe_url"

// unsubscribes reports whether templates of a campaign can use unsubscribeURL: they name
// it, no feature or `let` has that name, and the channel needs consent.
func (c *compiler) unsubscribes(cp *compiled) bool {
	p := c.set.def.Consent
	return p != nil && slices.Contains(p.Required, cp.def.Offer.Channel) && bytes.Contains(cp.def.Offer.Data, []byte(unsubscribeURL)) && cp.let(unsubscribeURL) == nil &&
		!slices.ContainsFunc(c.set.def.Features, func(f campaign.Feature) bool { return f.Name == unsubscribeURL })
}

// loose is the feature's type in a loosened language: dyn if it is a number
// that is not always an int, else the ordinary type.
func (f *feature) loose() *cel.Type {
	one := f.typ
	if f.grouped() {
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
	if !f.grouped() {
		return cel.DynType
	}
	return expr.JSONMap
}
