package pipeline

import (
	"cmp"
	"slices"

	"github.com/valyala/fastjson"

	"offerstream/pipeline/event"
	"offerstream/pipeline/expr"
	"offerstream/pipeline/value"
)

// An index finds the features and campaigns that an event can concern: by the
// event's name and, if their `where` contains one, by an equality (path ==
// "text", path == row.name, path in ["a", "b"], or several of these joined by ||).
// All others are skipped without being evaluated. Those found still have to pass
// the rest of their `where`.
type index struct {
	features selector // features that the event updates
	removes  selector // features with remove_on
	triggers selector // what the event triggers, by the number of its match in met
	met      []match
	steps    selector // steps of sequences, by the number of their match in taken
	taken    []match
}

// A match is a unit with one of its triggers, or of the steps of its sequence.
type match struct {
	unit  int32
	entry uint8
}

// build fills the index, and removes the equalities that it uses from the
// conditions.
func (x *index) build(s *Set) {
	for i, f := range s.features {
		g, rest := takeGuard(f.where)
		x.features.add(i, f.def.On, g.path, g.textsOf(nil))
		f.where = rest
		if f.remove {
			x.removes.add(i, f.def.RemoveOn, nil, nil)
		}
	}
	for first := 0; first < len(s.units); {
		next := first + max(len(s.units[first].def.Rows), 1)
		x.campaign(s, first, next)
		first = next
	}
}

// campaign adds the units of one campaign.
func (x *index) campaign(s *Set, first, next int) {
	c := s.units[first].compiled
	units := s.units[first:next]
	if c.sequence != nil {
		for k, st := range c.def.Sequence.Steps {
			c.sequence[k] = x.steps.addUnits(&x.taken, units, match{int32(first), uint8(k)}, st.On, c.sequence[k])
		}
		return
	}
	if c.atSessionEnd() {
		return
	}
	for k := range c.entries {
		on := c.def.On
		if len(c.def.Any) > 0 {
			on = c.def.Any[k].On
		}
		e := &c.entries[k]
		e.where = x.triggers.addUnits(&x.met, units, match{int32(first), uint8(k)}, on, e.where)
	}
}

// addUnits adds all units of a campaign, whose first match is m, and returns the
// conditions that remain to be checked.
func (s *selector) addUnits(list *[]match, units []unit, m match, on []string, where []*expr.Expr) []*expr.Expr {
	g, rest := takeGuard(where)
	for i := range units {
		if g.path != nil && g.textsOf(&units[i]) == nil { // a value that is no text: CEL compares it
			g, rest = guarded{}, where
			break
		}
	}
	for i := range units {
		s.add(len(*list), on, g.path, g.textsOf(&units[i]))
		*list = append(*list, match{m.unit + int32(i), m.entry})
	}
	return rest
}

// A guarded is an equality on a text in the event.
type guarded struct {
	path   []string
	values []expr.Operand
}

// takeGuard finds the first conjunct that is an equality on a text in the
// event, and returns the other conjuncts as rest.
func takeGuard(where []*expr.Expr) (g guarded, rest []*expr.Expr) {
	for i, x := range where {
		if path, values := x.Equality(); path != nil {
			return guarded{path, values}, slices.Concat(where[:i], where[i+1:])
		}
	}
	return guarded{}, where
}

// textsOf are the texts that pass for a unit; nil if one of them is no text. A
// unit without rows, or no unit, has no values of rows.
func (g guarded) textsOf(u *unit) []string {
	texts := make([]string, 0, len(g.values))
	for _, v := range g.values {
		if v.Row == "" {
			texts = append(texts, v.Text)
			continue
		}
		t, ok := u.value(v.Row)
		if !ok || t.Kind != value.String {
			return nil
		}
		texts = append(texts, t.Str)
	}
	return texts
}

// value is a value of the unit's row.
func (u *unit) value(name string) (value.Value, bool) {
	if u == nil || u.row == nil {
		return value.Value{}, false
	}
	i := slices.Index(u.columns, name)
	if i < 0 || i >= len(u.row.values) || !u.row.has[i] {
		return value.Value{}, false
	}
	return u.row.values[i], true
}

