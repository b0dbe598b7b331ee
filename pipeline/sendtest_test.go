package pipeline

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/coupon"
)

// renderSet has a campaign for each way in which an offer reads the event.
func renderSet(t *testing.T) *Backtest {
	t.Helper()
	const advertising = `"kind":"advertising"`
	def, err := campaign.ParseDefinition((&scene{
		features: []string{countViews, `{"name":"cart","on":["Add"],"agg":"list","key":"product_id","keep":9,"fields":["product_id"]}`},
		campaigns: []string{
			`{"id":"any","any":[{"on":["page"]},{"on":["View"]}],"offer":{"channel":"web",` + advertising + `,"data":"{{ event.type }} {{ event.name }}"}}`,
			`{"id":"asks","on":["Add"],"unless":{"on":["Order"],"within":3600000000000},"when_due":"profile.age > 3","offer":{"channel":"web","kind":"service","data":"asked"}}`,
			`{"id":"choice","on":["View"],"choose":"cart.last()","offer":{"channel":"web",` + advertising + `,"data":"{{ item.product_id }}"}}`,
			`{"id":"ends","on":["session_end"],"let":[{"name":"seen","is":"session.count"}],"offer":{"channel":"web",` + advertising + `,"data":"{{ seen }}"}}`,
			`{"id":"left","on":["Add"],"unless":{"on":["Order"],"match":"product_id","within":3600000000000},"when_due":"n > 1","let":[{"name":"price","is":"event.properties.price"}],
				"offer":{"channel":"push",` + advertising + `,"expires":60000000000,"coupon":{"discount":"5%"},"data":{"p":"{{ event.properties.product_id }}","is":"{{ price }}","code":"{{ coupon.code }}"}},
				"limits":[{"max":1,"within":86400000000000}],"holdout":10000}`,
			`{"id":"plain","on":["View"],"if":["n >= 2","n < 2"],"offer":{"channel":"web",` + advertising + `,"data":"<{{ n }}> of {{ now }}"},"limits":[{"max":1}]}`,
			`{"id":"rows","rows":[{"id":"a","values":{"id":"a","text":"A"}},{"id":"b","values":{"id":"b","text":"B"}}],"on":["*"],"offer":{"channel":"web",` + advertising + `,"data":"{{ row.text }}"}}`,
		},
	}).set())
	if err != nil {
		t.Fatal(err)
	}
	keys := couponKeys(t, 1)
	def.Coupons = &campaign.Coupons{Key: keys.IDs()[0], URL: "https://shop.example/c/"}
	def.Consent = &campaign.Consent{Required: []string{"push"}}
	def.Caps = []campaign.Cap{{Channels: []string{"web"}, Max: 1, Within: 10800e9}}
	def.Pause = &campaign.Pause{Channels: []string{"web"}, AfterAny: 6000e9}
	def.Quiet = &campaign.QuietHours{Channels: []string{"web"}, From: 9 * 60, To: 12 * 60, Drop: true}
	b, problems := NewBacktest(def)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if err := b.Coupons(keys); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRender checks what Render answers, and that it changes and counts nothing.
func TestRender(t *testing.T) {
	b := renderSet(t)
	for _, l := range []string{
		at("08:30:00", "View", ``), at("10:00:00", "Add", `"product_id":"p1","price":7`), at("10:00:01", "Add", `"product_id":"p2","price":8`),
		strings.Replace(at("10:00:02", "Add", `"product_id":"p9","price":9`), `"userId":"u"`, `"anonymousId":"v"`, 1),
	} {
		if err := b.Line([]byte(l), func(*Offer) {}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.fold.step.live.pauseForTest("any"); err != "" {
		t.Fatal(err)
	}
	state := func() string {
		counts, features := b.Counts()
		text := asJSON([]any{counts, features, b.fold.cur, b.LogTime(), len(b.Users), b.fold.step.entity == b.Users["a:v"]})
		for _, key := range slices.Sorted(maps.Keys(b.Users)) {
			text += key + string(b.Users[key].AppendBinary(nil))
		}
		return text
	}
	before := state()
	for _, c := range []struct {
		name, key, campaign, row, event string
		want                            string // the offer's data, or the error
		with                            string // the beginning of Rendering.With
		stops                           []string
	}{
		{"what the state gives", "u:u", "plain", "", "", `"\u003c1\u003e of 2026-01-01T10:00:02Z"`, "a made-up event (track View)",
			[]string{"if: n >= 2 does not hold", "caps: the user has had as many on web as the set allows", "pause: less than 1h40m since the last offer", "quiet hours: from 09:00 to 12:00"}},
		{"a user of whom nothing is known", "u:nobody", "plain", "", "", `"\u003c0\u003e of 2026-01-01T10:00:02Z"`, "a made-up event", []string{"if: n >= 2 does not hold", "quiet hours: from 09:00 to 12:00"}},
		{"the newest event that is kept", "u:u", "left", "", "", `{"code":"COUPON","is":8,"p":"p2"}`, "the newest event of the user with which the campaign waits (track Add), of 2026-01-01T10:00:01Z",
			[]string{"when_due: n > 1 does not hold", "consent: none to push", "holdout: the user belongs to it"}},
		{"of another user", "a:v", "left", "", "", `{"code":"COUPON","is":9,"p":"p9"}`, "the newest event", nil},
		{"an event that is given", "u:u", "left", "", `{"properties":{"product_id":"x","price":"y"}}`, `{"code":"COUPON","is":"y","p":"x"}`, "the event given (track Add)", nil},
		{"the fields that are missing", "u:nobody", "left", "", "", `it reads event.properties.price and event.properties.product_id, which the made-up event lacks: pass --event '{"properties":{"price":"...","product_id":"..."}}'`, "", nil},
		{"the field that the event lacks", "u:u", "left", "", `{"properties":{"price":"y"}}`, `it reads event.properties.product_id, which the event lacks: pass --event '{"properties":{"product_id":"..."}}'`, "", nil},
		{"an event of somebody else", "u:u", "left", "", `{"userId":"w"}`, "--event: it is an event of user w: leave userId and anonymousId out", "", nil},
		{"an event that is none", "u:u", "left", "", `[1]`, "--event: it is not a JSON object", "", nil},
		{"an event of an unknown type", "u:u", "left", "", `{"type":"look"}`, "--event: type:", "", nil},
		{"the first trigger of several, paused", "u:u", "any", "", "", `"page "`, "a made-up event (page)", []string{"paused: an operator has paused the campaign",
			"caps: the user has had as many on web as the set allows", "pause: less than 1h40m since the last offer", "quiet hours: from 09:00 to 12:00"}},
		{"another trigger", "u:nobody", "any", "", `{"type":"track","event":"View"}`, `"track View"`, "the event given (track View)", nil},
		{"an error in a gate", "u:u", "asks", "", "", `"asked"`, "the newest event", []string{"when_due: profile.age > 3 does not hold"}},
		{"a choice", "u:u", "choice", "", "", `"p2"`, "", nil},
		{"nothing to choose", "u:nobody", "choice", "", "", "campaign choice cannot be rendered for this user, of whom nothing is known: `choose` gives nothing: cart.last()", "", nil},
		{"the end of a session", "u:u", "ends", "", "", "2", "no event, as the end of a session has none", nil},
		{"a row", "u:u", "rows", "b", "", `"B"`, "", nil},
		{"a row in the name", "u:u", "rows/a", "", "", `"A"`, "", nil},
		{"no row", "u:u", "rows", "", "", "campaign rows has a row for each offer: add --row ROW: it is one of a, b", "", nil},
		{"a wrong row", "u:u", "rows", "zzz", "", "campaign rows has no row zzz: it is one of a, b", "", nil},
		{"a row of none", "u:u", "plain", "a", "", "campaign plain has no rows: leave --row out", "", nil},
		{"a similar name", "u:u", "plane", "", "", "the set in force has no campaign plane: did you mean plain?", "", nil},
		{"another name", "u:u", "xxxxxxxx", "", "", "no campaign xxxxxxxx: it is one of any, asks, choice, ends, left, plain, rows", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := b.fold.Render(c.key, RenderQuery{Campaign: c.campaign, Row: c.row, Event: json.RawMessage(c.event), Nonce: "1"})
			if err != nil {
				if c.want == "" || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %q, want %q", err, c.want)
				}
				return
			}
			if got := asJSON(r.Offer.Data); got != c.want || !r.Offer.Test || r.Offer.User != c.key[2:] || r.Known != (c.key != "u:nobody") {
				t.Errorf("%s, known %v, want %s", asJSON(r.Offer), r.Known, c.want)
			}
			if !strings.HasPrefix(r.With, c.with) {
				t.Errorf("with %q, want %q", r.With, c.with)
			}
			if c.stops != nil && !slices.Equal(r.Stops, c.stops) {
				t.Errorf("stopped by %q, want %q", r.Stops, c.stops)
			}
			compareJSON(t, r.Offer)
		})
		if after := state(); after != before {
			t.Fatalf("%s: Render changed the fold", c.name)
		}
	}
}

// pauseForTest pauses a campaign, as a control message does.
func (l *liveSet) pauseForTest(id string) string {
	i, ok := l.unitIndex[id]
	if !ok {
		return "no campaign " + id
	}
	l.campaigns[i].paused = pausedCampaign
	return ""
}

// TestRenderIsOffer: but for id, time, event, coupon and the mark, a test offer is
// the real one that went out with the same state.
func TestRenderIsOffer(t *testing.T) {
	def, err := campaign.ParseDefinition((&scene{features: []string{countViews}, campaigns: []string{
		`{"id":"C","on":["View"],"if":["n > 0"],"offer":{"channel":"web","kind":"service","expires":60000000000,"coupon":{"claim":"c"},"data":{"n":"{{ n }}","p":"{{ event.properties.p }}","code":"{{ coupon.code }}"}}}`}}).set())
	if err != nil {
		t.Fatal(err)
	}
	b, problems := NewBacktest(def)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	event := `{"messageId":"m",` + at("10:00:00", "View", `"p":{"q":[1]}`)[1:]
	var real *Offer
	if err := b.Line([]byte(event), func(o *Offer) { real = o }); err != nil || real == nil {
		t.Fatal(real, err)
	}
	ids := map[string]bool{real.ID: true}
	for _, q := range []RenderQuery{{Campaign: "C", Nonce: "1"}, {Campaign: "C", Nonce: "2"}, {Campaign: "C", Nonce: "1", Now: b.LogTime() + 3600e9}} {
		q.Event = json.RawMessage(event)
		r, err := b.fold.Render("u:u", q)
		if err != nil {
			t.Fatal(err)
		}
		if ids[r.Offer.ID] != (q.Now > 0) || r.Offer.Coupon.Code != coupon.Placeholder || len(r.Stops) > 0 {
			t.Errorf("the test offer %s, stopped by %q", asJSON(r.Offer), r.Stops)
		}
		ids[r.Offer.ID] = true
		want := *real
		want.ID, want.Test = r.Offer.ID, true
		if q.Now > 0 {
			if r.Offer.Time != "2026-01-01T11:00:00Z" || r.Offer.Expires != "2026-01-01T11:01:00Z" {
				t.Errorf("the time is %s, not that of the query", r.Offer.Time)
			}
			continue
		}
		if got := asJSON(r.Offer); got != asJSON(want) {
			t.Errorf("the test offer is\n%s\nwant\n%s", got, asJSON(want))
		}
	}
}

// TestRenderItem: a test offer of a campaign that reads items, or goes to the users in a
// list of one, reads what was answered for the event that waits, else nothing.
func TestRenderItem(t *testing.T) {
	def, err := campaign.ParseDefinition((&scene{
		features: []string{countViews, `{"name":"seen","per":"product","on":["View"],"agg":"count"}`, `{"name":"watchers","per":"product","on":["Watch"],"agg":"users"}`},
		campaigns: []string{
			`{"id":"now","on":["View"],"if":["seen > 0"],"offer":{"channel":"a","kind":"service","data":"{{ seen }} of {{ n }}"}}`,
			`{"id":"waits","on":["View"],"if":["seen > 0"],"unless":{"on":["Order"],"within":60000000000},"offer":{"channel":"b","kind":"service","data":"{{ seen }} {{ item.product_id }}"}}`,
			`{"id":"to","on":["Price"],"users":"watchers","offer":{"channel":"c","kind":"service","data":"{{ event.properties.?price.orValue(0) }} {{ watchers.size() }}"}}`,
		},
	}).set())
	if err != nil {
		t.Fatal(err)
	}
	def.Items = []campaign.Item{{Kind: "product", Key: "product_id"}}
	b, problems := NewBacktest(def)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for _, l := range []string{at("10:00:00", "View", `"product_id":"p1"`), at("10:00:01", "View", `"product_id":"p1"`)} {
		if err := b.Line([]byte(l), func(*Offer) {}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ campaign, event, key, want string }{
		{"now", "", "", `"0 of 2"`},
		{"now", `{"properties":{"products":[{"product_id":"p7"},{"product_id":"p8"}]}}`, "p7", `"0 of 2"`},
		{"waits", "", "p1", `"2 p1"`},
		{"waits", `{"properties":{"product_id":"p2"}}`, "p2", `"0 p2"`},
		{"waits", `{"type":"item","id":"p1"}`, "", "an event about an item triggers only campaigns with `to`, and waits has none: leave its type out"},
		{"to", "", "", `"0 0"`},
		{"to", `{"properties":{"price":5,"product_id":"p2"}}`, "p2", `"5 0"`},
		{"to", `{"type":"item","id":"p2","properties":{"price":5}}`, "p2", `"5 0"`},
		{"to", `{"type":"item","kind":"posting","id":"p2"}`, "", "it is about a posting, and the campaign's items are of the kind product"},
		{"to", `{"type":"item"}`, "", "id"},
	} {
		r, err := b.fold.Render("u:u", RenderQuery{Campaign: c.campaign, Event: json.RawMessage(c.event), Nonce: "1"})
		if err != nil {
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s %s: %v, want %s", c.campaign, c.event, err, c.want)
			}
			continue
		}
		if got := string(r.Offer.Data); got != c.want || r.Offer.Key != c.key || r.Offer.User != "u" {
			t.Errorf("%s %s: %s, want %s", c.campaign, c.event, asJSON(r.Offer), c.want)
		}
	}
}

// TestRenderEmpty: before any set is in force there is nothing to render.
func TestRenderEmpty(t *testing.T) {
	f, err := NewFold(Cursor{}, nil, Memory{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Render("u:u", RenderQuery{Campaign: "C"}); err == nil || !strings.Contains(err.Error(), "no campaign set is in force") {
		t.Error(err)
	}
}
