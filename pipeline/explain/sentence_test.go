package explain_test

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"offerstream/config"
	"offerstream/pipeline"
	"offerstream/pipeline/explain"
	"offerstream/pipeline/scenario"
)

// head begins each set of TestSentences.
const head = `version: 1
policies: {consent: {push: none, sms: required}, quiet_hours: {channels: [push], from: "21:00", to: "08:00"}, caps: [{channels: [push], max: 1, within: 24h}]}
features:
  bag_views: {on: Product Viewed, where: event.properties.category == "bag", agg: count, within: 30m}
  bag_dwell: {on: Product Viewed, where: event.properties.category == "bag", agg: dwell, within: 30m}
  views: {on: Product Viewed, by: category, agg: count}
  orders: {on: Order Completed, agg: count, within: 7d}
campaigns:
  c:
`

// TestSentences compares the sentence of the newest evaluation of campaign c, or of
// what came nearest to one.
func TestSentences(t *testing.T) {
	for _, c := range [...]struct{ name, campaign, events, want string }{
		{"a count that is too small", `on: Product Viewed
if: [bag_views >= 4, bag_dwell >= duration("60s")]
offer: {channel: web}`, `10:00:00 ada Product Viewed category=bag
+10s ada Product Viewed category=bag
+41s ada Product Viewed category=bag`, `No c offer: 3 of 4 bag views in the last 30 min; 51 of 60 s of bag dwell in the last 30 min.`},
		{"left during a dwell", `on: Product Viewed
if: [bag_views >= 1, bag_dwell >= duration("60s")]
offer: {channel: web}`, `10:00:00 ada Product Viewed category=bag
+41s ada page`, `No c offer: 41 of 60 s of bag dwell in the last 30 min when the user went on to page at 10:00:41.`},
		{"waits for a dwell", `on: Product Viewed
if: bag_dwell >= duration("60s")
offer: {channel: web}`, `10:00:00 ada Product Viewed category=bag
+41s`, `c is pending: 0 of 60 s of bag dwell in the last 30 min, enough at 10:01:00 if the user stays.`},
		{"under a key, more than, and not", `on: Product Viewed
if: ['views[event.properties.category] > 2', orders == 0, '!(event.properties.price > 5)']
offer: {channel: web}`, `10:00:00 ada Order Completed
10:00:00 ada Product Viewed category=bag price=9
+1s ada Another name="so that the memory of the event before is used again"`, `No c offer: views (category "bag"): 1, but more than 2 are wanted; orders in the last 7 days: 1, but 0 are wanted; !(event.properties.price > 5) is false (event.properties.price is 9).`},
		{"a text where a number is wanted", `on: Product Viewed
if: event.properties.price > 5
offer: {channel: web}`, `10:00:00 ada Product Viewed price="150"`, `No c offer: event.properties.price is the text "150", where a number is wanted.`},
		{"a missing field", `on: Product Viewed
if: event.properties.price > 5
offer: {channel: web}`, `10:00:00 ada Product Viewed`, `No c offer: event.properties.price is missing.`},
		{"fresh", `on: Product Viewed
fresh: 2m
offer: {channel: web}`, `10:00:00 bob x
{"type":"track","event":"Product Viewed","userId":"ada","timestamp":"2026-01-01T09:50:00Z"}`, "No c offer: the event was 10 min old when it came, and `fresh` allows 2 min."},
		{"a limit", `on: Product Viewed
offer: {channel: web}
limits: [{max: 1, within: 24h}]`, `10:00:00 ada Product Viewed
+5m ada Product Viewed`, "No c offer: already 1 of at most 1 offer of this campaign in the last 24 h, the last at 10:00:00 (`limits`)."},
		{"a cap", `on: Product Viewed
offer: {channel: push}`, `10:00:00 ada Product Viewed
+5m ada Product Viewed`, "No c offer: already 1 of at most 1 offer on push in the last 24 h (`caps`)."},
		{"consent", `on: Product Viewed
offer: {channel: sms}`, `10:00:00 ada Product Viewed`, `No c offer: the user has given no consent to sms.`},
		{"consent revoked", `on: Product Viewed
offer: {channel: sms}`, `09:00:00 ada Consent Revoked channel=sms
10:00:00 ada Product Viewed`, `No c offer: the user revoked the consent to sms at 09:00:00.`},
		{"held", `on: Product Viewed
offer: {channel: push}`, `22:00:00 ada Product Viewed`, `c is pending: it is held in the quiet hours until 2026-01-02 08:00:00.`},
		{"waits for an absence", `on: Product Added
unless: {on: Order Completed, match: product_id, within: 1h}
offer: {channel: web}`, `10:00:00 ada Product Added product_id=1`, `c is pending: it is due at 11:00:00, unless Order Completed comes before.`},
		{"cancelled", `on: Product Added
unless: {on: Order Completed, match: product_id, within: 1h}
offer: {channel: web}`, `10:00:00 ada Product Added product_id=1
+18m ada Order Completed product_id=1`, `No c offer: Order Completed came at 10:18:00, 42 min before the offer was due.`},
		{"cancelled, after a newer one took its place", `on: Product Added
if: orders == 0
unless: {on: Order Completed, within: 1h}
offer: {channel: web}`, `10:00:00 ada Product Added
+18m ada Product Added
+1m ada Order Completed`, `No c offer: Order Completed came at 10:19:00, 59 min before the offer was due.`},
		{"superseded", `on: Product Added
unless: {on: Order Completed, match: product_id, within: 1h}
limits: [{max: 1, within: 1h}]
offer: {channel: web}`, `10:00:00 ada Product Added product_id=1
+1m ada Product Added product_id=1`, `c is pending: it is due at 11:01:00, unless Order Completed comes before.`},
		{"at least one, and there is none", `on: Product Viewed
if: [orders >= 1, bag_dwell < duration("1m"), bag_views != 0]
offer: {channel: web}`, `10:00:00 ada Product Viewed`, `No c offer: no orders in the last 7 days; no bag views in the last 30 min, but another number is wanted.`},
		{"part of a second", `on: Product Viewed
if: [bag_views >= 4, bag_dwell >= duration("60s")]
offer: {channel: web}`, `10:00:00 ada Product Viewed category=bag
+59.96s ada Product Viewed category=bag`, `No c offer: 2 of 4 bag views in the last 30 min; 59.96 of 60 s of bag dwell in the last 30 min.`},
		{"not equal", `on: Product Viewed
if: [event.properties.a != 1, event.properties.b != null]
offer: {channel: web}`, `{"type":"track","event":"Product Viewed","userId":"ada","timestamp":"2026-01-01T10:00:00Z","properties":{"a":1,"b":null}}`, `No c offer: event.properties.a is 1, but anything but 1 is wanted; event.properties.b is absent.`},
		{"never: each row tries each event", `for_each: {rows: [{id: red, color: red}, {id: blue, color: blue}]}
on: Product Viewed
where: event.properties.color == row.color
offer: {channel: web}`, `10:00:00 ada Product Viewed color=grey
+1m ada Product Viewed color=green`, "No c offer: never triggered, as none of 2 events met `where`; the nearest, Product Viewed at 2026-01-01 10:01:00, with row blue: event.properties.color is \"green\", not \"blue\" (row.color)."},
		{"never: one event", `on: Product Viewed
where: event.properties.n > 2
offer: {channel: web}`, `10:00:00 ada Product Viewed n=1`, "No c offer: never triggered, as the only event for it did not meet `where`: Product Viewed at 2026-01-01 10:00:00: event.properties.n is 1, but more than 2 is wanted."},
		{"no match property", `on: Product Added
unless: {on: Order Completed, match: product_id, within: 1h}
offer: {channel: web}`, `10:00:00 ada Product Added`, "No c offer: the event has no product_id, which `match` needs."},
		{"when due", `on: Product Added
unless: {on: Order Completed, within: 1h}
when_due: orders >= 2
offer: {channel: web}`, `10:00:00 ada Product Added
+2h`, `No c offer: when it was due, 0 of 2 orders in the last 7 days.`},
		{"fired after a wait", `on: Product Added
unless: {on: Order Completed, within: 1h}
offer: {channel: web}`, `10:00:00 ada Product Added
+2h`, `c went out on web at 11:00:00, after Product Added at 10:00:00.`},
		{"a template", `on: Product Viewed
offer: {channel: web, data: {title: "{{ event.properties.name }}"}}`, `10:00:00 ada Product Viewed`, `No c offer: the offer's data cannot be made: name is missing.`},
		{"never: another name", `on: Product Viewed
offer: {channel: web}`, `10:00:00 ada Product Added`, `No c offer: never triggered, as the user has no event Product Viewed.`},
		{"never: where", `on: Product Viewed
where: event.properties.category == "bag" && event.properties.price > 3
offer: {channel: web}`, `10:00:00 ada Product Viewed category=shoe price=2
+5s ada Product Viewed category=shoe price=4
+5s ada Product Viewed category=hat price=1`, "No c offer: never triggered, as none of 3 events met `where`; the nearest, Product Viewed at 2026-01-01 10:00:05: event.properties.category is \"shoe\", not \"bag\"."},
		{"never: a sequence", `sequence: {steps: [{on: Product Viewed}, {on: Product Added, where: event.properties.n > 2}], within: 1h}
offer: {channel: web}`, `10:00:00 ada Product Viewed
+1m ada Product Added n=1`, `No c offer: never triggered, as step 2 of 2 is missing; the nearest to it, Product Added at 2026-01-01 10:01:00: event.properties.n is 1, but more than 2 is wanted.`},
		{"never: no session has ended", `on: session_end
offer: {channel: web}`, `10:00:00 ada Product Viewed`, `No c offer: never triggered, as no session of the user has ended.`},
		{"the end of a session", `on: session_end
if: session.count >= 2
offer: {channel: web}`, `10:00:00 ada Product Viewed
+2h`, `No c offer: session.count is 1, but at least 2 is wanted.`},
		{"a dwell that is nearly long enough", `on: Product Viewed
if: bag_dwell >= duration("60s")
offer: {channel: web}`, `10:00:00 ada Product Viewed category=bag
{"type":"page","userId":"ada","timestamp":"2026-01-01T10:00:59.96Z"}`, `No c offer: 59.96 of 60 s of bag dwell in the last 30 min when the user went on to page at 10:00:59.`},
		{"a long dwell that is nearly long enough", `on: Product Viewed
if: bag_dwell >= duration("20m")
offer: {channel: web}`, `10:00:00 ada Product Viewed category=bag dwell_ms=300000
10:00:01 ada Product Viewed category=bag dwell_ms=300000
10:00:02 ada Product Viewed category=bag dwell_ms=300000
10:00:03 ada Product Viewed category=bag dwell_ms=299999`, `No c offer: 19 min 59.999 s of 20 min of bag dwell in the last 30 min.`},
		{"nearly fresh", `on: Product Viewed
fresh: 10m
offer: {channel: web}`, `10:00:00 bob x
{"type":"track","event":"Product Viewed","userId":"ada","timestamp":"2026-01-01T09:49:50Z"}`, "No c offer: the event was 10 min 10 s old when it came, and `fresh` allows 10 min."},
		{"several absences after a dwell", `on: Product Viewed
if: bag_dwell >= duration("60s")
unless: {on: Order Completed, match: product_id, within: 1h}
offer: {channel: web}`, `10:00:00 ada Product Viewed category=bag products=[{"category":"bag","product_id":1},{"category":"bag","product_id":2}]
+10m`, `c is pending: it is due at 11:00:00, unless Order Completed comes before.`},
		{"a holdout of the campaign", `on: Product Viewed
holdout: 100%
offer: {channel: web}`, `10:00:00 ada Product Viewed`, `c was withheld at 10:00:00: the user is in the control group (holdout: 100% of the campaign).`},
		{"an event that two entries name", `any: [{on: Product Viewed, where: event.properties.n > 2}, {on: Product Viewed, where: event.properties.n > 3}]
offer: {channel: web}`, `10:00:00 ada Product Viewed n=1`, "No c offer: never triggered, as the only event for it did not meet `where`: Product Viewed at 2026-01-01 10:00:00: event.properties.n is 1, but more than 3 is wanted."},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := storyOf(t, c.campaign, c.events)
			if s.Sentence != c.want {
				t.Errorf("the sentence is\n%s\nwant\n%s", s.Sentence, c.want)
			}
		})
	}
}

