package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
)

// problemsOf are the problems that package config itself finds in a file.
func problemsOf(text string) string {
	l := newLoad()
	l.compile = func(*campaign.Definition) (*pipeline.Set, []campaign.Problem) { return nil, nil }
	l.file("x", []byte(text))
	if _, err := l.finish(); err != nil {
		return err.Error()
	}
	return ""
}

// TestItemMistakes: mistakes in items and what belongs to them, each with its place.
func TestItemMistakes(t *testing.T) {
	const items = "items: {product: {key: product_id}, posting: {key: posting_id}}\n"
	for text, want := range map[string]string{
		"items: [product]\n":                                         "x:1:8: this is a list, expected a map: items: {product: {key: product_id}}",
		"items: {product: product_id}\n":                             "x:1:18: this is text, expected a map: write the keys of a kind of items",
		"items: {product: {}}\n":                                     "x:1:9: a kind of items needs `key`: key: product_id",
		"items: {product: {kye: a}}\n":                               `x:1:19: "kye" is not a key of a kind of items: did you mean "key"?`,
		"items: {product: {key: event.properties.sku}}\n":            `x:1:24: "event.properties.sku" is not the name of a property: write sku: that property of each of event.items is the key`,
		"items: {product: {key: item.sku}}\n":                        `x:1:24: "item.sku" is not the name of a property: write sku: that property of each of event.items is the key`,
		"items: {product: {key: a + b}}\n":                           `x:1:24: "a + b" is not the name of a property: letters of any script, digits, _ $ @ # : and -, with single spaces between words`,
		"items: {product: {key: [a, b]}}\n":                          "x:1:24: this is a list, expected text: the name of a property, such as product_id",
		"items: {product: {key: a, forget: 0s}}\n":                   "x:1:35: 0s is too short, at least 1s is required: forget: 30d",
		"items: {my-item: {key: a}}\n":                               `x:1:9: "my-item" is not a kind's name: 1 to 64 letters, digits and _, a letter first`,
		"items: {__x: {key: a}}\n":                                   `x:1:9: "__x" is not a kind's name: names that begin with __ are CEL's own`,
		"bounds: {item_bytes: 16777217}\n":                           "x:1:22: 16777217 is not a whole number from 1 to 16777216",
		items + "features: {f: {per: prduct, on: X, agg: count}}\n":  `x:2:21: there is no kind of items "prduct": did you mean "product"?`,
		items + "features: {f: {per: shop, on: X, agg: count}}\n":    `x:2:21: there is no kind of items "shop": known are posting, product`,
		"features: {f: {per: shop, on: X, agg: count}}\n":            `x:1:21: there is no kind of items "shop": items: {shop: {key: shop_id}}`,
		items + "features: {f: {per: product, on: X, agg: dwell}}\n": "x:2:16: a dwell is of a user: it lasts until the user's next view, and an item has none: remove `per`",
		"features: {f: {on: X, agg: users}}\n":                       "x:1:12: users needs `per`: per: product",
		"features: {f: {on: X, agg: user}}\n":                        `x:1:28: "user" is not an aggregate: did you mean "users"?`,
		items + "features: {f: {per: product, on: X, agg: users, of: event.user, by: a, keep: 100001}}\n": "x:2:49: users takes no `of`: its entries are the users of the events\n" +
			"x:2:65: users takes no `by`: its entries are the users of the events\nx:2:78: 100001 is not a whole number from 1 to 100000",
		items + "features: {f: {per: product, on: X, agg: list, fields: [a], keep: 4097}}\n":     "x:2:67: 4097 is not a whole number from 1 to 4096",
		items + "features: {f: {per: product, on: X, agg: distinct, of: event.user, keep: 9}}\n": "x:2:68: distinct takes no `keep`: of an item it is exact to 16,384 values, and an estimate beyond that",
		items + "features: {f: {per: product, on: X, agg: together, by: a, within: 1h, remove_on: Y, keep: 3}}\n": "x:2:12: together needs `half_life`: half_life: 30d\n" +
			"x:2:52: together takes no `by`: its keys are those of the other items in the event\nx:2:59: together takes no `within`: it counts touches, which fade with half_life\n" +
			"x:2:71: together takes no `remove_on`: only agg: list and agg: users take it\nx:2:85: together takes no `keep`: only list, distinct, histogram and users keep the newest",
		"features: {f: {on: X, agg: together, half_life: 1d}}\n": "x:1:12: together needs `per`: per: product",
		"features: {f: {on: X, agg: count, half_life: 1d}}\n":    "x:1:35: count takes no `half_life`: only agg: top and agg: together take it",
	} {
		if got := problemsOf(text); got != want {
			t.Errorf("%s got  %s\n want %s", text, got, want)
		}
	}
}

