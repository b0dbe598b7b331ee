package config

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/expr"
)

// outranked reports campaigns that never win, because wherever they could go out,
// another one does first: it goes first in the order of rule 10, on the same
// channel, at the same triggers, asks for no more, and never runs dry.
func (n *linter) outranked() {
	// Campaigns that may win against others, by one of the conditions that they ask for.
	winners := map[string][]*contender{}
	var all []*contender
	asked := map[string]int{} // how many campaigns ask for a condition
	for i := range n.def.Campaigns {
		c := n.contender(&n.def.Campaigns[i])
		n.ownRows(c)
		all = append(all, c)
		for _, cond := range c.conditions() {
			asked[cond]++
		}
	}
	for _, c := range all {
		if c.relentless() {
			first := c.Offer.Channel + c.rarest(asked)
			winners[first] = append(winners[first], c)
		}
	}
	for _, c := range all {
		if c.Score != "" {
			continue
		}
		var by *contender
		for _, cond := range c.conditions() {
			for _, w := range winners[c.Offer.Channel+cond] {
				if w != c && w.alwaysBefore(c) && (by == nil || w.before(by)) {
					by = w
				}
			}
		}
		if by == nil {
			continue
		}
		why := fmt.Sprintf("its priority is %v", by.Priority)
		if by.Priority == c.Priority {
			why = "their priorities are equal, and its name comes first"
		}
		if inTemplate.Match(by.Offer.Data) {
			why += "; only where its templates fail does this one go out"
		}
		n.atKey("outranked", ofCampaign(c.Campaign), fmt.Sprintf("%s always goes first on channel %s: it has the same trigger, asks for no more and has no limits; %s", by.ID, c.Offer.Channel, why),
			fmt.Sprintf("a higher priority here, `limits` or another condition in %s, or another channel", by.ID))
	}
}

// A contender is a campaign, with what it asks for in a form that can be compared.
type contender struct {
	*campaign.Campaign
	entries []entry
	wheres  []map[string]bool // of each entry
	asks    map[string]bool   // all conditions of `if`
	dwells  bool              // it may wait for a dwell
	kind    string            // the kind of items that it asks; "": it asks none
}

func (n *linter) contender(c *campaign.Campaign) *contender {
	t := &contender{Campaign: c, entries: entries(c), asks: map[string]bool{}, kind: n.kind(c)}
	for _, e := range t.entries {
		conds := map[string]bool{}
		n.addParts(conds, c, e.where)
		t.wheres = append(t.wheres, conds)
	}
	for _, src := range c.If {
		n.addParts(t.asks, c, src)
	}
	for _, f := range n.def.Features {
		t.dwells = t.dwells || f.Agg == "dwell" && slices.ContainsFunc(c.If, func(src string) bool { return strings.Contains(src, f.Name) })
	}
	for _, l := range c.Let {
		for _, f := range n.def.Features {
			t.dwells = t.dwells || f.Agg == "dwell" && strings.Contains(l.Is, f.Name)
		}
	}
	return t
}

// addParts adds the parts of a condition that must all hold. The same text may mean
// another thing where `let` gives its names another meaning.
func (n *linter) addParts(to map[string]bool, c *campaign.Campaign, src string) {
	if src == "" {
		return
	}
	cl := n.clause(src)
	if cl == nil {
		to[src] = true
		return
	}
	for _, part := range cl.Parts() {
		to[part+n.meaning(c, n.clause(part))] = true
	}
}

// meaning is what the names of `let` in an expression stand for.
func (n *linter) meaning(c *campaign.Campaign, cl *expr.Clause) (m string) {
	if cl == nil || len(c.Let) == 0 {
		return ""
	}
	names := cl.Names()
	for _, l := range slices.Backward(c.Let) {
		if slices.Contains(names, l.Name) {
			m += "\x00" + l.Name + "\x00" + l.Is
			names = append(names, n.namesIn(l.Is)...)
		}
	}
	return m
}

