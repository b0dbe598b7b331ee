package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"offerstream/pipeline/explain"
)

const explainSet = `version: 1
zone: Asia/Seoul
features:
  bag_views: {on: Product Viewed, agg: count, within: 30m}
campaigns:
  bag:
    on: Product Viewed
    if: bag_views >= 2
    offer: {channel: web, data: {title: "{{ event.properties.product_id }}"}}
    limits: [{max: 1}]
  cart:
    on: Product Added
    unless: {on: Order Completed, within: 1h}
    offer: {channel: web}
`

const explainEvents = `{"type":"track","event":"Product Viewed","userId":"ada","messageId":"m1","timestamp":"2026-03-01T01:00:00Z","properties":{"product_id":"p1"}}
{"type":"track","event":"Product Viewed","userId":"bob","messageId":"m2","timestamp":"2026-03-01T01:00:30Z","properties":{"product_id":"p1"}}
{"type":"track","event":"Product Viewed","userId":"ada","messageId":"m3","timestamp":"2026-03-01T01:01:00Z","properties":{"product_id":"p2"}}
{"type":"track","event":"Product Added","anonymousId":"v-1","messageId":"m4","timestamp":"2026-03-01T01:02:00Z"}
{"type":"track","event":"Product Viewed","userId":"ada","messageId":"m5","timestamp":"2026-03-01T03:30:00Z","properties":{"product_id":"p3"}}
{"type":"track","event":"Product Added","userId":"zoe","messageId":"m6","timestamp":"2026-03-01T03:30:00Z"}
{"type":"clock","logTime":"2026-03-01T09:00:00Z"}
`

// TestExplainFile compares what the command prints about users of a file.
func TestExplainFile(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{"set.yaml": explainSet, "events.jsonl": explainEvents} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range [...]struct {
		args, want string
		code       int
	}{
		{"ada bag", `No bag offer: 1 of 2 bag views in the last 30 min.

User ada, times in Asia/Seoul.

bag: 3 evaluations: 2 condition, 1 fired

  2026-03-01 10:00:00  bag, by Product Viewed (m1): condition
    10:00:00  trigger  no  bag_views >= 2  1 of 2 bag views in the last 30 min

  2026-03-01 10:01:00  bag, by Product Viewed (m3): fired
    bag went out on web at 10:01:00, after Product Viewed.
    10:01:00  trigger  yes  bag_views >= 2  2 bag views in the last 30 min
              gates    yes  limit           0 of at most 1 offer of this campaign ever
              choice   yes  data            the offer's data are complete
              channel  yes  channel         web is free
    {"title":"p2"}

  2026-03-01 12:30:00  bag, by Product Viewed (m5): condition
    12:30:00  trigger  no  bag_views >= 2  1 of 2 bag views in the last 30 min
`, 0},
		{"ada cart", "No cart offer: never triggered, as the user has no event Product Added.\n\nUser ada, times in Asia/Seoul.\n\ncart: never evaluated\n", 0},
		{"ada bag --at 2026-03-01T10:00:30+09:00", `No bag offer: 1 of 2 bag views in the last 30 min.

User ada, times in Asia/Seoul.

bag: 1 evaluation: 1 condition

  2026-03-01 10:00:00  bag, by Product Viewed (m1): condition
    10:00:00  trigger  no  bag_views >= 2  1 of 2 bag views in the last 30 min
`, 0},
		{"v-1 cart --at 2026-03-01T01:40:00Z", `cart is pending: it is due at 11:02:00, unless Order Completed comes before.

User v-1, times in Asia/Seoul.

cart: 1 evaluation: 1 pending

  2026-03-01 10:02:00  cart, by Product Added (m4): pending
    10:02:00  absence    waits until 11:02:00
`, 0},
		{"v-1 cart", `cart went out on web at 11:02:00, after Product Added at 10:02:00.

User v-1, times in Asia/Seoul.

cart: 1 evaluation: 1 fired

  2026-03-01 10:02:00  cart, by Product Added (m4): fired
    10:02:00  absence       waits until 11:02:00
    11:02:00  choice   yes  data     the offer's data are complete
              channel  yes  channel  web is free
`, 0},
		{"eve", "offerctl explain: events.jsonl has no event of user eve\n", 1},
		{"~v-1", "offerctl explain: events.jsonl has no event of user ~v-1: if ~ stands for an anonymousId, write v-1 --anonymous\n", 1},
		{"ada bags", "offerctl explain: the set has no campaign bags: did you mean \"bag\"?\n", 1},
		{"ada bag/shoes", "offerctl explain: campaign bag has no row shoes\n", 1},
		{"ada --anonymous", "offerctl explain: events.jsonl has no event of user ada\n", 1},
		{"zoe cart --at 2026-03-01T04:00:00Z", `cart is pending: it is due at 13:30:00, unless Order Completed comes before.

User zoe, times in Asia/Seoul.

cart: 1 evaluation: 1 pending

  2026-03-01 12:30:00  cart, by Product Added (m6): pending
    12:30:00  absence    waits until 13:30:00
`, 0},
	} {
		var out, errs bytes.Buffer
		args := append([]string{"explain"}, strings.Fields(c.args)...)
		code := run(t.Context(), append(args, "--events", "events.jsonl", "--campaigns", "set.yaml"), stdio{strings.NewReader(""), &out, &errs})
		if got := out.String() + errs.String(); got != c.want || code != c.code {
			t.Errorf("explain %s: exit %d\n%s\nwant\n%s", c.args, code, got, c.want)
		}
	}
}

