package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// startDemo starts a demo and returns the address of its shop. The demo ends with the test,
// and must then find that its offers are right.
func startDemo(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	says, out := io.Pipe()
	var errs bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"demo", "--seed", "1", "--addr", "127.0.0.1:0"}, stdio{strings.NewReader(""), out, &errs})
		out.Close()
	}()
	lines := bufio.NewScanner(says)
	lines.Scan()
	first := lines.Text()
	rest := make(chan string, 1)
	go func() {
		var all strings.Builder
		for lines.Scan() {
			all.WriteString(lines.Text() + "\n")
		}
		rest <- all.String()
	}()
	t.Cleanup(func() {
		cancel()
		if code, said := <-ended, <-rest; code != 0 || !strings.Contains(said, "compared with the log: 0 offers missing, 0 duplicate, 0 different") {
			t.Errorf("the demo ends with %d\n%s%s", code, said, errs.String())
		}
	})
	_, url, ok := strings.Cut(first, "The demo shop is at ")
	if !ok {
		t.Fatalf("the demo says first: %s", first)
	}
	return url
}

// openShop opens the demo's shop in a browser that says if a page breaks its policy.
func openShop(t *testing.T) (*browser, string) {
	t.Helper()
	b := newBrowser(t)
	url := startDemo(t)
	b.do("Page.enable", map[string]any{}, nil)
	b.do("Page.addScriptToEvaluateOnNewDocument", map[string]any{"source": "addEventListener('securitypolicyviolation', e => { document.title = 'refused: ' + e.violatedDirective })"}, nil)
	b.open(url + "/")
	return b, url
}

// told is whether the feed has an event that has arrived.
func told(event, about string) string {
	return fmt.Sprintf("[...document.querySelectorAll('#events li')].some(e => e.querySelector('b')?.textContent === %q && (e.querySelector('span')?.textContent || '') === %q && !e.querySelector('em'))", event, about)
}

// shown is whether the page shows an offer as a banner or a toast.
func shown(as, title string) string {
	return fmt.Sprintf("[...document.querySelector('.offerstream-root')?.shadowRoot.querySelectorAll('.offerstream-%s .offerstream-title') || []].some(e => e.textContent === %q)", as, title)
}

