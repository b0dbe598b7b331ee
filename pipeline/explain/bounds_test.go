package explain

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
)

// definition is a set of these features and campaigns.
func definition(t *testing.T, features, campaigns string) *campaign.Definition {
	t.Helper()
	def, err := campaign.ParseDefinition([]byte(`{"engine":5,"clock":"event","lateness":3600000000000,"forget":{"anonymous":7776000000000000,"known":94608000000000000},
		"bounds":{"entries":256,"keys":64,"user_entries":65536,"user_bytes":4194304,"absences":64},"features":[` + features + `],"campaigns":[` + campaigns + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	return def
}

func recorded(t *testing.T, def *campaign.Definition, r *Recorder, events ...string) {
	t.Helper()
	b, problems := pipeline.NewBacktest(def)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	r.Watch(b)
	for i, e := range events {
		line := fmt.Sprintf(`{"type":"track","event":"View","userId":"ada","messageId":"m%d","timestamp":"2026-01-01T10:%02d:%02dZ","properties":{%s}}`, i, i/60%60, i%60, e)
		if err := b.Line([]byte(line), func(*pipeline.Offer) {}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestValueBounds: a story of evaluations that read a list of 200 long texts is no
// longer than one of short texts by much, and its values are JSON.
func TestValueBounds(t *testing.T) {
	def := definition(t, `{"name":"seen","on":["View"],"agg":"list","fields":["x"],"keep":200}`,
		`{"id":"c","on":["View"],"if":["seen.size() > 500 || seen[0].x == \"never\" || seen == []"],"offer":{"channel":"web","kind":"service"}}`)
	var events []string
	for i := range 250 {
		events = append(events, fmt.Sprintf(`"x":"%d %s"`, i, strings.Repeat("가", 1300)))
	}
	r := New("u:ada")
	recorded(t, def, r, events...)
	s := r.Story(Query{User: "u:ada"})
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(s.Campaigns[0].Evaluations); n != 200 || len(b) > n*8000 || !strings.Contains(string(b), "가...") {
		t.Errorf("a story of %d evaluations has %d bytes, the first:\n%.1500s", n, len(b), b)
	}
	if s.Campaigns[0].Older != 50 {
		t.Errorf("%d evaluations are left out", s.Campaigns[0].Older)
	}
}

// TestCampaignBounds: of a set with thousands of campaigns a story tells those with
// something to tell, and how many more there are. It is made without judging each
// trigger for each event; that of a campaign that is named is judged.
func TestCampaignBounds(t *testing.T) {
	const n = 3000
	var campaigns []string
	for i := range n {
		campaigns = append(campaigns, fmt.Sprintf(`{"id":"c%04d","on":["View"],"where":"event.properties.n == %d","offer":{"channel":"web","kind":"service","data":{}}}`, i, i))
	}
	def := definition(t, "", strings.Join(campaigns, ","))
	all := New("u:ada")
	recorded(t, def, all, `"n":5`, `"n":2999`, `"n":6000`)
	s := all.Story(Query{User: "u:ada", Most: 20})
	if len(s.Campaigns) != 20 || s.More == nil || s.More.Campaigns != n-20 || s.More.Evaluated != 0 || s.Campaigns[0].Campaign != "c2999" || s.Campaigns[1].Campaign != "c0005" {
		t.Errorf("%d campaigns, the first %s and %s; more: %+v", len(s.Campaigns), s.Campaigns[0].Campaign, s.Campaigns[1].Campaign, s.More)
	}
	if c := s.Campaigns[2]; c.Nearest != nil || c.Sentence != "No c0000 offer: nothing has triggered it." {
		t.Errorf("%+v", c)
	}
	var text strings.Builder
	if err := s.WriteText(&text); err != nil || !strings.HasSuffix(text.String(), "\nand 2980 more campaigns, 0 of them evaluated: name one, or give --all\n") || strings.Count(text.String(), "\n") > 100 {
		t.Errorf("%v\n%s", err, text.String())
	}
	if s := all.Story(Query{User: "u:ada", Evaluated: true}); len(s.Campaigns) != 2 || s.More != nil {
		t.Errorf("%d campaigns were evaluated, more: %+v", len(s.Campaigns), s.More)
	}
	one := New("u:ada")
	one.Triggers("c0007")
	recorded(t, def, one, `"n":5`, `"n":2999`, `"n":6000`)
	if c := one.Story(Query{User: "u:ada", Campaign: "c0007"}).Campaigns[0]; c.Nearest == nil || !strings.Contains(c.Sentence, "event.properties.n is 6000, not 7") {
		t.Errorf("%+v", c)
	}
	if c := one.Story(Query{User: "u:ada", Campaign: "c0008"}).Campaigns[0]; c.Nearest != nil {
		t.Errorf("%+v", c)
	}
}

// TestKeep: a recorder that is told so keeps few evaluations, and counts all.
func TestKeep(t *testing.T) {
	def := definition(t, "", `{"id":"c","on":["View"],"offer":{"channel":"web","kind":"service","data":{}}}`)
	r := New("u:ada")
	r.Keep(3)
	recorded(t, def, r, `"n":1`, `"n":1`, `"n":1`, `"n":1`, `"n":1`)
	if c := r.Story(Query{User: "u:ada"}).Campaigns[0]; len(c.Evaluations) != 3 || c.Older != 2 || c.Outcomes[evaluated] != 5 {
		t.Errorf("%d evaluations, %d older, %v", len(c.Evaluations), c.Older, c.Outcomes)
	}
}
