package pipeline

import (
	"strings"
	"testing"
	"time"

	"offerstream/pipeline/campaign"
)

// TestCheck: what only an author is told. A worker compiles the same definition, so
// that a set in force stays so under a binary that tells more.
func TestCheck(t *testing.T) {
	def := func(cond string) *campaign.Definition {
		d := &campaign.Definition{
			Engine: Engine, Lateness: campaign.DefaultLateness, Bounds: campaign.DefaultBounds,
			Facts:    []campaign.Fact{{Name: "weather", Fields: []campaign.FactField{{Name: "sky", Type: campaign.FactText}}}},
			Features: []campaign.Feature{{Name: "cart", On: []string{"A"}, Agg: "list", Fields: []string{"price"}, Keep: 5}, {Name: "dwell", On: []string{"V"}, Agg: "dwell", Within: time.Hour}, {Name: "stay", On: []string{"V"}, By: "category", Agg: "dwell", Within: time.Hour}},
		}
		c := campaign.Campaign{ID: "c", On: []string{"V"}, If: []string{cond}, Let: []campaign.Let{{Name: "long", Is: `dwell > duration("1m")`}}, Offer: campaign.OfferSpec{Kind: campaign.Service, Channel: "web"}}
		d.Campaigns = []campaign.Campaign{c}
		return d
	}
	for cond, want := range map[string]string{
		`dwell >= duration("1m") && stay["a"] >= duration("2m")`: "", `dwell < duration("5s")`: "",
		`dwell > duration("1m")`: "refused", `stay.a >= duration("1m")`: "refused", "long": "refused", `stay["a"] > stay["b"]`: "warned",
		"cart.exists(i, i.prise > 1)": "refused", `facts.weather["a"].sky > 1`: "refused", "local.hour > 24": "refused", `local.weekday == "monday"`: "refused",
	} {
		worker, problems := Compile(def(cond))
		if worker == nil || len(problems) > 0 {
			t.Errorf("%s: a worker refuses it: %v", cond, problems)
			continue
		}
		set, problems := Check(def(cond))
		got := ""
		switch {
		case len(problems) > 0 && set == nil:
			got = "refused"
		case len(problems) > 0 && problems[0].Warning:
			got = "warned"
		}
		if got != want || set != nil && set.Hash() != worker.Hash() {
			t.Errorf("%s: %q, want %q: %v", cond, got, want, problems)
		}
		waits := strings.Count(cond, ">= duration") - strings.Count(cond, "stay.a")
		if n := len(worker.units[0].dwell); n != waits {
			t.Errorf("%s: the campaign waits for %d dwells, want %d", cond, n, waits)
		}
	}
	ended := def(`dwell > duration("1m")`)
	ended.Campaigns[0].On = []string{campaign.SessionEnd}
	if set, problems := Check(ended); set == nil {
		t.Errorf("at the end of a session nothing is to be waited for: %v", problems)
	}
}
