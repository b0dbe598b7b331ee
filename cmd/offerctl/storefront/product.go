package storefront

// A Product is what the shop sells, or a hotel or a job that it lists. Of what it sells the
// JSON is the properties of the events about it.
type Product struct {
	ID       string  `json:"product_id"`
	Name     string  `json:"name"`
	Category string  `json:"category"`
	Brand    string  `json:"brand"` // of a hotel its city, of a job who offers it
	Price    float64 `json:"price"` // 0: none
}

// The categories of what is only listed here: it cannot be put into a cart.
const (
	Hotels = "hotels"
	Jobs   = "jobs"
)

// A Listing is the properties of an event about a hotel or a job. Each is an item of its
// own kind, which the name of its id tells.
type Listing struct {
	Hotel   string  `json:"hotel_id,omitempty"`
	Posting string  `json:"posting_id,omitempty"`
	Name    string  `json:"name"`
	City    string  `json:"city,omitempty"`
	Company string  `json:"company,omitempty"`
	Price   float64 `json:"price,omitempty"`
}

// Listing is what events tell of a hotel or a job.
func (p Product) Listing() Listing {
	if p.Category == Hotels {
		return Listing{Hotel: p.ID, Name: p.Name, City: p.Brand, Price: p.Price}
	}
	return Listing{Posting: p.ID, Name: p.Name, Company: p.Brand}
}

// listed reports whether the products of a category cannot be bought here.
func listed(category string) bool { return category == Hotels || category == Jobs }

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

// sold is the product of an id that the shop sells; nil: there is none.
func (s *Storefront) sold(id string) *Product {
	if p := s.product(id); p != nil && !listed(p.Category) {
		return p
	}
	return nil
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
