package config

import (
	"slices"
	"strconv"
	"strings"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/expr"
	"offerstream/pipeline/lazyregexp"
)

// A linter looks for what a valid set probably does not mean. What it reports
// must be rare in sets that mean what they say: otherwise nobody reads it.
type linter struct {
	*load
	clauses map[string]*expr.Clause // by their texts; nil: not CEL by itself
	found   []Finding

	readsUTC bool // where the time in the set's zone is probably meant, which was reported
}

// lint returns the warnings and notes about a set that has no errors.
func (l *load) lint(c Check) []Finding {
	n := &linter{load: l, clauses: map[string]*expr.Clause{}}
	for i := range l.def.Features {
		n.featureConditions(&l.def.Features[i])
	}
	for i := range l.def.Campaigns {
		n.campaignConditions(&l.def.Campaigns[i])
	}
	n.unused()
	n.outranked()
	n.limits()
	n.remembered()
	n.forgetUnderLog()
	n.beside()
	n.eventNames()
	n.channelNames()
	n.brakes()
	if c.Retention > 0 {
		n.retention(c.Retention)
	}
	return n.found
}

// clause reads an expression, nil if there is none.
func (n *linter) clause(src string) *expr.Clause {
	if src == "" {
		return nil
	}
	c, ok := n.clauses[src]
	if !ok {
		c = expr.ReadClause(src)
		n.clauses[src] = c
	}
	return c
}

// at reports something at a path of the set.
func (n *linter) at(rule string, path []string, what, hint string) {
	if v, ok := n.places[key(path)]; ok {
		n.spot(rule, v, v.spot(), what, hint)
	}
}

// atKey reports something at the key of a path, where a name is.
func (n *linter) atKey(rule string, path []string, what, hint string) {
	if v, ok := n.places[key(path)]; ok {
		n.spot(rule, v, start(v.key), what, hint)
	}
}

func (n *linter) spot(rule string, v value, at spot, what, hint string) {
	n.found = append(n.found, Finding{Problem: Problem{File: v.file.name, Line: at.line + 1, Col: at.col + 1, What: what, Hint: hint}, Rule: rule, Level: ruleNamed(rule).Level})
}

func ofCampaign(c *campaign.Campaign, keys ...string) []string {
	return append([]string{"campaigns", c.ID}, keys...)
}

// A condition is an expression of a set that must hold, with its place.
type condition struct {
	path []string
	src  string
}

// ifs are the conditions of `if`.
func ifs(c *campaign.Campaign) (all []condition) {
	for i, src := range c.If {
		all = append(all, condition{ofCampaign(c, "if", strconv.Itoa(i)), src})
	}
	return all
}

// An entry is one of the triggers of a campaign, in whichever form it has them.
type entry struct {
	on     []string
	where  string
	unless *campaign.Unless
	path   []string
}

// entries are the triggers of a campaign: with `sequence`, its steps.
func entries(c *campaign.Campaign) (all []entry) {
	switch {
	case c.Sequence != nil:
		for i, s := range c.Sequence.Steps {
			all = append(all, entry{s.On, s.Where, nil, ofCampaign(c, "sequence", "steps", strconv.Itoa(i))})
		}
		all[len(all)-1].unless = c.Unless
	case len(c.Any) > 0:
		for i, t := range c.Any {
			all = append(all, entry{t.On, t.Where, t.Unless, ofCampaign(c, "any", strconv.Itoa(i))})
		}
	default:
		all = []entry{{c.On, c.Where, c.Unless, ofCampaign(c)}}
	}
	return all
}

func below(path []string, keys ...string) []string {
	return append(slices.Clip(path), keys...)
}

// lets are the names of a campaign's `let`.
func (n *linter) lets(c *campaign.Campaign) map[string]*expr.Clause {
	if len(c.Let) == 0 {
		return nil
	}
	m := map[string]*expr.Clause{}
	for _, l := range c.Let {
		m[l.Name] = n.clause(l.Is)
	}
	return m
}

// expressions calls fn with each expression of a campaign but those of `let` and of
// its templates.
func expressions(c *campaign.Campaign, fn func(src string)) {
	for _, e := range entries(c) {
		fn(e.where)
		if e.unless != nil {
			unlessExpressions(e.unless, fn)
		}
	}
	if c.Unless != nil {
		unlessExpressions(c.Unless, fn)
	}
	for _, src := range c.If {
		fn(src)
	}
	if c.At != nil {
		fn(c.At.BestHour)
	}
	fn(c.WhenDue)
	fn(c.Choose)
	fn(c.Score)
	fn(c.Offer.ExpiresIs)
	if c.Budget != nil {
		fn(c.Budget.Of)
	}
}

func unlessExpressions(u *campaign.Unless, fn func(src string)) {
	fn(u.Where)
	fn(u.Match)
	fn(u.WithinIs)
}

var (
	inTemplate = lazyregexp.New(`(?s)\{\{(.*?)\}\}`)
	someName   = lazyregexp.New(`[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)?`)
)

// shownNames calls fn with all that may be a name in the templates of a campaign.
func shownNames(c *campaign.Campaign, fn func(name string)) {
	for _, m := range inTemplate.FindAllSubmatch(c.Offer.Data, -1) {
		for _, name := range someName.FindAllString(string(m[1]), -1) {
			whole, _, _ := strings.Cut(name, ".")
			fn(whole)
			fn(name)
		}
	}
}
