package oracle

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

const (
	second = int64(time.Second)
	minute = int64(time.Minute)
	hour   = int64(time.Hour)
	day    = 24 * hour
)

// start is the time of the first generated event.
var start = time.Date(2026, 3, 1, 11, 0, 0, 0, time.UTC).UnixNano()

// Generate makes a random campaign set, in the canonical JSON of a
// campaign.Definition, and random events for it. The same seed always gives the
// same result. Values are taken from small ranges, so that conditions often
// hold, and bounds are often small, so that windows fold and keys are evicted.
func Generate(seed uint64) (setJSON []byte, events [][]byte) {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 3))}
	set := g.definition()
	setJSON, err := json.Marshal(set)
	if err != nil {
		panic(fmt.Sprintf("oracle: a generated set does not marshal: %v", err))
	}
	return setJSON, g.stream(set)
}

type generator struct {
	*rand.Rand
	features []*feature
	long     bool // some texts are too long to be kept
	alone    bool // one user sends nearly all events, so that old event ids are forgotten
}

func pick[T any](g *generator, from ...T) T { return from[g.IntN(len(from))] }

// chance is true in percent of 100 cases.
func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

var (
	names      = []string{"Product Viewed", "Product Added", "Product Removed", "Order Completed", "Products Searched"}
	channels   = []string{"web", "push", "sms", "email"}
	categories = []string{"bag", "dress", "shoes"}
)

func (g *generator) definition() *definition {
	set := &definition{
		Engine: 3, Clock: "event", Lateness: pick(g, hour, hour, 10*minute, 2*minute),
		Forget: forget{90 * day, 1095 * day},
		Bounds: bounds{Entries: 256, Keys: 64, UserEntries: 65536, UserBytes: 256 << 10, Absences: 64},
	}
	if g.chance(25) {
		set.Forget = forget{pick(g, 20*minute, 2*hour), pick(g, 45*minute, 6*hour)}
	}
	if g.chance(60) {
		set.Bounds = bounds{Entries: 2 + g.IntN(5), Keys: 1 + g.IntN(4), UserEntries: 65536, UserBytes: 256 << 10, Absences: 1 + g.IntN(3)}
	}
	if g.chance(10) {
		set.Bounds.UserEntries = 3 + g.IntN(20)
	}
	g.long = g.chance(10)
	if g.chance(20) {
		set.Bounds.UserBytes = 50 + g.IntN(1500)
	}
	for i := range 2 + g.IntN(7) {
		set.Features = append(set.Features, g.feature(i))
	}
	g.features = set.Features
	if g.chance(40) {
		for range 1 + g.IntN(2) {
			set.Caps = append(set.Caps, channelCap{g.some(channels), 1 + g.IntN(4), pick(g, 10*minute, hour, day)})
		}
	}
	if g.chance(30) {
		set.Pause = &pause{g.some(channels), pick(g, minute, 15*minute, 2*hour)}
	}
	for i := range 2 + g.IntN(7) {
		set.Campaigns = append(set.Campaigns, g.campaign(i))
	}
	slices.SortFunc(set.Campaigns, func(a, b *campaign) int { return strings.Compare(a.ID, b.ID) })
	return set
}

// some returns one to three different elements of a list.
func (g *generator) some(from []string) []string {
	out := slices.Clone(from)
	g.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out[:1+g.IntN(min(3, len(out)))]
}

// on returns event names, frequent events more often than rare ones.
func (g *generator) on() []string {
	switch g.IntN(12) {
	case 0:
		return []string{"*"}
	case 1:
		return []string{pick(g, "page", "screen", "identify")}
	case 2:
		return append(g.some(names), pick(g, "page", "screen", "identify"))
	case 3, 4:
		return g.some(names)
	case 5, 6:
		return []string{"Product Added"}
	}
	return []string{"Product Viewed"}
}

var aggregates = []string{"count", "count", "count", "sum", "min", "max", "avg", "distinct", "first", "last", "list", "dwell", "dwell", "quantiles"}

