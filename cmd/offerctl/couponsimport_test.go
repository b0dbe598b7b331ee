package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline/event"
)

// TestCodeFiles: what a file of codes may look like, and what is wrong with others.
func TestCodeFiles(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", event.MaxCodeBytes)
	for name, c := range map[string]struct {
		text string
		want []string // the codes, or parts of the errors
		bad  bool
	}{
		"a code a line":      {"\ufeffA1\r\n\n  B2  \nC \"3\", 4\n" + long, []string{"A1", "B2", `C "3", 4`, long}, false},
		"a column":           {"id,code,price\n1,A1,5\n\n2,\"B,2\",6\n", []string{"A1", "B,2"}, false},
		"the column alone":   {"code\nA1\nB2", []string{"A1", "B2"}, false},
		"twice":              {"A1\nB2\n\nA1\nB2\n", []string{":4:1: the code A1 is on line 1 already: remove one: two users would get it\n", ":5:1: the code B2 is on line 2 already", "nothing is imported: mend 2 lines first"}, true},
		"too long":           {"A1\n" + long + "x\n", []string{":2:1: the code has 129 bytes, at most 128 are allowed"}, true},
		"control characters": {"A\x1b1\n", []string{`:1:1: the code "A\x1b1" has characters that are not printed`}, true},
		"no UTF-8":           {"A1\n\xe9\n", []string{":2:1: the code "}, true},
		"other columns":      {"id,price\n1,2\n", []string{":1:1: the first line has several columns, and none is named code"}, true},
		"semicolons":         {"id;code\n1;2\n", []string{":1:1: the first line has several columns, and none is named code"}, true},
		"cells":              {"id,code\n1,A1,x\n2,\n\"3,B\n", []string{":2:1: the row has 3 cells, the first line has 2", ":3:1: the row has no code", ":4:1: this is not a line of a CSV"}, true},
		"empty":              {"\n\n", []string{"has no codes"}, true},
		"a header alone":     {"code\n", []string{"has no codes"}, true},
		"many":               {strings.Repeat("A1\n", 40), []string{"and 19 more\n", "mend 39 lines first"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var errs bytes.Buffer
			i := &codeImport{std: stdio{strings.NewReader(""), &errs, &errs}, pool: "p", file: file(t, "c.csv", c.text)}
			if err := i.read(t.Context()); err != nil {
				errs.WriteString(err.Error())
			}
			if text := errs.String(); c.bad {
				has(t, text, c.want...)
			} else if text != "" || strings.Join(i.codes, "|") != strings.Join(c.want, "|") {
				t.Errorf("%q, %s", i.codes, text)
			}
		})
	}
}

// TestCodePacks: the events of an import are within their limits, hold all codes in
// order, and have the same ids whenever they are made.
func TestCodePacks(t *testing.T) {
	t.Parallel()
	var codes []string
	for k := range 5000 {
		codes = append(codes, fmt.Sprintf("%d%s", k, strings.Repeat("<", k%100)))
	}
	ids := func(clock, now string) (all []string) {
		var got []string
		for pack, n := range codePacks("spring", codes, clock, now) {
			if len(pack) > tableBytes {
				t.Errorf("a message of %d bytes", len(pack))
			}
			was := len(got)
			for line := range bytes.Lines(pack) {
				var dec event.Decoder
				ev, err := dec.AdmitLive(bytes.TrimSpace(line), 0)
				if err != nil || ev.Key != "p:spring" || len(line) > codeBytes || len(ev.Codes()) > codesOfEvent || !ev.HasReceived {
					t.Fatalf("%d bytes, %v", len(line), err)
				}
				all, got = append(all, ev.ID), append(got, ev.Codes()...)
			}
			if len(got)-was != n {
				t.Errorf("%d codes in a message, said to be %d", len(got)-was, n)
			}
		}
		if strings.Join(got, "|") != strings.Join(codes, "|") {
			t.Errorf("%d codes, want %d", len(got), len(codes))
		}
		return all
	}
	a, b := ids("broker", "2026-01-01T00:00:00Z"), ids("event", "2026-01-02T00:00:00Z")
	if strings.Join(a, " ") != strings.Join(b, " ") || len(a) < 5 {
		t.Errorf("ids %v and %v", a, b)
	}
}

const poolSet = `
version: 1
policies: {consent: none, quiet_hours: none}
items: {product: {key: product_id}}
features:
  viewers:  {per: product, on: Product Viewed, agg: distinct, of: event.user, within: 1h}
  watchers: {per: product, on: Watched, agg: users}
  views:    {on: Product Viewed, agg: count, within: 1d}
campaigns:
  gift:
    on: Order Completed
    offer: {channel: web, coupon: {pool: spring}}
    budget: {offers: 3, within: 1d}
  busy:
    on: Product Viewed
    if: viewers >= 2
    offer: {channel: web, kind: service}
`

