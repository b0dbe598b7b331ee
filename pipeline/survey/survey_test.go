package survey_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"offerstream/config"
	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/survey"
)

// surveyed compares a set with events, and returns the findings, each as "line:col
// rule: what: hint", and the result.
func surveyed(t *testing.T, set string, events ...string) (findings []string, r *survey.Result) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "set.yaml")
	if err := os.WriteFile(file, []byte(set), 0o644); err != nil {
		t.Fatal(err)
	}
	def, err := config.LoadCampaigns(file)
	if err != nil {
		t.Fatal(err)
	}
	places, err := config.ReadPlaces(file)
	if err != nil {
		t.Fatal(err)
	}
	s, err := survey.New(def)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if err := s.Event([]byte(e)); err != nil {
			t.Fatalf("%s: %v", e, err)
		}
	}
	r = s.Result()
	for _, f := range r.Findings {
		p := places.Finding(f.Rule, f.Problem, f.Element)
		line := fmt.Sprintf("%d:%d %s: %s", p.Line, p.Col, p.Rule, p.What)
		if p.Hint != "" {
			line += ": " + p.Hint
		}
		findings = append(findings, line)
	}
	slices.Sort(findings)
	return findings, r
}

// track is an event of user u, some seconds after the start.
func track(at int, name, properties string) string {
	return fmt.Sprintf(`{"type":"track","event":%q,"userId":"u","timestamp":"2026-04-01T00:%02d:%02dZ","messageId":"%s%d","properties":{%s}}`, name, at/60, at%60, name, at, properties)
}

func identify(at int, traits string) string {
	return fmt.Sprintf(`{"type":"identify","userId":"u","timestamp":"2026-04-01T00:%02d:%02dZ","messageId":"i%d","traits":{%s}}`, at/60, at%60, at, traits)
}

var sample = []string{
	track(0, "Product Viewed", `"category":"bag","price":150,"product_id":"p1","tags":["new"],"vip":"true","sku":12`),
	track(10, "Product Viewed", `"category":"shoe","price":"80","product_id":"p2","tags":[],"vip":"false","sku":13`),
	identify(20, `"tier":"gold","Plan":"free"`),
	track(30, "Order Completed", `"total":80,"products":[{"product_id":"p2","color":"red","qty":1}]`),
}

