package oracle

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// number generates an expression that mostly is a number.
func (g *generator) number() string {
	return g.untilFree(func() string {
		forms := []string{"event.properties.price", "event.properties.quantity", "event.items.size()", "session.count", "session.count * 2", "1.5", "local.hour - 12", "event.properties.?price.orValue(3)", "event.properties.brand", "event.properties.sku"}
		for _, f := range g.features {
			switch {
			case f.Agg == "top":
				forms = append(forms, f.Name+".size()", f.Name+"[0].score")
			case f.Agg == "histogram" && f.By == "":
				forms = append(forms, f.Name+".size")
			case f.By != "" || f.Agg == "list":
				forms = append(forms, f.Name+".size()")
			case f.Agg == "count" || f.Agg == "sum" || f.Agg == "distinct":
				forms = append(forms, f.Name, f.Name+" * 1.5")
			}
		}
		if g.hasRow {
			forms = append(forms, "row.min", "row.price")
		}
		if g.amount {
			forms = append(forms, "amount + 1")
		}
		return pick(g, forms...)
	})
}

// choose generates an expression for the item of an offer.
func (g *generator) choose() string {
	return g.untilFree(func() string {
		forms := []string{"event.items.filter(i, has(i.price)).max_by(i, i.price)", "event.items.min_by(i, i.price)", "event.items.first()", "event.properties.?brand", "event.properties.note", "session.events.last()", "session.events.max()", "profile.?segment"}
		for _, f := range g.features {
			switch {
			case f.Agg == "list" && f.By == "":
				forms = append(forms, f.Name+".max_by(i, i.price)", f.Name+".filter(i, has(i.price)).min_by(i, i.price)", f.Name+".first()", f.Name+".last()", f.Name+".map(i, i.product_id).max()")
			case f.Agg == "top":
				forms = append(forms, f.Name+".first()", f.Name+".map(t, t.key).last()", f.Name+".min_by(t, t.score)")
			case f.By != "" && f.Agg == "count":
				forms = append(forms, f.Name+".values().max()", f.Name+".map(k, k).max_by(k, "+f.Name+"[k])", f.Name+".map(k, k).first()")
			}
		}
		return pick(g, forms...)
	})
}

// aboutBefore generates a condition on the state before the event.
func (g *generator) aboutBefore() string {
	if g.chance(70) {
		f := pick(g, g.features...)
		return strings.ReplaceAll(g.aboutFeature(f), f.Name, "before."+f.Name)
	}
	return pick(g, "before.session.count + 1 == session.count", "before.session.count == 0", `profile.segment != before.profile.?segment.orValue("")`, `before.session.source == "facebook"`, "before.profile.size() < profile.size()")
}

// aboutLocal generates a condition on the time of day of the user.
func (g *generator) aboutLocal() string {
	return pick(g, "local.hour >= 12", "local.hour % 2 == 0", "local.hour < 7 || local.hour >= 22", "local.minute < 30", `local.weekday in ["sat", "sun"]`, `local.weekday != "mon"`,
		fmt.Sprintf("local.date > %q", clock(g.start)[:10]), "local.minute % 15 != 0")
}

// aboutFact generates a condition on a fact.
func (g *generator) aboutFact() string {
	key := fmt.Sprintf("%q", pick(g, cities...))
	if g.hasRow && g.chance(30) {
		key = "row.category"
	} else if !g.noEvent && g.chance(50) {
		key = "event.properties.city"
	}
	return strings.ReplaceAll(pick(g, "facts.weather[K].dust > 50", "facts.weather[K].dust <= 80", `facts.weather[K].sky == "rain"`, `facts.weather[K].sky != "rain"`, "has(facts.weather[K].sky)", "facts.weather[?K].?dust.orValue(10.0) > 5",
		"K in facts.weather", "!(K in facts.weather)", "facts.weather[K].warning", "!facts.weather[K].warning"), "K", key)
}

// ownTexts are texts for data with what only some campaigns have.
func (g *generator) ownTexts(c *campaign) []string {
	texts := []string{"{{ local.date }} {{ local.weekday }}", "{{ local.hour }}", "{{ clock(now - now) }}", `{{ [session.events.max()] }}`}
	if g.hasRow {
		texts = append(texts, "{{ row.category }}", "{{ row.price }}", "for {{ row.id }}: {{ row.min }}")
	}
	for _, let := range c.Let {
		if let.Name == "changed" { // it may not be read later
			continue
		}
		texts = append(texts, "{{ "+let.Name+" }}", "it is {{ "+let.Name+" }}")
	}
	if g.set.Facts != nil {
		texts = append(texts, `{{ facts.weather["seoul"].dust }}`, `{{ [facts.weather[?"seoul"].?sky.orValue("?")] }}`)
	}
	return texts
}

