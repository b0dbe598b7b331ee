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
+41s ada Product Viewed category=bag`, `No c offer: 3 of 4 bag views in the last 30m; 51 of 60 s bag dwell in the last 30m.`},
		{"left during a dwell", `on: Product Viewed
if: [bag_views >= 1, bag_dwell >= duration("60s")]
offer: {channel: web}`, `10:00:00 ada Product Viewed category=bag
+41s ada page`, `No c offer: 41 of 60 s bag dwell in the last 30m, as the user went on to page at 10:00:41.`},
		{"waits for a dwell", `on: Product Viewed
if: bag_dwell >= duration("60s")
offer: {channel: web}`, `10:00:00 ada Product Viewed category=bag
+41s`, `c is pending: since Product Viewed it waits for 0 of 60 s bag dwell in the last 30m, until 10:01:00.`},
		{"under a key, more than, and not", `on: Product Viewed
if: ['views[event.properties.category] > 2', orders == 0, '!(event.properties.price > 5)']
offer: {channel: web}`, `10:00:00 ada Order Completed
10:00:00 ada Product Viewed category=bag price=9
+1s ada Another name="so that the memory of the event before is used again"`, `No c offer: 1 views of "bag", more than 2 wanted; 1 orders in the last 7d, 0 wanted; !(event.properties.price > 5) is false (event.properties.price is 9).`},
		{"a text where a number is wanted", `on: Product Viewed
if: event.properties.price > 5
offer: {channel: web}`, `10:00:00 ada Product Viewed price="150"`, `No c offer: event.properties.price is the text "150", where a number is wanted.`},
		{"a missing field", `on: Product Viewed
if: event.properties.price > 5
offer: {channel: web}`, `10:00:00 ada Product Viewed`, `No c offer: event.properties.price is missing.`},
		{"fresh", `on: Product Viewed
fresh: 2m
offer: {channel: web}`, `10:00:00 bob x
{"type":"track","event":"Product Viewed","userId":"ada","timestamp":"2026-01-01T09:50:00Z"}`, "No c offer: the event was 10m old when it came, and `fresh` allows 2m."},
		{"a limit", `on: Product Viewed
offer: {channel: web}
limits: [{max: 1, within: 24h}]`, `10:00:00 ada Product Viewed
+5m ada Product Viewed`, `No c offer: already 1 of 1 offer of this campaign in the last 1d, the last at 10:00:00 (limits).`},
		{"a cap", `on: Product Viewed
offer: {channel: push}`, `10:00:00 ada Product Viewed
+5m ada Product Viewed`, `No c offer: already 1 of 1 offer on push in the last 1d (caps).`},
		{"consent", `on: Product Viewed
offer: {channel: sms}`, `10:00:00 ada Product Viewed`, `No c offer: the user has given no consent to sms.`},
		{"consent revoked", `on: Product Viewed
offer: {channel: sms}`, `09:00:00 ada Consent Revoked channel=sms
10:00:00 ada Product Viewed`, `No c offer: the user revoked the consent to sms at 09:00:00.`},
		{"held", `on: Product Viewed
offer: {channel: push}`, `22:00:00 ada Product Viewed`, `c is pending: it is held in the quiet hours until 2026-01-02 08:00:00.`},
		{"waits for an absence", `on: Product Added
unless: {on: Order Completed, match: product_id, within: 1h}
offer: {channel: web}`, `10:00:00 ada Product Added product_id=1`, `c is pending: since Product Added it waits 1h for Order Completed not to come, until 11:00:00.`},
		{"cancelled", `on: Product Added
unless: {on: Order Completed, match: product_id, within: 1h}
offer: {channel: web}`, `10:00:00 ada Product Added product_id=1
+18m ada Order Completed product_id=1`, `No c offer: cancelled, as Order Completed came at 10:18:00, 42m before it was due.`},
		{"superseded", `on: Product Added
if: orders == 0
unless: {on: Order Completed, within: 1h}
offer: {channel: web}`, `10:00:00 ada Product Added
+18m ada Product Added
+1m ada Order Completed`, `No c offer: cancelled, as Order Completed came at 10:19:00, 59m before it was due.`},
		{"no match property", `on: Product Added
unless: {on: Order Completed, match: product_id, within: 1h}
offer: {channel: web}`, `10:00:00 ada Product Added`, `No c offer: the event starts no absence, as it has no product_id.`},
		{"when due", `on: Product Added
unless: {on: Order Completed, within: 1h}
when_due: orders >= 2
offer: {channel: web}`, `10:00:00 ada Product Added
+2h`, `No c offer: when it was due, 0 of 2 orders in the last 7d.`},
		{"fired after a wait", `on: Product Added
unless: {on: Order Completed, within: 1h}
offer: {channel: web}`, `10:00:00 ada Product Added
+2h`, `c went out on web at 11:00:00, after Product Added at 10:00:00.`},
		{"a template", `on: Product Viewed