// TestFindings: each kind of mistake is found at its place, with the nearest that
// occurs, and what fits is not found.
func TestFindings(t *testing.T) {
	campaign := func(keys string) string {
		return "campaigns:\n  c:\n    offer: {channel: web}\n" + keys
	}
	for _, c := range []struct {
		name, set string
		want      []string
	}{
		{"all fits", campaign("    on: [Product Viewed, \"*\"]\n    where: event.properties.category == \"bag\" || event.properties.sku > 10\n    if: [profile.tier == \"gold\" || true]\n"), nil},
		{"an event", campaign("    on: [Order Completed, product_viewed]\n"), []string{
			`4:27 event-never-occurs: no event of the sample is named "product_viewed": did you mean "Product Viewed" (2 of 4 events)?`}},
		{"an event of unless, at several places", campaign("    on: Product Viewed\n    unless: {on: [Refund], within: 1h}\n") + "features: {refunds: {on: Refund, agg: count}}\n", []string{
			`6:26 event-never-occurs: no event of the sample is named "Refund" (and at 1 other place): it has Product Viewed, Order Completed, identify`}},
		{"a type", campaign("    on: page\n"), []string{`4:9 event-never-occurs: the sample has no event of type page: it has Product Viewed, Order Completed, identify`}},
		{"an event of Offerstream", campaign("    on: Offer Clicked\n"), []string{
			`4:9 event-never-occurs: no event of the sample is named "Offer Clicked": it comes from what shows or delivers the offers`}},
		{"a property", campaign("    on: Product Viewed\n    where: event.properties.productId == \"p1\"\n"), []string{
			`5:12 property-never-occurs: none of 2 events Product Viewed has event.properties.productId: did you mean "product_id"?`}},
		{"a property of the items", campaign("    on: Order Completed\n    where: event.properties.color == \"red\"\n"), []string{
			`5:12 property-never-occurs: none of 1 event Order Completed has event.properties.color: each of event.items has it: event.items.exists(i, i.color == ...)`}},
		{"by, key and fields", "features:\n  a: {on: Order Completed, by: colour, agg: count}\n  b: {on: Order Completed, agg: list, key: total, fields: [qty, size]}\n", []string{
			`2:32 property-never-occurs: none of 1 item of events Order Completed has colour: did you mean "color"?`,
			`3:44 property-never-occurs: none of 1 item of events Order Completed has total: it is a property of the event, not of its items: event.properties.total`,
			`3:65 property-never-occurs: none of 1 item of events Order Completed has size: known are color, product_id, qty`}},
		{"match", campaign("    on: Product Viewed\n    unless: {on: Order Completed, match: category, within: 1h}\n"), []string{
			`5:42 property-never-occurs: none of 1 item of events Order Completed has category: known are color, product_id, qty`}},
		{"a template", "campaigns:\n  c:\n    on: Product Viewed\n    offer: {channel: web, data: {a: [\"x {{ event.properties.Price }}\"]}}\n", []string{
			`4:44 property-never-occurs: none of 2 events Product Viewed has event.properties.Price: did you mean "price"?`}},
		{"what is computed", "items: {product: {key: product_id}}\nfeatures: {seen: {per: product, on: Product Viewed, agg: count, where: item.kind == 1}}\ncampaigns:\n  c:\n    on: Product Viewed\n    if: seen > 0 || item.size > 2\n" +
			"    unless: {on: Order Completed, within: 'duration(event.properties.wait)', at_most: 1d}\n    budget: {value: 5, of: event.properties.Price}\n    offer: {channel: web, expires: 'duration(event.properties.until)', at_most: 1d}\n", []string{
			`2:72 property-never-occurs: none of 2 items of events Product Viewed has kind: known are category, price, product_id, sku, tags, and 1 more`,
			`6:21 property-never-occurs: none of 2 items of events Product Viewed has size: known are category, price, product_id, sku, tags, and 1 more`,
			`7:53 property-never-occurs: none of 2 events Product Viewed has event.properties.wait: known are category, price, product_id, sku, tags, and 1 more`,
			`8:28 property-never-occurs: none of 2 events Product Viewed has event.properties.Price: did you mean "price"?`,
			`9:46 property-never-occurs: none of 2 events Product Viewed has event.properties.until: known are category, price, product_id, sku, tags, and 1 more`}},
		{"traits", campaign("    on: Product Viewed\n    if: [profile.plan == \"free\", event.traits.tier == \"gold\", 'profile.tier == \"Gold\"']\n"), []string{
			`5:10 property-never-occurs: none of 1 event of type identify has profile.plan: did you mean "Plan"?`,
			`5:34 property-never-occurs: none of 2 events Product Viewed has event.traits.tier: only identify has traits: profile.tier`,
			`5:64 value-never-matches: profile.tier is never "Gold" in 1 event of type identify: did you mean "gold" (once)?`}},
		{"texts for numbers", campaign("    on: Product Viewed\n    where: event.properties.price > 100\n    score: event.properties.price * 2.0\n") + "features: {spent: {on: Product Viewed, agg: sum, of: event.properties.price}}\n", []string{
			`7:54 text-for-number: a number is wanted, but event.properties.price is a text in 1 of 2 events Product Viewed, such as "80" (and at 2 other places): send numbers, or write double(event.properties.price)`}},
		{"a number for a text, and so on", campaign("    on: Product Viewed\n    where: event.properties.sku == \"12\" && event.properties.vip == true && event.properties.product_id == 7\n"), []string{
			`5:12 value-never-matches: event.properties.sku is never "12" in 2 events Product Viewed: it is no text there: write 12 without quotes`,
			`5:44 value-never-matches: event.properties.vip is never true in 2 events Product Viewed: it is a text there: write "true"`,
			`5:76 value-never-matches: event.properties.product_id is never 7 in 2 events Product Viewed: it is a text there: write "7"`}},
		{"values", campaign("    on: Product Viewed\n    where: event.properties.category in [\"bags\", \"shoe\", \"hat\"]\n    if: [event.properties.category != \"Bag\" || event.properties.category != \"hat\"]\n"), []string{
			`5:12 value-never-matches: event.properties.category is never "bags" or "hat" in 2 events Product Viewed: did you mean "bag" (once)?`,
			`6:10 value-never-matches: event.properties.category is never "Bag" in 2 events Product Viewed: did you mean "bag" (once)?`}},
		{"values of let and features", campaign("    on: Product Viewed\n    let: {cat: event.properties.category}\n    where: cat == \"bagg\"\n    if: ['seen[\"shoes\"] >= 0', '!(\"bags\" in seen)', 'newest == \"p9\" || true']\n") +
			"features:\n  seen: {on: Product Viewed, by: category, agg: count}\n  newest: {on: Product Viewed, agg: last, of: event.properties.product_id}\n", []string{
			`6:12 value-never-matches: event.properties.category is never "bagg" in 2 events Product Viewed: did you mean "bag" (once)?`,
			`7:11 value-never-matches: category is never "shoes" in 2 items of events Product Viewed: did you mean "shoe" (once)?`,
			`7:45 value-never-matches: category is never "bags" in 2 items of events Product Viewed: did you mean "bag" (once)?`,
			`7:54 value-never-matches: event.properties.product_id is never "p9" in 2 events Product Viewed: it is "p1", "p2"`}},
		{"rows", campaign("    for_each: {rows: [{id: a, cat: shoe, least: 1}, {id: b, cat: Bag, least: 2}, {id: c, cat: hat, least: 3}]}\n    on: Product Viewed\n    where: event.properties.category == row.cat && event.properties.sku == row.least\n"), []string{
			`6:12 value-never-matches: event.properties.category is never the value "Bag" of row.cat in 2 events Product Viewed: did you mean "bag" (once)?`,
			`6:52 value-never-matches: event.properties.sku is none of the 3 values of row.least in 2 events Product Viewed: it is 12, 13`}},
		{"conditions that never hold", campaign("    on: Product Viewed\n    where: event.properties.sku > 20 && event.properties.tags.size() > 0\n") + "features: {f: {on: Product Viewed, where: event.properties.sku < 3, agg: count}}\n", []string{
			`5:12 condition-never-holds: this held for none of 2 events Product Viewed: event.properties.sku is from 12 to 13 there`,
			`6:43 condition-never-holds: this held for none of 2 events Product Viewed: event.properties.sku is from 12 to 13 there`}},
		{"conditions of if", campaign("    on: Product Viewed\n    if:\n      - views >= 1 && views >= 4\n      - event.properties.tags[5] == \"new\" && event.properties.category.size() < 3\n") + "features: {views: {on: Product Viewed, agg: count}}\n", []string{
			`6:23 condition-never-holds: this held in none of 2 evaluations: views was 2 at most`,
			`7:9 condition-never-holds: this held in none of 2 evaluations: it failed in 2 of them: index out of bounds: 5`,
			`7:46 condition-never-holds: this held in none of 2 evaluations: event.properties.category.size() was 3 at least`}},
		{"conditions that never hold together", campaign("    on: Product Viewed\n    where: event.properties.sku == 12 && event.properties.category == \"shoe\"\n"), []string{
			`5:12 condition-never-holds: no event met all of these conditions together: each of them held for some`}},
		{"conditions of if that never hold together", campaign("    on: Product Viewed\n    if:\n      - event.properties.sku == 12\n      - event.properties.category == \"shoe\"\n"), []string{
			`5:5 condition-never-holds: all of these together held in none of 2 evaluations: each of them held in some`}},
		{"a sequence", campaign("    sequence: {steps: [Order Completed, Product Viewed], within: 1h}\n"), []string{
			`4:15 condition-never-holds: of 1 user none took all of these steps in this order in time: each step came`}},
		{"a step of a sequence", campaign("    sequence: {steps: [Product Viewed, {on: Order Completed, where: event.properties.total > 100}], within: 1h}\n"), []string{
			`4:69 condition-never-holds: this held for none of 1 event Order Completed: event.properties.total is from 80 to 80 there`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, _ := surveyed(t, c.set, sample...)
			slices.Sort(c.want)
			if g, w := strings.Join(got, "\n"), strings.Join(c.want, "\n"); g != w {
				t.Errorf("got\n%s\nwant\n%s", g, w)
			}
		})
	}
	got, _ := surveyed(t, campaign("    on: Product Viewed\n    if: profile.tier == \"gold\" || profile.x == 1\n"), sample[:2]...)
	if want := `5:9 property-never-occurs: the sample has no identify event, so profile.tier is never known (and at 1 other place): identify brings the traits of profile`; len(got) != 1 || got[0] != want {
		t.Errorf("without identify: %s, want %s", got, want)
	}
}

