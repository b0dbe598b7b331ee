package oracle

import (
	"encoding/json"
	"fmt"
)

// itemLine makes an event about an item, of no person.
func (g *generator) itemLine(ev map[string]any) []byte {
	ev["type"], ev["kind"], ev["event"] = "item", pick(g, "product", "product", "product", "brand", "shop"), pick(g, "Price Changed", "Price Changed", "Price Changed", "Product Viewed", "Order Completed")
	ev["id"] = pick[any](g, "p1", "p1", "p2", "p3", 20, json.Number("20.0"), "acme")
	if ev["kind"] == "brand" {
		ev["id"] = pick(g, "acme", "apex")
	}
	ev["properties"] = g.item()
	switch {
	case g.chance(2):
		ev[pick(g, "kind", "id", "event")] = pick[any](g, "", nil, true)
	case g.chance(3):
		delete(ev, "properties")
	}
	return encode(ev)
}

// mixed chooses who an event is from, and of what kind it is.
func (g *generator) mixed(ev map[string]any) {
	if g.mix.merges {
		g.visitor(ev)
	} else {
		g.user(ev)
	}
	g.kind(ev)
	g.crowd(ev)
	if g.mix.merges {
		g.becomes(ev)
	}
}

// crowd makes events name few items.
func (g *generator) crowd(ev map[string]any) {
	props, ok := ev["properties"].(map[string]any)
	if !ok || !g.chance(70) {
		return
	}
	props["product_id"] = pick(g, "p1", "p1", "p2", "p3")
	products, _ := props["products"].([]any)
	for _, p := range products {
		if p, ok := p.(map[string]any); ok && g.chance(70) {
			p["product_id"] = pick(g, "p1", "p1", "p2", "p3")
		}
	}
}

// visitor chooses who an event is from, where visitors become users.
func (g *generator) visitor(ev map[string]any) {
	user, visitor := pick(g, "u1", "u1", "u2", "u3"), g.visitorID()
	switch g.IntN(10) {
	case 0, 1, 2, 3:
		ev["anonymousId"] = visitor
	case 4:
		ev["userId"], ev["anonymousId"] = user, visitor // which merges nothing by itself
	default:
		ev["userId"] = user
	}
	if g.chance(8) {
		ev["proof"] = pick[any](g, "none", "none", "token", nil)
	}
}

// visitorID chooses a visitor: mostly the one who has not become a user yet.
func (g *generator) visitorID() any {
	if g.chance(65) {
		return fmt.Sprintf("x%d", g.visits)
	}
	return pick[any](g, "v1", "v1", "v2", "v2", "v3", "v4", "u1", 42, fmt.Sprintf("w%d", g.IntN(12)))
}

// becomes makes an event, in some of the cases, one by which a visitor becomes a user.
func (g *generator) becomes(ev map[string]any) {
	if !g.chance(9) {
		return
	}
	defer func() { g.visits += g.IntN(2) }()
	for _, name := range []string{"event", "name", "properties"} {
		delete(ev, name)
	}
	ev["userId"] = pick(g, "u1", "u1", "u2", "u3")
	switch {
	case g.chance(60):
		ev["type"], ev["traits"], ev["anonymousId"] = "identify", g.traits(), g.visitorID()
	default:
		ev["type"], ev["previousId"] = "alias", g.visitorID()
		delete(ev, "anonymousId")
	}
	if g.chance(6) {
		ev[pick(g, "anonymousId", "previousId", "userId")] = pick[any](g, "undefined", "null", "NaN", "None", "0", 0, "[object Object]", "00000000-0000-0000-0000-000000000000", "anonymousId", "")
	}
}
