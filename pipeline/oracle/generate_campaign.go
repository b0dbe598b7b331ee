package oracle

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

func (g *generator) unless() *unless {
	u := &unless{On: pick(g, []string{"Order Completed"}, []string{"Product Removed", "Order Completed"}, g.on()), Within: pick(g, minute, 5*minute, 20*minute, 2*hour), NoRestart: g.chance(30)}
	u.Match = pick(g, "", "", "category", "product_id", "event.properties.category", "event.properties.product_id", "item-id", "event.properties.sku")
	if g.noEvent {
		u.Match = ""
	}
	if g.chance(30) {
		u.Where = g.aboutB()
	}
	return u
}

// aboutB generates a condition on the event that cancels, which is there also after
// the end of a session.
func (g *generator) aboutB() string {
	none := g.noEvent
	g.noEvent = false
	defer func() { g.noEvent = none }()
	return g.about()
}

func (g *generator) campaign(i int) *campaign {
	c := &campaign{
		ID: pick(g, "a", "b", "Z", "c.x", "é") + fmt.Sprint(i), Fresh: pick(g, 0, 0, 0, minute, 5*minute),
		Priority: pick(g, 0, 0, 1, -1, 2.5, 50),
		Offer:    offerSpec{Channel: pick(g, channels...), Kind: pick(g, "advertising", "advertising", "advertising", "service"), Expires: pick(g, 0, 15*minute, day)},
	}
	g.names = names{}
	kind := g.IntN(100)
	g.noEvent = kind < 12
	if g.chance(18) {
		c.Rows = g.rows()
		g.hasRow = true
	}
	g.lets(c)
	switch {
	case g.noEvent:
		c.On, c.Fresh = []string{"session_end"}, 0
	case kind < 24:
		c.Sequence = g.sequence()
	case kind < 40:
		for range 1 + g.IntN(3) {
			entry := &trigger{On: g.on()}
			if g.chance(50) {
				entry.Where = g.about()
			}
			if g.chance(45) {
				entry.Unless = g.unless()
			}
			c.Any = append(c.Any, entry)
		}
	default:
		c.On = g.on()
		if g.chance(55) {
			c.Where = g.about()
		}
	}
	g.before = !g.noEvent
	if g.before && g.chance(15) { // only for `if`
		c.Let = append(c.Let, let{"changed", g.aboutBefore()})
		c.If = append(c.If, pick(g, "changed", "!changed", "changed || session.count > 3"))
	}
	for range pick(g, 0, 1, 1, 2) {
		c.If = append(c.If, g.condition())
	}
	g.waits(c)
	g.before = g.before && !g.canWait(c)
	g.choice(c)
	for range pick(g, 0, 0, 1, 1, 2) {
		c.Limits = append(c.Limits, pick(g, limit{Max: 1 + g.IntN(2), Within: pick(g, 2*minute, 30*minute, 6*hour)}, limit{Max: 1 + g.IntN(2), PerSession: true}, limit{Max: 1 + g.IntN(5)}))
	}
	if g.chance(15) {
		c.From = g.start + g.Int64N(6*hour)
	}
	if g.chance(15) {
		c.To = g.start + 2*hour + g.Int64N(12*hour)
	}
	if g.chance(20) {
		c.Holdout = pick(g, 1, 1000, 3000, 6000)
	}
	g.lengthenPending(c)
	return c
}

// waits adds what may make an evaluation wait.
func (g *generator) waits(c *campaign) {
	dwells := g.with("dwell")
	if len(dwells) > 0 && g.chance(50) {
		// A trigger that opens an interval, so that there is something to wait for.
		f := pick(g, dwells...)
		if len(c.On) > 0 && !g.noEvent && g.chance(75) {
			c.On, c.Where = f.On, f.Where
		}
		if len(c.On) > 0 && !g.noEvent && g.chance(20) { // events that do not end a dwell may come again
			c.On, c.Where = []string{"identify", "Offer Shown"}, ""
		}
		c.If = append(c.If[:min(len(c.If), 1)], g.dwellCondition(f))
		if g.chance(25) {
			c.If = append(c.If, g.dwellCondition(pick(g, dwells...)))
		}
	}
	if len(c.Any) == 0 && g.chance(35) { // also with dwell: then the absence starts when the dwell condition holds
		c.Unless = g.unless()
	}
	if hours := g.with("histogram"); len(hours) > 0 && g.chance(40) {
		f := pick(g, hours...)
		c.At = &atSpec{BestHour: f.Name, Ahead: pick(g, 2*hour, 6*hour, day, day, 2*day)}
		if len(c.On) > 0 && !g.noEvent && g.chance(60) { // not the events that are counted
			c.On, c.Where, c.If = g.some([]string{"Offer Shown", "Products Searched", "identify"}), "", c.If[:min(len(c.If), g.IntN(2))]
		}
		if f.By != "" {
			keys := []string{`"bag"`, `"20"`}
			if !g.noEvent {
				keys = append(keys, "event.properties.category", "event.properties.category", "event.properties.brand", "event.name")
			}
			if g.hasRow {
				keys = append(keys, "row.category", "row.category")
			}
			c.At.BestHour += "[" + pick(g, keys...) + "]"
		}
	}
	if g.chance(25) { // also where there is nothing to wait for
		before := g.before
		g.before = false
		c.WhenDue = g.condition()
		g.before = before
	}
}

