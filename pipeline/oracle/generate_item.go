package oracle

import (
	"fmt"
	"slices"
	"strings"
)

// itemKinds adds kinds of items, and their features. They come after those of users.
func (g *generator) itemKinds(set *definition) {
	g.names = names{}
	set.Items = []*itemKind{{Kind: "product", Key: "product_id", Forget: pick(g, 0, 0, 0, hour, 20*minute)}}
	if g.chance(40) {
		set.Items = append(set.Items, &itemKind{Kind: "brand", Key: "brand", Forget: pick(g, 0, 0, 2*hour)})
	}
	if g.chance(20) {
		set.Bounds.ItemBytes = 40 + g.IntN(800)
	}
	for i := range 3 + g.IntN(4) {
		set.Features = append(set.Features, g.itemFeature(i, pick(g, set.Items...)))
	}
	if g.chance(75) {
		set.Features = append(set.Features, g.usersFeature(len(set.Features), set.Items[0]))
	}
	slices.SortFunc(set.Features, func(a, b *feature) int { return strings.Compare(a.Name, b.Name) })
	// What item features learn from.
	set.Features = append(set.Features,
		&feature{Name: "u_first", On: []string{"Product Viewed"}, By: "product_id", Agg: "first", Of: "event.time", Within: pick(g, 0, 30*minute)},
		&feature{Name: "u_last", On: []string{"Order Completed", "Product Added"}, By: "product_id", Agg: "last", Of: "event.time"},
		&feature{Name: "u_views", On: []string{"*"}, By: "product_id", Agg: "count", Within: pick(g, 0, hour)})
}

func (g *generator) usersFeature(i int, k *itemKind) *feature {
	f := &feature{Name: fmt.Sprintf("i%d_users", i), Per: k.Kind, Agg: "users", On: pick(g, []string{"Product Added"}, []string{"Product Viewed"}, g.on()), Keep: pick(g, 1, 2, 3, 10_000, 10_000), Within: pick(g, 0, 0, 0, hour)}
	if g.chance(70) {
		f.RemoveOn = g.some([]string{"Product Removed", "Order Completed"})
	}
	return f
}

// itemFeature makes a feature of items. Those that dwell would be are others.
func (g *generator) itemFeature(i int, k *itemKind) *feature {
	f := g.feature(i)
	for f.Agg == "dwell" {
		f = g.feature(i)
	}
	if g.chance(20) {
		f.On = append(f.On, "Price Changed")
	}
	switch g.IntN(8) {
	case 0:
		f.Agg, f.Of = "distinct", "event.user"
	case 1:
		f.Agg, f.Of = "last", "event.time"
	case 2, 3:
		f.Agg, f.Of = "quantiles", pick(g, "event.time - u_first[item.product_id]", "event.time - before.u_last[item.product_id]")
		if g.chance(70) {
			f.On, f.By = []string{"Order Completed", "Product Added"}, ""
		}
	case 4:
		f = &feature{Agg: "together", On: []string{"Order Completed", "Product Added"}, HalfLife: pick(g, 10*minute, 2*hour, 7*day)}
	case 5:
		return g.usersFeature(i, k)
	case 6:
		f.Agg, f.Of = "sum", pick(g, "item.price", "u_views[item.product_id]", "item.quantity * 2.0")
	}
	switch f.Agg {
	case "distinct", "last", "quantiles", "sum":
		f.Key, f.Fields, f.Keep, f.RemoveOn, f.HalfLife = "", nil, 0, nil, 0
	}
	f.Name, f.Per = fmt.Sprintf("i%d_%s", i, f.Agg), k.Kind
	return f
}

// ofKind returns the features of a kind of items.
func (g *generator) ofKind(kind string) []*feature {
	return slices.DeleteFunc(slices.Clone(g.set.Features), func(f *feature) bool { return f.Per != kind })
}

// aboutItem generates a condition on the features of a kind.
func (g *generator) aboutItem(kind string) string {
	f := pick(g, g.ofKind(kind)...)
	n := 1 + g.IntN(3)
	s := ""
	switch {
	case f.Agg == "users":
		s = fmt.Sprintf("%s.size() %s %d", f.Name, pick(g, ">=", ">=", "<", "=="), n)
	case f.Agg == "together":
		s = pick(g, fmt.Sprintf("%s.size() >= %d", f.Name, n), f.Name+`[0].key != "p1"`, f.Name+"[0].score > 1.5", f.Name+".first().hasValue()")
	case f.By == "" && f.Agg == "last" && f.Of == "event.time":
		s = pick(g, f.Name+" != null", fmt.Sprintf(`%s != null && now - %s < duration("%dm")`, f.Name, f.Name, n*10), f.Name+" == null")
	case f.By == "" && strings.Contains(f.Of, "u_first") || f.By == "" && strings.Contains(f.Of, "u_last"):
		s = pick(g, fmt.Sprintf("%s.size >= %d", f.Name, n), f.Name+".size >= 1", f.Name+`.p50 > duration("1m")`, f.Name+".p90 == "+f.Name+".p10")
	case f.By != "" && f.Agg == "last" && f.Of == "event.time", f.By != "" && strings.Contains(f.Of, "u_"):
		s = fmt.Sprintf("%s.size() >= %d", f.Name, n)
	case f.Of == "event.user" || f.Agg == "sum":
		s = pick(g, f.Name+"%s >= 1", f.Name+"%s < 20", f.Name+"%s > 2")
		if f.By != "" {
			s = fmt.Sprintf(s, `["bag"]`)
		} else {
			s = fmt.Sprintf(s, "")
		}
	default:
		s = g.untilFree(func() string { return g.aboutFeature(f) })
	}
	if g.chance(20) {
		s = strings.ReplaceAll(s, f.Name, "before."+f.Name)
	}
	return s
}

// shownItem generates a template that shows a feature of items.
func (g *generator) shownItem(kind string) string {
	f := pick(g, g.ofKind(kind)...)
	name := f.Name
	if g.chance(30) {
		name = "before." + name
	}
	switch {
	case f.Agg == "users":
		return "{{ " + name + ".size() }}"
	case f.Agg == "histogram" && f.By == "":
		return "{{ " + name + ".size }}"
	case f.Agg == "histogram":
		return "{{ " + name + ".size() }}"
	}
	return "{{ [" + name + "] }}"
}

// length generates an expression for a length of time that reads items.
func (g *generator) length(kind string) string {
	forms := []string{`duration("10m")`}
	for _, f := range g.ofKind(kind) {
		switch {
		case f.By == "" && f.Agg == "quantiles" && strings.Contains(f.Of, "u_"):
			forms = append(forms, f.Name+".p50 * 0.8", f.Name+".p50", f.Name+".p90 / 2", f.Name+".p50 * 0.8")
		case f.By == "" && (f.Agg == "count" || f.Agg == "distinct"):
			forms = append(forms, `duration("2m") * `+f.Name)
		case f.By == "" && f.Agg == "last" && f.Of == "event.time":
			forms = append(forms, "now - "+f.Name)
		case f.Agg == "users":
			forms = append(forms, `duration("90s") * `+f.Name+".size()")
		}
	}
	return pick(g, forms...)
}
