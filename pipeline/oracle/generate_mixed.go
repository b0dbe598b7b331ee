package oracle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// A mix says what a case has that is more than one user.
type mix struct{ items, budgets, merges bool }

// RandomMixed makes a case with items and `to`, budgets and pools, and visitors who
// become users, or some of these; all else is as in Random. The same seed always gives
// the same.
func RandomMixed(seed uint64) Case {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 5))}
	g.mix = &mix{g.chance(75), g.chance(45), g.chance(50)}
	if !g.mix.items && !g.mix.budgets {
		g.mix.merges = true
	}
	set := g.definition()
	g.extend(set)
	c := Case{Set: encode(set), Events: g.stream(set), Items: g.mix.items, Budgets: g.mix.budgets, Merges: g.mix.merges}
	c.Controls = g.controls(set, len(c.Events))
	return c.withCoupons(seed)
}

// extend adds to a set what is more than one user.
func (g *generator) extend(set *definition) {
	set.Engine, g.long = 5, false
	campaigns := set.Campaigns[:min(len(set.Campaigns), 4)]
	for i, c := range campaigns {
		for readsUser(c) {
			c = g.campaign(30 + i) // the id of no other
		}
		campaigns[i] = c
		if un := c.Unless; un != nil && !c.atSessionEnd() && g.chance(15) {
			un.Within, un.WithinIs, un.AtMost = 0, `duration("1m") * session.count`, pick(g, 2*minute, hour)
		}
	}
	g.hasRow, g.aboutLets, g.stateLets = false, nil, nil // those of the last campaign
	if g.mix.items {
		g.itemKinds(set)
		for i := range 2 + g.IntN(3) {
			campaigns = append(campaigns, g.asking(10+i))
		}
		for i := range 1 + g.IntN(2) {
			if to := g.toUsers(20 + i); to != nil {
				campaigns = append(campaigns, to)
			}
		}
	}
	if g.mix.merges {
		campaigns = append(campaigns, g.waiting()...)
	}
	if g.mix.budgets {
		campaigns = append(campaigns, g.rivals()...)
		for _, c := range campaigns {
			g.budget(c)
		}
	}
	slices.SortFunc(campaigns, func(a, b *campaign) int { return strings.Compare(a.ID, b.ID) })
	set.Campaigns = campaigns
}

// readsUser reports whether a campaign shows whose event it was: of what a user takes
// over from a visitor, that is left open.
func readsUser(c *campaign) bool { return strings.Contains(string(encode(c)), "event.user") }

// waiting makes campaigns that often wait, so that merges find what is pending.
func (g *generator) waiting() []*campaign {
	var out []*campaign
	for i := range 1 + g.IntN(3) {
		c := &campaign{ID: fmt.Sprint("v", i), On: pick(g, []string{"Product Viewed"}, []string{"Product Added"}, []string{"*"}), Limits: []limit{{Max: 5, Within: hour}}}
		c.Offer = offerSpec{Channel: pick(g, channels...), Kind: pick(g, "advertising", "advertising", "service"), Data: encode(map[string]any{"n": "{{ event.id }}", "at": "{{ event.time }}"})}
		if g.chance(60) {
			c.Unless = &unless{On: []string{"Order Completed"}, Match: pick(g, "", "category", "product_id"), Within: pick(g, 20*minute, 2*hour, 6*hour), NoRestart: g.chance(20)}
		} else if dwells := g.with("dwell"); len(dwells) > 0 && dwells[0].By == "" {
			c.On, c.Where, c.If = dwells[0].On, dwells[0].Where, []string{dwells[0].Name + ` >= duration("4m")`}
		}
		if readsUser(c) {
			c.Where = ""
		}
		out = append(out, c)
	}
	if q := g.set.Quiet; q != nil && !q.Drop {
		out[0].Offer.Channel, out[0].Offer.Kind = q.Channels[0], "advertising"
	}
	return out
}

// rivals makes campaigns of which one can use up what another has asked a grant for.
func (g *generator) rivals() []*campaign {
	on := pick(g, []string{"Product Viewed"}, []string{"*"})
	of := g.some(channels)
	g.set.Caps = append(g.set.Caps, channelCap{of, 1 + g.IntN(2), pick(g, 5*minute, 30*minute)})
	var out []*campaign
	for i, channel := range of {
		c := &campaign{ID: fmt.Sprint("r", i), On: on, Offer: offerSpec{Channel: channel, Kind: "advertising"}, Budget: &budget{Offers: 2 + g.IntN(4), Within: pick(g, 10*minute, hour)}}
		if g.chance(30) {
			c.Offer.Coupon = &couponSpec{Expires: hour, Pool: "spring"}
		}
		out = append(out, c)
	}
	return out
}

// budget gives a campaign a budget, or a pool that its codes are from.
func (g *generator) budget(c *campaign) {
	if g.chance(65) {
		b := &budget{Offers: 1 + g.IntN(4)}
		if g.chance(35) {
			b.Offers, b.Value, b.Of = 0, pick(g, 2.5, 60, 100, 0.3), pick(g, "1.5", "0.1", "2", "session.count")
			if !c.atSessionEnd() {
				b.Of = pick(g, b.Of, "event.properties.price", "event.properties.price - 20", "event.items.size()")
			}
			if c.Users != "" {
				b.Of = pick(g, "0.1", "event.properties.price")
			}
		}
		switch g.IntN(4) {
		case 0:
			b.PerDay = true
		case 1, 2:
			b.Within = pick(g, 10*minute, hour, 6*hour)
		}
		c.Budget = b
	}
	if g.chance(25) {
		if c.Offer.Coupon == nil {
			c.Offer.Coupon = &couponSpec{Expires: 2 * hour}
		}
		c.Offer.Coupon.Pool = pick(g, "spring", "spring", "autumn")
	}
}

// RequiredMixed lists what has to be met in some hundreds of mixed cases.
func RequiredMixed() []string {
	out := []string{"outcome budget"}
	for _, what := range strings.Split("item,to,item after a wait,to after a wait,after a grant", ",") {
		out = append(out, "out: "+what)
	}
	for _, agg := range strings.Split("count,sum,min,max,avg,distinct,first,last,list,quantiles,top,histogram,users,together", ",") {
		out = append(out, "fed: "+agg)
	}
	for _, kind := range []string{"absence", "delay", "hold"} {
		out = append(out, "merge moves: "+kind)
	}
	for _, what := range []string{"of a pool", "of a visitor", "for a visitor", "after it was voided", "by a duplicate"} {
		out = append(out, "coupon: redeemed, "+what)
	}
	return append(out, "answer", "recipient", "item event", "item of no kind", "item forgotten", "bound on bytes of an item", "grant returned", "merge", "claim refused", "event forwarded",
		"merge supersedes: absence", "merge cancels a dwell", "merge renames at an item")
}