// TestShopInBrowser: somebody looks at four bags in the demo's shop, with the keyboard
// alone, logs in between, and gets the offer on the page; then fills a cart, and orders
// with a coupon.
func TestShopInBrowser(t *testing.T) {
	b, url := openShop(t)
	b.look("home-360", 360, 800, "light")
	b.look("home-1600", 1600, 1000, "dark")
	b.await(told("page", "home"))

	// Two pages about bags, as a visitor.
	b.to("nav a[href='/c/bag']")
	b.press("Enter")
	b.await(told("Product List Viewed", "bag"))
	b.to("main a[href='/p/bag-1']")
	b.press("Enter")
	b.await(told("Product Viewed", "bag-1"))
	b.await("document.querySelector('#reasons').innerText.includes('No groobee-bag offer: 2 of 4 bag views')")

	// The login. What the visitor has seen counts with the user's next two pages.
	b.to("a[href='/login']")
	b.press("Enter")
	b.await("location.pathname === '/login' && document.readyState === 'complete'")
	b.to("#name")
	for _, letter := range "grace" {
		b.press(string(letter))
	}
	b.press("Enter")
	b.await("location.pathname === '/' && document.querySelector('[data-logout]')?.textContent === 'Log out grace'")
	b.await("document.querySelector('[data-offerstream-slot=top] .offerstream-title')?.textContent === 'For you'")
	b.look("slot-360", 360, 800, "light")
	for _, id := range []string{"bag-2", "bag-3"} {
		b.open(url + "/p/" + id)
		b.await(told("Product Viewed", id))
	}
	b.await(shown("banner", "10% off bags, today only"))
	b.await("document.querySelector('#reasons .sent')?.innerText.includes('groobee-bag went out on web')")
	for _, colors := range []string{"light", "dark"} {
		b.look("offer-360-"+colors, 360, 800, colors)
		b.look("offer-1600-"+colors, 1600, 1000, colors)
	}

	// The price of a watched product falls.
	b.to("form[data-event='Price Watch Started'] button")
	b.press("Enter")
	b.await(told("Price Watch Started", "bag-3"))
	b.to("form[data-fetch] button")
	b.press("Enter")
	b.await("document.querySelector('#reasons').innerText.includes('enuri-watch went out on push')")

	// The banner goes at Escape; then a coupon for bicycles comes as a toast.
	b.await("document.querySelector('.offerstream-root').shadowRoot.activeElement === null")
	b.open(url + "/p/bicycle-1")
	b.await(told("Product Viewed", "bicycle-1"))
	b.await(shown("banner", "10% off bags, today only"))
	b.await("document.querySelector('.offerstream-root').shadowRoot.activeElement !== null")
	b.press("Escape")
	b.await("!(" + shown("banner", "10% off bags, today only") + ")")
	b.open(url + "/p/bicycle-2")
	b.await(shown("toast", "7% off for fans of bicycles"))
	b.look("toast-360", 360, 800, "light")
	b.look("toast-1600", 1600, 1000, "dark")

	// The cart.
	b.to("form[data-event='Product Added'] button")
	b.press("Enter")
	b.await("location.pathname === '/cart' && " + told("Product Added", "bicycle-2"))
	b.await("document.querySelector('.cart').innerText.includes('Bicycle 2')")

	// The checkout takes the coupon once, and then the page shows it no more.
	b.await("document.querySelector('#coupon').value.length === 47")
	b.look("cart-360", 360, 800, "light")
	b.look("cart-1600", 1600, 1000, "light")
	b.to("form[data-event='Order Completed'] button")
	b.press("Enter")
	b.await("location.search === '?ordered=redeemed' && " + told("Order Completed", "bicycle-2"))
	b.await("!(" + shown("toast", "7% off for fans of bicycles") + ")")
	if title, err := b.eval("document.title"); err != nil || strings.HasPrefix(title, "refused") {
		t.Errorf("the content security policy: %s, %v", title, err)
	}
}

// TestListingsInBrowser: a hotel's page says when it was last booked, and a job's how many
// people have viewed it; no other page does. Who comes from Facebook gets what is for him.
func TestListingsInBrowser(t *testing.T) {
	b, url := openShop(t)
	said := func(id, pattern string) string {
		return fmt.Sprintf("/%s/.test(document.querySelector('[data-offerstream-slot=%s] .offerstream-text')?.textContent)", pattern, id)
	}
	// The simulated shoppers have first to be there.
	until := func(id, event, pattern string) {
		t.Helper()
		for time.Now().Before(b.until) {
			b.open(url + "/p/" + id)
			b.await(told(event, id))
			b.await("document.querySelector('#reasons b') !== null")
			if got, err := b.eval(said(id, pattern)); err == nil && got == "true" {
				return
			}
		}
		t.Fatalf("the page of %s does not say %s", id, pattern)
	}
	b.to("nav a[href='/c/hotels']")
	b.press("Enter")
	b.await(told("page", "hotels"))
	b.look("hotels-360", 360, 800, "light")
	b.look("hotels-1600", 1600, 1000, "light")
	b.to("main a[href='/p/hotel-1']")
	b.press("Enter")
	until("hotel-1", "Hotel Viewed", "^Last booked [0-9]+:[0-9][0-9] ago$")
	b.await("[...document.querySelectorAll('#reasons .sent')].some(e => e.innerText.includes('agoda-last went out on web'))")
	b.look("hotel-360", 360, 800, "light")
	b.look("hotel-1600", 1600, 1000, "dark")

	// One's own booking is the last of a hotel that is rarely booked.
	b.open(url + "/p/hotel-8")
	b.to("form[data-event='Hotel Booked'] button")
	b.press("Enter")
	b.await("location.search === '?booked' && " + said("hotel-8", "^Last booked 0:0[0-9] ago$"))
	b.look("booked-360", 360, 800, "dark")

	until("job-1", "Posting Viewed", "^[1-9][0-9]+ people viewed this in the past hour$")
	b.look("job-360", 360, 800, "dark")
	b.look("job-1600", 1600, 1000, "light")

	// From Facebook.
	b.open(url + "/")
	b.to("main a[href='/?from=facebook']")
	b.press("Enter")
	b.await(told("page", "home, from l.facebook.com"))
	b.look("facebook-360", 360, 800, "light")
	for _, id := range []string{"dress-1", "dress-2"} {
		b.open(url + "/p/" + id)
		b.await(told("Product Viewed", id))
	}
	b.await(shown("banner", "Dresses your Facebook friends liked, best reviews first"))
	// The offers about the hotel and the job are open still, and came before this one.
	if boxes, err := b.eval("document.querySelector('.offerstream-root').shadowRoot.querySelectorAll('.offerstream-box').length"); err != nil || boxes != "1" {
		t.Errorf("the page of a dress shows %s offers, %v", boxes, err)
	}
	b.look("friends-360", 360, 800, "light")
	b.look("friends-1600", 1600, 1000, "light")
	if title, err := b.eval("document.title"); err != nil || strings.HasPrefix(title, "refused") {
		t.Errorf("the content security policy: %s, %v", title, err)
	}
}

