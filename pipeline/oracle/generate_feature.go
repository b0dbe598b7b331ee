package oracle

import (
	"fmt"
	"slices"
)

var aggregates = []string{"count", "count", "count", "sum", "min", "max", "avg", "distinct", "first", "last", "list", "dwell", "dwell", "quantiles", "top", "top", "histogram", "histogram"}

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
	case "top":
		f.Within, f.HalfLife = 0, pick(g, 10*minute, 2*hour, 2*hour, 7*day)
		if f.By == "" {
			f.By = pick(g, "category", "product_id", "event.properties.brand", "event.name")
		}
	case "histogram":
		f.Keep = pick(g, 0, 0, 1, 5)
		f.Within = pick(g, f.Within, 0, 7*day, 30*day)
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
			f.RemoveOn = g.some(eventNames[2:4])
		}
	}
	if f.Agg == "distinct" {
		f.Keep = pick(g, 0, 0, 1, 4)
	}
	if f.Of != "" && f.By != "" && isBare(f.By) && g.chance(60) {
		f.Of = pick(g, "item.price", "item.price", "item.category", "item.product_id", "item.price * 2.5")
	}
	return f
}
