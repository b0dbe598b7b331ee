package worker

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"offerstream/config"
	"offerstream/pipeline/campaign"
)

// The limits of the campaigns that have a budget, which are reached within seconds.
const (
	chaosGifts   = 60    // offers
	chaosRebates = 9_000 // of what orders cost
	chaosCodes   = 100   // of an import; there are two
)

// chaosGallery are the systems of the gallery that are about items.
var chaosGallery = []string{"agoda-last", "bigin-basket", "bigin-time", "enuri-watch", "jobkorea-views", "tmon-cycle"}

// chaosSet returns a set that fires at each third view of a user without a limit,
// so that the number of offers tells how many views were applied. It also has a
// campaign for carts that are left, with a timer and limits; campaigns with budgets
// and a pool of codes; and those of chaosGallery. Of their policies, consent and quiet
// hours are left out: what goes out must not depend on the time of day.
func chaosSet(t *testing.T) *campaign.Definition {
	t.Helper()
	var files []string
	for _, name := range chaosGallery {
		files = append(files, fmt.Sprintf("../../deploy/campaigns/gallery/%s/%s.yaml", name, name))
	}
	def, err := config.LoadCampaigns(files...)
	if err != nil {
		t.Fatal(err)
	}
	def.Consent, def.Quiet, def.Pause = nil, nil, nil
	own := views(t, 1)
	def.Features = append(def.Features, own.Features...)
	slices.SortFunc(def.Features, func(a, b campaign.Feature) int { return cmp.Compare(a.Name, b.Name) })
	withCode := func(data string) campaign.OfferSpec {
		return campaign.OfferSpec{Channel: "app", Kind: campaign.Service, Coupon: &campaign.Coupon{Pool: "spring"}, Data: []byte(data)}
	}
	def.Campaigns = append(def.Campaigns,
		campaign.Campaign{ID: "third", On: []string{"Product Viewed"}, If: []string{"seen % 3 == 0"},
			Offer: campaign.OfferSpec{Channel: "web", Kind: campaign.Advertising, Data: []byte(`{"n":"{{ seen }}"}`)}},
		campaign.Campaign{ID: "cart-left", On: []string{"Product Added"}, Unless: &campaign.Unless{On: []string{"Order Completed"}, Match: "product_id", Within: 2 * time.Second},
			Offer: campaign.OfferSpec{Channel: "push", Kind: campaign.Advertising, Data: []byte(`{"product":"{{ event.properties.product_id }}"}`)}, Limits: []campaign.Limit{{Max: 2, Within: time.Hour}}},
		campaign.Campaign{ID: "thanks", On: []string{"Order Completed"},
			Offer: campaign.OfferSpec{Channel: "email", Kind: campaign.Service, Data: []byte(`{"seen":"{{ seen }}"}`)}, Limits: []campaign.Limit{{Max: 1, Within: 5 * time.Second}}},
		campaign.Campaign{ID: "gift", On: []string{"Order Completed"}, Priority: 2, Budget: &campaign.Budget{Offers: chaosGifts},
			Offer: withCode(`{"code":"{{ coupon.code }}"}`)},
		campaign.Campaign{ID: "treat", On: []string{"Product Added"}, If: []string{"seen >= 2"},
			Offer: withCode(`{"code":"{{ coupon.code }}"}`), Limits: []campaign.Limit{{Max: 1, Within: 3 * time.Second}}},
		campaign.Campaign{ID: "rebate", On: []string{"Order Completed"}, Unless: &campaign.Unless{On: []string{"Order Cancelled"}, Within: time.Second},
			Budget: &campaign.Budget{Value: chaosRebates, Of: "event.properties.price"},
			Offer:  campaign.OfferSpec{Channel: "mail", Kind: campaign.Service, Data: []byte(`{"price":"{{ event.properties.price }}"}`)}, Limits: []campaign.Limit{{Max: 1, Within: 4 * time.Second}}},
	)
	slices.SortFunc(def.Campaigns, func(a, b campaign.Campaign) int { return cmp.Compare(a.ID, b.ID) })
	return def
}

