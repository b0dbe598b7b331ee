package storefront

import (
	"bytes"
	"context"
	"crypto/rand"
	"embed"
	"encoding/json"
	"html/template"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"offerstream/pipeline/event"
	"offerstream/pipeline/explain"
	"offerstream/pipeline/page"
)

//go:embed page.html assets
var files embed.FS

// Options are what the shop needs.
type Options struct {
	Gateway  string // the gateway's address, as pages reach it
	Key      string // of role browser
	Secret   []byte // the key's, which signs user tokens
	Products []Product

	Redeem func(ctx context.Context, user, code, order string) (why string, err error) // uses a coupon for an order; why it cannot be used, "" if it is
	Send   func(ctx context.Context, events ...any) error                              // sends events as a shop's server does
	Why    func(ctx context.Context, entity string) (*explain.Story, error)            // what has become of a user's events; nil: there are none
}

// A Storefront serves the shop.
type Storefront struct {
	opt     Options
	pages   *template.Template
	handler http.Handler
	prices  prices
	asking  chan struct{} // has room for who computes a story
}

// Limits of the shop.
const (
	mostInCart = 20
	mostBody   = 4 << 10 // bytes
)

// New returns a shop.
func New(opt Options) *Storefront {
	s := &Storefront{opt: opt, prices: prices{now: map[string]float64{}}, asking: make(chan struct{}, 1)}
	s.pages = template.Must(template.New("page.html").Funcs(template.FuncMap{"json": asJSON, "comment": comment}).ParseFS(files, "page.html"))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.home)
	mux.HandleFunc("GET /c/{category}", s.list)
	mux.HandleFunc("GET /p/{id}", s.about)
	mux.HandleFunc("GET /search", s.search)
	mux.HandleFunc("GET /cart", s.cart)
	mux.HandleFunc("POST /cart", s.addToCart)
	mux.HandleFunc("POST /cart/remove", s.removeFromCart)
	mux.HandleFunc("POST /redeem", s.redeem)
	mux.HandleFunc("POST /order", s.order)
	mux.HandleFunc("POST /book", s.book)
	mux.HandleFunc("GET /login", s.loginPage)
	mux.HandleFunc("POST /login", s.login)
	mux.HandleFunc("POST /logout", s.logout)
	mux.HandleFunc("GET /token", s.token)
	mux.HandleFunc("POST /price", s.price)
	mux.HandleFunc("GET /why", s.why)
	mux.HandleFunc("GET /assets/{file}", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFileFS(w, r, files, "assets/"+r.PathValue("file"))
	})
	mux.HandleFunc("GET /favicon.ico", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	s.handler = http.NewCrossOriginProtection().Handler(mux)
	return s
}

// ServeHTTP serves the shop under the names of the loopback interface alone: a page of
// another site whose name leads here would have its visitor's login.
func (s *Storefront) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		http.Error(w, "the demo's shop is served at a loopback address only", http.StatusMisdirectedRequest)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, mostBody)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Referrer-Policy", "same-origin")
	w.Header().Set("Cache-Control", "no-store")
	s.handler.ServeHTTP(w, r)
}

// A view is what page.html shows.
type view struct {
	Title string
	Event string // of the page: page, or the name of a track event
	Say   any    // its properties, or the page's name

	Referrer string // which the page event tells instead of the browser's; "": none

	Categories          []string
	Category, Query     string
	Products            []Product // a list of them
	Product             *Product  // a page about one
	Cart                []Product
	Total               float64
	CartPage, LoginPage bool
	Order               string // the id of the order that the cart would be
	Home, Listed        bool   // Listed: the product is a hotel or a job
	Redeemed            bool   // the order was made with a coupon
	Ordered, Booked     bool

	User                string // who is logged in; "": nobody
	Key, Gateway, Nonce string
	Script              page.ScriptInfo
	Seconds             int // of PageDwell
}

