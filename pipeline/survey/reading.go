package survey

import (
	"slices"
	"strconv"
	"strings"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/expr"
)

// A reading is a place of the set's files that reads a value of events, or a value
// that comes from them.
type reading struct {
	path    []string // of keys, as in a campaign.Problem
	element string   // the element of the list at path; "": path is all
	use     expr.Use
	target  target
	profile bool               // it is read as profile.x
	rows    *campaign.Campaign // whose rows use.Row is about

	literals []string // see literalsOf
	stat     stat     // of the target, since Result
}

// A target is a value in some events.
type target struct {
	on []string // the names of the events, as `on` has them
	place
}

// context is what an expression sees.
type context struct {
	on   []string // the events of `event`
	item []string // the path that `item` stands for; nil: nothing
	rows *campaign.Campaign
	r    *expr.Reader
}

// readings are all places of a set that read values of events.
type readings struct {
	def      *campaign.Definition
	features map[string]*campaign.Feature
	plain    *expr.Reader
	all      []reading
}

func readingsOf(def *campaign.Definition) *readings {
	rs := &readings{def: def, features: map[string]*campaign.Feature{}, plain: expr.NewReader()}
	for i := range def.Features {
		rs.features[def.Features[i].Name] = &def.Features[i]
	}
	for i := range def.Features {
		rs.feature(&def.Features[i])
	}
	for i := range def.Campaigns {
		rs.campaign(&def.Campaigns[i])
	}
	return rs
}

func (rs *readings) feature(f *campaign.Feature) {
	path := func(keys ...string) []string { return append([]string{"features", f.Name}, keys...) }
	c := rs.ofFeature(f)
	rs.expression(path("where"), f.Where, c)
	rs.keyed(path("by"), f.By, f.On, c)
	rs.expression(path("of"), f.Of, c)
	if of := rs.plain.Path(f.Of); of != nil && numeric[f.Agg] {
		rs.add(reading{path: path("of"), use: expr.Use{Path: of, Op: expr.Calculated, Line: 1}}, c)
	}
	if f.Key != "" {
		rs.item(path("key"), "", f.Key, f.On)
		rs.item(path("remove_on"), "", f.Key, f.RemoveOn)
	}
	for _, field := range f.Fields {
		rs.item(path("fields"), field, field, f.On)
	}
}

// numeric are the aggregates whose `of` is a number.
var numeric = map[string]bool{"sum": true, "min": true, "max": true, "avg": true, "quantiles": true}

// eachItem is the path of what events are about.
var eachItem = []string{"event", "items", expr.Each}

// ofFeature is what the expressions of a feature see.
func (rs *readings) ofFeature(f *campaign.Feature) context {
	return context{on: f.On, item: eachItem, r: rs.plain}
}

func (rs *readings) campaign(def *campaign.Campaign) {
	path := func(keys ...string) []string { return append([]string{"campaigns", def.ID}, keys...) }
	c := context{r: expr.NewReader(), item: eachItem} // item is read of an item's key, and of what is chosen
	if len(def.Rows) > 0 {
		c.rows = def
	}
	for _, t := range triggersOf(def) {
		c.on = append(c.on, t.on...)
	}
	if s := def.Sequence; s != nil {
		c.on = s.Steps[len(s.Steps)-1].On
	}
	for _, l := range def.Let {
		rs.expression(path("let", l.Name), l.Is, c)
		c.r.Let(l.Name, l.Is)
	}
	for _, t := range triggersOf(def) {
		about := c
		about.on = t.on
		rs.expression(path(append(slices.Clone(t.path), "where")...), t.where, about)
		if u := t.unless; u != nil {
			at := func(key string) []string { return path(append(slices.Clone(t.path), "unless", key)...) }
			ending := about
			ending.on = u.On
			rs.expression(at("where"), u.Where, ending)
			rs.expression(at("within"), u.WithinIs, about)
			rs.keyed(at("match"), u.Match, t.on, about)
			rs.keyed(at("match"), u.Match, u.On, ending)
		}
	}
	for j, src := range def.If {
		rs.expression(path("if", strconv.Itoa(j)), src, c)
	}
	if def.At != nil {
		rs.expression(path("at", "best_hour"), def.At.BestHour, c)
	}
	rs.expression(path("when_due"), def.WhenDue, c)
	rs.expression(path("choose"), def.Choose, c)
	rs.expression(path("score"), def.Score, c)
	if def.Choose != "" {
		c.item = c.r.Path(def.Choose)
	}
	rs.expression(path("offer", "expires"), def.Offer.ExpiresIs, c)
	if def.Budget != nil {
		rs.expression(path("budget", "of"), def.Budget.Of, c)
	}
	c.r.Template(def.Offer.Data, func(within []string, uses []expr.Use) {
		for _, u := range uses {
			rs.add(reading{path: path(append([]string{"offer", "data"}, within...)...), use: u}, c)
		}
	})
}

// A triggerOf is one of the events that start a campaign: its only one, an entry of
// `any`, or a step of a sequence.
type triggerOf struct {
	path   []string // its place in the campaign
	on     []string
	where  string
	unless *campaign.Unless
}

