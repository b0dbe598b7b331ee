package storefront

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"offerstream/pipeline/explain"
)

// A client keeps the shop's cookies, as a browser does.
type client struct {
	t       *testing.T
	shop    *Storefront
	host    string
	cookies map[string]*http.Cookie
}

// answer is the answer to a request. A form makes it a POST.
func (c *client) answer(path string, form url.Values, headers ...string) *httptest.ResponseRecorder {
	c.t.Helper()
	r := httptest.NewRequest("GET", "http://"+c.host+path, nil)
	if form != nil {
		r = httptest.NewRequest("POST", "http://"+c.host+path, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	for _, cookie := range c.cookies {
		r.AddCookie(cookie)
	}
	w := httptest.NewRecorder()
	c.shop.ServeHTTP(w, r)
	for _, cookie := range w.Result().Cookies() {
		if c.cookies[cookie.Name] = cookie; cookie.MaxAge < 0 {
			delete(c.cookies, cookie.Name)
		}
	}
	return w
}

// says checks the status and the words of an answer.
func (c *client) says(w *httptest.ResponseRecorder, status int, words ...string) {
	c.t.Helper()
	if w.Code != status {
		c.t.Errorf("status %d, want %d: %s", w.Code, status, w.Body)
	}
	for _, word := range words {
		if !strings.Contains(w.Body.String(), word) {
			c.t.Errorf("the answer lacks %q:\n%s", word, w.Body)
		}
	}
}

func newClient(t *testing.T) (c *client, sent *[]any, asked *string) {
	sent, asked = new([]any), new(string)
	shop := New(Options{
		Gateway: "http://127.0.0.1:1", Key: "key", Secret: []byte("0123456789abcdef"),
		Products: []Product{{"bag-1", `bag "1" </script>`, "bag", "acme", 100}, {"bag-2", "bag 2", "bag", "acme", 60.5}, {"shoes-1", "shoes 1", "shoes", "hooli", 80}, {"hotel-1", "Harbour Inn", Hotels, "Busan", 60}, {"job-1", "Nurse", Jobs, "acme", 0}},
		Send:     func(_ context.Context, events ...any) error { *sent = append(*sent, events...); return nil },
		Redeem: func(_ context.Context, user, code, order string) (string, error) {
			if user != "ada" || code != "SAVE" || order == "" {
				return "the user has no such coupon", nil
			}
			return "", nil
		},
		Why: func(_ context.Context, key string) (*explain.Story, error) { *asked = key; return nil, nil },
	})
	return &client{t, shop, "127.0.0.1:8090", map[string]*http.Cookie{}}, sent, asked
}

// TestPages: each page starts the script with the key, says what page it is, and is under
// a content security policy without exceptions.
func TestPages(t *testing.T) {
	c, _, _ := newClient(t)
	for path, says := range map[string]string{
		"/":                    `offerstream.page("home")`,
		"/c/bag":               `offerstream.track("Product List Viewed", {"category":"bag","dwell_ms":20000})`,
		"/p/bag-2":             `offerstream.track("Product Viewed", {"product_id":"bag-2","name":"bag 2","brand":"acme","price":60.5,"category":"bag","dwell_ms":20000})`,
		"/p/bag-1":             `"name":"bag \"1\" \u003c/script\u003e"`,
		"/search?q=%20Shoes+1": `offerstream.track("Products Searched", {"query":"shoes 1"})`,
		"/search?q=Hotels":     `<a href="/p/hotel-1">`,
		"/?from=facebook":      `offerstream.page("home", { referrer: "https://l.facebook.com/" })`,
		"/c/hotels":            `offerstream.page("hotels")`,
		"/p/hotel-1":           `offerstream.track("Hotel Viewed", {"hotel_id":"hotel-1","name":"Harbour Inn","city":"Busan","price":60})`,
		"/p/hotel-1?booked":    "Thank you for your booking.",
		"/p/job-1":             `offerstream.track("Posting Viewed", {"posting_id":"job-1","name":"Nurse","company":"acme"})`,
		"/cart":                `offerstream.page("cart")`,
		"/login":               `offerstream.page("login")`,
	} {
		w := c.answer(path, nil)
		c.says(w, 200, says, `offerstream.start({ key: "key", show })`, `<script nonce="`, `integrity="sha384-`)
		policy := w.Header().Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'; script-src 'nonce-") || strings.Contains(policy, "unsafe") || !strings.Contains(policy, "connect-src 'self' http://127.0.0.1:1;") {
			t.Errorf("%s: %s", path, policy)
		}
	}
	for _, path := range []string{"/c/hats", "/p/bag-9", "/assets/", "/assets/none.js", "/page.html"} {
		c.says(c.answer(path, nil), 404)
	}
	for _, path := range []string{"/assets/shop.js", "/assets/shop.css"} {
		c.says(c.answer(path, nil), 200)
	}
}

// TestCart: the cart is what was put into it, until it is ordered.
func TestCart(t *testing.T) {
	c, _, _ := newClient(t)
	c.says(c.answer("/cart", nil), 200, "It is empty.")
	for _, id := range []string{"bag-2", "shoes-1", "bag-2"} {
		c.says(c.answer("/cart", url.Values{"product_id": {id}}), 303)
	}
	c.says(c.answer("/cart", url.Values{"product_id": {"none"}}), 400, "no such product")
	c.says(c.answer("/cart", url.Values{"product_id": {"job-1"}}), 400, "no such product")
	c.says(c.answer("/book", url.Values{"hotel_id": {"job-1"}}), 400, "no such hotel")
	if to := c.answer("/book", url.Values{"hotel_id": {"hotel-1"}}).Header().Get("Location"); to != "/p/hotel-1?booked" {
		t.Errorf("a booking leads to %s", to)
	}
	c.says(c.answer("/cart", nil), 200, "Cart (2)", "$140.50", `data-event="Order Completed"`, `&#34;product_id&#34;:&#34;shoes-1&#34;`)
	c.says(c.answer("/cart/remove", url.Values{"product_id": {"bag-2"}}), 303)
	c.says(c.answer("/cart", nil), 200, "Cart (1)", "$80.00")
	c.says(c.answer("/redeem", url.Values{"coupon": {"SAVE"}, "order_id": {"1"}}), 401, "log in to use a coupon")
	c.says(c.answer("/login", url.Values{"name": {"ada"}}), 303)
	c.says(c.answer("/redeem", url.Values{"coupon": {"OTHER"}, "order_id": {"1"}}), 409, "the user has no such coupon")
	c.says(c.answer("/redeem", url.Values{"coupon": {"SAVE"}, "order_id": {"1"}}), 200)
	for coupon, want := range map[string]string{"": "/?ordered=plain", "SAVE": "/?ordered=redeemed"} {
		if to := c.answer("/order", url.Values{"coupon": {coupon}}).Header().Get("Location"); to != want {
			t.Errorf("an order with the coupon %q leads to %s", coupon, to)
		}
	}
	c.says(c.answer("/?ordered=redeemed", nil), 200, "Cart (0)", "Thank you for your order.", "The coupon is used up now.")
}

// TestLogin: only who is logged in gets a user token, and only from the shop's own pages.
func TestLogin(t *testing.T) {
	c, _, asked := newClient(t)
	c.says(c.answer("/token", nil), 401, "nobody is logged in")
	c.says(c.answer("/why", nil), 400)
	c.says(c.answer("/why?visitor=ov_1", nil), 200, "[]")
	if *asked != "a:ov_1" {
		t.Errorf("it asks for %s", *asked)
	}
	c.says(c.answer("/login", url.Values{"name": {" "}}), 400, "a name has")
	c.says(c.answer("/login", url.Values{"name": {"ada"}}, "Sec-Fetch-Site", "cross-site"), 403)
	c.says(c.answer("/login", url.Values{"name": {"ada & 김"}}), 303)
	c.says(c.answer("/", nil), 200, `user: { id: "ada \u0026 김", token: () =>`, "Log out<span class=\"name\"> ada &amp; 김</span>")
	if token := c.answer("/token", nil).Body.String(); !strings.Contains(token, ".") {
		t.Errorf("the token is %q", token)
	}
	if c.says(c.answer("/why?visitor=ov_1", nil), 200); *asked != "u:ada & 김" {
		t.Errorf("it asks for %s", *asked)
	}
	c.says(c.answer("/logout", url.Values{}), 303)
	c.says(c.answer("/token", nil), 401)
	c.host = "shop.example"
	c.says(c.answer("/", nil), 421, "loopback")
}

// TestPrice: the first price of a product is told before the lower one, and then each is
// lower than the last.
func TestPrice(t *testing.T) {
	c, sent, _ := newClient(t)
	for range 3 {
		c.says(c.answer("/price", url.Values{"product_id": {"bag-1"}}), 200, "at demo-mall now")
	}
	var told []float64
	for _, e := range *sent {
		told = append(told, e.(itemEvent).Properties["price"].(float64))
	}
	if b, _ := json.Marshal(told); string(b) != "[100,71,67,63]" {
		t.Errorf("the prices are %s", b)
	}
}
