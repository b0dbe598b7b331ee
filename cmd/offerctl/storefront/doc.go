// Package storefront is the demo's shop: the pages that offerctl demo serves, so that one
// can see what a shop's own pages do with Offerstream, and what comes of it.
//
//	pages     storefront.go (paths, cookies, what a page is made of), page.html
//	products  product.go; hotels and jobs are products that are only listed
//	server    server.go: what a shop's server does: a user token for who is logged in, a
//	          price that falls, and why offers went out (package explain)
//	script    assets/shop.js: buttons that send an event first, the feed of one's own events,
//	          and the order of the products; assets/shop.css
//
// What a shop needs of this to show offers is in page.html: one element that loads the
// script, one call that starts it and says what page it is, and a slot. All else is a shop.
//
// It is for the demo only: a login takes any name without a password, so it is served on
// the loopback interface alone, and under no other host's name.
package storefront
