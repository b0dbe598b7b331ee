package config

import (
	"strings"
	"testing"
)

const viewed = `items: {product: {key: id}}
policies: {consent: none, quiet_hours: none}
features:
  viewers:  {per: product, on: View, agg: distinct, of: event.user, within: 1h}
  newest:   {per: product, on: View, agg: last, of: event.time}
  prices:   {per: product, on: Price, by: event.properties.mall, agg: last, of: event.properties.price}
  watchers: {per: product, on: Watch, agg: users}
  costs:    {per: product, on: Price, by: event.properties.mall, agg: quantiles, of: event.properties.price, within: 1h}
  waits:    {per: product, on: View, agg: quantiles, of: "duration('90s')", within: 1h}
  views:    {on: View, by: category, agg: count, within: 1h}
  stay:     {on: View, agg: dwell}
  low:      {on: View, agg: min, of: event.properties.price}
  best:     {on: View, by: category, agg: top, half_life: 1d}
campaigns:
  c: {on: View, budget: {offers: 5}, offer: {channel: web}}
  late: {on: Watch, unless: {on: View, within: 30m}, offer: {channel: kiosk, kind: service, coupon: {pool: spring}}}
scenarios:
  one:
    events:
      - {type: codes, pool: spring, codes: [A1, A2, A3], timestamp: "2026-01-01T10:00:00Z"}
      - 10:00:00 ada View id=p1 category=bag
      - 10:00:10 bob View id=p1 category="two words"
      - 10:00:20 ada View id=p1 price=2.5
      - 10:00:30 ada Watch id=p1
      - 10:00:30 ~v Watch id=p1
      - 10:01:00 item product/p1 Price mall=a price=12.0
      - 2026-01-02 10:00:00
    views:
`

// TestViews: what is stored is compared, at a time after everything up to it and
// before all else, by name, key, time and duration as a scenario writes them.
func TestViews(t *testing.T) {
	for line, want := range map[string]string{
		"10:00:00 item product/p1 viewers=1 newest=10:00:00":                       "",
		"10:00:15 item product/p1 viewers=2 newest=10:00:10 prices[a]=null":        "",
		"10:00:20 ada low=2.5 views[bag]=1":                                        "",
		"10:00:19.999 ada low=null":                                                "",
		"10:59:59 item product/p1 viewers=2":                                       "",
		"11:00:10 item product/p1 viewers=1":                                       "",
		"item product/p1 viewers=0 newest=10:00:20 prices[a]=12":                   "",
		`item product/p1 prices={"a":12.0}`:                                        "",
		"10:10:00 item product/p1 costs[a].p50=12 costs[a].size=1 costs[b].size=0": "",
		"10:10:00 item product/p1 waits.p90=1m30s waits.size=3":                    "",
		"item product/p1 waits.p90=1m30s":                                          "    + item product/p1 waits.p90=null\n",
		"item product/p1 watchers=2":                                               "",
		`item product/p1 watchers=["u:ada","a:v"]`:                                 "",
		"item product/p2 viewers=0 newest=null watchers=0":                         "",
		`'11:00:00 bob views["two words"]=1 views[bag]=0 views={"two words":1}'`:   "",
		"10:00:50 ada stay=30s":                                                    "",
		"ada stay=0.5m low=2.5":                                                    "",
		`'ada best=[]'`:                                                            "+ ada best=[{",
		"eve low=null stay=0s views={}":                                            "",
		"10:30:29 pool spring imported=3 given=0 left=3":                           "",
		"pool spring given=2 left=2":                                               "    + pool spring given=2 left=1\n",
		"2026-01-02 10:00:00 budget c left=2 spent=3 most=5":                       "",
		"10:00:15 budget c left=4":                                                 "    - 10:00:15 budget c left=4\n    + 10:00:15 budget c left=3\n",
		"item product/p1 watchers=[]":                                              `    + item product/p1 watchers=["u:ada","a:v"]`,
		"10:00:15 item product/p1 viewers=3 newest=10:00:10 prices[a]=1":           "    + 10:00:15 item product/p1 viewers=2 newest=10:00:10 prices[a]=null\n",
		"~v low=1 stay=1s":                                                         "  views (- expected, + actual):\n    - ~v low=1 stay=1s\n    + ~v low=null stay=0s\n",
	} {
		got := explainWrong(t, viewed+"      - "+line+"\n")
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s:\n%s\nwant:\n%s", line, got, want)
		}
	}
}

// TestViewsTakeNoOffers: offers that become due before a view are the scenario's, once,
// and those that become due after its last event are none of it.
func TestViewsTakeNoOffers(t *testing.T) {
	const expect = `    expect:
      - 10:00:00 ada c
      - 10:00:10 bob c
      - 10:00:20 ada c
      - 10:30:30 ~v late
      - 10:30:30 ada late
`
	if got := explainWrong(t, viewed+"      - 10:30:30 ada low=2.5\n      - 10:30:29 ada low=2.5\n      - 12:00:00 ada views[bag]=0\n"+expect); got != "" {
		t.Error(got)
	}
	short := strings.Replace(viewed, "      - 2026-01-02 10:00:00\n", "", 1)
	if got := explainWrong(t, short+"      - 10:01:00 ada low=2.5\n      - ada low=2.5\n    outcomes: {late: {pending: 2}}\n"); got != "" {
		t.Error(got)
	}
}

// TestViewsUpdate: values become the actual ones, and what is right stays as it is
// written.
func TestViewsUpdate(t *testing.T) {
	for text, want := range map[string]string{
		"      - 10:00:15 item product/p1 viewers=5 newest=10:00:10.000   # why\n":          "      - 10:00:15 item product/p1 viewers=2 newest=10:00:10.000   # why\n",
		"      - ada low=2.50   # stays\n":                                                  "      - ada low=2.50   # stays\n",
		"      - \"ada stay=1m low=2\"\n      # more\n      - 'item product/p1 newest=1'\n": "      - ada stay=30s low=2.5\n      # more\n      - item product/p1 newest=10:00:20\n",
		"      [ada low=1, 'item product/p1 watchers=[\"x\"]']\n":                           "      ['ada low=2.5', 'item product/p1 watchers=[\"u:ada\",\"a:v\"]']\n",
		"      - '\"ada\" low=1'\n":                                                         "      - '\"ada\" low=2.5'\n",
	} {
		got, err := update1(viewed + text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got != viewed+want {
			t.Errorf("got:\n%s\nwant:\n%s", strings.TrimPrefix(got, viewed), want)
		}
	}
}