// data generates an offer's data. Most of its templates do not fail.
func (g *generator) data(c *campaign) json.RawMessage {
	texts := []string{
		"hello", "", "{{ event.user }}", "for {{ event.user }} at {{ now }}", "{{ event.time }}", "{{ session.count }}", "{{ session.events }}",
		"{{ event.properties.?price.orValue(0.5) }}", "{{ event.properties.?price.orValue(3) }} won", `{{ profile.?segment.orValue("none") }}!`,
		"{{ event.items }}", "{{ profile }}", "{{ now - event.time }}", "{{ 12900000.0 * 1000 }}", "{{ 1 / 3.0 }}", "{{ event.properties.?vip.orValue(false) }}",
		"{{ event.items.size() * 2 }} <items> & {{event.id}}",
		"{{ event.properties.?sku.orValue(1) }}", "no {{ event.properties.?sku.orValue(1) }}", "{{ [event.properties.?sku.orValue(-0.0)] }}", "{{ string(event.properties.price) }}",
		`{{ {"a": {"b": 1}} }}`, `{{ "}}" }} and {{ {"a": {"b": 1}}["a"]["b"] }}`,
	}
	if g.chance(30) {
		texts = append(texts, "{{ event.properties.brand }}", "{{ event.properties.note }}", "{{ event.items[0].product_id }}", "x {{ dyn(event.items) }}", "{{ profile.segment }}")
	}
	f := pick(g, g.features...)
	state := f.Name
	switch {
	case f.Agg == "top":
		texts = append(texts, "{{ "+f.Name+" }}", "{{ "+f.Name+".map(t, t.key) }}", "{{ "+f.Name+"[0].key }} first")
	case f.Agg == "histogram" && f.By == "":
		state += ".size"
	case f.Agg == "histogram":
		state += ".size()"
	case f.By != "":
		texts = append(texts, "{{ "+f.Name+".size() }}", "{{ "+f.Name+".map(k, k) }}", "{{ "+f.Name+" }}", "{{ "+f.Name+`["bag"] }}`)
	case f.Agg == "count" || f.Agg == "sum" || f.Agg == "distinct" || f.Agg == "dwell":
		texts = append(texts, "{{ "+f.Name+" }}", "so far {{ "+f.Name+" }}")
	case f.Agg == "list":
		texts = append(texts, "{{ "+f.Name+" }}", "{{ "+f.Name+".map(i, i.product_id) }}")
	default:
		texts = append(texts, "{{ "+f.Name+" == null ? 0.0 : 1.5 }}", "{{ "+f.Name+" }}")
	}
	texts = append(texts, g.ownTexts(c)...)
	if g.noEvent {
		texts = slices.DeleteFunc(texts, func(t string) bool { return strings.Contains(t, "event.") })
	}
	data := map[string]any{"title": pick(g, texts...), "n": pick[any](g, 1, 2.5, true, nil, "x")}
	if g.chance(40) {
		data["more"] = map[string]any{"list": []any{pick(g, texts...), 7}, "a": pick(g, texts...)}
	}
	if g.chance(60) {
		// This shows differences in state that no condition happens to depend on.
		data["state"] = "{{ " + state + " }}"
		if f.By == "" && (f.Agg == "min" || f.Agg == "max" || f.Agg == "avg" || f.Agg == "first" || f.Agg == "last") {
			data["state"] = "{{ [" + f.Name + "] }}" // null on its own would be an error
		}
	}
	if c.Choose != "" && g.chance(70) {
		data["item"] = "{{ item }}"
	}
	if c.Offer.Coupon != nil && g.chance(70) {
		data["coupon"] = pick(g, "{{ coupon.url }} until {{ coupon.expires }}", "{{ coupon.expires }}", "{{ coupon.code }}")
	}
	if g.before && g.chance(60) {
		data["before"] = "{{ [before." + state + "] }}"
	}
	b, err := json.Marshal(data)
	if err != nil {
		panic(err)
	}
	return b
}
