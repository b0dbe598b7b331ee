package config

import (
	"bytes"
	"slices"
	"strings"

	"offerstream/pipeline/campaign"
)

// suspect warns of what a whole set shows: keys that are allowed, but have no effect
// in it.
func (l *load) suspect() {
	for i := range l.def.Campaigns {
		c := &l.def.Campaigns[i]
		if c.WhenDue != "" && !l.mayWait(c) {
			l.warn("this campaign never waits, so `when_due` is never judged", "write the condition in `if`", c.ID, "when_due")
		}
		coupons := l.def.Coupons
		if (coupons == nil || coupons.URL == "") && bytes.Contains(c.Offer.Data, []byte("coupon.url")) {
			l.warn("coupon.url is the code alone, because the set has no address of coupons", "coupons: {url: https://shop.example/c/}", c.ID, "offer", "data")
		}
		if o := c.Offer; o.Coupon != nil && o.Expires == 0 && o.ExpiresIs == "" && o.Coupon.Expires == 0 && bytes.Contains(o.Data, []byte("coupon.expires")) {
			l.warn("neither the coupon nor the offer expires, so coupon.expires fails and the offer does not go out", "expires: 7d", c.ID, "offer", "data")
		}
	}
}

// mayWait reports whether an offer of the campaign may go out later than at its
// trigger, as after an absence or a grant. Any dwell in `if` is taken for one that it waits for.
func (l *load) mayWait(c *campaign.Campaign) bool {
	q := l.def.Quiet
	return c.Unless != nil || c.At != nil || grants(c) ||
		slices.ContainsFunc(c.Any, func(t campaign.Trigger) bool { return t.Unless != nil }) ||
		q != nil && !q.Drop && c.Offer.Kind == campaign.Advertising && slices.Contains(q.Channels, c.Offer.Channel) ||
		slices.ContainsFunc(l.def.Features, func(f campaign.Feature) bool {
			return f.Agg == "dwell" && slices.ContainsFunc(c.If, func(cond string) bool { return strings.Contains(cond, f.Name) })
		})
}

// grants reports whether the campaign's offers wait for a grant, which can be refused
// (LANGUAGE.md, rule 25).
func grants(c *campaign.Campaign) bool {
	return c.Budget != nil || c.Offer.Coupon != nil && c.Offer.Coupon.Pool != ""
}

// warn warns of a key of a campaign.
func (l *load) warn(what, hint string, path ...string) {
	if v, ok := l.places[key(append([]string{"campaigns"}, path...))]; ok {
		v.warn(what, hint)
	}
}