// TestPools imports codes, gives them out, and shows what is left of pools and budgets;
// and shows an item.
func TestPools(t *testing.T) {
	t.Parallel()
	n := startCampaigns(t, poolSet)
	url := n.natsURL()
	has(t, offerctl(t, "coupons", "left", "--nats", url), "spring  0         0      0     no codes were imported: offerctl coupons import\n")
	checkPoolMetrics(t, n)
	codes := file(t, "codes.txt", "A1\nB2\nC3\nD4\n")
	out := offerctl(t, "coupons", "import", "spring", codes, "--nats", url)
	has(t, out, "codes.txt: 4 codes imported into pool spring; of 4 codes, 0 are given and 4 left\n")
	out = offerctl(t, "coupons", "import", "spring", codes, "--nats", url)
	has(t, out, ", 4 of them had been imported before; of 4 codes, 0 are given and 4 left\n")
	var errs bytes.Buffer
	if code := run(t.Context(), []string{"coupons", "import", "sprin", codes, "--nats", url}, stdio{strings.NewReader(""), &errs, &errs}); code != 0 {
		t.Errorf("exit %d", code)
	}
	has(t, errs.String(), `no campaign of the live set takes codes from pool sprin: did you mean "spring"?`, "pool sprin; of 4 codes")
	_, text := fails(t, 1, "coupons", "import", "a:b", codes, "--nats", url)
	has(t, text, "without : and #")
	_, text = fails(t, 2, "coupons", "import", "spring", "--nats", url)
	has(t, text, "name the pool, and a file of codes")

	for u := range 5 {
		postEvent(t, "http://"+n.addr+"/v1/track", fmt.Sprintf(`{"userId":"u%d","event":"Order Completed","properties":{}}`, u))
		postEvent(t, "http://"+n.addr+"/v1/track", fmt.Sprintf(`{"userId":"u%d","event":"Product Viewed","properties":{"product_id":"p1"}}`, u))
		postEvent(t, "http://"+n.addr+"/v1/track", fmt.Sprintf(`{"userId":"u%d","event":"Watched","properties":{"product_id":"p1"}}`, u))
	}
	within(t, "three codes are given", func() string { return offerctl(t, "coupons", "left", "--json", "--nats", url) }, `^\[\{"pool":"spring","imported":4,"given":3,"left":1\}\]\n$`)
	list := offerctl(t, "campaigns", "list", "--nats", url)
	matches(t, list, `^gift +web +advertising +\d+ +0 of 3 left in 1d +live$`, `^busy +web +service +\d+ +- +live$`)
	var l campaignList
	if err := json.Unmarshal([]byte(offerctl(t, "campaigns", "list", "--json", "--nats", url)), &l); err != nil {
		t.Fatal(err)
	}
	if b := l.Campaigns[1].Budget; b == nil || b.Spent != 3 || b.Left != 0 || b.Most != 3 || b.Counted != "1d" || b.Unknown != 0 || l.Pools["spring"].Left != 1 {
		t.Errorf("%+v, pools %+v", b, l.Pools)
	}
	within(t, "the item", func() string { return offerctl(t, "item", "product", "p1", "--nats", url) }, `(?s)^product p1\nlast update  20.*\nviewers   5\nwatchers  5 users, at most 10000: u:u[0-4], .*$`)
	has(t, offerctl(t, "user", "u1", "--nats", url), `"item": "i:product:p1"`, `"list": "watchers"`)
	at := time.Now().UTC().Add(time.Second)
	postEvent(t, "http://"+n.addr+"/v1/track", `{"userId":"u9","event":"Product Viewed","properties":{"product_id":"p1"}}`)
	within(t, "one more", func() string { return offerctl(t, "item", "product", "p1", "--nats", url, "--json") }, `"viewers":6`)
	if time.Now().After(at) {
		t.Log("too slow to look back")
	} else if out := offerctl(t, "item", "product", "p1", "--at", at.Format(time.RFC3339Nano), "--nats", url, "--json"); !strings.Contains(out, `"viewers":6`) {
		t.Errorf("from the log: %s", out)
	}
	_, text = fails(t, 1, "item", "product", "p1", "--at", "2026-01-01T00:00:00Z", "--nats", url)
	has(t, text, "at that time: the set in force has no items")
	_, text = fails(t, 1, "item", "produkt", "p1", "--nats", url)
	has(t, text, `did you mean "product"?`)
}

// checkPoolMetrics: what is left is a metric, and the report names pools with few codes.
func checkPoolMetrics(t *testing.T, n *node) {
	t.Helper()
	within(t, "the status", func() string {
		var out bytes.Buffer
		run(t.Context(), []string{"status", "--nats", n.natsURL()}, stdio{strings.NewReader(""), &out, &out})
		return out.String()
	}, `(?m)^pool spring: no codes were imported`)
	families, err := n.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range families {
		names = append(names, f.GetName())
	}
	has(t, strings.Join(names, " "), "offerstream_worker_budget_left", "offerstream_worker_pool_left", "offerstream_worker_mails_dropped_total", "offerstream_worker_claims_refused_total")
}

// within waits until a text matches.
func within(t *testing.T, what string, text func() string, pattern string) {
	t.Helper()
	is := ""
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if is = text(); regexp.MustCompile(pattern).MatchString(is) {
			return
		}
	}
	t.Fatalf("%s: %s does not match\n%s", what, pattern, is)
}
