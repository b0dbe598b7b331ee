package pipeline

import (
	"slices"

	"github.com/valyala/fastjson"

	"offerstream/pipeline/event"
	"offerstream/pipeline/expr"
)

// An index finds the features and campaigns that an event can concern: by the
// event's name and, if their `where` contains one, by an equality (path ==
// "text", path in ["a", "b"], or several of these joined by ||). All others are
// skipped without being evaluated. Those found still have to pass the rest of
// their `where`.
type index struct {
	features  selector // features that the event updates
	removes   selector // features with remove_on
	campaigns selector // campaigns that the event triggers
	cancels   selector // campaigns whose absences the event ends (`unless`)
}

// build fills the index, and removes the equalities that it uses from the
// conditions.
func (x *index) build(s *Set) {
	for i, f := range s.features {
		f.where = x.features.add(i, f.def.On, f.where)
		if f.remove {
			x.removes.add(i, f.def.RemoveOn, nil)
		}
	}
	for i, c := range s.campaigns {
		c.where = x.campaigns.add(i, c.def.On, c.where)
		if u := c.def.Unless; u != nil {
			c.unless = x.cancels.add(i, u.On, c.unless)
		}
	}
}

// A selector maps an event to the numbers of the features or campaigns that it
// selects.
type selector struct {
	named map[string]*selection       // by the names of track events
	typed [len(event.Types)]selection // all events of a type (event.Types, Selector)
	star  selection                   // all events
}

// A selection holds what one event name selects: with guards, only if the text
// at a path matches; always, in any case.
type selection struct {
	guards []guard
	always []int
}

// A guard selects numbers by the text at a path.
type guard struct {
	path   []string
	values map[string][]int
}

// add adds number i under the names of its events, and under its guard if it
// has one. It returns the conditions that remain to be checked.
func (s *selector) add(i int, on []string, where []*expr.Expr) []*expr.Expr {
	path, values, rest := takeGuard(where)
	if slices.Contains(on, "*") {
		on = []string{"*"}
	}
	for k, name := range on {
		if slices.Contains(on[:k], name) {
			continue
		}
		s.selection(name).add(i, path, values)
	}
	return rest
}

func (s *selector) selection(name string) *selection {
	if name == "*" {
		return &s.star
	}
	if t := event.Selected(name); t != 0 {
		return &s.typed[t]
	}
	if s.named == nil {
		s.named = map[string]*selection{}
	}
	if s.named[name] == nil {
		s.named[name] = &selection{}
	}
	return s.named[name]
}

func (s *selection) add(i int, path, values []string) {
	if path == nil {
		s.always = append(s.always, i)
		return
	}
	g := slices.IndexFunc(s.guards, func(g guard) bool { return slices.Equal(g.path, path) })
	if g < 0 {
		g = len(s.guards)
		s.guards = append(s.guards, guard{path, map[string][]int{}})
	}
	for _, v := range values {
		if is := s.guards[g].values[v]; len(is) == 0 || is[len(is)-1] != i {
			s.guards[g].values[v] = append(is, i)
		}
	}
}

// each calls fn once with every number that the event selects.
func (s *selector) each(ev *event.Event, fn func(i int)) {
	s.star.each(ev, fn)
	s.typed[ev.Type].each(ev, fn)
	if ev.Type == event.Track {
		if sel := s.named[ev.Name]; sel != nil {
			sel.each(ev, fn)
		}
	}
}

func (s *selection) each(ev *event.Event, fn func(i int)) {
	for _, i := range s.always {
		fn(i)
	}
	for _, g := range s.guards {
		v := ev.Get(g.path...)
		if v == nil || v.Type() != fastjson.TypeString {
			continue
		}
		for _, i := range g.values[string(v.GetStringBytes())] {
			fn(i)
		}
	}
}

// takeGuard finds the first conjunct that is an equality on a text in the
// event, and returns the other conjuncts as rest.
func takeGuard(where []*expr.Expr) (path, values []string, rest []*expr.Expr) {
	for i, x := range where {
		path, operands := x.Equality()
		if path == nil || slices.ContainsFunc(operands, func(o expr.Operand) bool { return o.Row != "" }) {
			continue
		}
		for _, o := range operands {
			values = append(values, o.Text)
		}
		return path, values, slices.Concat(where[:i], where[i+1:])
	}
	return nil, nil, where
}
