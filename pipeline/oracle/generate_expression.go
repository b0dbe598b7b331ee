package oracle

import (
	"encoding/json"
	"fmt"
	"strings"
)

// longNumbers are numbers around those that doubles, ints and uints hold.
var longNumbers = strings.Fields(`9007199254740991 9007199254740992 9007199254740993 9007199254740992.0 -9007199254740993 820982911946154508 820982911946154509
	9223372036854775807 9223372036854775808 -9223372036854775808 -9223372036854775809 18446744073709551615 18446744073709551616 18446744073709551617
	1000000000000000000000000000000 1e30 1000000000000000000000000000001 17 17.0 -0 -0.0 1e309`)

func (g *generator) longNumber() json.Number { return json.Number(pick(g, longNumbers...)) }

// literal generates a number as CEL writes it.
func (g *generator) literal() string {
	return pick(g, "9007199254740992", "9007199254740993", "9007199254740992.0", "820982911946154508", "9223372036854775807", "-9223372036854775808", "9223372036854775808u",
		"18446744073709551615u", "18446744073709551616.0", "1e30", "17", "17u", "17.0", "0")
}

// aboutNumber generates a condition on a number, often one that doubles round.
func (g *generator) aboutNumber(read string) string {
	return strings.NewReplacer("R", read, "N", g.literal(), "M", g.literal(), "S", strings.TrimLeft(string(g.longNumber()), "-")).Replace(pick(g,
		"R == N", "N == R", "R != N", "R < N", "N <= R", "R > N", "R >= N", "R in [dyn(N), dyn(M)]", "R in [17, 5]", "[R] == [dyn(N)]", "R == event.properties.quantity",
		"R + 1 > N", "R % 2 == 0", "-R < 0", "R * 2u != N", `string(R) == "S"`, `"%s%d".format([R, 1]) == "S1"`, "[R, N, M].map(i, dyn(i)).sort()[0] == N",
		"math.greatest(R, N) == dyn(N)", "math.least(R, 17.5) == R", "[R, M, R].map(i, dyn(i)).distinct().size() == 2", "sets.contains([dyn(N), M], [R])",
		`{"17": true, "S": false}[R]`, "{17: true}[R]", "R in {17: 1}", `R in {"17": 1}`, `event.name.substring(0, R).size() > 1`, `event.name.charAt(R) != ""`,
		"[1, 2, 3][R] == 2", "int(R) == dyn(N)", "double(R) == dyn(N)", "math.abs(R) == N", "math.ceil(R) > N", "[1, 2, 3].slice(0, R).size() > 1"))
}

// names says what expressions may use besides the event, the profile, the session
// and the features.
type names struct {
	noEvent              bool // there is no event
	hasRow, before       bool
	amount               bool     // a let that is a number
	aboutLets, stateLets []string // conditions with lets, on the event and on state
}

// untilFree repeats a generator until its expression does not read the event,
// where there is none.
func (g *generator) untilFree(make func() string) string {
	for {
		if s := make(); !g.noEvent || !strings.Contains(s, "event.") {
			return s
		}
	}
}

// about generates a condition on the event alone.
func (g *generator) about() string {
	switch g.IntN(10) {
	case 0:
		return g.aboutOne() + " && " + g.aboutOne()
	case 1:
		return g.aboutOne() + " || " + g.aboutOne()
	case 2:
		return "!(" + g.aboutOne() + ")"
	}
	return g.aboutOne()
}