func (g *generator) feature(i int) *feature {
	f := &feature{Agg: pick(g, aggregates...), On: g.on(), Within: pick(g, 0, 100*second, 5*minute, 30*minute, 30*minute, 2*hour, day)}
	f.Name = fmt.Sprintf("f%d_%s", i, f.Agg)
	if g.chance(35) {
		f.Where = g.about()
	}
	if g.chance(40) {
		f.By = pick(g, "category", "category", "product_id", "event.properties.category", "event.properties.brand",
			"event.properties.price", "event.properties.vip", "event.properties.price > 30", "event.name", "event.properties.sku", "sku", "item-id")
	}
	if f.Agg == "dwell" && g.chance(15) { // for several intervals under one key
		f.By, f.On = pick(g, "category", "brand"), []string{"Product Added", "Order Completed"}
	}
	switch f.Agg {
	case "sum", "avg", "min", "max":
		f.Of = pick(g, "event.properties.price", "event.properties.price", "event.properties.price * 2", "event.properties.price / 3",
			"event.items.size()", "event.properties.quantity - 1", "0.1 + event.properties.quantity", "event.properties.brand")
	case "quantiles":
		f.Of = pick(g, "event.properties.price", "event.properties.price * 2", "event.items.size()", "now - event.time",
			`event.properties.price > 20 ? dyn(duration("20s")) : dyn(1.5)`, "event.properties.brand")
	case "distinct", "first", "last":
		f.Of = pick(g, "event.properties.brand", "event.properties.category", "event.properties.price", "event.properties.vip",
			"event.properties.brand", "event.items.size()", "event.name", "event.properties.note", "event.properties.?note.orValue(null)", "event.properties.sku")
	case "list":
		f.Key, f.Keep = pick(g, "product_id", "product_id", "product_id", "sku", "item-id"), pick(g, 1, 2, 3, 20, 256)
		f.Fields = append(g.some([]string{"category", "price", "brand", "sku"}), "product_id")
		slices.Sort(f.Fields)
		if g.chance(60) {
			f.RemoveOn = g.some(names[2:4])
		}
	}
	if f.Of != "" && f.By != "" && isBare(f.By) && g.chance(60) {
		f.Of = pick(g, "item.price", "item.price", "item.category", "item.product_id", "item.price * 2.5")
	}
	return f
}

func (g *generator) unless() *unless {
	u := &unless{On: pick(g, []string{"Order Completed"}, []string{"Product Removed", "Order Completed"}, g.on()), Within: pick(g, minute, 5*minute, 20*minute, 2*hour), NoRestart: g.chance(30)}
	u.Match = pick(g, "", "", "category", "product_id", "event.properties.category", "event.properties.product_id", "item-id", "event.properties.sku")
	if g.chance(30) {
		u.Where = g.about()
	}
	return u
}

func (g *generator) campaign(i int) *campaign {
	c := &campaign{
		ID: pick(g, "a", "b", "Z", "c/x", "é") + fmt.Sprint(i), On: g.on(), Fresh: pick(g, 0, 0, 0, minute, 5*minute),
		Priority: pick(g, 0, 0, 1, -1, 2.5, 50),
		Offer:    offerSpec{Channel: pick(g, channels...), Kind: pick(g, "advertising", "advertising", "advertising", "service"), Expires: pick(g, 0, 15*minute, day)},
	}
	if g.chance(55) {
		c.Where = g.about()
	}
	for range pick(g, 0, 1, 1, 2) {
		c.If = append(c.If, g.condition())
	}
	dwells := slices.DeleteFunc(slices.Clone(g.features), func(f *feature) bool { return f.Agg != "dwell" })
	switch {
	case len(dwells) > 0 && g.chance(50):
		// A trigger that opens an interval, so that there is something to wait for.
		f := pick(g, dwells...)
		if g.chance(75) {
			c.On, c.Where = f.On, f.Where
		}
		c.If = append(c.If[:min(len(c.If), 1)], g.dwellCondition(f))
		if g.chance(25) {
			c.If = append(c.If, g.dwellCondition(pick(g, dwells...)))
		}
	}
	if g.chance(35) { // also with dwell: then the absence starts when the dwell condition holds
		c.Unless = g.unless()
	}
	if g.chance(20) { // also where there is nothing to wait for
		c.WhenDue = g.condition()
	}
	for range pick(g, 0, 0, 1, 1, 2) {
		c.Limits = append(c.Limits, pick(g, limit{Max: 1 + g.IntN(2), Within: pick(g, 2*minute, 30*minute, 6*hour)}, limit{Max: 1 + g.IntN(2), PerSession: true}, limit{Max: 1 + g.IntN(5)}))
	}
	if g.chance(15) {
		c.From = start + g.Int64N(6*hour)
	}
	if g.chance(15) {
		c.To = start + 2*hour + g.Int64N(12*hour)
	}
	c.Offer.Data = g.data()
	if g.long && c.Unless != nil && g.chance(70) {
		c.Offer.Data = json.RawMessage(`{"note":"{{ event.properties.?note.orValue(1) }}","items":"{{ event.items.size() }}"}`)
		c.Unless.Match, c.Unless.Within = pick(g, c.Unless.Match, "event.id", "product_id"), 2*hour
	}
	return c
}
