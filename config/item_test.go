package config

import (
	"strings"
	"testing"

	"offerstream/pipeline/campaign"
)

const itemLanguage = `
bounds: {item_bytes: 1048576}
items:
  posting: {key: posting_id, forget: 30d}
  product: {key: 상품 번호, forget: 1095d}
features:
  viewers:   {per: posting, on: Posting Viewed, agg: distinct, of: event.user, within: 1h}
  prices:    {per: product, on: Price Changed, by: event.properties.mall, agg: last, of: event.properties.price, within: 3d}
  watchers:  {per: product, on: Price Watch Started, agg: users, remove_on: [Unwatched, Price Watch Stopped], within: 30d}
  fans:      {per: product, on: Liked, where: item.n > 1, agg: users, keep: 100000}
  partners:  {per: product, on: Order Completed, agg: together, half_life: 30d}
  buy_after: {per: product, on: Order Completed, agg: quantiles, of: "event.time - first[item.id]", within: 90d}
  brands:    {per: product, on: Viewed, by: brand, agg: top, half_life: 7d}
campaigns:
  computed:
    on: Product Viewed
    unless: {on: Order Completed, match: product_id, within: buy_after.p50 * 0.8, at_most: 30d}
    offer: {channel: web, expires: longest, at_most: 7d, coupon: {pool: spring, discount: 5%, expires: 2d}}
    budget: {value: 5000000.5, of: "item.price * 0.1", within: 7d}
  entry:
    any: [{on: X, unless: {on: Y, within: 'duration("1h") + wait', at_most: 2h}}]
    offer: {channel: web}
    budget: {offers: 100, per: day}
  watch:
    on: Price Changed
    period: {to: "2026-05-01T00:00:00Z"}
    to: watchers
    offer: {channel: web, kind: service, expires: 6h}
    budget: {offers: 1000}
`

// TestItemLanguage: each construct of items, budgets and pools is in the definition.
func TestItemLanguage(t *testing.T) {
	d, l := read1(t, itemLanguage)
	got := string(d.JSON())
	for _, want := range []string{
		`"absences":64,"item_bytes":1048576}`,
		`"items":[{"kind":"posting","key":"posting_id","forget":2592000000000000},{"kind":"product","key":"상품 번호"}],"features"`,
		`{"name":"viewers","per":"posting","on":["Posting Viewed"],"agg":"distinct","of":"event.user","within":3600000000000}`,
		`{"name":"prices","per":"product","on":["Price Changed"],"by":"event.properties.mall","agg":"last","of":"event.properties.price","within":259200000000000}`,
		`{"name":"watchers","per":"product","on":["Price Watch Started"],"agg":"users","within":2592000000000000,"keep":10000,"remove_on":["Price Watch Stopped","Unwatched"]}`,
		`{"name":"fans","per":"product","on":["Liked"],"where":"item.n \u003e 1","agg":"users","keep":100000}`,
		`{"name":"partners","per":"product","on":["Order Completed"],"agg":"together","half_life":2592000000000000}`,
		`{"name":"buy_after","per":"product","on":["Order Completed"],"agg":"quantiles","of":"event.time - first[item.id]","within":7776000000000000}`,
		`{"name":"brands","per":"product","on":["Viewed"],"by":"brand","agg":"top","half_life":604800000000000}`,
		`"unless":{"on":["Order Completed"],"match":"product_id","within":0,"within_is":"buy_after.p50 * 0.8","at_most":2592000000000000}`,
		`"coupon":{"discount":"5%","expires":172800000000000,"pool":"spring"},"expires_is":"longest","at_most":604800000000000}`,
		`"budget":{"value":5000000.5,"of":"item.price * 0.1","within":604800000000000}}`,
		`"unless":{"on":["Y"],"within":0,"within_is":"duration(\"1h\") + wait","at_most":7200000000000}}]`,
		`"budget":{"offers":100,"per_day":true}}`,
		`{"id":"watch","to":1777593600000000000,"on":["Price Changed"],"users":"watchers","offer":{"channel":"web","kind":"service","expires":21600000000000},"budget":{"offers":1000}}`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the definition has no %s\n%s", want, got)
		}
	}
	if len(l.warnings) > 0 {
		t.Errorf("warnings: %v", l.warnings)
	}
	again, err := campaign.ParseDefinition(d.JSON())
	if err != nil || string(again.JSON()) != got {
		t.Errorf("changed by writing and reading: %v\n%s", err, again.JSON())
	}
}

