package expr

import (
	"fmt"
	"strings"
	"testing"
)

// TestUses reads expressions of each form that a survey of events asks about.
func TestUses(t *testing.T) {
	r := NewReader()
	r.Let("cheap", `event.properties.price < 10`)
	r.Let("p", `event.properties["list price"]`)
	for src, want := range map[string]string{
		`event.properties.category == "bag"`:                         `1:0 event.properties.category equal [bag]`,
		`"bag" != event.properties.category`:                         `1:9 event.properties.category differs [bag]`,
		`!(event.properties.a in ["x", 2, true]) && views > -3`:      `1:2 event.properties.a differs [x 2 true]; 1:43 views order [-3]`,
		`event.properties.a in ["x", views]`:                         `1:0 event.properties.a read; 1:28 views read`,
		`event.properties.c == row.category`:                         `1:0 event.properties.c equal row.category; 1:22 row.category read`,
		`views[event.properties.c] >= 4 || "bag" in views`:           `1:0 views.[] order [4]; 1:6 event.properties.c read; 1:43 views key [bag]`,
		`event.properties.?price.orValue(0) * 2.0 > spent`:           `1:0 event.properties.price number; 1:43 spent read`,
		`has(event.properties.a) && event.traits["b c"] - 1 > 0`:     `1:0 event.properties.a read; 1:27 event.traits.b c number`,
		`event.items.exists(i, i.price > 10)`:                        `1:0 event.items read; 1:22 event.items.[].price order [10]`,
		`cart.filter(i, i.qty > 1).max_by(i, i.price).name == "x"`:   `1:0 cart.[].name equal [x]; 1:15 cart.[].qty order [1]; 1:26 cart.[] read; 1:36 cart.[].price read`,
		`last.first().key == "a" && local.hour < 3`:                  `1:0 last.[].key equal [a]; 1:27 local.hour order [3]`,
		`duration("60s") <= dwell`:                                   `1:19 dwell read`,
		"cheap &&\n  p > 100":                                        `2:2 event.properties.list price order [100]`,
		`profile.tier.lowerAscii() == "gold"`:                        `1:0 profile.tier read`,
		`before.visits == 0 && .event.name.startsWith("a")`:          `1:0 before.visits equal [0]; 1:23 event.name read`,
		`cel.bind(x, event.properties.price, x > 1 && x < 5)`:        `1:12 event.properties.price read; 1:36 event.properties.price order [1]; 1:45 event.properties.price order [5]`,
		`profile.?plan.orValue("free") == "pro" ? a == 1 : b == "c"`: `1:0 profile.plan equal [pro]; 1:41 a equal [1]; 1:50 b equal [c]`,
	} {
		var got []string
		uses, _ := r.Uses(src)
		for _, u := range uses {
			what := [...]string{"read", "equal", "order", "number", "key"}[u.Op]
			if u.Op == Equal && u.Reversed {
				what = "differs"
			}
			line := fmt.Sprintf("%d:%d %s %s", u.Line, u.Col, strings.Join(u.Path, "."), what)
			if u.Values != nil {
				line += fmt.Sprint(" ", u.Values)
			}
			if u.Row != "" {
				line += " row." + u.Row
			}
			got = append(got, line)
		}
		if g := strings.Join(got, "; "); g != want {
			t.Errorf("%s\n got %s\nwant %s", src, g, want)
		}
	}
}

func TestTerms(t *testing.T) {
	_, terms := NewReader().Uses("views >= 4\n  && duration(\"60s\") <= dwell && !(a || b)")
	if got, want := fmt.Sprint(terms), `[{views >= 4 1 0} {duration("60s") <= dwell 2 5} {!(a || b) 2 33}]`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestUsesInTemplates(t *testing.T) {
	var got []string
	NewReader().Template([]byte(`{"a":["x {{ item.name }}\nand {{ event.properties.b }}"],"n":1}`), func(path []string, uses []Use) {
		for _, u := range uses {
			got = append(got, fmt.Sprintf("%s %d:%d %s", strings.Join(path, "."), u.Line, u.Col, strings.Join(u.Path, ".")))
		}
	})
	if g, want := strings.Join(got, "; "), "a.0 1:5 item.name; a.0 2:7 event.properties.b"; g != want {
		t.Errorf("got %s, want %s", g, want)
	}
}
