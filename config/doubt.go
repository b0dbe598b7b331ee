package config

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/expr"
	"offerstream/pipeline/window"
)

// featureConditions looks for conditions of a feature that can never hold.
func (n *linter) featureConditions(f *campaign.Feature) {
	n.doubt([]condition{{[]string{"features", f.Name, "where"}, f.Where}}, nil, f.On)
}

// campaignConditions looks for conditions of a campaign that can never hold, where
// one is judged at the same moment as others, together with them.
func (n *linter) campaignConditions(c *campaign.Campaign) {
	lets := n.lets(c)
	all := entries(c)
	last := all[len(all)-1]
	for i, e := range all {
		conds := []condition{{below(e.path, "where"), e.where}}
		if len(c.Any) == 0 && i == len(all)-1 {
			conds = append(conds, ifs(c)...)
		}
		n.doubt(conds, lets, e.on)
		if e.unless != nil {
			path := below(e.path, "unless", "where")
			if len(c.Any) == 0 {
				path = ofCampaign(c, "unless", "where")
			}
			n.doubt([]condition{{path, e.unless.Where}}, lets, e.unless.On)
		}
	}
	on := last.on
	if len(c.Any) > 0 {
		on = nil
		for _, e := range all {
			on = append(on, e.on...)
		}
		n.doubt(ifs(c), lets, on)
	}
	n.doubt([]condition{{ofCampaign(c, "when_due"), c.WhenDue}}, lets, on)
}

// doubt reports the parts of conditions, judged together, that can never hold or
// always hold. on are the events about which they are.
func (n *linter) doubt(conds []condition, lets map[string]*expr.Clause, on []string) {
	clauses := make([]*expr.Clause, len(conds))
	for i, c := range conds {
		n.takenFor(c)
		clauses[i] = n.clause(c.src)
	}
	for _, d := range expr.Doubts(clauses, lets, func(s expr.Subject) *expr.Known { return n.known(s, on) }) {
		v, ok := n.places[key(conds[d.Clause].path)]
		if !ok {
			continue
		}
		rule, hint, with := "never-holds", d.Hint, ""
		if d.Always {
			rule = "always-holds"
		}
		if d.With != "" {
			if w, ok := n.places[key(conds[d.WithClause].path)]; ok {
				if at := w.file.locate(w.n, d.WithLine, d.WithCol); at.line != v.file.locate(v.n, d.Line, d.Col).line {
					with = fmt.Sprintf(" (line %d)", at.line+1)
				}
			}
		}
		n.spot(rule, v, v.file.locate(v.n, d.Line, d.Col), oneLine(d.String())+with, hint)
	}
}

// selectors are the names in `on` that stand for events of a type, whatever their
// name.
var selectors = func() []string {
	words := []string{"*", campaign.SessionEnd}
	for _, t := range event.Types {
		if t.Selector != "" {
			words = append(words, t.Selector)
		}
	}
	return words
}()

// localWords are the days of local.weekday.
var localWords = []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}

// known is what is known of what a condition compares. on are the events about
// which it is; nil: none.
func (n *linter) known(s expr.Subject, on []string) *expr.Known {
	name := strings.TrimPrefix(s.Name, "before.")
	i := slices.IndexFunc(n.def.Features, func(f campaign.Feature) bool { return f.Name == name })
	switch {
	case i >= 0:
		return n.knownFeature(s, &n.def.Features[i])
	case s.Size && name == "session.events" && !s.Indexed:
		return &expr.Known{Most: 64, Why: "session.events has at most 64 names", Hint: "session.count is the number of all its events"}
	case s.Size:
		return expr.AtLeast0("a size is 0 or more")
	case s.Indexed || s.Some:
		return nil
	}
	words := func(words []string, why string) *expr.Known {
		return &expr.Known{Words: words, Why: why + strings.Join(words, ", ")}
	}
	switch name {
	case "local.hour":
		return &expr.Known{Most: 23, Why: "local.hour is 0 to 23"}
	case "local.minute":
		return &expr.Known{Most: 59, Why: "local.minute is 0 to 59"}
	case "local.weekday":
		return words(localWords, "local.weekday is one of ")
	case "session.count":
		return expr.AtLeast0("a count is 0 or more")
	case "event.type":
		return words([]string{"track", "page", "screen", "identify", "system"}, "event.type is one of ")
	case "event.name":
		if len(on) > 0 && !slices.ContainsFunc(on, func(e string) bool { return slices.Contains(selectors, e) }) {
			k := words(on, "the events here are ")
			k.Hint = "name the event in `on`"
			return k
		}
	}
	return nil
}

func (n *linter) knownFeature(s expr.Subject, f *campaign.Feature) *expr.Known {
	if f.Agg == aggUsers {
		return &expr.Known{Most: float64(f.Keep), Why: fmt.Sprintf("%s keeps the newest %d", f.Name, f.Keep), Hint: "`keep` says how many it keeps, at most 100,000; else ask for fewer"}
	}
	agg := window.Named(f.Agg)
	if agg == nil {
		return nil
	}
	keep := n.def.Bounds.Entries
	if agg.Newest && f.Keep > 0 {
		keep = f.Keep
	}
	grouped := f.By != "" && !agg.Ranks
	if s.Size {
		switch {
		case agg.Ranks || grouped && !s.Indexed && !s.Some:
			return &expr.Known{Most: float64(n.def.Bounds.Keys), Why: fmt.Sprintf("%s has at most %s", f.Name, counted(n.def.Bounds.Keys, "key")), Hint: "bounds: {keys: " + fmt.Sprint(2*n.def.Bounds.Keys) + "}, or a smaller number"}
		case agg.Rows && grouped == s.Indexed:
			return n.kept(f, keep)
		}
		return expr.AtLeast0("a size is 0 or more")
	}
	if s.Some || grouped != s.Indexed {
		return nil
	}
	switch {
	case f.Agg == "count":
		return expr.AtLeast0("a count is 0 or more")
	case f.Agg == "distinct" && f.Per != "":
		return expr.AtLeast0("a number of values is 0 or more")
	case f.Agg == "distinct":
		return n.kept(f, keep)
	case agg.Stays:
		return &expr.Known{Duration: true, Most: math.Inf(1), Why: "a dwell is 0s or more"}
	}
	return nil
}

// kept is what is known of the number of a feature's entries.
func (n *linter) kept(f *campaign.Feature, keep int) *expr.Known {
	return &expr.Known{Most: float64(keep), Why: fmt.Sprintf("%s keeps the newest %d", f.Name, keep), Hint: "`keep` says how many it keeps, at most 4,096; else ask for fewer"}
}

// counted is a number with its noun.
func counted(n int, of string) string {
	if n != 1 {
		of += "s"
	}
	return fmt.Sprintf("%d %s", n, of)
}