// TestItemDefaults: what is written like the default is the same set.
func TestItemDefaults(t *testing.T) {
	without, _ := read1(t, "items: {a: {key: x}}\nfeatures: {f: {per: a, on: X, agg: users}}\n")
	with, _ := read1(t, "bounds: {item_bytes: 4194304}\nitems: {a: {key: x, forget: 1095d}}\nfeatures: {f: {per: a, on: X, agg: users, keep: 10000}}\n")
	if without.Hash() != with.Hash() {
		t.Errorf("%s\n%s", without.JSON(), with.JSON())
	}
	plain, _ := read1(t, "features: {f: {on: X, agg: count}}\n")
	for _, key := range []string{"item", "per", "budget", "users", "pool", "at_most", "_is"} {
		if strings.Contains(string(plain.JSON()), key) {
			t.Errorf("a set without items has %q in %s", key, plain.JSON())
		}
	}
}

// TestItemLint: what is probably not meant in sets that only config reads.
func TestItemLint(t *testing.T) {
	const set = `items: {p: {key: id}, q: {key: q}}
features:
  watchers: {per: p, on: Watched, agg: users}
  partners: {per: p, on: Bought, agg: together, half_life: 7d}
  first: {on: Seen, by: id, agg: first, of: event.time}
  after: {per: p, on: Bought, agg: quantiles, of: "event.time - first[item.id]"}
campaigns:
`
	const all = "  x: {on: Seen, if: partners.size() > 0 && after.size > 3, limits: [{max: 1}], offer: {channel: email, kind: service}}\n  y: {on: Seen, to: watchers, offer: {channel: email, kind: service}}\n"
	for campaigns, want := range map[string]string{
		all: "",
		"  x: {on: Seen, if: partners.size() > 0, offer: {channel: web}}\n  y: {on: Seen, to: watchers, offer: {channel: web}}\n":                       "unused-feature unused-feature", // after, and first, which only it reads
		all + "  z: {on: Seen, if: watchers.size() > 10000, offer: {channel: web, kind: service}}\n":                                                    "never-holds",
		all + "  z: {on: Seen, if: watchers.size() > 9999, offer: {channel: web, kind: service}}\n":                                                     "",
		all + "  a: {on: Seen, if: partners.size() > 0, offer: {channel: web}}\n  b: {on: Seen, if: session.count > 0, offer: {channel: web}}\n":        "not-compared",
		all + "  a: {on: Seen, to: watchers, offer: {channel: web}}\n  b: {on: Seen, offer: {channel: web}}\n":                                          "",
		all + "  a: {on: Seen, unless: {on: Bought, within: after.p50, at_most: 1d}, offer: {channel: web}}\n  b: {on: Other, offer: {channel: web}}\n": "not-compared",
		all + "  a: {on: Seen, offer: {channel: web, expires: after.p50, at_most: 1d}}\n  b: {on: Other, offer: {channel: web}}\n":                      "not-compared",
		all + "  a: {on: Seen, budget: {value: 3, of: after.size}, offer: {channel: web}}\n  b: {on: Other, offer: {channel: web}}\n":                   "not-compared",
		all + "  a: {on: Seen, budget: {value: 3, of: '1'}, offer: {channel: web}}\n  b: {on: Seen, offer: {channel: web}}\n":                           "",
	} {
		_, l := read1(t, set+campaigns)
		var got []string
		for _, f := range l.lint(Check{}) {
			got = append(got, f.Rule)
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s got %q, want %q", campaigns, s, want)
		}
	}
}

// TestDescribeItems: the changes of kinds, lists and budgets are told.
func TestDescribeItems(t *testing.T) {
	old, _ := read1(t, itemLanguage)
	new, _ := read1(t, strings.NewReplacer("forget: 30d", "forget: 31d", "keep: 100000", "keep: 9", "to: watchers", "to: fans", "per: day", "within: 1d", "item_bytes: 1048576", "absences: 3",
		"pool: spring", "pool: autumn", "buy_after.p50 * 0.8", "buy_after.p90").Replace(itemLanguage))
	got := strings.Join(Describe(old, new), "\n")
	want := `~ bounds: {absences: 64, entries: 256, item_bytes: 1048576, keys: 64, user_bytes: 262144, user_entries: 65536} -> {absences: 3, entries: 256, keys: 64, user_bytes: 262144, user_entries: 65536}
~ item posting: forget
~ feature fans: keep
~ campaign computed: offer, unless
~ campaign entry: budget
~ campaign watch: to`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	one, _ := read1(t, "items: {a: {key: x}, b: {key: y}}\n")
	other, _ := read1(t, "items: {b: {key: y}, c: {key: z}, a: {key: x}}\n")
	if got := strings.Join(Describe(one, other), "; "); got != "+ item c; ~ items: in another order" {
		t.Error(got)
	}
	if got := strings.Join(Describe(one, one), "; "); got != "" {
		t.Error(got)
	}
}
