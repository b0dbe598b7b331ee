package bench

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
)

// The numbers of generated campaigns by scope, the widest first. All further
// campaigns are about single products.
const (
	campaignsOfShop     = 3   // all views, all additions, all orders
	campaignsOfMany     = 7   // half of the categories, above some price
	campaignsOfCategory = 40  // one category
	campaignsOfBrand    = 140 // one brand in a category

	assortment = 1000 // products in a category; events are about the first 200
)

// generatedCampaigns returns a set of k campaigns such as a shop might have, with
// mixed events, categories, brands, products and thresholds. A few are as wide as
// the shipped ones, so that each view, addition and order matches one. The more
// campaigns there are, the narrower the further ones. So an event matches a few
// campaigns, whether there are ten or 25,000, and a larger set contains all
// campaigns of a smaller one. Runs differ only in the number of campaigns among
// which these few must be found.
func generatedCampaigns(k int) *campaign.Definition {
	rng := rand.New(rand.NewPCG(4, 5))
	def := &campaign.Definition{
		Engine: pipeline.Engine, Clock: campaign.ClockBroker, Lateness: campaign.DefaultLateness, Bounds: campaign.DefaultBounds,
		Forget: campaign.Forget{Anonymous: campaign.DefaultForgetAnonymous, Known: campaign.DefaultForgetKnown},
		Features: []campaign.Feature{
			{Name: "added", On: []string{"Product Added"}, By: "category", Agg: "count", Within: 24 * time.Hour},
			{Name: "brands", On: []string{"Product Viewed"}, By: "brand", Agg: "count", Within: 24 * time.Hour},
			{Name: "orders", On: []string{orderCompleted}, Agg: "count", Within: 30 * 24 * time.Hour},
			{Name: "spent", On: []string{"Product Viewed"}, Agg: "sum", Of: "event.properties.price", Within: time.Hour},
			{Name: "views", On: []string{"Product Viewed"}, By: "category", Agg: "count", Within: time.Hour},
		},
		Caps:  []campaign.Cap{{Channels: []string{"email", "push"}, Max: 3, Within: 24 * time.Hour}},
		Pause: &campaign.Pause{Channels: []string{"email", "push"}, AfterAny: 30 * time.Minute},
	}
	for i := range k {
		def.Campaigns = append(def.Campaigns, generatedCampaign(rng, i))
	}
	return def
}

func generatedCampaign(rng *rand.Rand, i int) campaign.Campaign {
	c := campaign.Campaign{ID: fmt.Sprintf("c%05d", i), Fresh: 10 * time.Minute, Priority: float64(rng.IntN(100)),
		Limits: []campaign.Limit{{Max: 1, Within: 7 * 24 * time.Hour}},
		Offer:  campaign.OfferSpec{Channel: []string{"web", "push", "email"}[rng.IntN(3)], Kind: campaign.Advertising, Expires: time.Hour, Data: []byte(`{"title":"For you: {{ event.properties.category }}"}`)}}
	where := scope(rng, i)
	kind := rng.IntN(100)
	if i < campaignsOfShop {
		kind = []int{0, 99, 80}[i]
	}
	switch {
	case kind < 35:
		c.On = []string{"Product Viewed"}
		c.If = []string{fmt.Sprintf("views[event.properties.category] >= %d", 10+rng.IntN(30)), "orders == 0"}
	case kind < 70:
		c.On = []string{"Product Viewed"}
		c.If = []string{fmt.Sprintf("spent > %d && brands[event.properties.brand] >= %d", 2000+rng.IntN(5000), 5+rng.IntN(20))}
	case kind < 80:
		c.On = []string{"Product Added"}
		where = append(where, fmt.Sprintf("event.properties.price > %d", 100+rng.IntN(400)))
		c.If = []string{fmt.Sprintf("added[event.properties.category] >= %d", 3+rng.IntN(8))}
	case kind < 85:
		c.On = []string{orderCompleted}
		c.If = []string{fmt.Sprintf("orders >= %d", 5+rng.IntN(10))}
	default:
		c.On = []string{"Product Added"}
		c.If = []string{fmt.Sprintf("orders >= %d", 5+rng.IntN(10))}
		c.Unless = &campaign.Unless{On: []string{orderCompleted}, Match: "product_id", Within: time.Hour}
	}
	c.Where = strings.Join(where, " && ")
	return c
}

// scope returns the conditions that limit campaign i to categories, a brand or
// products.
func scope(rng *rand.Rand, i int) []string {
	category := rng.IntN(len(categories))
	switch i -= campaignsOfShop; {
	case i < 0:
		return nil
	case i < campaignsOfMany:
		some := slices.Clone(categories)
		rng.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
		return []string{oneOf("category", some[:len(some)/2]), fmt.Sprintf("event.properties.price > %d", 20+rng.IntN(200))}
	case i < campaignsOfMany+campaignsOfCategory:
		return []string{oneOf("category", categories[category:category+1])}
	case i < campaignsOfMany+campaignsOfCategory+campaignsOfBrand:
		return []string{oneOf("category", categories[category:category+1]), fmt.Sprintf("event.properties.brand == \"brand-%d\"", rng.IntN(7))}
	}
	var products []string
	for range 1 + 2*(rng.IntN(4)/3) { // one, or three
		products = append(products, fmt.Sprintf("p%d", category*1000+rng.IntN(assortment)))
	}
	return []string{oneOf("product_id", products)}
}

// campaignsWide is the number of generated campaigns that are not about single
// products.
const campaignsWide = campaignsOfShop + campaignsOfMany + campaignsOfCategory + campaignsOfBrand

// generatedRows returns a set like generatedCampaigns(k), in which those about single
// products are rows of one campaign. A row has a product and a threshold, so that an
// event matches about as many rows as it matches such campaigns.
func generatedRows(k int) *campaign.Definition {
	def := generatedCampaigns(min(k, campaignsWide))
	if k <= campaignsWide {
		return def
	}
	rng := rand.New(rand.NewPCG(6, 7))
	c := campaign.Campaign{ID: "products", On: []string{"Product Viewed"}, Where: "event.properties.product_id == row.product", Fresh: 10 * time.Minute,
		If:     []string{"views[event.properties.category] >= row.min", "orders == 0"},
		Limits: []campaign.Limit{{Max: 1, Within: 7 * 24 * time.Hour}},
		Offer:  campaign.OfferSpec{Channel: "web", Kind: campaign.Advertising, Expires: time.Hour, Data: []byte(`{"title":"For you: {{ row.product }}"}`)}}
	for i := campaignsWide; i < k; i++ {
		id := fmt.Sprintf("r%05d", i)
		product := fmt.Sprintf("p%d", rng.IntN(len(categories))*1000+rng.IntN(assortment))
		c.Rows = append(c.Rows, campaign.Row{ID: id, Values: fmt.Appendf(nil, `{"id":%q,"min":%d,"product":%q}`, id, 10+rng.IntN(30), product)})
	}
	def.Campaigns = append(def.Campaigns, c)
	return def
}

// generated returns the generated set of k campaigns, or of rows.
func generated(k int, rows bool) *campaign.Definition {
	if rows {
		return generatedRows(k)
	}
	return generatedCampaigns(k)
}

// oneOf returns the condition that a property is one of the texts.
func oneOf(property string, texts []string) string {
	if len(texts) == 1 {
		return fmt.Sprintf("event.properties.%s == %q", property, texts[0])
	}
	return fmt.Sprintf(`event.properties.%s in ["%s"]`, property, strings.Join(texts, `", "`))
}
