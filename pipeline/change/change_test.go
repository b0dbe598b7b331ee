package change

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"offerstream/config"
	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
)

// day is the log time of the tests.
var day = time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC).UnixNano()

func load(t *testing.T, yaml string) *pipeline.Set {
	t.Helper()
	return loadWhole(t, "version: 1\npolicies: {consent: none, quiet_hours: none}\n"+yaml)
}

// loadWhole is load of a file with its policies.
func loadWhole(t *testing.T, yaml string) *pipeline.Set {
	t.Helper()
	def, err := config.LoadCampaignsFS(fstest.MapFS{"c.yaml": {Data: []byte(yaml)}})
	if err != nil {
		t.Fatalf("%v in\n%s", err, yaml)
	}
	return compile(t, def)
}

func compile(t *testing.T, def *campaign.Definition) *pipeline.Set {
	t.Helper()
	set, problems := pipeline.Compile(def)
	if set == nil {
		t.Fatal(problems)
	}
	return set
}

const shop = `
lateness: 1h
features:
  views: {on: Product Viewed, agg: count, within: 30m}
  bought: {on: Order Completed, by: category, agg: count, within: 30d}
  hours: {on: Order Completed, agg: histogram, within: 180d}
  cart: {on: Product Added, agg: list, key: product_id, fields: [name, category, price]}
campaigns:
  cart:
    on: Product Added
    if: [views >= 2, cart.size() > 0]
    unless: {on: Order Completed, within: 1h}
    offer: {channel: web, data: {title: "{{ event.properties.name }} is still in your cart", cta: Buy}}
    limits: [{max: 1, within: 24h}]
  gone: {on: Product Viewed, unless: {on: Order Completed, within: 1h}, offer: {channel: web}}
  rows:
    for_each: {rows: [{id: a, n: 1}, {id: b, n: 2}, {id: c, n: 3}]}
    on: Product Viewed
    if: views > row.n
    unless: {on: Order Completed, within: 1h}
    offer: {channel: web}
  same: {on: Product Viewed, offer: {channel: web}}
`

// TestLines shows what the change of a set looks like.
func TestLines(t *testing.T) {
	old := load(t, shop)
	new := load(t, `
lateness: 90m
facts: {weather: {fields: {sky: string}, max_age: 3h}}
features:
  views: {on: Product Viewed, agg: count, within: 2h}
  bought: {on: Order Completed, by: category, agg: count, within: 30d}
  cart: {on: Product Added, agg: list, key: product_id, fields: [name, category, price]}
  orders: {on: Order Completed, agg: count}
campaigns:
  cart:
    on: Product Added
    if: [local.hour > 8, views >= 3, cart.size() > 0]
    unless: {on: Order Completed, within: 1h}
    offer: {channel: web, data: {title: "{{ event.properties.title }} is still in your cart", cta: Buy}}
    limits: [{max: 2, within: 24h}]
  fresh:
    on: Product Viewed
    let: {few: views < 3}
    if: [few && orders == 0]
    choose: cart.filter(i, !(i.category in bought)).first()
    offer: {channel: web}
  rows:
    for_each: {rows: [{id: a, n: 1}, {id: b, n: 5}, {id: d, n: 3}]}
    on: Product Viewed
    if: views > row.n
    unless: {on: Order Completed, within: 1h}
    offer: {channel: web}
  same: {on: Product Added, offer: {channel: web}}
`)
	fed := map[string]int64{"bought": day - int64(10*24*time.Hour), "campaign cart": day - int64(time.Hour)}
	c := Between(old, new, fed, day, day-int64(7*24*time.Hour))
	c.Cancelled = map[string]int{"gone": 1204, "same": 0}
	want := `~ lateness       1h -> 1h30m
~ facts.weather  none -> {fields: {sky: string}, max_age: 3h}
  feature bought: young until 2026-04-21T12:00:00Z, because it has been fed only since 2026-03-22T12:00:00Z
- feature hours: kept for 24 h for a rollback
+ feature orders: starts empty, young for ever, as it has no ` + "`within`" + `
~ feature views: starts empty, young until 2026-04-01T14:00:00Z; the old one is kept for 24 h for a rollback
    within  30m -> 2h
~ campaign cart: what is pending stays
    if[0]             none -> local.hour > 8
    if[1]             views >= 2 -> views >= 3
    offer.data.title  {{ event.properties.name }} is still in your cart -> {{ event.properties.title }} is still in your cart
    limits            [{max: 1, within: 1d}] -> [{max: 2, within: 1d}]
+ campaign fresh
- campaign gone: cancels 1,204 pending
~ campaign rows: cancels what is pending of 2 rows: how many is not known: no worker answered; rows: 1 added, 1 changed, 1 gone
~ campaign same: cancels 0 pending
    on  Product Viewed -> Product Added
--backfill would take from the log: features orders, views; campaigns cart, fresh, rows, same
! campaign cart: what is pending does not hold event.properties.title, which offer.data.title reads: it would end without an offer; leave event.properties.title out, or --force
! campaign fresh: if[0] has ` + "`views < 3`" + `: views starts empty and is young until 2026-04-01T14:00:00Z, so this may hold for users for whom it should not; --backfill, or --force
! campaign fresh: if[0] has ` + "`orders == 0`" + `: orders starts empty and is young for ever, as it has no ` + "`within`" + `, so this may hold for users for whom it should not; --force
! campaign fresh: choose has ` + "`!(i.category in bought)`" + `: bought has been fed only since 2026-03-22T12:00:00Z and is young until 2026-04-21T12:00:00Z, so this may hold for users for whom it should not; --force`
	if got := strings.Join(c.Lines(), "\n"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if !c.Refuses() {
		t.Error("nothing is refused")
	}
	c.Filled = true
	want = `+ feature orders: filled from the log, which is shorter than its window: young for ever, as it has no ` + "`within`" + `
~ feature views: filled from the log; the old one is kept for 24 h for a rollback
+ campaign fresh: pending comes from the log
~ campaign rows: cancels what is pending of 2 rows: how many is not known: no worker answered; rows: 1 added, 1 changed, 1 gone; pending comes from the log
~ campaign same: cancels 0 pending; pending comes from the log
taken from the log: features orders, views; campaigns cart, fresh, rows, same`
	for line := range strings.SplitSeq(want, "\n") {
		if !slices.Contains(c.Lines(), line) {
			t.Errorf("with a backfill there is no line %q in\n%s", line, strings.Join(c.Lines(), "\n"))
		}
	}
	if got := Between(old, old, nil, day, 0); len(got.Lines()) > 0 || got.Refuses() || len(got.Campaigns)+len(got.Backfill.Features)+len(got.Backfill.Campaigns) > 0 {
		t.Errorf("from itself: %v", got.Lines())
	}
	var again Change
	b, err := json.Marshal(c)
	if err == nil {
		err = json.Unmarshal(b, &again)
	}
	if err != nil || !slices.Equal(again.Backfill.Features, c.Backfill.Features) || !reflect.DeepEqual(again.Refused, c.Refused) {
		t.Errorf("read back: %v, %s", err, b)
	}
}
