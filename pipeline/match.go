package pipeline

import (
	"cmp"
	"slices"

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
