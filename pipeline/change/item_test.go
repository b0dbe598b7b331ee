package change

import (
	"strings"
	"testing"
	"time"
)

const productShop = `
items: {product: {key: product_id}, brand: {key: brand}}
features:
  views: {on: Product Viewed, agg: count, within: 30m}
  viewers: {per: product, on: Product Viewed, agg: distinct, of: event.user, within: 1h}
  watchers: {per: product, on: Watched, agg: users}
  sold: {per: product, on: Order Completed, agg: quantiles, of: event.properties.days, within: 9d}
campaigns:
  busy: {on: Product Viewed, if: viewers >= 10, offer: {channel: web, kind: service}}
  drop: {on: Price Changed, to: watchers, offer: {channel: push, kind: service}}
  again:
    on: Order Completed
    unless: {on: Order Completed, match: product_id, within: sold.p50, at_most: 30d}
    offer: {channel: email, expires: 3d}
  gift: {on: Order Completed, if: views > 1, offer: {channel: push, coupon: {pool: spring}}, budget: {offers: 100, within: 1d}}
`

// TestItems shows what the change of a set with items looks like, and that a backfill
// does not claim what is about items.
func TestItems(t *testing.T) {
	old := load(t, productShop)
	new := load(t, strings.NewReplacer("product: {key: product_id}, brand: {key: brand}", "brand: {key: brand, forget: 90d}, product: {key: product_id}",
		"within: 30m}", "within: 2h}", "event.user, within: 1h", "event.user, within: 2h", "to: watchers", "to: fans", "sold.p50", "sold.p90", "expires: 3d", "expires: sold.p50, at_most: 3d",
		"pool: spring", "pool: autumn", "offers: 100, within: 1d", "offers: 100, per: day",
		"campaigns:\n", "  fans: {per: product, on: Liked, agg: users}\ncampaigns:\n  fresh: {on: Product Viewed, offer: {channel: web, kind: service}}\n").Replace(productShop))
	c := Between(old, new, map[string]int64{"sold": day - int64(24*time.Hour)}, day, day-int64(7*24*time.Hour))
	check := func(want string) {
		t.Helper()
		want = strings.TrimPrefix(want, "\n")
		if got := strings.Join(c.Lines(), "\n"); got != want {
			t.Errorf("got:\n%s\nwant:\n%s", got, want)
		}
	}
	campaigns := `
~ campaign again: cancels what is pending: how many is not known: no worker answered
    unless.within  sold.p50 -> sold.p90
    offer.expires  3d -> sold.p50
    offer.at_most  none -> 3d
~ campaign drop: nothing of it waits
    to  watchers -> fans`
	check(`
~ items.brand.forget  none -> 90d
~ items               product, brand -> brand, product
+ feature fans: starts empty, young for ever, as it has no ` + "`within`" + `
  feature sold: young until 2026-04-09T12:00:00Z, because it has been fed only since 2026-03-31T12:00:00Z
~ feature viewers: starts empty, young until 2026-04-01T14:00:00Z; the old one is kept for 24 h for a rollback
    within  1h -> 2h
~ feature views: starts empty, young until 2026-04-01T14:00:00Z; the old one is kept for 24 h for a rollback
    within  30m -> 2h` + campaigns + `
+ campaign fresh
~ campaign gift: what is pending stays
    offer.coupon.pool  spring -> autumn
    budget.per         none -> day
    budget.within      1d -> none
--backfill would take from the log: features views; campaigns fresh
a backfill sends no messages, so what is about items begins at the switch: features fans, viewers; campaigns again, drop`)
	c.Filled = true
	check(`
~ items.brand.forget  none -> 90d
~ items               product, brand -> brand, product
+ feature fans: starts empty, young for ever, as it has no ` + "`within`" + `
  feature sold: young until 2026-04-09T12:00:00Z, because it has been fed only since 2026-03-31T12:00:00Z
~ feature viewers: starts empty, young until 2026-04-01T14:00:00Z; the old one is kept for 24 h for a rollback
    within  1h -> 2h
~ feature views: filled from the log; the old one is kept for 24 h for a rollback
    within  30m -> 2h` + campaigns + `
+ campaign fresh: pending comes from the log
~ campaign gift: what is pending stays
    offer.coupon.pool  spring -> autumn
    budget.per         none -> day
    budget.within      1d -> none
taken from the log: features views; campaigns fresh
a backfill sends no messages, so what is about items begins at the switch: features fans, viewers; campaigns again, drop`)
}