// TestExplainLive: the log of a deployment tells the same as a file of its events
// would, also after its beginning has expired.
func TestExplainLive(t *testing.T) {
	t.Parallel()
	n := startShop(t)
	url := n.natsURL()
	for i := range 5 {
		postEvent(t, "http://"+n.addr+"/v1/track", fmt.Sprintf(`{"userId":"ada","messageId":"m%d","event":"Product Viewed","properties":{"product_id":"b%d","category":"bag","brand":"acme","price":120}}`, i, i))
		postEvent(t, "http://"+n.addr+"/v1/track", fmt.Sprintf(`{"anonymousId":"ada","event":"Product Viewed","properties":{"product_id":"b%d","category":"bag"}}`, i))
	}
	offerctl(t, "verify", "--settle", "1m", "--nats", url) // all offers are stored
	text := offerctl(t, "explain", "ada", "category-fan", "--nats", url)
	for _, want := range []string{
		"No category-fan offer: already 1 of at most 1 offer of this campaign in the last 24 h, the last at ",
		"category-fan: 5 evaluations: 3 condition, 1 fired, 1 limit",
		"by Product Viewed (m3): fired",
		`1 of 4 category views (category "bag") in the last 30 min`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s\nlacks %q", text, want)
		}
	}
	var story explain.Story
	if err := json.Unmarshal([]byte(offerctl(t, "explain", "ada", "category-fan", "--anonymous", "--json", "--nats", url)), &story); err != nil || story.User != "a:ada" || story.Campaigns[0].Outcomes["fired"] != 1 {
		t.Errorf("%+v, %v", story, err)
	}
	if text, code := ran(t, "explain", "eve", "--nats", url); code != 1 || !strings.Contains(text, "the log has no event of user eve") {
		t.Errorf("exit %d: %s", code, text)
	}
	if text, code := ran(t, "explain", "ada", "category-fans", "--nats", url); code != 1 || !strings.Contains(text, `did you mean "category-fan"?`) {
		t.Errorf("exit %d: %s", code, text)
	}
	page := filepath.Join(t.TempDir(), "report.html")
	offerctl(t, "backtest", "--nats", url, "--report", page)
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"What those that were live would have done", `<section id="category-fan">`, "already 1 of at most 1 offer of this campaign"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("the report lacks %q", want)
		}
	}
}
