package pipeline

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
)

// indexed compiles a set of campaigns on Product Viewed.
func indexed(t *testing.T, campaigns ...campaign.Campaign) *Set {
	t.Helper()
	def := &campaign.Definition{Engine: Engine, Clock: campaign.ClockEvent, Lateness: campaign.DefaultLateness, Bounds: campaign.DefaultBounds,
		Forget: campaign.Forget{Anonymous: campaign.DefaultForgetAnonymous, Known: campaign.DefaultForgetKnown}, Campaigns: campaigns}
	for i := range def.Campaigns {
		c := &def.Campaigns[i]
		c.ID, c.On = fmt.Sprintf("c%d", i), []string{"Product Viewed"}
		c.Offer = campaign.OfferSpec{Channel: "web", Kind: campaign.Advertising, Expires: time.Hour}
	}
	set, problems := Compile(def)
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	return set
}

func row(id, values string) campaign.Row { return campaign.Row{ID: id, Values: []byte(values)} }

// foundBy are the ids of the units that the index finds for a view with those
// properties.
func foundBy(t *testing.T, set *Set, properties string) (ids []string) {
	t.Helper()
	var dec event.Decoder
	ev, err := dec.Decode([]byte(`{"type":"track","event":"Product Viewed","messageId":"m","userId":"ada","timestamp":"2026-01-01T10:00:00Z","properties":` + properties + `}`))
	if err != nil {
		t.Fatal(err)
	}
	set.match.triggers.each(ev, func(i int) { ids = append(ids, set.units[set.match.met[i].unit].id) })
	slices.Sort(ids)
	return ids
}

// All rows share one compiled campaign, and rows with the same condition one entry
// of the index.
func TestIndexOfRows(t *testing.T) {
	set := indexed(t, campaign.Campaign{Where: "event.properties.product_id == row.product",
		Rows: []campaign.Row{row("a", `{"id":"a","product":"p1"}`), row("b", `{"id":"b","product":"p2"}`), row("c", `{"id":"c","product":"p1"}`)}})
	for _, u := range set.units {
		if u.compiled != set.units[0].compiled {
			t.Errorf("row %s has a program of its own", u.id)
		}
	}
	by := set.match.triggers.named["Product Viewed"]
	if len(by.always) != 0 || len(by.guards) != 1 || len(by.guards[0].found) != 2 {
		t.Errorf("the index has %d units without a condition, and the conditions %v", len(by.always), by.guards)
	}
	for properties, wanted := range map[string][]string{`{"product_id":"p1"}`: {"c0/a", "c0/c"}, `{"product_id":"p2"}`: {"c0/b"}, `{"product_id":"p3"}`: nil, `{}`: nil, `{"product_id":1}`: nil} {
		if found := foundBy(t, set, properties); !slices.Equal(found, wanted) {
			t.Errorf("%s finds %q, wanted %q", properties, found, wanted)
		}
	}
	for _, m := range set.match.met {
		if !m.whole {
			t.Error("the whole condition is in the index, and is evaluated again")
		}
	}
}

// The equalities of a condition are in the index together. What is not a text is
// left to CEL.
func TestIndexOfEqualities(t *testing.T) {
	set := indexed(t,
		campaign.Campaign{Where: `event.properties.category == "bags" && event.properties.brand in ["b1", "b2"]`},
		campaign.Campaign{Where: `event.properties.category == "bags" && event.properties.price > 3`},
		campaign.Campaign{Where: `event.properties.category == row.category && event.properties.size == row.size`,
			Rows: []campaign.Row{row("a", `{"category":"bags","id":"a","size":40}`), row("b", `{"category":"bags","id":"b","size":"40"}`)}},
		campaign.Campaign{Where: `event.properties.category == "ba" && event.properties.brand == "gsb1"`})
	for properties, wanted := range map[string][]string{
		`{"category":"bags"}`:                               {"c1", "c2/a", "c2/b"},
		`{"category":"bags","brand":"b1"}`:                  {"c0", "c1", "c2/a", "c2/b"},
		`{"category":"bags","brand":"b2","size":40}`:        {"c0", "c1", "c2/a", "c2/b"},
		`{"category":"bags","brand":"b3"}`:                  {"c1", "c2/a", "c2/b"},
		`{"category":"ba","brand":"gsb1"}`:                  {"c3"},
		`{"category":"shoes","brand":"b1"}`:                 nil,
		`{"category":["bags"],"brand":"b1","size":"large"}`: nil,
	} {
		if found := foundBy(t, set, properties); !slices.Equal(found, wanted) {
			t.Errorf("%s finds %q, wanted %q", properties, found, wanted)
		}
	}
	whole := map[string]bool{}
	for _, m := range set.match.met {
		whole[set.units[m.unit].id] = m.whole
	}
	if !whole["c0"] || whole["c1"] || whole["c2/a"] || !whole["c3"] {
		t.Errorf("the index checks all of the condition: %v", whole)
	}
}

// Long lists are not multiplied: a condition that would have too many combinations
// is found by its first list.
func TestIndexIsBounded(t *testing.T) {
	list := func(of string) string {
		text := `event.properties.` + of + ` in ["x"`
		for i := range 40 {
			text += fmt.Sprintf(", %q", fmt.Sprint(of, i))
		}
		return text + "]"
	}
	set := indexed(t, campaign.Campaign{Where: list("category") + " && " + list("brand")})
	if g := set.match.triggers.named["Product Viewed"].guards[0]; len(g.paths) != 1 || len(g.found) != 41 || set.match.met[0].whole {
		t.Errorf("the index has %d entries by %q", len(g.found), g.paths)
	}
}