func (g *generator) aboutOne() string {
	if g.hasRow && g.chance(40) {
		return pick(g, "event.properties.category == row.category", "event.properties.category == row.category", "row.first", "event.properties.price >= row.price",
			"event.properties.quantity >= row.min", `row.category != "shoes"`, "event.properties.sku != row.price", "event.properties.price in [row.price, row.min]")
	}
	if len(g.aboutLets) > 0 && g.chance(40) {
		return pick(g, g.aboutLets...)
	}
	if g.chance(12) {
		return g.aboutNumber("event.properties." + pick(g, "sku", "sku", "quantity", "price"))
	}
	price := pick(g, 5, 20, 30)
	category := pick(g, categories...)
	return pick(g,
		fmt.Sprintf("event.properties.category == %q", category),
		fmt.Sprintf("%q == event.properties.category", category),
		fmt.Sprintf(`event.properties["category"] != %q`, category),
		`event.properties.category in ["bag", "shoes"]`,
		`event.properties.category == "bag" || event.properties.category == "dress"`,
		"event.properties.category == 7",
		"event.properties.category == 7 || event.properties.category == \"shoes\"",
		fmt.Sprintf("event.properties.price > %d", price),
		fmt.Sprintf("event.properties.price <= %d.0", price),
		fmt.Sprintf("%d < event.properties.price * 2", price),
		"event.properties.price == 20",
		"event.properties.price in [20, 35.5]",
		"event.properties.vip",
		"event.properties.vip == true",
		"event.properties.vip != false",
		"event.properties.note == null",
		"has(event.properties.brand)",
		`event.properties.?brand.orValue("x") != "acme"`,
		`event.properties.brand.startsWith("a")`,
		"event.items.size() > 1",
		`event.items.exists(i, i.category == "bag")`,
		"event.items.all(i, i.price > 10)",
		`event.type == "track"`,
		`event.name != "Product Removed"`,
		`event.traits.segment in ["vip", "new"]`,
		`event.context.?campaign.?source.orValue("") == "facebook"`,
		`timestamp(event.properties.when) < event.time`,
		`event.user.contains("1")`,
		"true",
	)
}

// condition generates a condition on the user's state.
func (g *generator) condition() string { return g.untilFree(g.anyCondition) }

func (g *generator) anyCondition() string {
	switch g.IntN(10) {
	case 0:
		return g.conditionOne() + " && " + g.conditionOne()
	case 1:
		return g.conditionOne() + " || " + g.conditionOne()
	case 2:
		return "!(" + g.conditionOne() + ")"
	}
	return g.conditionOne()
}

func (g *generator) conditionOne() string {
	if len(g.stateLets) > 0 && g.chance(30) {
		return pick(g, g.stateLets...)
	}
	if g.before && g.chance(15) {
		return g.aboutBefore()
	}
	if g.chance(10) {
		return g.aboutLocal()
	}
	if g.set.Facts != nil && g.chance(20) {
		return g.aboutFact()
	}
	if g.chance(65) {
		return g.aboutFeature(pick(g, g.features...))
	}
	return pick(g,
		g.aboutOne(),
		fmt.Sprintf("session.count >= %d", 1+g.IntN(4)),
		fmt.Sprintf("session.count %% %d == 0", 2+g.IntN(2)),
		`session.source == "facebook"`, `session.source != "facebook"`,
		`session.referrer_host.endsWith("google.com")`, `session.referrer_host == ""`,
		`session.keyword == "bag"`, `session.keyword != "bag"`,
		`session.events.exists(n, n == "Product Added")`, `!session.events.exists(n, n == "Order Completed")`,
		"session.events.size() < 6",
		`session.started != null && now - session.started >= duration("30s")`,
		`profile.segment == "vip"`, `profile.segment in ["vip", "new"]`, "has(profile.segment)",
		"has(profile.age) && profile.age >= 30", "profile.?age.orValue(40) > 35", "profile.note == null", "profile.size() < 3",
		`now - event.time < duration("1m")`, `event.time + duration("1d") > now`,
		"now.getMinutes() % 2 == 0", "event.time.getHours() >= 12",
	)
}

// aboutFeature generates a condition on a feature that often holds.
func (g *generator) aboutFeature(f *feature) string {
	read := f.Name
	if f.By != "" && f.Agg != "top" {
		key := pick(g, `"bag"`, `"dress"`, `"true"`, `"20"`, "dyn(20)", `"p1"`, `"17"`, "dyn(820982911946154508)", "event.properties.category", "event.properties.product_id", "event.properties.brand", "event.properties.sku")
		if g.hasRow && g.chance(50) {
			key = "row.category"
		}
		switch g.IntN(7) {
		case 4:
			return fmt.Sprintf("%s.values().size() > %d", f.Name, g.IntN(3))
		case 0:
			return fmt.Sprintf("%s.size() %s %d", f.Name, pick(g, ">=", "<", "=="), 1+g.IntN(3))
		case 1:
			return pick(g, "", "!") + fmt.Sprintf("(%s in %s)", key, f.Name)
		case 2:
			if f.Agg == "list" { // a nested loop may exceed the cost limit
				return fmt.Sprintf("%s.exists(k, %s[k].size() > %d)", f.Name, f.Name, g.IntN(3))
			}
			return fmt.Sprintf("%s.exists(k, %s)", f.Name, g.aboutValue(f, f.Name+"[k]"))
		case 3:
			return fmt.Sprintf("%s.map(k, k).join(%q).size() > %d", f.Name, "+", g.IntN(12))
		}
		read = fmt.Sprintf("%s[%s]", f.Name, key)
	}
	return g.aboutValue(f, read)
}