offer: {channel: web, data: {title: "{{ event.properties.name }}"}}`, `10:00:00 ada Product Viewed`, `No c offer: the offer's data failed: no such key: name.`},
		{"never: another name", `on: Product Viewed
offer: {channel: web}`, `10:00:00 ada Product Added`, `No c offer: nothing has triggered it: the user has no event Product Viewed.`},
		{"never: where", `on: Product Viewed
where: event.properties.category == "bag" && event.properties.price > 3
offer: {channel: web}`, `10:00:00 ada Product Viewed category=shoe price=2
+5s ada Product Viewed category=shoe price=4
+5s ada Product Viewed category=hat price=1`, "No c offer: nothing has triggered it: of Product Viewed at 2026-01-01 10:00:05, event.properties.category is \"shoe\", not \"bag\" (the nearest of 3 events that `on` names)."},
		{"never: a sequence", `sequence: {steps: [{on: Product Viewed}, {on: Product Added, where: event.properties.n > 2}], within: 1h}
offer: {channel: web}`, `10:00:00 ada Product Viewed
+1m ada Product Added n=1`, `No c offer: nothing has triggered it: step 2 of 2 is missing: of Product Added at 2026-01-01 10:01:00, event.properties.n is 1, not more than 2.`},
		{"never: no session has ended", `on: session_end
offer: {channel: web}`, `10:00:00 ada Product Viewed`, `No c offer: nothing has triggered it: no session of the user has ended.`},
		{"the end of a session", `on: session_end
if: session.count >= 2
offer: {channel: web}`, `10:00:00 ada Product Viewed
+2h`, `No c offer: session.count is 1, not at least 2.`},
		{"a dwell that is nearly long enough", `on: Product Viewed
if: bag_dwell >= duration("60s")
offer: {channel: web}`, `10:00:00 ada Product Viewed category=bag
{"type":"page","userId":"ada","timestamp":"2026-01-01T10:00:59.96Z"}`, `No c offer: 59.96 of 60 s bag dwell in the last 30m, as the user went on to page at 10:00:59.`},
		{"a long dwell that is nearly long enough", `on: Product Viewed
if: bag_dwell >= duration("20m")
offer: {channel: web}`, `10:00:00 ada Product Viewed category=bag dwell_ms=300000
10:00:01 ada Product Viewed category=bag dwell_ms=300000
10:00:02 ada Product Viewed category=bag dwell_ms=300000
10:00:03 ada Product Viewed category=bag dwell_ms=299999`, `No c offer: 19m59.999s of 20m bag dwell in the last 30m.`},
		{"nearly fresh", `on: Product Viewed
fresh: 10m
offer: {channel: web}`, `10:00:00 bob x
{"type":"track","event":"Product Viewed","userId":"ada","timestamp":"2026-01-01T09:49:50Z"}`, "No c offer: the event was 10m10s old when it came, and `fresh` allows 10m."},
		{"several absences after a dwell", `on: Product Viewed
if: bag_dwell >= duration("60s")
unless: {on: Order Completed, match: product_id, within: 1h}
offer: {channel: web}`, `10:00:00 ada Product Viewed category=bag products=[{"category":"bag","product_id":1},{"category":"bag","product_id":2}]
+10m`, `c is pending: since Product Viewed it waits 1h for Order Completed not to come, until 11:00:00.`},
		{"a holdout of the campaign", `on: Product Viewed
holdout: 100%
offer: {channel: web}`, `10:00:00 ada Product Viewed`, `c was withheld at 10:00:00: the user is in the control group (holdout: 100% of the campaign).`},
		{"an event that two entries name", `any: [{on: Product Viewed, where: event.properties.n > 2}, {on: Product Viewed, where: event.properties.n > 3}]
offer: {channel: web}`, `10:00:00 ada Product Viewed n=1`, `No c offer: nothing has triggered it: of Product Viewed at 2026-01-01 10:00:00, event.properties.n is 1, not more than 3.`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := storyOf(t, c.campaign, c.events)
			if s.Sentence != c.want {
				t.Errorf("the sentence is\n%s\nwant\n%s", s.Sentence, c.want)
			}
		})
	}
}

// storyOf runs the campaign c over lines of a scenario, and tells of ada.
func storyOf(t *testing.T, campaign, events string) *explain.Story {
	t.Helper()
	return storyIn(t, head+"    "+strings.ReplaceAll(campaign, "\n", "\n    ")+"\n", "c", events)
}

// storyIn runs a set over lines of a scenario, and tells of ada and a campaign.
func storyIn(t *testing.T, yaml, campaign, events string) *explain.Story {
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
	return r.Story(explain.Query{User: "u:ada", Campaign: campaign})
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
		"c/b": "No c/b offer: nothing has triggered it: of Product Viewed at 2026-01-01 10:01:00, event.properties.category is \"bag\", not \"shoe\" (row.cat) (the nearest of 2 events that `on` names).",
		"d/b": `No d/b offer: nothing has triggered it: step 1 of 2 is missing: of Product Viewed at 2026-01-01 10:01:00, event.properties.category is "bag", not "shoe" (row.cat).`,
		"d/a": "d/a went out on web at 10:02:00, after Product Added.",
	} {
		if s := storyIn(t, set, campaign, events); s.Sentence != want {
			t.Errorf("%s:\n%s\nwant\n%s", campaign, s.Sentence, want)
		}
	}
	if s := storyIn(t, set, "c/b", `10:00:00 ada Product Viewed category=bag price=1`); !strings.Contains(s.Sentence, "price is 1, not more than 3") || strings.Contains(s.Sentence, "nearest of") {
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