// show answers with a page.
func (s *Storefront) show(w http.ResponseWriter, r *http.Request, v view) {
	v.Categories, v.User, v.Key, v.Gateway, v.Script = s.categories(), s.user(r), s.opt.Key, s.opt.Gateway, page.Script
	v.Nonce, v.Seconds = rand.Text(), PageDwell/1000
	v.Cart = s.inCart(r)
	for _, p := range v.Cart {
		v.Total += p.Price
	}
	var b bytes.Buffer
	if err := s.pages.Execute(&b, v); err != nil {
		http.Error(w, "showing the page: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'nonce-"+v.Nonce+"'; style-src 'self'; connect-src 'self' "+s.opt.Gateway+
		"; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'")
	w.Write(b.Bytes())
}

func (s *Storefront) home(w http.ResponseWriter, r *http.Request) {
	v := view{Title: "Demo shop", Event: "page", Say: "home", Home: true, Ordered: r.FormValue("ordered") != "", Redeemed: r.FormValue("ordered") == "redeemed",
		Products: s.of(func(p Product) bool { return strings.HasSuffix(p.ID, "-2") || strings.HasSuffix(p.ID, "-5") })}
	if r.URL.RawQuery == "from=facebook" {
		v.Referrer = "https://l.facebook.com/"
	}
	s.show(w, r, v)
}

func (s *Storefront) list(w http.ResponseWriter, r *http.Request) {
	category := r.PathValue("category")
	found := s.of(func(p Product) bool { return p.Category == category })
	if len(found) == 0 {
		http.NotFound(w, r)
		return
	}
	v := view{Title: category, Category: category, Event: "Product List Viewed", Say: Viewing{Category: category, Dwell: PageDwell}, Products: found}
	if listed(category) {
		v.Event, v.Say = "page", category
	}
	s.show(w, r, v)
}

func (s *Storefront) about(w http.ResponseWriter, r *http.Request) {
	p := s.product(r.PathValue("id"))
	if p == nil {
		http.NotFound(w, r)
		return
	}
	v := view{Title: p.Name, Category: p.Category, Event: "Product Viewed", Say: Viewing{p, p.Category, PageDwell}, Product: p, Listed: listed(p.Category), Booked: r.URL.RawQuery == "booked"}
	switch p.Category {
	case Hotels:
		v.Event, v.Say = "Hotel Viewed", p.Listing()
	case Jobs:
		v.Event, v.Say = "Posting Viewed", p.Listing()
	}
	s.show(w, r, v)
}

func (s *Storefront) search(w http.ResponseWriter, r *http.Request) {
	q := strings.ToLower(strings.TrimSpace(r.FormValue("q")))
	q = strings.ToValidUTF8(q[:min(len(q), 64)], "")
	s.show(w, r, view{Title: "Search", Query: q, Event: "Products Searched", Say: map[string]string{"query": q}, Products: s.of(func(p Product) bool {
		return q != "" && strings.Contains(strings.ToLower(p.Name+" "+p.Brand+" "+p.Category), strings.TrimSuffix(q, "s"))
	})})
}

func (s *Storefront) cart(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, view{Title: "Cart", CartPage: true, Order: rand.Text(), Event: "page", Say: "cart"})
}

func (s *Storefront) loginPage(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, view{Title: "Login", LoginPage: true, Event: "page", Say: "login"})
}

// The cart and the login are cookies: the shop keeps nothing.
const (
	cartCookie = "shop_cart" // ids of products
	userCookie = "shop_user"
)

func keep(w http.ResponseWriter, name, value string) {
	c := &http.Cookie{Name: name, Value: url.QueryEscape(value), Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

func kept(r *http.Request, name string) string {
	c, err := r.Cookie(name)
	if err != nil {
		return ""
	}
	value, err := url.QueryUnescape(c.Value)
	if err != nil {
		return ""
	}
	return value
}

// user is who is logged in; "": nobody.
func (s *Storefront) user(r *http.Request) string {
	name := kept(r, userCookie)
	if name == "" || event.CheckUser(name) != nil {
		return ""
	}
	return name
}

func (s *Storefront) inCart(r *http.Request) (all []Product) {
	for _, id := range strings.Split(kept(r, cartCookie), " ") {
		if p := s.sold(id); p != nil && len(all) < mostInCart {
			all = append(all, *p)
		}
	}
	return all
}

func (s *Storefront) keepCart(w http.ResponseWriter, r *http.Request, all []Product) {
	ids := make([]string, len(all))
	for i, p := range all {
		ids[i] = p.ID
	}
	keep(w, cartCookie, strings.Join(ids, " "))
	http.Redirect(w, r, "/cart", http.StatusSeeOther)
}

func (s *Storefront) addToCart(w http.ResponseWriter, r *http.Request) {
	p := s.sold(r.FormValue("product_id"))
	if p == nil {
		http.Error(w, "no such product", http.StatusBadRequest)
		return
	}
	all := s.inCart(r)
	if !slices.Contains(all, *p) {
		all = append(all, *p)
	}
	if len(all) > mostInCart {
		http.Error(w, "the cart is full: remove something first", http.StatusConflict)
		return
	}
	s.keepCart(w, r, all)
}

func (s *Storefront) removeFromCart(w http.ResponseWriter, r *http.Request) {
	id := r.FormValue("product_id")
	s.keepCart(w, r, slices.DeleteFunc(s.inCart(r), func(p Product) bool { return p.ID == id }))
}

func (s *Storefront) order(w http.ResponseWriter, r *http.Request) {
	keep(w, cartCookie, "")
	how := "plain"
	if r.FormValue("coupon") != "" { // the page redeems it before it comes here
		how = "redeemed"
	}
	http.Redirect(w, r, "/?ordered="+how, http.StatusSeeOther)
}

// book shows the hotel's page again, which the booking has changed.
func (s *Storefront) book(w http.ResponseWriter, r *http.Request) {
	p := s.product(r.FormValue("hotel_id"))
	if p == nil || p.Category != Hotels {
		http.Error(w, "no such hotel", http.StatusBadRequest)
		return
	}
	http.Redirect(w, r, "/p/"+p.ID+"?booked", http.StatusSeeOther)
}

func (s *Storefront) login(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimSpace(r.FormValue("name"))
	if err := event.CheckUser(name); name == "" || err != nil || len(name) > 64 {
		http.Error(w, "a name has 1 to 64 bytes and no control characters", http.StatusBadRequest)
		return
	}
	keep(w, userCookie, name)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s *Storefront) logout(w http.ResponseWriter, r *http.Request) {
	keep(w, userCookie, "")
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func asJSON(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

// comment is a comment for who reads the page's source; html/template takes away those of
// the template.
func comment(text string) template.HTML { return template.HTML("<!-- " + text + " -->") }
