package config

import (
	"fmt"
	"regexp"
	"time"

	"go.yaml.in/yaml/v3"
	"offerstream/pipeline/campaign"
)

var campaignID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// mostOffers is the highest `max` of a limit or a cap. The engine remembers up
// to that many sent offers of each user.
const mostOffers = 1000

// rescoping are the keys that add names to a campaign's expressions or remove
// some. This engine refuses them, so it cannot check such expressions.
var rescoping = []string{"for_each", "any", "sequence", "let", "choose", "to"}

// campaign reads one campaign and adds it to the set.
func (v value) campaign(id string) {
	if !campaignID.MatchString(id) {
		v.problemAt(start(v.key), fmt.Sprintf("%q is not a campaign's name", id), "1 to 64 letters, digits, -, _ and .")
		return
	}
	if first := v.l.places[key(v.path)]; first.n != v.n {
		v.problemAt(start(v.key), fmt.Sprintf("campaign %q is already defined at %s", id, first.keyPlace()), "rename one")
		return
	}
	c := campaign.Campaign{ID: id}
	has := v.fields(aCampaign, fields{
		"period":   func(v value) { c.From, c.To = v.period() },
		"on":       func(v value) { c.On = v.events() },
		"where":    func(v value) { c.Where = v.cel() },
		"fresh":    func(v value) { c.Fresh = v.duration(time.Millisecond, "fresh: 2m") },
		"if":       func(v value) { c.If = v.conditions() },
		"unless":   func(v value) { c.Unless = v.unless() },
		"when_due": func(v value) { c.WhenDue = v.cel() },
		"priority": func(v value) { c.Priority = v.number() },
		"offer":    func(v value) { c.Offer = v.offer() },
		"limits":   func(v value) { c.Limits = v.limits() },
	})
	if !has["any"] && !has["sequence"] {
		v.needs(has, aCampaign, "on", "on: Product Viewed")
	}
	v.needs(has, aCampaign, "offer", "offer: {channel: web}")
	if !has["offer"] {
		c.Offer = campaign.OfferSpec{Kind: campaign.Service, Channel: "web"} // any, so that the rest can be checked
	}
	for _, k := range rescoping {
		if has[k] {
			v.l.silence(v.path)
		}
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
		v.l.register(value{v.l, v.file, v.key, v.n, append(v.path[:len(v.path):len(v.path)], "0"), v.flow})
		return []string{v.cel()}
	}
	conds := make([]string, 0, len(v.n.Content))
	v.elements("if: [orders == 0]", func(c value) { conds = append(conds, c.cel()) })
	return conds
}

func (v value) unless() *campaign.Unless {
	u := campaign.Unless{}
	restart := true
	has := v.fields(anUnless, fields{
		"on":      func(v value) { u.On = v.events() },
		"where":   func(v value) { u.Where = v.cel() },
		"match":   func(v value) { u.Match = v.cel() },
		"within":  func(v value) { u.Within = v.duration(time.Millisecond, "within: 1h") },
		"restart": func(v value) { restart = v.boolean() },
	})
	v.needs(has, anUnless, "on", "on: Order Completed", "within", "within: 1h")
	if u.Within == 0 {
		u.Within = 1 // any, so that the rest can be checked
	}
	u.NoRestart = !restart
	return &u
}

func (v value) offer() campaign.OfferSpec {
	o := campaign.OfferSpec{Kind: campaign.Advertising}
	has := v.fields(anOffer, fields{
		"channel": func(v value) { o.Channel = v.text("channel: web; " + channelHint) },
		"kind":    func(v value) { o.Kind = v.text("advertising or service") },
		"expires": func(v value) { o.Expires = v.duration(time.Second, "expires: 24h") },
		"data":    func(v value) { o.Data = v.data() },
	})
	v.needs(has, anOffer, "channel", "channel: web")
	if !has["channel"] {
		o.Channel = "web" // any, so that the rest can be checked
	}
	return o
}

func (v value) limits() []campaign.Limit {
	var limits []campaign.Limit
	v.elements("limits: [{max: 1, within: 24h}]", func(v value) {
		var l campaign.Limit
		has := v.fields(aLimit, fields{
			"max":    func(v value) { l.Max = v.integer(1, mostOffers) },
			"within": func(v value) { l.Within = v.duration(time.Second, "within: 24h; without the key, for ever") },
			"per":    func(v value) { l.PerSession = v.word("session") != "" },
		})
		v.needs(has, aLimit, "max", "max: 1")
		if has["within"] && has["per"] {
			v.problem("a limit has `within` or `per`, not both", "write two limits")
		}
		limits = append(limits, l)
	})
	return limits
}
