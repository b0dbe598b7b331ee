package oracle

import (
	"fmt"
	"slices"
	"strings"
)

// asking makes a campaign that reads features of items.
func (g *generator) asking(i int) *campaign {
	k := pick(g, g.set.Items...)
	for len(g.ofKind(k.Kind)) == 0 {
		k = pick(g, g.set.Items...)
	}
	c := g.campaign(i)
	for c.atSessionEnd() || readsUser(c) {
		c = g.campaign(i)
	}
	if len(c.On) > 0 && g.chance(60) {
		c.On, c.Where = pick(g, []string{"Product Viewed"}, []string{"Product Added"}, []string{"Order Completed"}), ""
	}
	c.If = c.If[:min(len(c.If), g.IntN(3))]
	for range 1 + g.IntN(2) {
		c.If = append(c.If, g.aboutItem(k.Kind))
	}
	if g.chance(20) {
		c.Let = append(c.Let, let{"seen", g.aboutItem(k.Kind)})
		c.If = append(c.If, pick(g, "seen", "!seen", "seen || session.count > 2"))
	}
	if g.chance(15) {
		c.If = append(c.If, pick(g, "has(item.price) && item.price > 10", `item.brand != "zeta"`))
	}
	g.itemWaits(c, k)
	g.itemData(c, k)
	if c.Choose == "" && g.chance(25) {
		c.Score, c.Priority = "u_views.size() * 1.0", 0
	}
	return c
}

// itemWaits makes `unless` fit a campaign that is about items.
func (g *generator) itemWaits(c *campaign, k *itemKind) {
	all := []*unless{c.Unless}
	for _, entry := range c.Any {
		all = append(all, entry.Unless)
	}
	for _, un := range all {
		if un == nil {
			continue
		}
		un.Match = pick(g, "", k.Key, k.Key)
		if g.chance(50) {
			un.Within, un.WithinIs, un.AtMost = 0, g.length(k.Kind), pick(g, 5*minute, 20*minute, 2*hour)
		}
	}
	if g.chance(25) {
		c.Offer.Expires, c.Offer.ExpiresIs, c.Offer.AtMost = 0, g.length(k.Kind), pick(g, 5*minute, 2*hour)
	}
}

// itemData makes an offer show items.
func (g *generator) itemData(c *campaign, k *itemKind) {
	data := map[string]any{"a": g.shownItem(k.Kind), "b": g.shownItem(k.Kind)}
	if c.Choose == "" {
		data["item"] = pick(g, "{{ item."+k.Key+" }}", "{{ item }}")
	}
	if c.Users == "" && g.chance(40) {
		data["own"] = "{{ u_views.size() }}"
	}
	c.Offer.Data = encode(data)
}

// toUsers makes a campaign for all who are among the users of an item, nil if the set
// has no such feature.
func (g *generator) toUsers(i int) *campaign {
	lists := slices.DeleteFunc(slices.Clone(g.set.Features), func(f *feature) bool { return f.Agg != "users" })
	if len(lists) == 0 {
		return nil
	}
	f := pick(g, lists...)
	k := g.set.kind(f.Per)
	g.names = names{}
	c := &campaign{ID: pick(g, "to", "T", "m") + fmt.Sprint(i), On: pick(g, []string{"Price Changed"}, []string{"Price Changed", "Product Viewed"}, []string{"Order Completed"}), Users: f.Name, Fresh: pick(g, 0, 0, 5*minute), Priority: pick(g, 0, 0.5, 10)}
	c.Offer = offerSpec{Channel: pick(g, channels...), Kind: pick(g, "advertising", "service"), Expires: pick(g, 0, hour)}
	for range 3 {
		if where := g.about(); g.chance(25) && !strings.Contains(where, "event.user") {
			c.Where = where
		}
	}
	for range g.IntN(3) {
		c.If = append(c.If, g.aboutItem(k.Kind))
	}
	if g.chance(30) {
		c.Let = append(c.Let, let{"met", g.aboutItem(k.Kind)})
		c.If = append(c.If, pick(g, "met", "!met"))
	}
	if g.chance(35) {
		c.Unless = g.unless()
		for strings.Contains(c.Unless.Where, "event.user") {
			c.Unless = g.unless()
		}
	}
	g.itemWaits(c, k)
	if g.chance(20) {
		c.WhenDue = pick(g, "session.count >= 1", "u_views.size() > 1", "local.hour != 3")
	}
	switch g.IntN(6) {
	case 0:
		c.Choose = pick(g, "event.items.first()", "session.events.last()", "profile.?segment")
	case 1:
		c.Priority, c.Score = 0, pick(g, "session.count * 1.0", "u_views.size() * 1.5")
	}
	for range pick(g, 0, 1, 1, 2) {
		c.Limits = append(c.Limits, limit{Max: 1 + g.IntN(3), Within: pick(g, 0, 2*minute, 30*minute, 6*hour)})
	}
	if g.chance(15) {
		c.Holdout = pick(g, 1000, 6000)
	}
	g.itemData(c, k)
	return c
}
