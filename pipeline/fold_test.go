package pipeline

import (
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"strings"
	"testing"
)

func mustCompile(t testing.TB, def *campaign.Definition) *Set {
	t.Helper()
	if def.Bounds == (campaign.Bounds{}) {
		def.Bounds = campaign.DefaultBounds
	}
	def.Engine = Engine
	if def.Lateness == 0 {
		def.Lateness = campaign.DefaultLateness
	}
	set, problems := Compile(def)
	for _, p := range problems {
		t.Error(p)
	}
	if set == nil {
		t.FailNow()
	}
	return set
}

// run folds lines of JSON under a set and returns the offers.
func run(t testing.TB, set *Set, lines ...string) []*Offer {
	t.Helper()
	f, err := NewFold(Cursor{Set: set.Hash()}, func(string) (*Set, error) { return set, nil }, Memory{})
	if err != nil {
		t.Fatal(err)
	}
	var offers []*Offer
	var dec event.Decoder
	for i, l := range lines {
		ev, err := dec.Admit([]byte(l), 0)
		if err != nil {
			t.Fatalf("line %d: %v", i+1, err)
		}
		if err := f.BeginEvent(uint64(i+1), ev); err != nil {
			t.Fatal(err)
		}
		for {
			more, err := f.Next()
			if err != nil {
				t.Fatal(err)
			}
			if !more {
				break
			}
			for _, e := range f.Effects() {
				offers = append(offers, e.Offer)
			}
		}
	}
	return offers
}

func TestBagScenario(t *testing.T) {
	set := mustCompile(t, &campaign.Definition{Clock: campaign.ClockEvent,
		Features: []campaign.Feature{
			{Name: "bag_dwell", On: []string{"Product Viewed"}, Where: `event.properties.category == "bag"`, Agg: "dwell", Within: 30 * 60e9},
			{Name: "bag_views", On: []string{"Product Viewed"}, Where: `event.properties.category == "bag"`, Agg: "count", Within: 30 * 60e9},
		},
		Campaigns: []campaign.Campaign{{ID: "bag", On: []string{"Product Viewed"}, Where: `event.properties.category == "bag"`,
			If: []string{"bag_views >= 4", `bag_dwell >= duration("60s")`}, Fresh: 120e9,
			Offer: campaign.OfferSpec{Channel: "web", Kind: campaign.Advertising, Expires: 900e9, Data: []byte(`{"n":"{{ bag_views }}","t":"at {{ event.properties.price }} {{ bag_dwell }}"}`)}}},
	})
	view := func(at string) string {
		return `{"type":"track","event":"Product Viewed","userId":"u1","timestamp":"2026-01-01T00:` + at + `Z","properties":{"category":"bag","price":12.50}}`
	}
	offers := run(t, set, view("00:00"), view("00:10"), view("00:20"), view("00:30"),
		`{"type":"clock","timestamp":"2026-01-01T01:00:00Z"}`)
	if len(offers) != 1 || offers[0].Time != "2026-01-01T00:01:00Z" || string(offers[0].Data) != `{"n":4,"t":"at 12.5 60s"}` {
		for _, o := range offers {
			t.Logf("%+v %s", o, o.Data)
		}
		t.Fatal("want one offer, after a dwell of 60 s")
	}
	if !strings.HasPrefix(offers[0].Expires, "2026-01-01T00:16:00") {
		t.Fatal(offers[0].Expires)
	}
}