// TestPending checks that the newest evaluation hides none that is still pending.
func TestPending(t *testing.T) {
	r := recorded(t, head+`    on: Product Added
    unless: {on: Order Completed, match: product_id, within: 1h}
    offer: {channel: web}
`, `10:00:00 ada Product Added product_id=1
+1m ada Product Added`)
	s := r.Story(explain.Query{User: "u:ada", Newest: 1})
	if want := "ada got no offer; c is pending until 2026-01-01 11:00:00."; s.Sentence != want {
		t.Errorf("the sentence is\n%s\nwant\n%s", s.Sentence, want)
	}
	var b strings.Builder
	if err := s.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"c: 2 evaluations: 1 condition, 1 pending\n", "waits until 11:00:00\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the text lacks %q:\n%s", want, b.String())
		}
	}
}

// storyOf tells of ada after the lines of a scenario, under the campaign c.
func storyOf(t *testing.T, campaign, events string) *explain.Story {
	t.Helper()
	return storyIn(t, head+"    "+strings.ReplaceAll(campaign, "\n", "\n    ")+"\n", "c", events)
}

// storyIn runs a set over lines of a scenario, and tells of ada and a campaign.
func storyIn(t *testing.T, yaml, campaign, events string) *explain.Story {
	t.Helper()
	return recorded(t, yaml, events).Story(explain.Query{User: "u:ada", Campaign: campaign})
}

