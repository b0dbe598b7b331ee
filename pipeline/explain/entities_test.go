package explain

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
)

// entities is a set that asks items and a budget, and reaches the users in a list.
const entities = `{"engine":5,"clock":"event","lateness":3600000000000,"forget":{"anonymous":3600000000000000,"known":3600000000000000},
"bounds":{"entries":256,"keys":64,"user_entries":65536,"user_bytes":262144,"absences":64,"item_bytes":4194304},
"items":[{"kind":"product","key":"id"}],
"features":[
{"name":"n","on":["View"],"agg":"count"},
{"name":"price","per":"product","on":["Price"],"agg":"last","of":"event.properties.price"},
{"name":"views","per":"product","on":["View"],"agg":"count"},
{"name":"watchers","per":"product","on":["Watch"],"agg":"users","keep":10000}],
"campaigns":[
{"id":"ask","on":["View"],"if":["n >= 1","views >= 2","views > before.views"],"budget":{"offers":1},"offer":{"channel":"web","kind":"service"}},
{"id":"cart","on":["Add"],"unless":{"on":["Order"],"within":3600000000000},"offer":{"channel":"sms","kind":"service"}},
{"id":"watch","on":["Price"],"if":["price < 50.0"],"users":"watchers","offer":{"channel":"push","kind":"service"}}]}`

// followed runs lines of "time id event", where an id begins with ~ if it is that of a
// visitor, and a line that begins with { is an event.
func followed(t *testing.T, set string, lines []string, keys ...string) *Recorder {
	t.Helper()
	def, err := campaign.ParseDefinition(bytes.Join(bytes.Split([]byte(set), []byte("\n")), nil))
	if err != nil {
		t.Fatal(err)
	}
	b, problems := pipeline.NewBacktest(def)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	r := New(keys...)
	r.Watch(b)
	for _, l := range lines {
		if l[0] != '{' {
			w := strings.Fields(l)
			id := fmt.Sprintf(`"userId":%q`, w[1])
			if name, anonymous := strings.CutPrefix(w[1], "~"); anonymous {
				id = fmt.Sprintf(`"anonymousId":%q`, name)
			}
			l = fmt.Sprintf(`{"type":"track","event":%q,%s,"timestamp":"2026-01-01T%sZ","properties":{"id":"p1"}}`, w[2], id, w[0])
		}
		if err := b.Line([]byte(l), func(*pipeline.Offer) {}); err != nil {
			t.Fatal(err)
		}
		if b.Refused != nil {
			t.Fatal(b.Refused)
		}
	}
	return r
}

// TestEntities: what an item answered, a budget that is used up, who got an offer as one
// of a list, and what became of a visitor's evaluations and of the user's own.
func TestEntities(t *testing.T) {
	t.Parallel()
	r := followed(t, entities, []string{
		"10:00:00 ~a Watch", "10:00:00 ~a Add", "10:00:01 bob View", "10:00:02 ada View", "10:00:03 bob View",
		"10:00:04 bob Add",
		`{"type":"identify","userId":"ada","anonymousId":"a","timestamp":"2026-01-01T10:00:04Z"}`,
		`{"type":"item","kind":"product","id":"p1","event":"Price","timestamp":"2026-01-01T10:01:04Z","properties":{"price":20}}`,
		"10:01:05 ~a View",
		`{"type":"clock","timestamp":"2026-01-01T12:00:00Z"}`,
	}, "u:ada", "u:bob", "a:a", "u:eve")
	for _, c := range []struct {
		user, campaign string
		tells          []string
	}{
		{"u:ada", "ask", []string{"ask: 2 evaluations: 1 budget, 1 fired", "waits for product p1\n", "product p1: views is 2, before.views is 1", "waits for the budget of ask\n", "granted by the budget of ask", "No ask offer: the budget of ask is used up."}},
		{"u:bob", "ask", []string{"product p1: views is 1, before.views is 0", "1 of 2 views"}},
		{"u:ada", "watch", []string{"watch went out on push at 10:01:04, after Price (p1).", "the user is in watchers of product p1", "price is 20"}},
		{"u:bob", "watch", []string{"it goes to those in watchers of an item at its Price, and has never reached the user."}},
		{"u:ada", "cart", []string{"cart: 1 evaluation: 1 fired", "10:00:00  absence       waits until 11:00:00", "10:00:04  moved         from here on the user's, who was visitor a until then", "cart went out on sms at 11:00:00, after Add at 10:00:00."}},
		{"a:a", "cart", []string{"cart: 1 moved", "cart went on with user ada, who the visitor became at 10:00:04."}},
		{"u:bob", "cart", []string{"cart: 1 evaluation: 1 fired"}},
	} {
		var b bytes.Buffer
		if err := r.Story(Query{User: c.user, Campaign: c.campaign}).WriteText(&b); err != nil {
			t.Fatal(err)
		}
		for _, tells := range c.tells {
			if !strings.Contains(b.String(), tells) {
				t.Errorf("%s, %s lacks %q:\n%s", c.user, c.campaign, tells, b.String())
			}
		}
	}
}