// A selector maps an event to the numbers that it selects.
type selector struct {
	named  map[string]*selection       // by the names of track and system events
	system map[string]*selection       // by the names of system events alone: those beside a `*`, which selects the others
	typed  [len(event.Types)]selection // all events of a type (event.Types, Selector)
	star   selection                   // all events that `*` selects
}

// A selection holds what one event name selects: with guards, only if the text
// at a path matches; always, in any case.
type selection struct {
	guards []guard
	always []int32
}

// A guard selects numbers by the text at a path.
type guard struct {
	path   []string
	values map[string][]int32
}

// add adds number i under the names of its events, and under its guard if it
// has one.
func (s *selector) add(i int, on []string, path, values []string) {
	star := slices.Contains(on, "*")
	if star {
		s.star.add(i, path, values)
	}
	for k, name := range on {
		t := event.Selected(name)
		switch {
		case name == "*" || slices.Contains(on[:k], name):
		case star && t != 0: // `*` selects all types that have a selector
		case star:
			selectionOf(&s.system, name).add(i, path, values)
		case t != 0:
			s.typed[t].add(i, path, values)
		default:
			selectionOf(&s.named, name).add(i, path, values)
		}
	}
}

func selectionOf(by *map[string]*selection, name string) *selection {
	if *by == nil {
		*by = map[string]*selection{}
	}
	if (*by)[name] == nil {
		(*by)[name] = &selection{}
	}
	return (*by)[name]
}

func (s *selection) add(i int, path, values []string) {
	if path == nil {
		s.always = append(s.always, int32(i))
		return
	}
	g := slices.IndexFunc(s.guards, func(g guard) bool { return slices.Equal(g.path, path) })
	if g < 0 {
		g = len(s.guards)
		s.guards = append(s.guards, guard{path, map[string][]int32{}})
	}
	for _, v := range values {
		if is := s.guards[g].values[v]; len(is) == 0 || is[len(is)-1] != int32(i) {
			s.guards[g].values[v] = append(is, int32(i))
		}
	}
}

// each calls fn once with every number that the event selects.
func (s *selector) each(ev *event.Event, fn func(i int)) {
	if event.Types[ev.Type].Star {
		s.star.each(ev, fn)
	}
	s.typed[ev.Type].each(ev, fn)
	if ev.Type == event.Track || ev.Type == event.System {
		s.named[ev.Name].each(ev, fn)
	}
	if ev.Type == event.System {
		s.system[ev.Name].each(ev, fn)
	}
}

func (s *selection) each(ev *event.Event, fn func(i int)) {
	if s == nil {
		return
	}
	for _, i := range s.always {
		fn(int(i))
	}
	for _, g := range s.guards {
		v := ev.Get(g.path...)
		if v == nil || v.Type() != fastjson.TypeString {
			continue
		}
		for _, i := range g.values[string(v.GetStringBytes())] {
			fn(int(i))
		}
	}
}

// names are the events of an `on`.
type names struct {
	star  bool
	types [len(event.Types)]bool
	named []string
}

func namesOf(on []string) (n names) {
	for _, name := range on {
		switch t := event.Selected(name); {
		case name == "*":
			n.star = true
		case t != 0:
			n.types[t] = true
		default:
			n.named = append(n.named, name)
		}
	}
	return n
}

// have reports whether an event is one of them.
func (n *names) have(ev *event.Event) bool {
	return n.star && event.Types[ev.Type].Star || n.types[ev.Type] ||
		(ev.Type == event.Track || ev.Type == event.System) && slices.Contains(n.named, ev.Name)
}

// meet finds the triggers that the event meets: of each unit the first of its
// entries that matches, or its sequence if the event completes it.
func (s *step) meet(sc *scope) {
	s.matches = s.matches[:0]
	x := &s.live.match
	x.triggers.each(sc.event, func(i int) {
		m := x.met[i]
		sc.of(&s.live.campaigns[m.unit])
		if all(sc.c.entries[m.entry].where, sc, nil) {
			s.matches = append(s.matches, m)
		}
	})
	sc.of(nil)
	s.sequences(sc)
	if len(s.matches) > 1 {
		slices.SortFunc(s.matches, func(a, b match) int { return cmp.Or(cmp.Compare(a.unit, b.unit), cmp.Compare(a.entry, b.entry)) })
		s.matches = slices.CompactFunc(s.matches, func(a, b match) bool { return a.unit == b.unit })
	}
}
