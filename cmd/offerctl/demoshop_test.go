package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
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

// TestShopInBrowser: somebody looks at four bags in the demo's shop, with the keyboard
// alone, logs in between, and gets the offer on the page; then fills a cart, and orders
// with a coupon.
func TestShopInBrowser(t *testing.T) {
	b := newBrowser(t)
	url := startDemo(t)
	b.do("Page.enable", map[string]any{}, nil)
	b.do("Page.addScriptToEvaluateOnNewDocument", map[string]any{"source": "addEventListener('securitypolicyviolation', e => { document.title = 'refused: ' + e.violatedDirective })"}, nil)
	b.open(url + "/")
	b.look("home-360", 360, 800, "light")
	b.look("home-1600", 1600, 1000, "dark")
	told := func(event, about string) string {
		return fmt.Sprintf("[...document.querySelectorAll('#events li')].some(e => e.querySelector('b')?.textContent === %q && (e.querySelector('span')?.textContent || '') === %q && !e.querySelector('em'))", event, about)
	}
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
	shown := func(as, title string) string {
		return fmt.Sprintf("[...document.querySelector('.offerstream-root')?.shadowRoot.querySelectorAll('.offerstream-%s .offerstream-title') || []].some(e => e.textContent === %q)", as, title)
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
	b.await("document.querySelector('.cart').innerText.includes('bicycle 2')")

	// The checkout takes the coupon once, and then the page shows it no more.
	b.await("document.querySelector('#coupon').value.length === 47")
	b.look("cart-360", 360, 800, "light")
	b.look("cart-1600", 1600, 1000, "light")
	b.to("form[data-event='Order Completed'] button")
	b.press("Enter")
	b.await("location.search === '?ordered' && " + told("Order Completed", "bicycle-2"))
	b.await("!(" + shown("toast", "7% off for fans of bicycles") + ")")
	if title, err := b.eval("document.title"); err != nil || strings.HasPrefix(title, "refused") {
		t.Errorf("the content security policy: %s, %v", title, err)
	}
}