// TestMergeNumbers: a merge numbers anew what is pending of the user, and what a visitor
// loses has no number of the user's.
func TestMergeNumbers(t *testing.T) {
	t.Parallel()
	set := strings.Replace(entities, `"unless":{"on":["Order"],`, `"unless":{"on":["Order"],"match":"id",`, 1)
	add := func(at, who, key string) string {
		return fmt.Sprintf(`{"type":"track","event":"Add",%s,"timestamp":"2026-01-01T%sZ","properties":{"id":%q}}`, who, at, key)
	}
	r := followed(t, set, []string{
		add("10:00:00", `"userId":"ada"`, "k1"), add("10:00:01", `"anonymousId":"a"`, "k2"), add("10:00:02", `"userId":"ada"`, "k2"), add("10:00:03", `"anonymousId":"a"`, "k3"),
		`{"type":"identify","userId":"ada","anonymousId":"a","timestamp":"2026-01-01T10:00:04Z"}`,
		`{"type":"clock","timestamp":"2026-01-01T12:00:00Z"}`,
	}, "u:ada")
	c := r.Story(Query{User: "u:ada", Campaign: "cart"}).Campaigns[0]
	if o := c.Outcomes; o[evaluated] != 4 || o["fired"] != 3 || o["superseded"] != 1 || o[outcomePending] != 0 {
		t.Errorf("%v", o)
	}
}

// TestOwned: what a visitor's own log does not show: what waits goes on with the user
// whom the visitor has become.
func TestOwned(t *testing.T) {
	r := followed(t, entities, []string{"10:00:00 ~v Watch", "10:00:01 ~v Add"}, "a:v")
	if s := r.Story(Query{User: "a:v", Campaign: "cart"}); s.Campaigns[0].Outcomes[outcomePending] != 1 {
		t.Errorf("%+v", s.Campaigns[0])
	}
	r.Owned("a:v", "u:eve")
	r.Owned("a:other", "u:eve")
	s := r.Story(Query{User: "a:v"})
	var text bytes.Buffer
	if err := s.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"v got no offer.\n", "\nUser v, who has become user eve and goes on there, times in UTC.\n",
		"\ncart: 1 moved\n  cart went on with user eve, who the visitor has become.\n",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is missing:\n%s", want, text.String())
		}
	}
}

// TestSummaryAsks: what waits for another entity has no time until which it waits.
func TestSummaryAsks(t *testing.T) {
	s := &Story{User: "u:ada", zone: time.UTC, Campaigns: []CampaignStory{{Evaluations: []Evaluation{{Campaign: "busy", Outcome: outcomePending, Steps: []Step{{Asks: "i:product:p1"}}}}}}}
	if got := s.summary(); got != "ada got no offer; busy waits for product p1." {
		t.Error(got)
	}
}
