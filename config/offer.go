package config

import (
	"fmt"
	"strings"

	"offerstream/pipeline/campaign"
)

// mostOffers is the highest `max` of a limit or a cap. The engine remembers up
// to that many sent offers of each user.
const mostOffers = 1000

func (v value) offer() campaign.OfferSpec {
	o := campaign.OfferSpec{Kind: campaign.Advertising}
	has := v.fields(anOffer, fields{
		"channel": func(v value) { o.Channel = v.typed("channel: web; " + channelHint) },
		"kind":    func(v value) { o.Kind = v.typed("advertising or service") },
		"expires": func(value) {}, // below, with at_most
		"at_most": func(v value) { o.AtMost = v.span() },
		"coupon":  func(v value) { o.Coupon = v.coupon() },
		"data":    func(v value) { v.keyInText(); o.Data = v.data() },
	})
	o.Expires, o.ExpiresIs = has.computedSpan("expires")
	if c, ok := has["at_most"]; ok && !has.has("expires") {
		c.problemAt(start(c.key), "`at_most` is for a computed `expires`, and there is none", "write expires: 7d")
	}
	if !has.has("channel") {
		o.Channel = "web" // any, so that the rest can be checked
	}
	return o
}

func (v value) coupon() *campaign.Coupon {
	c := campaign.Coupon{}
	v.fields(aCoupon, fields{
		"discount":   func(v value) { c.Discount = v.amount() },
		"single_use": func(v value) { c.SingleUse = v.boolean() },
		"claim":      func(v value) { c.Claim = v.text(v.row.hint()) },
		"expires":    func(v value) { c.Expires = v.span() },
		"pool":       func(v value) { c.Pool = v.poolName() },
	})
	return &c
}

// poolName reads the name of a pool of coupons, which has the form of a channel's.
func (v value) poolName() string {
	t := v.text(channelHint)
	if t != "" && !campaign.Channel(t) {
		hint := channelHint
		if small := strings.ToLower(t); campaign.Channel(small) {
			hint = "write " + small
		}
		v.problem(fmt.Sprintf("%q is not a pool's name", t), hint)
		return ""
	}
	return t
}

// amount reads a text or a number, as it is written.
func (v value) amount() string {
	if v.is() == "a number" {
		return v.n.Value
	}
	return v.text(v.row.hint())
}

func (v value) limits() []campaign.Limit {
	var limits []campaign.Limit
	v.elements("limits: [{max: 1, within: 24h}]", func(v value) {
		var l campaign.Limit
		has := v.fields(aLimit, fields{
			"max":    func(v value) { l.Max = v.whole() },
			"within": func(v value) { l.Within = v.span() },
			"per": func(v value) {
				if l.PerSession = v.is() == "text" && v.n.Value == "session"; !l.PerSession && !v.bad() {
					v.problem(fmt.Sprintf("%q is not a possible value", v.n.Value), "session; for a time span, within: 24h")
				}
			},
		})
		if has.has("within") && has.has("per") {
			v.problem("a limit has `within` or `per`, not both", "write two limits")
		}
		limits = append(limits, l)
	})
	return limits
}