// TestManyRows: a campaign with thousands of rows is judged by the values that they
// have, not row by row, and a finding names a few of them.
func TestManyRows(t *testing.T) {
	var rows, set strings.Builder
	for i := range 5_000 {
		fmt.Fprintf(&rows, "{id: r%d, product: P-%d, least: %d}, ", i, i, i%100)
	}
	fmt.Fprintf(&set, "campaigns:\n  c:\n    for_each: {rows: [%s]}\n    on: View\n    where: event.properties.product == row.product && event.properties.price > row.least\n    offer: {channel: web}\n", strings.TrimSuffix(rows.String(), ", "))
	var events []string
	for i := range 3000 {
		events = append(events, track(i, "View", fmt.Sprintf(`"product":"P-%d","price":%d`, i%1000*2, i%2*200)))
	}
	got, r := surveyed(t, set.String(), events...)
	where := r.Campaigns[0].Triggers[0].Where
	if len(got) > 0 || where[0].Held != 3000 || where[1].Held != 1500 || !where[1].AtLeast || r.Campaigns[0].Evaluations != 1500 {
		t.Errorf("%s, %+v", got, r.Campaigns[0])
	}
	for i := range events {
		events[i] = strings.Replace(events[i], `"P-`, `"p_`, 1)
	}
	if got, _ := surveyed(t, set.String(), events...); len(got) != 1 || !strings.Contains(got[0], `is never the value "P-0" or "P-10" or "P-100" of row.product in 3,000 events View: did you mean "p_0"`) {
		t.Errorf("%s", got)
	}
}

