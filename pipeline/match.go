package pipeline

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"

	"github.com/valyala/fastjson"

	"offerstream/pipeline/event"
	"offerstream/pipeline/expr"
	"offerstream/pipeline/value"
)

// An index finds the features and campaigns that an event can concern: by the
// event's name and, if their `where` contains such, by equalities (path ==
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
	whole bool // in the index: the index has checked all of its `where`
}

// build fills the index, and removes the equalities that it uses from the
// conditions.
func (x *index) build(s *Set) {
	for i, f := range s.features {
		g, rest := takeGuard(f.where, nil)
		x.features.add(i, f.def.On, g, nil)
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
	for _, sel := range []*selector{&x.features, &x.removes, &x.triggers, &x.steps} {
		sel.finish()
	}
}

// campaign adds the units of one campaign.
func (x *index) campaign(s *Set, first, next int) {
	c := s.units[first].compiled
	units := s.units[first:next]
	if c.sequence != nil {
		for k, st := range c.def.Sequence.Steps {
			c.sequence[k] = x.steps.addUnits(&x.taken, units, match{unit: int32(first), entry: uint8(k)}, st.On, c.sequence[k])
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
		e.where = x.triggers.addUnits(&x.met, units, match{unit: int32(first), entry: uint8(k)}, on, e.where)
	}
}

// addUnits adds all units of a campaign, whose first match is m, and returns the
// conditions that remain to be checked.
func (s *selector) addUnits(list *[]match, units []unit, m match, on []string, where []*expr.Expr) []*expr.Expr {
	g, rest := takeGuard(where, units)
	m.whole = len(rest) == 0
	*list = slices.Grow(*list, len(units))
	for i := range units {
		s.add(len(*list), on, g, &units[i])
		*list = append(*list, m)
		m.unit++
	}
	return rest
}

// An equality is a condition that a text in the event is one of some texts.
type equality struct {
	path   []string
	values []expr.Operand
}

// mostTexts bounds the combinations of texts of several equalities under which one
// unit is found.
const mostTexts = 64

// takeGuard finds the conjuncts that are equalities, and returns the other
// conjuncts as rest. Those about the same path as an earlier one, and those that
// would make too many combinations, are among the rest; so are those with a value
// of a row that is no text: CEL compares it. units are those whose condition it is.
func takeGuard(where []*expr.Expr, units []unit) (g []equality, rest []*expr.Expr) {
	texts := 1
	for _, x := range where {
		path, values := x.Equality()
		taken := slices.ContainsFunc(g, func(e equality) bool { return slices.Equal(e.path, path) })
		if path == nil || taken || len(g) > 0 && texts*len(values) > max(texts, mostTexts) || !allTexts(values, units) {
			rest = append(rest, x)
			continue
		}
		texts *= len(values)
		g = append(g, equality{path, values})
	}
	return g, rest
}

// allTexts reports whether the values are texts in all rows. What has no rows has
// literals only.
func allTexts(values []expr.Operand, units []unit) bool {
	for _, v := range values {
		for i := range units {
			if t, ok := units[i].value(v.Row); v.Row != "" && (!ok || t.Kind != value.String) {
				return false
			}
		}
	}
	return true
}

// keysOf are the keys (appendKey) of a guard under which a unit is found; nil for a
// feature.
func keysOf(g []equality, u *unit) []string {
	keys := []string{""}
	for i, e := range g {
		var longer []string
		for _, k := range keys {
			for _, v := range e.values {
				text := v.Text
				if v.Row != "" {
					t, _ := u.value(v.Row)
					text = t.Str
				}
				if len(g) == 1 {
					longer = append(longer, text)
				} else {
					longer = append(longer, string(appendKey([]byte(k), text, i == len(g)-1)))
				}
			}
		}
		keys = longer
	}
	return keys
}

// appendKey appends a text to a key that consists of several.
func appendKey(key []byte, text string, last bool) []byte {
	if !last { // so that no two combinations have the same key
		key = binary.AppendUvarint(key, uint64(len(text)))
	}
	return append(key, text...)
}

// A selector maps an event to the numbers that it selects.
type selector struct {
	named  map[string]*selection       // by the names of track and system events
	system map[string]*selection       // by the names of system events alone: those beside a `*`, which selects the others
	typed  [len(event.Types)]selection // all events of a type (event.Types, Selector)
	star   selection                   // all events that `*` selects
}

// A selection holds what one event name selects: with guards, only if the texts
// at their paths match; always, in any case.
type selection struct {
	guards []guard
	always []int32
}

// A guard selects numbers by the texts at some paths, usually one.
type guard struct {
	paths  [][]string
	found  map[string]span    // by the text, or by the key of several
	many   []int32            // the numbers under keys that have more than one
	adding map[string][]int32 // while the index is built
}

// A span is what a guard finds under a key: n numbers from many[at] on; if n is 1, at
// is the number. Most of thousands of keys have one.
type span struct{ at, n int32 }

// add adds number i under the names of its events, and under its guard if it has
// any. u is the unit whose it is; nil: a feature's.
func (s *selector) add(i int, on []string, g []equality, u *unit) {
	var keys []string
	if len(g) > 0 {
		keys = keysOf(g, u)
	}
	star := slices.Contains(on, "*")
	if star {
		s.star.add(i, g, keys)
	}
	for k, name := range on {
		t := event.Selected(name)
		switch {
		case name == "*" || slices.Contains(on[:k], name):
		case star && t != 0: // `*` selects all types that have a selector
		case star:
			selectionOf(&s.system, name).add(i, g, keys)
		case t != 0:
			s.typed[t].add(i, g, keys)
		default:
			selectionOf(&s.named, name).add(i, g, keys)
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

func (s *selection) add(i int, by []equality, keys []string) {
	if len(by) == 0 {
		s.always = append(s.always, int32(i))
		return
	}
	at := slices.IndexFunc(s.guards, func(g guard) bool {
		return slices.EqualFunc(g.paths, by, func(path []string, e equality) bool { return slices.Equal(path, e.path) })
	})
	if at < 0 {
		at = len(s.guards)
		g := guard{adding: map[string][]int32{}}
		for _, e := range by {
			g.paths = append(g.paths, e.path)
		}
		s.guards = append(s.guards, g)
	}
	for _, k := range keys {
		if is := s.guards[at].adding[k]; len(is) == 0 || is[len(is)-1] != int32(i) {
			s.guards[at].adding[k] = append(is, int32(i))
		}
	}
}

// finish makes the guards ready for use.
func (s *selector) finish() {
	s.star.finish()
	for i := range s.typed {
		s.typed[i].finish()
	}
	for _, by := range []map[string]*selection{s.named, s.system} {
		for _, name := range slices.Sorted(maps.Keys(by)) {
			by[name].finish()
		}
	}
}

func (s *selection) finish() {
	for i := range s.guards {
		s.guards[i].finish()
	}
}

func (g *guard) finish() {
	g.found = make(map[string]span, len(g.adding))
	for _, key := range slices.Sorted(maps.Keys(g.adding)) {
		is := g.adding[key]
		if len(is) == 1 {
			g.found[key] = span{is[0], 1}
			continue
		}
		g.found[key] = span{int32(len(g.many)), int32(len(is))}
		g.many = append(g.many, is...)
	}
	g.many, g.adding = slices.Clip(g.many), nil
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
	for i := range s.guards {
		g := &s.guards[i]
		switch at := g.of(ev); at.n {
		case 0:
		case 1:
			fn(int(at.at))
		default:
			for _, n := range g.many[at.at : at.at+at.n] {
				fn(int(n))
			}
		}
	}
}

// of is what the guard finds for an event.
func (g *guard) of(ev *event.Event) span {
	if len(g.paths) == 1 {
		text, ok := textAt(ev, g.paths[0])
		if !ok {
			return span{}
		}
		return g.found[text]
	}
	var usual [128]byte
	key := usual[:0]
	for i, path := range g.paths {
		text, ok := textAt(ev, path)
		if !ok {
			return span{}
		}
		key = appendKey(key, text, i == len(g.paths)-1)
	}
	return g.found[string(key)]
}

// textAt is the text at a path of an event. It is valid as long as the event.
func textAt(ev *event.Event, path []string) (text string, ok bool) {
	v := ev.Get(path...)
	if v == nil || v.Type() != fastjson.TypeString {
		return "", false
	}
	return value.AliasText(v), true
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

// endings are the events of all `unless` of a set. Most events are none of them.
type endings struct {
	star  bool
	types [len(event.Types)]bool
	named map[string]bool
}

func (e *endings) add(on []string) {
	n := namesOf(on)
	e.star = e.star || n.star
	for t, has := range n.types {
		e.types[t] = e.types[t] || has
	}
	for _, name := range n.named {
		if e.named == nil {
			e.named = map[string]bool{}
		}
		e.named[name] = true
	}
}

// have is names.have.
func (e *endings) have(ev *event.Event) bool {
	return e.star && event.Types[ev.Type].Star || e.types[ev.Type] || (ev.Type == event.Track || ev.Type == event.System) && e.named[ev.Name]
}

// meet finds the triggers that the event meets: of each unit the first of its
// entries that matches, or its sequence if the event completes it.
func (s *step) meet(sc *scope) {
	s.matches = s.matches[:0]
	x := &s.live.match
	x.triggers.each(sc.event, func(i int) {
		m := x.met[i]
		if !m.whole {
			sc.of(&s.live.campaigns[m.unit])
			m.whole = all(sc.c.entries[m.entry].where, sc, nil)
		}
		if m.whole {
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
