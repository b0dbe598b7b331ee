package config

import (
	"fmt"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/lazyregexp"
)

var campaignID = lazyregexp.New(`^[A-Za-z0-9._-]{1,64}$`)

const campaignIDHint = "1 to 64 letters, digits, -, _ and ."

// campaign reads one campaign and adds it to the set.
func (v value) campaign(id string) {
	if !campaignID.MatchString(id) {
		v.problemAt(start(v.key), fmt.Sprintf("%q is not a campaign's name", id), campaignIDHint)
		return
	}
	if first := v.l.places[key(v.path)]; first.n != v.n {
		v.problemAt(start(v.key), fmt.Sprintf("campaign %q is already defined at %s", id, first.keyPlace()), "rename one")
		return
	}
	c := campaign.Campaign{ID: id}
	has := v.fields(aCampaign, fields{
		"for_each": func(v value) { c.Rows = v.rows() },
		"period":   func(v value) { c.From, c.To = v.period() },
		"on":       func(v value) { c.On = v.trigger() },
		"where":    func(v value) { c.Where = v.cel() },
		"any":      func(v value) { c.Any = v.triggers() },
		"sequence": func(v value) { c.Sequence = v.sequence() },
		"fresh":    func(v value) { c.Fresh = v.span() },
		"let":      func(v value) { c.Let = v.lets() },
		"if":       func(v value) { c.If = v.conditions() },
		"to":       func(v value) { c.Users = v.text(v.row.hint()) },
		"unless":   func(v value) { c.Unless = v.unless() },
		"at":       func(v value) { c.At = v.at() },
		"when_due": func(v value) { c.WhenDue = v.cel() },
		"choose":   func(v value) { c.Choose = v.cel() },
		"priority": func(v value) { c.Priority = v.number() },
		"score":    func(v value) { c.Score = v.cel() },
		"offer":    func(v value) { c.Offer = v.offer() },
		"limits":   func(v value) { c.Limits = v.limits() },
		"budget":   func(v value) { c.Budget = v.budget() },
		"holdout":  func(v value) { c.Holdout = v.share() },
	})
	v.oneTrigger(has)
	if slices.Contains(c.On, campaign.SessionEnd) {
		v.sessionEnd(has)
	}
	if c, ok := has["score"]; ok && has.has("priority") {
		c.problemAt(start(c.key), "a campaign has `priority` or `score`, not both", "keep one")
	}
	if !has.has("offer") {
		c.Offer = campaign.OfferSpec{Kind: campaign.Service, Channel: "web"} // any, so that the rest can be checked
	}
	v.l.def.Campaigns = append(v.l.def.Campaigns, c)
}

func (v value) period() (from, to int64) {
	has := v.fields(aPeriod, fields{
		"from": func(v value) { from = v.moment() },
		"to":   func(v value) { to = v.moment() },
	})
	switch {
	case v.is() == "a map" && len(has) == 0:
		v.problem("the period is empty", "from: 2026-04-01T00:00:00+09:00")
	case from != 0 && to != 0 && from >= to:
		v.problem("the period ends before it begins", "from must be earlier than to")
	}
	return from, to
}

// conditions reads `if`: one condition, or a list of conditions that must all
// hold.
func (v value) conditions() []string {
	if v.bad() || v.n.Kind != yaml.SequenceNode {
		v.l.register(value{l: v.l, file: v.file, key: v.key, n: v.n, path: append(v.path[:len(v.path):len(v.path)], "0"), flow: v.flow})
		return []string{v.cel()}
	}
	conds := make([]string, 0, len(v.n.Content))
	before := ""
	v.elements("if: [orders == 0]", func(c value) {
		if c.flow && groupOfDigits.MatchString(c.n.Value) && endsInDigit.MatchString(before) {
			c.problem("a comma cut the number before it: inside [ ] it begins a new condition", "write it without a comma: "+endsInDigit.FindString(before)+c.n.Value)
			before = c.n.Value
			return
		}
		before = c.n.Value
		conds = append(conds, c.cel())
	})
	return conds
}

var (
	groupOfDigits = lazyregexp.New(`^[0-9]{3}$`)
	endsInDigit   = lazyregexp.New(`[0-9]{1,3}$`)
)

// lets reads names for expressions, in the order of the file.
func (v value) lets() []campaign.Let {
	var lets []campaign.Let
	v.named("expressions", func(name string, c value) {
		if c.variable("let", name, taken) {
			lets = append(lets, campaign.Let{Name: name, Is: c.cel()})
		}
	})
	if v.is() == "a map" && !v.bad() && len(v.n.Content) == 0 {
		v.problem("no expression is named here", v.row.hint())
	}
	return lets
}

// sameNames reports what a campaign's let has in common with the features.
func (l *load) sameNames() {
	features := map[string]bool{}
	for _, f := range l.def.Features {
		features[f.Name] = true
	}
	for _, c := range l.def.Campaigns {
		for _, let := range c.Let {
			if !features[let.Name] {
				continue
			}
			v := l.places[key([]string{"campaigns", c.ID, "let", let.Name})]
			feature := l.places[key([]string{"features", let.Name})]
			v.problemAt(start(v.key), fmt.Sprintf("%q is already the name of the feature at %s", let.Name, feature.keyPlace()), "rename one")
		}
	}
}

// mostAhead is the longest wait for a good hour. The hours of a week repeat, so a
// longer one finds no better hour.
const mostAhead = 31 * 24 * time.Hour

func (v value) at() *campaign.At {
	a := campaign.At{}
	v.fields(anAt, fields{
		"best_hour": func(v value) { a.BestHour = v.cel() },
		"ahead":     func(v value) { a.Ahead = v.span() },
	})
	if a.BestHour == "" || a.Ahead == 0 { // reported
		v.l.silence(v.path)
	}
	return &a
}