// TestDwellConditions: a condition about dwell that holds after the wait has held.
func TestDwellConditions(t *testing.T) {
	set := "features: {stay: {on: Product Viewed, agg: dwell}}\ncampaigns:\n  c:\n    on: Product Viewed\n    if: [stay >= duration(\"60s\"), event.properties.sku == 1]\n    offer: {channel: web}\n"
	view := func(at int) string { return track(at, "Product Viewed", `"sku":1`) }
	if got, r := surveyed(t, set, view(0), track(300, "Order Completed", "")); len(got) > 0 || r.Campaigns[0].If[0].Held != 1 || r.Campaigns[0].If[1].Held != 1 {
		t.Errorf("%s, %+v", got, r.Campaigns[0].If)
	}
	if got, _ := surveyed(t, set, view(0), view(10), view(20)); len(got) != 1 || !strings.Contains(got[0], "stay was 20s at most") {
		t.Errorf("%s", got)
	}
}

// TestTable: how often each condition held, of all rows together, and how it ended.
func TestTable(t *testing.T) {
	set := `
features: {views: {on: Product Viewed, agg: count}}
campaigns:
  a:
    on: Product Viewed
    where: event.properties.sku > 0 && event.properties.category == "bag"
    if: [views >= 1, views > 1]
    unless: {on: Order Completed, where: event.properties.total > 0, within: 1h}
    offer: {channel: web}
  b:
    for_each: {rows: [{id: x, cat: bag, least: 100}, {id: y, cat: shoe, least: 13}, {id: z, cat: bag, least: 0}]}
    on: Product Viewed
    where: event.properties.category == row.cat && event.properties.sku >= row.least && true
    offer: {channel: web}
`
	_, r := surveyed(t, set, sample...)
	var out bytes.Buffer
	r.Text(&out)
	want := `sample: 4 events of 1 user, 2026-04-01T00:00:00Z to 2026-04-01T00:00:30Z
          2  Product Viewed
          1  Order Completed
          1  of type identify

a
          2                 on     Product Viewed
          2  of 2           where  event.properties.sku > 0
          1  of 2           where  event.properties.category == "bag"
          1                 evaluation
          1  of 1           if     views >= 1
          0  of 1           if     views > 1  <- never
          1                 unless Order Completed
          1  of 1           where  event.properties.total > 0
          0                 offers; else: condition 1

b  (3 rows together)
          2                 on     Product Viewed
          2  of 2           where  event.properties.category == row.cat
          2  of 2           where  event.properties.sku >= row.least
          2  of 2           where  true
          2                 evaluations
          2                 offers
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

// TestWhatCounts: duplicates and events that the gateway would refuse do not count,
// and a client's clock that is ahead does not end the sample's time.
func TestWhatCounts(t *testing.T) {
	def, err := config.LoadCampaigns("../../deploy/campaigns/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s, err := survey.New(def)
	if err != nil {
		t.Fatal(err)
	}
	events := []string{sample[0], sample[0], `{"type":"track"}`, "nonsense", `{"type":"clock","timestamp":"2026-04-01T00:00:05Z"}`,
		`{"type":"page","userId":"v","timestamp":"2036-04-01T00:00:00Z","receivedAt":"2026-04-01T00:01:00Z"}`,
		`{"type":"page","userId":"v","receivedAt":"2026-04-01T00:02:00Z"}`}
	refused := 0
	for _, e := range events {
		if err := s.Event([]byte(e)); err != nil {
			refused++
		}
	}
	if r := s.Result(); r.Events != 3 || refused != 2 || r.Duplicates != 1 || r.Names[1].Events != 1 || r.To != "2026-04-01T00:02:00Z" {
		t.Errorf("%d refused, %+v", refused, r)
	}
}

// TestAgainstTraces: the survey, which judges `where` by itself, tells the same as
// the fold's traces of triggers, and what it counts of `if` fits the outcomes.
func TestAgainstTraces(t *testing.T) {
	b, err := os.ReadFile("../testdata/golden/5/set.json")
	if err != nil {
		t.Fatal(err)
	}
	golden, err := campaign.ParseDefinition(b)
	if err != nil {
		t.Fatal(err)
	}
	shop, err := config.LoadCampaigns("../../deploy/campaigns/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	events, err := os.ReadFile("../testdata/golden/5/events.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for name, def := range map[string]*campaign.Definition{"golden": golden, "shop": shop} {
		t.Run(name, func(t *testing.T) { againstTraces(t, def, events) })
	}
}

func againstTraces(t *testing.T, def *campaign.Definition, events []byte) {
	s, err := survey.New(def)
	if err != nil {
		t.Fatal(err)
	}
	traced, problems := pipeline.NewBacktest(def)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	type conjunct struct {
		campaign    string
		entry, part int
	}
	held, of := map[conjunct]uint64{}, map[conjunct]uint64{}
	traced.TraceTriggers(func(tr *pipeline.TriggerTrace) {
		for i, p := range tr.Parts {
			c := conjunct{tr.Campaign, tr.Entry, i}
			if of[c]++; p.OK {
				held[c]++
			}
		}
	})
	for line := range bytes.Lines(events) {
		if err := traced.Line(line, func(*pipeline.Offer) {}); err != nil {
			t.Fatal(err)
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			_ = s.Event(line) // some are refused
		}
	}
	compared := 0
	for _, c := range s.Result().Campaigns {
		if c.Rows > 0 {
			continue // the traces tell of each row
		}
		entry := -1
		for _, trigger := range c.Triggers {
			if trigger.Unless {
				continue
			}
			entry++
			for i, x := range trigger.Where {
				at := conjunct{c.ID, entry, i}
				if compared++; x.Held != held[at] || x.Of != of[at] {
					t.Errorf("%s, trigger %d: %s held %d of %d, the traces have %d of %d", c.ID, entry, x.Text, x.Held, x.Of, held[at], of[at])
				}
			}
		}
		for _, x := range c.If {
			if compared++; x.Held > x.Of || x.Of > c.Evaluations || x.Of-x.Held > c.Ended["condition"]+c.Ended["cancelled"]+c.Ended["superseded"]+c.Pending {
				t.Errorf("%s: %s held %d of %d; %+v", c.ID, x.Text, x.Held, x.Of, c)
			}
		}
	}
	if compared == 0 {
		t.Error("nothing was compared")
	}
	t.Logf("%d conditions compared", compared)
}

// TestItemNames: what is known of a sample has the events about items, by their names.
func TestItemNames(t *testing.T) {
	_, r := surveyed(t, "version: 1\ncampaigns: {c: {on: Product Viewed, offer: {channel: web}}}\n", append(slices.Clone(sample),
		`{"type":"item","kind":"product","id":"p1","event":"Price Changed","timestamp":"2026-04-01T00:00:40Z","messageId":"x","properties":{"price":140}}`)...)
	if want := (survey.Name{Type: "item", Name: "Price Changed", Events: 1}); !slices.Contains(r.Names, want) {
		t.Errorf("%+v lacks %+v", r.Names, want)
	}
}