func recorded(t *testing.T, yaml, events string) *explain.Recorder {
	t.Helper()
	def, err := config.LoadCampaignsFS(fstest.MapFS{"c.yaml": {Data: []byte(yaml)}}, ".")
	if err != nil {
		t.Fatal(err)
	}
	b, problems := pipeline.NewBacktest(def)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	r := explain.New("u:ada")
	r.Watch(b)
	clock := &scenario.Clock{Day: scenario.Day{Date: "2026-01-01", Zone: time.UTC}}
	for line := range strings.Lines(events) {
		ev, wrong := scenario.ReadEvent(strings.TrimSpace(line), clock)
		if wrong != nil {
			t.Fatal(wrong)
		}
		if err := b.Line(ev, func(*pipeline.Offer) {}); err != nil || b.Refused != nil {
			t.Fatal(err, b.Refused)
		}
	}
	return r
}

// TestRows: of a row that nothing has triggered it is told what came nearest to that
// row, and how many events came.
func TestRows(t *testing.T) {
	const set = `version: 1
campaigns:
  c:
    for_each: {rows: [{id: a, cat: bag}, {id: b, cat: shoe}]}
    on: Product Viewed
    where: event.properties.category == row.cat && event.properties.price > 3
    offer: {channel: web}
  d:
    for_each: {rows: [{id: a, cat: bag}, {id: b, cat: shoe}]}
    sequence: {steps: [{on: Product Viewed, where: event.properties.category == row.cat}, {on: Product Added}], within: 1h}
    offer: {channel: web}
`
	const events = `10:00:00 ada Product Viewed category=bag price=5
+1m ada Product Viewed category=bag price=4
+1m ada Product Added`
	for campaign, want := range map[string]string{
		"c/a": "c/a went out on web at 10:01:00, after Product Viewed.",
		"c/b": "No c/b offer: never triggered, as none of 2 events met `where`; the nearest, Product Viewed at 2026-01-01 10:01:00, with row b: event.properties.category is \"bag\", not \"shoe\" (row.cat).",
		"d/b": `No d/b offer: never triggered, as step 1 of 2 is missing; the nearest to it, Product Viewed at 2026-01-01 10:01:00, with row b: event.properties.category is "bag", not "shoe" (row.cat).`,
		"d/a": "d/a went out on web at 10:02:00, after Product Added.",
	} {
		if s := storyIn(t, set, campaign, events); s.Sentence != want {
			t.Errorf("%s:\n%s\nwant\n%s", campaign, s.Sentence, want)
		}
	}
	if s := storyIn(t, set, "c/b", `10:00:00 ada Product Viewed category=bag price=1`); !strings.Contains(s.Sentence, "price is 1, but more than 3 is wanted") || strings.Contains(s.Sentence, "the nearest") {
		t.Error(s.Sentence)
	}
}