// rarest is the condition under which a winner is found, so that few are compared with
// each other: of those that all have that it always beats, the one that the fewest ask
// for; "" if there is none.
func (c *contender) rarest(asked map[string]int) (cond string) {
	var all []string
	for a := range c.asks {
		all = append(all, ifOf(a))
	}
	if len(c.wheres) == 1 {
		for a := range c.wheres[0] {
			all = append(all, whereOf(a))
		}
	}
	if len(all) == 0 {
		return ""
	}
	return slices.MinFunc(all, func(a, b string) int { return cmp.Or(cmp.Compare(asked[a], asked[b]), strings.Compare(a, b)) })
}

func ifOf(cond string) string    { return " if " + cond }
func whereOf(cond string) string { return " where " + cond }

// conditions are those under which the campaigns that beat this one may be found.
func (c *contender) conditions() []string {
	all := []string{""}
	for cond := range c.asks {
		all = append(all, ifOf(cond))
	}
	for _, conds := range c.wheres {
		for cond := range conds {
			all = append(all, whereOf(cond))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// relentless reports whether nothing but its conditions stops the campaign from
// going out again and again.
func (c *contender) relentless() bool {
	return len(c.Limits) == 0 && !grants(c.Campaign) && c.Choose == "" && c.Score == "" && len(c.Rows) == 0 && c.WhenDue == "" && c.At == nil &&
		!slices.ContainsFunc(c.entries, func(e entry) bool { return e.unless != nil })
}

// before reports whether the campaign goes first of two.
func (c *contender) before(d *contender) bool {
	if c.Priority != d.Priority {
		return c.Priority > d.Priority
	}
	return c.ID < d.ID
}

// alwaysBefore reports whether the campaign, a relentless one, goes out wherever d
// could.
func (c *contender) alwaysBefore(d *contender) bool {
	switch {
	case !c.before(d) || c.Offer.Channel != d.Offer.Channel,
		c.kind != d.kind, c.Users != d.Users, // they are never in one choice
		c.Offer.Kind == campaign.Advertising && d.Offer.Kind == campaign.Service, // fewer gates apply to d
		c.From != 0 && (d.From == 0 || d.From < c.From), c.To != 0 && (d.To == 0 || d.To > c.To),
		c.Fresh > 0 && (d.Fresh == 0 || d.Fresh > c.Fresh),
		d.At != nil, d.dwells, !subset(c.asks, d.asks):
		return false
	case c.Sequence != nil || d.Sequence != nil:
		return d.Unless == nil && reflect.DeepEqual(c.Sequence, d.Sequence)
	}
	for i, e := range d.entries {
		if e.unless != nil || !slices.ContainsFunc(c.indices(), func(j int) bool { return covering(c.entries[j].on, e.on) && subset(c.wheres[j], d.wheres[i]) }) {
			return false
		}
	}
	return true
}

func (c *contender) indices() []int {
	all := make([]int, len(c.entries))
	for i := range all {
		all[i] = i
	}
	return all
}

// covering reports whether each event that one list names the other names too.
func covering(wide, narrow []string) bool {
	return !slices.ContainsFunc(narrow, func(name string) bool {
		views := slices.Contains(wide, "*") && slices.Contains(selectors, name) && name != campaign.SessionEnd
		return !views && !slices.Contains(wide, name)
	})
}

func subset(a, b map[string]bool) bool {
	for k := range a {
		if !b[k] {
			return false
		}
	}
	return true
}

// ownRows reports a table whose rows all ask for the same, so that the first of them
// always goes first.
func (n *linter) ownRows(c *contender) {
	if len(c.Rows) < 2 || len(c.Limits) > 0 || c.Choose != "" || c.Score != "" {
		return
	}
	reads := false
	note := func(src string) {
		for _, name := range n.namesIn(src) {
			reads = reads || name == "row"
		}
	}
	expressions(c.Campaign, note)
	for _, l := range c.Let {
		note(l.Is)
	}
	if reads {
		return
	}
	first := slices.MinFunc(c.Rows, func(a, b campaign.Row) int { return strings.Compare(a.ID, b.ID) })
	n.atKey("outranked", ofCampaign(c.Campaign, "for_each"), fmt.Sprintf("no condition reads `row`, so at each trigger the row %s goes first, and the others never go out", first.ID),
		"where: event.properties.category == row.category, for example")
}
