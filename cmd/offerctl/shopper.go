package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"offerstream/cmd/offerctl/storefront"
	"offerstream/pipeline/value"
)

// A shop is a simulation with a seed: shoppers come, browse, fill carts, order
// or leave. It makes their events but does not send them.
type shop struct {
	rng      *rand.Rand
	shoppers []*shopper // in the shop now
	came     int
	sent     int
	run      string // in message ids, so that those of different runs differ

	meets *meeting // nil: what happens to one shopper changes nothing for another
}

// A shopper is one visit: the category that the shopper looks for, and the cart.
type shopper struct {
	id       string
	anon     bool
	category string
	left     int // steps until the shopper leaves
	cart     []product
}

type product struct {
	ID       string  `json:"product_id"`
	Name     string  `json:"name"`
	Category string  `json:"category"`
	Brand    string  `json:"brand"`
	Price    float64 `json:"price"`
}

var (
	shopCategories = []string{"bag", "shoes", "phone", "laptop", "watch", "dress", "headphones", "bicycle"}
	shopBrands     = []string{"acme", "globex", "initech", "umbrella", "hooli"}
	shopSources    = []string{"", "", "facebook", "newsletter", "search"}
)

// The hotels and jobs of the shop, and the towns of the hotels.
const listings = 8 // of each

var (
	shopHotels = [listings]string{"Harbour Inn", "Old Town Hotel", "Hillside Lodge", "Station Hotel", "Riverside House", "Lakeview Hotel", "Market Hotel", "Garden Guesthouse"}
	shopTowns  = []string{"Busan", "Seoul", "Jeju", "Gyeongju", "Sokcho"}
	shopJobs   = [listings]string{"Nurse", "Baker", "Data analyst", "Carpenter", "Teacher", "Electrician", "Gardener", "Accountant"}
)

func newShop(seed uint64) *shop {
	return &shop{rng: rand.New(rand.NewPCG(seed, 1)), run: fmt.Sprintf("demo-%d", seed)}
}

// A shopEvent is an event of a shopper, as JSON.
type shopEvent struct {
	Type        string         `json:"type"`
	Event       string         `json:"event,omitempty"`
	Name        string         `json:"name,omitempty"`
	Kind        string         `json:"kind,omitempty"` // of an item
	ID          string         `json:"id,omitempty"`   // likewise
	MessageID   string         `json:"messageId"`
	UserID      string         `json:"userId,omitempty"`
	AnonymousID string         `json:"anonymousId,omitempty"`
	Timestamp   string         `json:"timestamp"`
	Properties  any            `json:"properties,omitempty"`
	Traits      map[string]any `json:"traits,omitempty"`
	Context     map[string]any `json:"context,omitempty"`
}

// next makes the next event of one of the shoppers.
func (s *shop) next(now time.Time) []byte {
	if s.meets != nil {
		if line := s.meets.next(s, now); line != nil {
			return line
		}
	}
	if len(s.shoppers) < 40 || (len(s.shoppers) < 400 && s.rng.IntN(12) == 0) {
		return s.arrive(now)
	}
	i := s.rng.IntN(len(s.shoppers))
	p := s.shoppers[i]
	if p.left--; p.left <= 0 {
		s.shoppers[i] = s.shoppers[len(s.shoppers)-1]
		s.shoppers = s.shoppers[:len(s.shoppers)-1]
		if len(p.cart) > 0 && s.rng.IntN(2) == 0 {
			return s.event(p, now, shopEvent{Type: "track", Event: "Order Completed", Properties: map[string]any{"products": p.cart}})
		}
		return s.event(p, now, shopEvent{Type: "page", Name: "goodbye"})
	}
	switch n := s.rng.IntN(10); {
	case n == 0:
		return s.event(p, now, shopEvent{Type: "track", Event: "Products Searched", Properties: map[string]any{"query": p.category}})
	case n <= 2:
		it := s.product(p.category)
		p.cart = append(p.cart, it)
		return s.event(p, now, shopEvent{Type: "track", Event: "Product Added", Properties: it})
	case n == 3 && len(p.cart) > 0:
		it := p.cart[len(p.cart)-1]
		p.cart = p.cart[:len(p.cart)-1]
		return s.event(p, now, shopEvent{Type: "track", Event: "Product Removed", Properties: it})
	case n == 4 && p.left%4 == 0:
		return s.event(p, now, shopEvent{Type: "page", Name: "home"})
	}
	return s.event(p, now, shopEvent{Type: "track", Event: "Product Viewed", Properties: s.view(p.category)})
}

// A viewing is a page about a product. Half of the pages measure how long the shopper
// stays: a demo is over in seconds, but its shoppers take their time.
type viewing struct {
	product
	Dwell int `json:"dwell_ms,omitempty"`
}

func (s *shop) view(category string) viewing {
	v := viewing{product: s.product(category)}
	if n := int(v.Price) / 20; n%2 == 0 {
		v.Dwell = 4000 + 1000*n
	}
	return v
}

func (s *shop) arrive(now time.Time) []byte {
	s.came++
	p := &shopper{
		category: shopCategories[s.rng.IntN(len(shopCategories))],
		left:     5 + s.rng.IntN(26),
		anon:     s.rng.IntN(3) == 0,
	}
	p.id = fmt.Sprintf("shopper-%d", s.rng.IntN(20*s.came+100))
	s.shoppers = append(s.shoppers, p)
	context := map[string]any{"page": map[string]any{"url": "https://shop.example/", "referrer": "https://search.example/?q=" + p.category}}
	if src := shopSources[s.rng.IntN(len(shopSources))]; src != "" {
		context["campaign"] = map[string]any{"source": src}
	}
	if !p.anon && s.rng.IntN(4) == 0 {
		return s.event(p, now, shopEvent{Type: "identify", Traits: map[string]any{"segment": p.category, "since": 2020 + s.rng.IntN(6)}})
	}
	return s.event(p, now, shopEvent{Type: "page", Name: "home", Context: context})
}

func (s *shop) product(category string) product {
	return productOf(category, s.rng.IntN(40))
}

// productOf is the n-th product of a category.
func productOf(category string, n int) product {
	return product{
		ID: fmt.Sprintf("%s-%d", category, n), Name: fmt.Sprintf("%s %d", category, n), Category: category,
		Brand: shopBrands[n%len(shopBrands)], Price: float64(20*(n+1)) + 0.5,
	}
}

func hotelOf(n int) storefront.Product {
	return storefront.Product{ID: fmt.Sprint("hotel-", n+1), Name: shopHotels[n], Category: storefront.Hotels, Brand: shopTowns[n%len(shopTowns)], Price: float64(60 + 25*n)}
}

func jobOf(n int) storefront.Product {
	return storefront.Product{ID: fmt.Sprint("job-", n+1), Name: shopJobs[n], Category: storefront.Jobs, Brand: shopBrands[n%len(shopBrands)]}
}

func (s *shop) event(p *shopper, now time.Time, e shopEvent) []byte {
	s.sent++
	e.MessageID = fmt.Sprintf("%s-%d", s.run, s.sent)
	e.Timestamp = value.FormatTime(now.UnixNano())
	switch {
	case p == nil: // of an item
	case p.anon:
		e.AnonymousID = p.id
	default:
		e.UserID = p.id
	}
	b, err := json.Marshal(e)
	if err != nil { // plain values: cannot fail
		panic(err)
	}
	return b
}

func quoteJSON(s string) []byte {
	b, err := json.Marshal(s)
	if err != nil { // a string: cannot fail
		panic(err)
	}
	return b
}