// TestHoldouts: it is told whose holdout has withheld an offer.
func TestHoldouts(t *testing.T) {
	const set = "version: 1\npolicies: {holdout: 100%}\ncampaigns:\n  c: {on: View, holdout: 0.01%, offer: {channel: web}}\n"
	const want = "c was withheld at 10:00:00: the user is in the control group (holdout: 100% of all users)."
	if s := storyIn(t, set, "c", "10:00:00 ada View"); s.Sentence != want {
		t.Errorf("%s\nwant\n%s", s.Sentence, want)
	}
}

// TestStages: the stage of an evaluation is that which stopped it, also after a wait.
func TestStages(t *testing.T) {
	for _, c := range [...]struct{ campaign, events, want string }{
		{"on: View\noffer: {channel: web}\nlimits: [{max: 1}]", "10:00:00 ada View\n+1m ada View", "limit in gates"},
		{"on: View\nunless: {on: Order, within: 1h}\nwhen_due: orders >= 1\noffer: {channel: web}", "10:00:00 ada View\n+2h", "when_due in gates"},
		{"on: View\nunless: {on: Order, match: id, within: 1h}\noffer: {channel: web}", "10:00:00 ada View", "condition in absence"},
		{"on: View\nif: orders >= 1\noffer: {channel: web}", "10:00:00 ada View", "condition in trigger"},
		{"on: View\nunless: {on: Order, within: 1h}\noffer: {channel: web}", "10:00:00 ada View\n+1m ada Order", "cancelled in absence"},
		{"on: View\noffer: {channel: web}", "10:00:00 ada View", "fired in out"},
		{"on: View\noffer: {channel: web, data: {a: \"{{ event.properties.x }}\"}}", "10:00:00 ada View", "error in choice"},
		{"on: View\nscore: event.properties.x * 2.0\noffer: {channel: web}", "10:00:00 ada View", "error in gates"},
	} {
		s := storyOf(t, c.campaign, c.events)
		all := s.Campaigns[0].Evaluations
		if e := all[len(all)-1]; e.Outcome+" in "+e.Stage != c.want {
			t.Errorf("%s: %s in %s, want %s", c.campaign, e.Outcome, e.Stage, c.want)
		}
	}
}
