package pipeline

import (
	"fmt"
	"slices"
	"testing"

	"offerstream/pipeline/campaign"
)

// TestFailures: each error that is counted is shown once, with the place and the
// expression that failed.
func TestFailures(t *testing.T) {
	on := func(more, data string) string {
		return fmt.Sprintf(`{"id":"c","on":["View"],%s"offer":{"channel":"a","kind":"service","data":%s}}`, more, data)
	}
	for _, tt := range []struct {
		feature, campaign string
		want              []string
	}{
		{campaign: on(`"if":["event.properties.p > 1.0","event.properties.q == 1"],`, `1`), want: []string{
			`c  if "event.properties.q == 1": no such key: q`}},
		{campaign: on(`"if":["event.properties.p > 2.0","event.properties.q == 1"],`, `1`)}, // simply false
		{campaign: on(`"where":"event.properties.q == 1",`, `1`)},                           // not counted
		{campaign: on(`"unless":{"on":["Order"],"within":60000000000,"match":"event.properties.q"},`, `1`), want: []string{
			`c  unless.match "event.properties.q": no such key: q`}},
		{campaign: on(`"unless":{"on":["Order"],"within":60000000000},"when_due":"event.properties.q == 1",`, `1`), want: []string{
			`c  when_due "event.properties.q == 1": no such key: q`}},
		{campaign: on(`"score":"0.0 * event.properties.p / 0.0",`, `1`), want: []string{
			`c  score "0.0 * event.properties.p / 0.0": a score is a number, this is NaN`}},
		{feature: `{"name":"hours","on":["Order"],"by":"event.properties.p","agg":"histogram","within":86400000000000}`,
			campaign: on(`"at":{"best_hour":"hours[event.properties.q]","ahead":86400000000000},`, `1`), want: []string{
				`c  at "hours[event.properties.q]": no such key: q`}},
		{campaign: on(`"choose":"event.properties.items[3]",`, `"{{ item.name }}"`), want: []string{
			`c  choose "event.properties.items[3]": index out of bounds: 3`}},
		{campaign: on(`"choose":"event.properties.items[0]",`, `{"a":"x","title":"{{ item.id }}: {{item.name}}!"}`), want: []string{
			`c  offer.data.title "{{item.name}}": no such key: name`}},
		{campaign: on(``, `"{{ event.properties.q }}"`), want: []string{`c  offer.data "{{ event.properties.q }}": no such key: q`}},
		{campaign: on(``, `[{"0":["{{ event.properties.p }}",{"a.b":"{{ event.properties.n }}"}]}]`), want: []string{
			`c  offer.data[0].0[1]["a.b"] "{{ event.properties.n }}": the value is null`}},
		{campaign: on(``, `["{{ event.properties.items }} "]`), want: []string{
			`c  offer.data[0] "{{ event.properties.items }}": a list has no text`}},
		{feature: `{"name":"f","on":["View"],"by":"event.properties.q","agg":"count"}`, want: []string{` f by "event.properties.q": no such key: q`}},
		{feature: `{"name":"f","on":["View"],"agg":"sum","of":"event.properties.text"}`, want: []string{` f of "event.properties.text": a number is wanted, this is x`}},
		{feature: `{"name":"f","on":["View"],"where":"event.properties.q == 1","agg":"count"}`},
	} {
		sc := &scene{}
		if tt.feature != "" {
			sc.features = []string{tt.feature}
		}
		if tt.campaign != "" {
			sc.campaigns = []string{tt.campaign}
		}
		def, err := campaign.ParseDefinition(sc.set())
		if err != nil {
			t.Fatal(err)
		}
		b, problems := NewBacktest(def)
		if len(problems) > 0 {
			t.Error(tt, problems)
			continue
		}
		var got []string
		b.Failures(func(f Failure) {
			got = append(got, fmt.Sprintf("%s %s %s %q: %v", f.Campaign, f.Feature, f.Place, f.Text, f.Err))
		})
		for _, l := range []string{at("10:00:00", "View", `"p":2.0,"n":null,"text":"x","items":[{"id":1}]`), at("10:05:00", "x", "")} {
			if err := b.Line([]byte(l), func(*Offer) {}); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s%s\n got %q\nwant %q", tt.feature, tt.campaign, got, tt.want)
		}
		counts, features := b.Counts()
		if n := counts["c"].Missing + counts["c"].Errors + features.Missing + features.Errors; n != uint64(len(got)) {
			t.Errorf("%s%s: %d errors are counted", tt.feature, tt.campaign, n)
		}
	}
}