// TestItemCampaignMistakes: the same of campaigns.
func TestItemCampaignMistakes(t *testing.T) {
	const set = "items: {p: {key: id}}\nfeatures: {watchers: {per: p, on: W, agg: users}, n: {per: p, on: W, agg: count}}\ncampaigns:\n  c: {%s}\n"
	const offer = "offer: {channel: web}"
	for part, want := range map[string]string{
		"on: X, to: watcher, " + offer:                                  `x:4:18: there is no feature "watcher": did you mean "watchers"?`,
		"on: X, to: n, " + offer:                                        "x:4:18: the feature \"n\" lists no users, and `to` wants a feature with agg: users: known are watchers",
		"on: X, to: [watchers], " + offer:                               "x:4:18: this is a list, expected text: to: watchers",
		"on: session_end, to: watchers, " + offer:                       "x:4:24: the end of a session has no event, so `to` has nothing to read: remove it; what is known of the session is in `session`",
		"on: X, budget: {}, " + offer:                                   "x:4:14: a budget needs `offers`: offers: 1000; or value: 5000000, of: item.price * 0.1",
		"on: X, budget: 1000, " + offer:                                 "x:4:22: this is a number, expected a map: budget: {offers: 1000, within: 1d}",
		"on: X, budget: {offers: 0}, " + offer:                          "x:4:31: 0 is not a whole number from 1 to 1000000000000",
		"on: X, budget: {offers: 5, value: 5, of: x}, " + offer:         "x:4:34: a budget has `offers` or `value`, not both: keep one",
		"on: X, budget: {offers: 5, of: x}, " + offer:                   "x:4:34: `of` is the value of an offer, and this budget counts offers: remove it, or write value instead of offers",
		"on: X, budget: {value: 5}, " + offer:                           "x:4:14: a budget with `value` needs `of`: of: item.price * 0.1, the value of an offer",
		"on: X, budget: {value: 0, of: x}, " + offer:                    "x:4:30: 0 is not a number from 0.000001 to 1,000,000,000,000: value: 5000000",
		"on: X, budget: {value: -1e99, of: x}, " + offer:                "x:4:30: -1e99 is not a number from 0.000001 to 1,000,000,000,000: value: 5000000",
		`on: X, budget: {value: "5,000", of: x}, ` + offer:              "x:4:30: this is text, expected a number: write 5000",
		"on: X, budget: {offers: 5, per: week}, " + offer:               `x:4:39: "week" is not a possible value: day; for a time span, within: 1d`,
		"on: X, budget: {offers: 5, per: day, within: 1d}, " + offer:    "x:4:34: a budget has `within` or `per`, not both: keep one",
		"on: X, offer: {channel: web, coupon: {pool: Spring}}":          `x:4:51: "Spring" is not a pool's name: write spring`,
		"on: X, offer: {channel: web, coupon: {pool: a b}}":             `x:4:51: "a b" is not a pool's name: 1 to 32 of a-z, 0-9, _ and -`,
		"on: X, offer: {channel: web, expires: n.p50}":                  "x:4:45: `expires` is computed, so it needs `at_most`: at_most: 30d, the longest that it may be",
		"on: X, offer: {channel: web, expires: 1h, at_most: 2h}":        "x:4:49: `at_most` is for a computed `expires`, and this one is a duration: remove it",
		"on: X, offer: {channel: web, at_most: 2h}":                     "x:4:36: `at_most` is for a computed `expires`, and there is none: write expires: 7d",
		"on: X, unless: {on: Y, within: n.p50 * 2}, " + offer:           "x:4:38: `within` is computed, so it needs `at_most`: at_most: 30d, the longest that it may be",
		"on: X, unless: {on: Y, within: soon}, " + offer:                `x:4:38: "soon" is not a duration such as 90s, 30m, 1h30m or 7d: within: 1h`,
		"on: X, unless: {on: Y, within: 1 hour, at_most: 2h}, " + offer: `x:4:38: "1 hour" is not a duration such as 90s, 30m, 1h30m or 7d: write 1h`,
		"on: X, unless: {on: Y, within: 30, at_most: 2h}, " + offer:     `x:4:38: "30" is not a duration such as 90s, 30m, 1h30m or 7d: a unit is missing: 30s, 30m, 30h or 30d`,
		"on: X, unless: {on: Y, at_most: 2h}, " + offer:                 "x:4:14: unless needs `within`: within: 1h",
		"on: X, unless: {on: Y, within: 1h, at_most: 2h}, " + offer:     "x:4:42: `at_most` is for a computed `within`, and this one is a duration: remove it",
		"on: X, fresh: n.p50, " + offer:                                 "x:4:21: this duration is not computed: write one such as 90s, 30m, 1h30m or 7d; `within` of `unless` and `expires` of an offer may be expressions",
	} {
		if got := problemsOf(fmt.Sprintf(set, part)); got != want {
			t.Errorf("%s\n got  %s\n want %s", part, got, want)
		}
	}
}

// TestItemsInFiles: kinds may be in several files, and one kind too where it is the same
// in all of them.
func TestItemsInFiles(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"a.yaml": "items: {product: {key: product_id}}\n", "b.yaml": "items: {store: {key: store_id}, product: {key: sku}}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, err := LoadCampaigns(dir)
	if want := fmt.Sprintf(`%[1]s/b.yaml:1:33: kind "product" has another value at %[1]s/a.yaml:1:9: write the same in both, or rename one`, dir); fmt.Sprint(err) != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	same := "items: {store: {key: store_id}, product: {key: product_id, forget: 1095d}}\n"
	if err := os.WriteFile(filepath.Join(dir, "b.yaml"), []byte(same), 0o600); err != nil {
		t.Fatal(err)
	}
	if def, err := LoadCampaigns(dir); err != nil || len(def.Items) != 2 || def.Items[0].Kind != "product" {
		t.Errorf("a kind that is the same in two files: %+v, %v", def, err)
	}
	var many strings.Builder
	for i := range mostKinds + 2 {
		fmt.Fprintf(&many, "  k%d: {key: a}\n", i)
	}
	if got := problemsOf("items:\n" + many.String()); got != "x:66:3: there are more than 64 kinds of items: one kind may hold what has the same key" {
		t.Error(got)
	}
}
