package survey

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/expr"
	"offerstream/pipeline/value"
)

// The rules of findings.
const (
	EventNeverOccurs    = "event-never-occurs"
	PropertyNeverOccurs = "property-never-occurs"
	TextForNumber       = "text-for-number"
	ValueNeverMatches   = "value-never-matches"
	ConditionNeverHolds = "condition-never-holds"
)

// A Finding is a place of the set's files that does not fit the sample.
type Finding struct {
	Rule    string
	Element string // if not empty, the place is that element of the list at Path, a text
	campaign.Problem
}

// finder collects findings. One that comes at several places is told once, with how
// many they are.
type finder struct {
	*Survey
	found   []Finding
	again   map[string]int  // by what is found: its index in found
	times   []int           // by index: at how many places
	suspect map[string]bool // the conjuncts in which something is found, by conjunctKey

	frequent map[string]string // the most frequent values at the place of a reading, in words, by its key
	looked   int               // for how many values a similar one was looked for
}

func conjunctKey(path []string, conjunct int) string {
	return strings.Join(path, "\x00") + "\x00" + strconv.Itoa(conjunct)
}

func (s *Survey) findings() []Finding {
	f := &finder{Survey: s, again: map[string]int{}, suspect: map[string]bool{}, frequent: map[string]string{}}
	if s.sample.n > 0 {
		f.events()
		for i := range s.readings.all {
			f.reading(&s.readings.all[i])
		}
		for _, t := range s.judge.features {
			f.trigger(t, append(slices.Clone(t.path), "where"))
		}
		for i := range s.def.Campaigns {
			f.conditions(&s.def.Campaigns[i])
		}
	}
	for i, n := range f.times {
		if n > 1 {
			f.found[i].What += fmt.Sprintf(" (and at %s)", count(uint64(n-1), "other place"))
		}
	}
	return f.found
}

// find adds a finding. what and key tell apart what is found.
func (f *finder) find(key string, found Finding) {
	if f.foundAgain(found.Rule, key) {
		return
	}
	f.again[found.Rule+"\x00"+key] = len(f.found)
	f.found, f.times = append(f.found, found), append(f.times, 1)
}

// foundAgain counts what has been found elsewhere, if it has.
func (f *finder) foundAgain(rule, key string) bool {
	i, ok := f.again[rule+"\x00"+key]
	if ok {
		f.times[i]++
	}
	return ok
}

// events looks for names in `on` that no event has.
func (f *finder) events() {
	on := func(names []string, path ...string) {
		for _, name := range names {
			f.event(name, path)
		}
	}
	for _, ft := range f.def.Features {
		on(ft.On, "features", ft.Name, "on")
		on(ft.RemoveOn, "features", ft.Name, "remove_on")
	}
	for i := range f.def.Campaigns {
		c := &f.def.Campaigns[i]
		for _, t := range triggersOf(c) {
			path := append([]string{"campaigns", c.ID}, t.path...)
			on(t.on, append(slices.Clone(path), "on")...)
			if t.unless != nil {
				on(t.unless.On, append(slices.Clone(path), "unless", "on")...)
			}
		}
	}
}

func (f *finder) event(name string, path []string) {
	if name == "*" || name == campaign.SessionEnd || len(f.sample.named([]string{name})) > 0 || f.foundAgain(EventNeverOccurs, name) {
		return
	}
	found := Finding{Rule: EventNeverOccurs, Element: name, Problem: campaign.Problem{Path: path}}
	found.What = fmt.Sprintf("no event of the sample is named %q", name)
	if event.Selected(name) != 0 {
		found.What = fmt.Sprintf("the sample has no event of type %s", name)
	}
	names := map[string]uint64{}
	for _, k := range f.sample.kinds {
		names[k.label()] += k.n
	}
	best := nearest(name, names)
	switch {
	case best != "":
		found.Hint = fmt.Sprintf("did you mean %q (%s of %s events)?", best, thousands(names[best]), thousands(f.sample.n))
	case slices.ContainsFunc(event.Reserved[:], func(r event.Reservation) bool { return r.Name == name }):
		found.Hint = "it comes from what shows or delivers the offers"
	default:
		found.Hint = "it has " + frequent(names, func(name string) string { return name })
	}
	f.find(name, found)
}

