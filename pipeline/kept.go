package pipeline

import (
	"slices"
	"strings"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/expr"
)

// Trigger identifies what makes the evaluations of a unit pending: a campaign, or
// a row of one ("name/row"). Those that are pending when a set comes into force are
// cancelled unless that set has the unit with the same trigger (LANGUAGE.md, rule
// 14). ok is false if the set lacks the unit.
func (s *Set) Trigger(unit string) (trigger uint64, ok bool) {
	i, ok := s.unitIndex[unit]
	if !ok {
		return 0, false
	}
	return s.units[i].trigger, true
}

// MayWait reports whether evaluations of a unit may become pending.
func (s *Set) MayWait(unit string) bool {
	i, ok := s.unitIndex[unit]
	return ok && (s.units[i].waits() || s.units[i].asks() || s.units[i].asksBudget())
}

// Lacking are what the expressions of a unit read after a wait under this set and
// what evaluations do not hold that became pending under the old one, as
// expressions write it: event.properties.price, before.views. Both sets have the
// unit with the same Trigger.
func (s *Set) Lacking(old *Set, unit string) (names []string) {
	was, is := old.units[old.unitIndex[unit]].compiled, s.units[s.unitIndex[unit]].compiled
	add := func(name string) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	fields := func(kept, read *event.Fields) {
		for _, path := range kept.Lacks(read) {
			name := "event." + path[0]
			for _, p := range path[1:] {
				name = campaign.Member(name, p)
			}
			add(name)
		}
	}
	if len(was.dwell) > 0 { // `if` is judged again
		for i := range was.entries {
			fields(was.entries[i].keepDwell, is.entries[i].keepDwell)
		}
		is.eachBefore(true, func(name string) {
			if !was.keepsBefore(old, name) {
				add("before." + name)
			}
		})
	}
	if was.waitsBeyondDwell() {
		fields(was.afterAbsence, is.afterAbsence)
		is.eachBefore(false, func(name string) { add("before." + name) })
	}
	slices.Sort(names)
	return names
}

// waitsBeyondDwell reports whether evaluations may wait after `if` has held.
func (c *compiled) waitsBeyondDwell() bool {
	return c.def.At != nil || c.holds() || slices.ContainsFunc(c.entries, func(e entry) bool { return e.unless != nil })
}

// eachBefore calls fn with the names that are read as before.name, with those in
// `if` only where conditions is true.
func (c *compiled) eachBefore(conditions bool, fn func(name string)) {
	if !c.readsBefore {
		return
	}
	c.each(nil, func(place string, x *expr.Expr) { // in when_due it does not compile
		if place == "if" && !conditions {
			return
		}
		c.reads(x, func(name string) {
			if of, ok := strings.CutPrefix(name, "before."); ok {
				fn(of)
			}
		})
	})
}

// keepsBefore reports whether an evaluation that waits for dwell keeps what it reads
// as before.name.
func (c *compiled) keepsBefore(set *Set, name string) bool {
	if !c.readsBefore || name == "session" || name == "profile" {
		return c.readsBefore
	}
	i, ok := set.featureIndex[name]
	return ok && slices.Contains(c.before, i)
}