// TestCheckoutByKeyboard: a visitor finds a product, puts it into the cart, logs in there,
// types the coupon's code and orders, with the keyboard alone. Then the products that are
// like it come first.
func TestCheckoutByKeyboard(t *testing.T) {
	b, _ := openShop(t)
	enter := func(selector, then string) {
		t.Helper()
		b.to(selector)
		b.press("Enter")
		b.await(then)
	}
	for _, id := range []string{"bicycle-1", "bicycle-2"} {
		enter("nav a[href='/c/bicycle']", "document.readyState === 'complete' && "+told("Product List Viewed", "bicycle"))
		enter("main a[href='/p/"+id+"']", told("Product Viewed", id))
	}
	b.await(shown("toast", "7% off for fans of bicycles"))
	enter("form[data-event='Product Added'] button", "location.pathname === '/cart' && "+told("Product Added", "bicycle-2"))
	b.look("visitor-cart-360", 360, 800, "light")
	enter("main a[href='/login']", "location.pathname === '/login' && document.readyState === 'complete'")
	b.look("login-360", 360, 800, "light")
	b.to("#name")
	for _, letter := range "ada" {
		b.press(string(letter))
	}
	b.press("Enter")
	b.await("location.pathname === '/' && " + told("identify", "ada"))
	enter("header a[href='/cart']", "location.pathname === '/cart' && document.readyState === 'complete'")
	b.await("document.querySelector('#coupon').value.length === 47") // the visitor's offer has become the user's
	code, err := b.eval("document.querySelector('#coupon').value")
	if err != nil {
		t.Fatal(err)
	}
	b.to("#coupon") // what Tab comes to is selected: typing replaces it
	for _, letter := range "no" {
		b.press(string(letter))
	}
	enter("form[data-event='Order Completed'] button", "document.querySelector('form output').textContent !== ''")
	b.look("refused-360", 360, 800, "light")
	b.look("refused-1600", 1600, 1000, "light")
	b.to("#coupon")
	for _, letter := range code {
		b.press(string(letter))
	}
	enter("form[data-event='Order Completed'] button", "location.search === '?ordered=redeemed' && "+told("Order Completed", "bicycle-2"))
	b.await("!(" + shown("toast", "7% off for fans of bicycles") + ")")
	b.await("document.querySelector('.products .picture').dataset.category === 'bicycle'") // for you
	b.look("ordered-360", 360, 800, "light")
	b.look("ordered-1600", 1600, 1000, "light")
}