// never adds a condition that never held.
func (f *finder) never(path []string, line, col int, what, hint string) {
	p := campaign.Problem{Path: path, Line: line, Col: col, What: what, Hint: hint}
	f.find(fmt.Sprint(path, line, col), Finding{Rule: ConditionNeverHolds, Problem: p})
}

// trigger looks for conjuncts of a `where` that never held, at a path. never: one
// did not, or there was no such event.
func (f *finder) trigger(t judgedTrigger, path []string) (never bool) {
	kinds := f.sample.named(t.on)
	n := events(kinds)
	if n == 0 {
		return true
	}
	_, places := f.readings.plain.Uses(t.where)
	for j, term := range t.terms {
		if term.sum(kinds) > 0 || term.more {
			continue
		}
		never = true
		if f.suspect[conjunctKey(path, j)] {
			continue
		}
		hint := term.Text()
		if r := f.ordered(path, j); r != nil {
			hint = fmt.Sprintf("%s is from %s to %s there", r.name(), value.FormatDouble(r.stat.least), value.FormatDouble(r.stat.most))
		} else if term.err != nil {
			hint += " failed: " + term.err.Error()
		}
		f.never(path, places[j].Line, places[j].Col, fmt.Sprintf("this held for none of %s %s", thousands(n), eventsNamed(t.on, n)), hint)
	}
	return never
}

// ordered is the reading in a conjunct that is compared with a number.
func (f *finder) ordered(path []string, conjunct int) *reading {
	for i := range f.readings.all {
		if r := &f.readings.all[i]; r.use.Op == expr.Order && r.use.Conjunct == conjunct && r.stat.numbers > 0 && slices.Equal(r.path, path) {
			return r
		}
	}
	return nil
}

// conditions looks for conditions of a campaign that never held.
func (f *finder) conditions(def *campaign.Campaign) {
	path := func(keys ...string) []string { return append([]string{"campaigns", def.ID}, keys...) }
	someNever := false
	for _, t := range f.judge.triggers[def.ID] {
		never := f.trigger(t, path(append(slices.Clone(t.path), "where")...))
		someNever = someNever || never && !t.ends
	}
	c := f.Survey.conditions[def.ID]
	counts := f.counts[def.ID]
	switch {
	case counts.Evaluated == 0 && !someNever && def.Sequence != nil:
		f.never(path("sequence"), 0, 0, fmt.Sprintf("of %s none took all of these steps in this order in time", count(uint64(f.backtest.UserCount()), "user")), "each step came")
	case counts.Evaluated == 0 && !someNever && len(def.On) > 0 && def.On[0] != campaign.SessionEnd:
		f.never(path("where"), 0, 0, "no event met all of these conditions together", "each of them held for some")
	}
	someNever = false
	for i := range c.parts {
		p := &c.parts[i]
		if c.judged == 0 || p.held > 0 {
			continue
		}
		someNever = true
		if f.suspect[conjunctKey(p.path, p.conjunct)] {
			continue
		}
		f.never(p.path, p.Line, p.Col, fmt.Sprintf("this held in none of %s", count(c.judged, "evaluation")), p.why(c.judged))
	}
	if c.judged > 0 && c.passed == 0 && !someNever && len(c.parts) > 1 {
		f.never(path("if"), 0, 0, fmt.Sprintf("all of these together held in none of %s", count(c.judged, "evaluation")), "each of them held in some")
	}
}

// why tells how near the conjunct came.
func (p *part) why(judged uint64) string {
	switch {
	case p.best != nil && p.best.most:
		return fmt.Sprintf("%s was %s at most", p.best.of, p.best.is)
	case p.best != nil:
		return fmt.Sprintf("%s was %s at least", p.best.of, p.best.is)
	case p.failed > judged/2:
		return fmt.Sprintf("it failed in %s of them: %s", thousands(p.failed), p.err)
	}
	return p.Text
}