func triggersOf(def *campaign.Campaign) (ts []triggerOf) {
	switch {
	case def.Sequence != nil:
		for i, st := range def.Sequence.Steps {
			ts = append(ts, triggerOf{[]string{"sequence", "steps", strconv.Itoa(i)}, st.On, st.Where, nil})
		}
	case len(def.Any) > 0:
		for i, t := range def.Any {
			ts = append(ts, triggerOf{[]string{"any", strconv.Itoa(i)}, t.On, t.Where, t.Unless})
		}
	default:
		ts = []triggerOf{{nil, def.On, def.Where, def.Unless}}
	}
	return ts
}

// expression adds what an expression reads.
func (rs *readings) expression(path []string, src string, c context) {
	if src == "" {
		return
	}
	uses, _ := c.r.Uses(src)
	for _, u := range uses {
		rs.add(reading{path: path, use: u}, c)
	}
}

// keyed adds what a `by` or `match` reads: a bare name is a property of each item.
func (rs *readings) keyed(path []string, src string, on []string, c context) {
	if campaign.PropertyName(src) {
		rs.item(path, "", src, on)
	} else {
		rs.expression(path, src, c)
	}
}

// item adds a property of items that is named by itself.
func (rs *readings) item(path []string, element, name string, on []string) {
	rs.all = append(rs.all, reading{path: path, element: element, target: target{on, placeOf("items", []string{name})}})
}

func (rs *readings) add(r reading, c context) {
	r.rows = c.rows
	if key, ok := rs.keyOfState(r); ok {
		rs.all = append(rs.all, key)
	}
	var ok bool
	if r.target, r.profile, ok = rs.target(r.use, c); ok {
		rs.all = append(rs.all, r)
	}
}

// target is the value of events that a use reads; ok is false for any other.
func (rs *readings) target(u expr.Use, c context) (t target, profile, ok bool) {
	path := u.Path
	if path[0] == "before" && len(path) > 1 {
		path = path[1:]
	}
	if path[0] == "item" && c.item != nil {
		path = append(slices.Clone(c.item), path[1:]...)
	}
	if f := rs.features[path[0]]; f != nil {
		return rs.ofState(f, path[1:], u)
	}
	switch {
	case path[0] == "profile" && len(path) > 1:
		return target{[]string{"identify"}, placeOf("traits", path[1:])}, true, true
	case path[0] != "event" || len(path) < 2 || len(c.on) == 0 || c.on[0] == campaign.SessionEnd:
	case path[1] == "name" || path[1] == "type":
		return target{c.on, placeOf("event", path[1:])}, false, true
	case path[1] == "items" && len(path) > 3 && path[2] == expr.Each:
		return target{c.on, placeOf("items", path[3:])}, false, true
	case slices.Contains([]string{"properties", "traits", "context"}, path[1]) && len(path) > 2:
		return target{c.on, placeOf(path[1], path[2:])}, false, true
	}
	return t, false, false
}

// ofState is the target of what is read of a feature: the values that it keeps, or
// the keys of `by`.
func (rs *readings) ofState(f *campaign.Feature, path []string, u expr.Use) (t target, profile, ok bool) {
	c := rs.ofFeature(f)
	if f.Agg == "top" && len(path) == 2 && path[0] == expr.Each && path[1] == "key" {
		return rs.by(f, c)
	}
	if f.By != "" && f.Agg != "top" {
		if len(path) == 0 {
			if u.Op == expr.Key {
				return rs.by(f, c)
			}
			return t, false, false
		}
		path = path[1:]
	}
	switch f.Agg {
	case "list":
		if len(path) == 2 && path[0] == expr.Each && slices.Contains(f.Fields, path[1]) {
			return target{f.On, placeOf("items", path[1:])}, false, true
		}
	case "first", "last", "min", "max":
		if of := rs.plain.Path(f.Of); of != nil {
			return rs.target(expr.Use{Path: append(slices.Clone(of), path...)}, c)
		}
	}
	return t, false, false
}

// by is the target whose values are the keys of a feature.
func (rs *readings) by(f *campaign.Feature, c context) (t target, profile, ok bool) {
	if campaign.PropertyName(f.By) {
		return target{f.On, placeOf("items", []string{f.By})}, false, true
	}
	if by := rs.plain.Path(f.By); by != nil {
		return rs.target(expr.Use{Path: by}, c)
	}
	return t, false, false
}

// keyOfState is a reading of a feature under a literal key: a comparison of that key
// with what `by` reads.
func (rs *readings) keyOfState(r reading) (key reading, ok bool) {
	path := r.use.Path
	if path[0] == "before" && len(path) > 1 {
		path = path[1:]
	}
	f := rs.features[path[0]]
	if f == nil || f.By == "" || f.Agg == "top" || len(path) < 2 || path[1] == expr.Each {
		return r, false
	}
	if r.target, _, ok = rs.by(f, rs.ofFeature(f)); !ok {
		return r, false
	}
	r.use.Op, r.use.Values, r.use.Row = expr.Key, []any{path[1]}, ""
	return r, true
}

// name is the target as an expression has it.
func (r *reading) name() string {
	base := "event." + r.target.base + "."
	switch {
	case r.profile:
		base = "profile."
	case r.target.base == "items" || r.target.base == "event":
		base = ""
	}
	return base + strings.ReplaceAll(strings.Join(r.target.path(), "."), "."+expr.Each, "[]")
}
