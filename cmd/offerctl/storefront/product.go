package storefront

// A Product is what the shop sells. Its JSON is the properties of the events about it.
type Product struct {
	ID       string  `json:"product_id"`
	Name     string  `json:"name"`
	Category string  `json:"category"`
	Brand    string  `json:"brand"`
	Price    float64 `json:"price"`
}

// A Viewing is the properties of an event about a page. The demo's pages say that they were
// looked at for PageDwell, so that a minute is over after three of them.
type Viewing struct {
	*Product
	Category string `json:"category"`
	Dwell    int    `json:"dwell_ms"`
}

// PageDwell is how long one has stayed on a page about products, as its event says.
const PageDwell = 20_000 // milliseconds

// categories are those of the products, in the order in which they come.
func (s *Storefront) categories() (all []string) {
	for _, p := range s.opt.Products {
		if len(all) == 0 || all[len(all)-1] != p.Category {
			all = append(all, p.Category)
		}
	}
	return all
}

// of are the products that hold returns true for.
func (s *Storefront) of(hold func(Product) bool) (some []Product) {
	for _, p := range s.opt.Products {
		if hold(p) {
			some = append(some, p)
		}
	}
	return some
}

// product is the product of an id; nil: there is none.
func (s *Storefront) product(id string) *Product {
	for i := range s.opt.Products {
		if s.opt.Products[i].ID == id {
			return &s.opt.Products[i]
		}
	}
	return nil
}