func (g *generator) aboutValue(f *feature, read string) string {
	n := 1 + g.IntN(3)
	var forms []string
	switch f.Agg {
	case "count", "distinct":
		forms = []string{"R >= N", "R >= N", "N <= R", "R == N", "R < 5", "R > 0", "R * 1.5 > N.0", "R / 2 >= 1", "R % 2 == 0", "R != N", "R + 0.5 > N", "R in [1, 2, 5]"}
	case "sum":
		forms = []string{"R > 20", "R >= 50.0", "R / 2 > 20", "R - 1 < 100.5", "R * 2.0 >= N", "R == 40", "R != 0"}
	case "min", "max", "avg":
		forms = []string{"R != null && R > 10", "R < 40.0", "R >= N", "R == null || R != 20", "R / 2 > 10", "20 <= R"}
	case "first", "last":
		if strings.Contains(f.Of, "price") || strings.Contains(f.Of, "size") {
			forms = []string{"R != null", "R > 10", "R == 20 || R == 1", "R == null", "R >= N.0"}
		} else {
			// No comparison with a bool if the type is known to be text.
			forms = []string{"R != null", `R == "acme"`, `R in ["acme", "bag", "apex"]`, `R != "bag"`, "R == null"}
			if strings.Contains(f.Of, "sku") {
				return g.aboutNumber(read)
			}
			if strings.Contains(f.Of, "vip") {
				forms = []string{"R", "R == true", "R != false"}
			}
		}
	case "list":
		forms = []string{"R.size() >= N", "R.size() < 4", "R.exists(i, i.price > 20)", `R.exists(i, has(i.category) && i.category == "bag")`,
			`R.map(i, i.product_id)[0] == "p1"`, "R.filter(i, has(i.price)).size() > 0", "R.all(i, !has(i.price) || i.price < 100)", "R.size() == N",
			`R.max_by(i, i.price).product_id == "p1"`, "R.min_by(i, i.price).price <= 20", "R.first().hasValue()", `R.last().value().product_id == "p2"`, "R.map(i, i.price).max() > 20", "R.map(i, i.product_id).min() == null"}
	case "top":
		forms = []string{"R.size() >= N", `R[0].key == "bag"`, "R.exists(t, t.score > 1.5)", `R.map(t, t.key).join("+") != "bag"`, "R.first().hasValue()", "R[0].score >= N.0", "R.all(t, t.score < 2.5)", "R.size() < 3"}
	case "histogram":
		forms = []string{"R.size >= N", "R.size < 4", "R.size == N"}
	case "quantiles":
		forms = []string{"R.size >= N", "R.size == N", "R.p50 != null", "R.p90 == null || R.size > 1", "R.p10 == R.p90"}
		if strings.HasPrefix(f.Of, "event.properties.price") && !strings.Contains(f.Of, "?") || strings.HasPrefix(f.Of, "event.items") {
			forms = append(forms, "R.p50 > 20", "R.p25 == 20", "R.p10 + 1 < R.p90")
		} else if strings.HasPrefix(f.Of, "now") {
			forms = append(forms, `R.p75 > duration("30s")`, `R.p50 <= duration("1m")`)
		}
	case "dwell":
		forms = []string{`R >= duration("20s")`, `duration("1m") <= R`, `R < duration("1m")`, `R > duration("10s")`, `R == duration("0s")`}
	}
	return strings.NewReplacer("R", read, "N", fmt.Sprint(n)).Replace(pick(g, forms...))
}

// dwellCondition generates a condition that a dwell timer can wait for.
func (g *generator) dwellCondition(f *feature) string {
	return g.untilFree(func() string { return g.anyDwellCondition(f) })
}

func (g *generator) anyDwellCondition(f *feature) string {
	read := f.Name
	if f.By != "" {
		read = fmt.Sprintf("%s[%s]", f.Name, pick(g, `"bag"`, "event.properties.category", "event.properties.category", "event.properties.product_id", "event.properties.brand", "event.name", "event.properties.price"))
	}
	least := pick(g, "10s", "30s", "30s", "1m", "90s", "4m", "6m")
	return pick(g, fmt.Sprintf("%s >= duration(%q)", read, least), fmt.Sprintf("duration(%q) <= %s", least, read))
}