// canWait reports whether a campaign may go on later than at its trigger.
func (g *generator) canWait(c *campaign) bool {
	waits := c.Unless != nil || c.At != nil || slices.ContainsFunc(c.Any, func(t *trigger) bool { return t.Unless != nil })
	for _, src := range c.If {
		waits = waits || strings.Contains(src, "_dwell")
	}
	q := g.set.Quiet
	return waits || c.Offer.Kind == "advertising" && q != nil && !q.Drop && slices.Contains(q.Channels, c.Offer.Channel)
}

// with returns the features of an aggregate.
func (g *generator) with(agg string) []*feature {
	return slices.DeleteFunc(slices.Clone(g.features), func(f *feature) bool { return f.Agg != agg })
}

// choice adds what decides between candidates, and the offer.
func (g *generator) choice(c *campaign) {
	if g.chance(20) {
		c.Priority, c.Score = 0, g.number()
	}
	if g.chance(25) {
		c.Choose = g.choose()
	}
	if g.set.Coupons != nil && g.chance(30) {
		c.Offer.Coupon = &couponSpec{Discount: pick(g, "", "5%"), SingleUse: g.chance(50), Claim: pick(g, "", "login"), Expires: pick(g, 0, hour)}
		if c.Offer.Expires == 0 {
			c.Offer.Coupon.Expires = 2 * hour
		}
	}
	c.Offer.Data = g.data(c)
}

// lengthenPending makes a campaign, in some of the sets, keep long texts while it
// waits.
func (g *generator) lengthenPending(c *campaign) {
	if !g.long || g.noEvent || c.Unless == nil && c.At == nil || g.chance(30) {
		return
	}
	c.Offer.Data = json.RawMessage(`{"note":"{{ event.properties.?note.orValue(1) }}","items":"{{ event.items.size() }}"}`)
	if g.chance(30) {
		c.Let = append(c.Let, let{"kept", "event.properties.?note.orValue(1)"})
		c.Offer.Data = json.RawMessage(`{"note":"{{ kept }}"}`)
	}
	c.Choose, c.WhenDue, g.set.Bounds.Absences = "", "", 64
	if c.Unless != nil {
		c.Unless.Match, c.Unless.Within = pick(g, c.Unless.Match, "event.id", "product_id"), 2*hour
	}
}

func (g *generator) rows() (out []row) {
	for i := range 1 + g.IntN(3) {
		id := fmt.Sprint(i)
		values := map[string]any{"id": id, "category": pick(g, categories...), "min": pick[any](g, 1, 2, 2.5), "price": pick[any](g, 20, json.Number("9007199254740993")), "first": g.chance(50)}
		if i > 0 && g.chance(25) {
			delete(values, "min")
		}
		out = append(out, row{id, encode(values)})
	}
	return out
}

// lets names expressions: first those about the event, then those about state.
func (g *generator) lets(c *campaign) {
	add := func(name, is string) { c.Let = append(c.Let, let{name, is}) }
	if !g.noEvent && g.chance(20) {
		add("dear", g.about())
		g.aboutLets = append(g.aboutLets, "dear")
		if g.chance(50) {
			add("cost", "event.properties.price * 2")
			g.aboutLets = append(g.aboutLets, "cost > 40", "cost <= 71.0", "!dear && cost > 20")
		}
	}
	if g.chance(25) {
		add("often", g.condition())
		g.stateLets = append(g.stateLets, "often", "!often")
		if g.chance(50) {
			add("amount", g.number())
			g.stateLets = append(g.stateLets, "amount >= 2", "amount < 30.5")
			g.amount = true
		}
	}
}

func (g *generator) sequence() *sequence {
	s := &sequence{Within: pick(g, 5*minute, 30*minute, 2*hour)}
	for range pick(g, 2, 2, 3, 4) {
		step := &trigger{On: g.on()}
		if g.chance(25) {
			step.Where = g.about()
		}
		s.Steps = append(s.Steps, step)
	}
	return s
}