// A shopKind is a kind of what happens in the load's shop.
type shopKind struct {
	weight int
	make   func(rng *rand.Rand) chaosEvent
}

// shopKinds are what happens. The first browserKinds can happen in a browser.
var shopKinds = []shopKind{
	{45, tracked("Product Viewed", 1)},
	{10, tracked("Product Added", 1)},
	{9, tracked("Order Completed", 3)},
	{1, tracked("Order Cancelled", 1)},
	{3, tracked("Price Watch Started", 1)},
	{1, tracked("Price Watch Stopped", 1)},
	{8, keyed("Posting Viewed", "posting_id", 12)},
	{4, keyed("Hotel Viewed", "hotel_id", 12)},
	{1, keyed("Hotel Booked", "hotel_id", 12)},
	{8, func(rng *rand.Rand) chaosEvent { return somebody(rng, chaosEvent{Type: "page", Name: "home"}) }},
	{3, func(rng *rand.Rand) chaosEvent { // a price
		return chaosEvent{Type: "item", Kind: "product", ID: fmt.Sprint("p", rng.IntN(8)), Event: "Price Changed",
			Properties: map[string]any{"mall": fmt.Sprint("m", rng.IntN(3)), "price": 1 + rng.IntN(300)}}
	}},
	{6, func(rng *rand.Rand) chaosEvent { // a login
		return chaosEvent{Type: "identify", UserID: chaosUser(rng), AnonymousID: chaosVisitor(rng)}
	}},
	{2, func(rng *rand.Rand) chaosEvent {
		return chaosEvent{Type: "alias", UserID: chaosUser(rng), PreviousID: chaosVisitor(rng)}
	}},
}

const browserKinds = 10

func chaosUser(rng *rand.Rand) string {
	return fmt.Sprint("user-", rng.IntN([]int{chaosUsers, chaosUsers, chaosRegular}[rng.IntN(3)]))
}

func chaosVisitor(rng *rand.Rand) string { return fmt.Sprint("visitor-", rng.IntN(chaosUsers)) }

// somebody gives an event its user or visitor.
func somebody(rng *rand.Rand, e chaosEvent) chaosEvent {
	if rng.IntN(4) == 0 {
		e.AnonymousID = chaosVisitor(rng)
	} else {
		e.UserID = chaosUser(rng)
	}
	return e
}

// tracked makes events about at most so many products.
func tracked(name string, most int) func(*rand.Rand) chaosEvent {
	return func(rng *rand.Rand) chaosEvent {
		product := func() map[string]any {
			i := rng.IntN(8)
			return map[string]any{"product_id": fmt.Sprint("p", i), "name": fmt.Sprint("product ", i), "price": 1 + rng.IntN(300)}
		}
		e := chaosEvent{Type: "track", Event: name, Properties: product()}
		if most > 1 {
			var all []any
			for range 1 + rng.IntN(most) {
				all = append(all, product())
			}
			e.Properties = map[string]any{"products": all, "price": 1 + rng.IntN(300)}
		}
		return somebody(rng, e)
	}
}

// keyed makes events about one of n items.
func keyed(name, key string, n int) func(*rand.Rand) chaosEvent {
	return func(rng *rand.Rand) chaosEvent {
		return somebody(rng, chaosEvent{Type: "track", Event: name, Properties: map[string]any{key: fmt.Sprint(key, "-", rng.IntN(n))}})
	}
}

// chaosHappens is an event of one of the kinds, by their weights.
func chaosHappens(rng *rand.Rand, kinds []shopKind) chaosEvent {
	all := 0
	for _, k := range kinds {
		all += k.weight
	}
	at := rng.IntN(all)
	for _, k := range kinds {
		if at -= k.weight; at < 0 {
			return k.make(rng)
		}
	}
	panic("the weights do not add up")
}
