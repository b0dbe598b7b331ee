package oracle

import (
	"encoding/json"
	"fmt"
	"strings"
)

// item makes a product's properties, some missing, some of an unusual type.
func (g *generator) item() map[string]any {
	it := map[string]any{
		"category":   pick[any](g, "bag", "bag", "bag", "dress", "shoes", 7),
		"product_id": pick[any](g, "p1", "p2", "p3", "p4", "p5", 20, 1.5, true),
		"price":      pick[any](g, 20, 20, json.Number("2.0e1"), 35.5, 10.01, 99.999999, 1e9, 0.1, 2e13, json.Number("1e400")),
		"brand":      pick[any](g, "acme", "acme", "apex", "zeta"),
		"quantity":   pick[any](g, 1, 2, 3, 4, 1, 2, 3, 4, json.Number("2.5"), json.Number("9007199254740993")),
	}
	if g.chance(70) {
		it["sku"] = g.longNumber()
	}
	if g.chance(50) {
		it["item-id"] = pick[any](g, "a", 17, "17", g.longNumber())
	}
	if g.chance(30) {
		it["vip"] = g.chance(60)
	}
	if g.chance(60) {
		it["city"] = pick(g, cities...)
	}
	if g.chance(10) {
		it["note"] = pick[any](g, nil, "x", []any{1, "y"}, map[string]any{"k": 1})
	}
	if g.chance(10) {
		it["when"] = pick(g, "2026-03-01T12:00:00Z", "2027-01-01T00:00:00+09:00", "soon")
	}
	for _, field := range []string{"category", "product_id", "price", "brand"} {
		switch {
		case g.chance(6):
			delete(it, field)
		case g.chance(3):
			it[field] = pick[any](g, nil, "", []any{}, map[string]any{}, false)
		}
	}
	g.lengthen(it, "note", 20_000)
	g.lengthen(it, "brand", 1500)
	return it
}

func (g *generator) traits() map[string]any {
	t := map[string]any{}
	for range 1 + g.IntN(2) {
		switch g.IntN(6) {
		case 4, 5:
			t["timezone"] = pick[any](g, pick(g, zoneNames...), pick(g, zoneNames...), pick(g, zoneNames...), "Local", "asia/seoul", "", 9, nil)
		case 0:
			t["age"] = pick[any](g, 25, 31, 47.5, "old", g.longNumber())
		case 1:
			t["note"] = pick[any](g, nil, "x", []any{1})
		case 2:
			t[fmt.Sprintf("t%d", g.IntN(4))] = g.IntN(3)
		default:
			t["segment"] = pick[any](g, "vip", "new", "old", nil)
		}
	}
	g.lengthen(t, "note", 15_000)
	g.lengthen(t, fmt.Sprintf("t%d", g.IntN(20)), 15_000)
	return t
}

// lengthen gives a member, in some of the streams, a text of up to n bytes, or
// a list of it.
func (g *generator) lengthen(o map[string]any, name string, n int) {
	if !g.long || g.chance(60) {
		return
	}
	text := strings.Repeat(pick(g, "x", "é", "x\"", "가"), g.IntN(n/3))
	o[name] = pick[any](g, text, text, text, []any{text})
}

// visit sets where the user came from.
func (g *generator) visit(ev map[string]any) {
	if g.chance(75) {
		return
	}
	page := map[string]any{"url": pick(g, "https://shop.example/x", "https://Shop.example:443/y")}
	page["referrer"] = pick[any](g, "https://shop.example/home", "https://www.google.com/search?q=bag", "http://Facebook.com:80/?query=dress&keyword=bag", "https://search.example/?keyword=bag", "", nil, 5, "not an address")
	ctx := map[string]any{"page": page}
	if g.chance(40) {
		ctx["campaign"] = map[string]any{"source": pick[any](g, "facebook", "mail", "", 3)}
		if g.chance(40) {
			ctx["campaign"].(map[string]any)["term"] = pick(g, "bag", "hat", "")
		}
	}
	ev["context"] = ctx
	if props, ok := ev["properties"].(map[string]any); ok && g.chance(20) {
		props["referrer"], props["url"] = page["referrer"], page["url"]
		switch g.IntN(4) {
		case 0: // both
			page["referrer"] = pick[any](g, "https://shop.example/home", "https://m.facebook.com/?q=hat", "")
		case 1:
			delete(page, "url")
		default:
			delete(ctx, "page")
		}
	}
}

// fact makes an event a fact.
func (g *generator) fact(ev map[string]any) map[string]any {
	ev["type"], ev["fact"], ev["key"] = "fact", pick(g, "weather", "weather", "weather", "other"), pick(g, append(cities, "bag")...)
	values := map[string]any{}
	switch {
	case g.chance(4):
		ev["key"] = pick[any](g, 17, "", nil, strings.Repeat("k", 1500), true, json.Number("1e999"), "a\u0007b")
	case g.chance(4):
		ev["fact"] = pick[any](g, "", nil, 5)
	}
	if g.chance(80) {
		values["dust"] = pick[any](g, 10, "text", nil, true, []any{1}, 60, 90.5, json.Number("9007199254740993"))
	}
	if g.chance(80) {
		values["sky"] = pick[any](g, "rain", "sun", 7, nil, map[string]any{})
	}
	if g.chance(50) {
		values["warning"] = g.chance(50)
	}
	ev["values"] = values
	if g.chance(4) {
		ev["values"] = pick[any](g, nil, []any{}, "none", []any{1}, map[string]any{"a": 1})
	}
	return ev
}
