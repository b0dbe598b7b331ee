package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestItemOfFile shows an item from a file of events, at its end and before.
func TestItemOfFile(t *testing.T) {
	t.Parallel()
	set := file(t, "c.yaml", poolSet)
	events := file(t, "e.jsonl", `{"type":"track","userId":"ada","event":"Product Viewed","timestamp":"2026-03-01T10:00:00Z","properties":{"product_id":"p1"}}
{"type":"track","userId":"ada","event":"Watched","timestamp":"2026-03-01T10:01:00Z","properties":{"product_id":"p1"}}
{"type":"item","kind":"product","id":"p2","event":"Price Changed","timestamp":"2026-03-01T10:02:00Z","properties":{"price":1}}
{"type":"track","userId":"eve","event":"Product Viewed","timestamp":"2026-03-01T10:30:00Z","properties":{"product_id":"p1"}}
`)
	of := func(args ...string) string {
		return offerctl(t, append([]string{"item", "--events", events, "--campaigns", set}, args...)...)
	}
	const want = `product p1
last update  2026-03-01T10:30:00Z
forgotten    2029-02-28T10:30:00Z, if no other comes
log time     2026-03-01T10:30:00Z
entries      2 of at most 65536
bytes        42 of at most 4194304

feature   value
viewers   2
watchers  1 user, at most 10000: u:ada
`
	if got := of("product", "p1"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	has(t, of("product", "p1", "--at", "2026-03-01T10:00:30Z"), "log time     2026-03-01T10:00:30Z\n", "viewers   1\n", "watchers  0 users, at most 10000\n")
	has(t, of("product", "p1", "--json"), `"features":{"viewers":2,"watchers":{"size":1,"keep":10000,"first":["u:ada"]}}`)
	has(t, of("product", "p3"), "product p3\nnothing is stored of it: no event has named it, or it was forgotten\n", "viewers   0\n")

	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"item product", 2, "1 argument given: name the kind and the key of one item"},
		{"item prod-uct p1", 1, "the kind of an item is 1 to "},
		{"item product p1 --campaigns " + set, 2, "--campaigns needs --events"},
		{"item product p1 --events " + events, 2, "--events needs --campaigns"},
		{"item product p1 --at noon --events " + events + " --campaigns " + set, 2, "--at noon: "},
		{"item brand p1 --events " + events + " --campaigns " + set, 1, `the set in force has no items of kind "brand": it has product`},
	} {
		_, errs := fails(t, c.code, strings.Fields(c.args)...)
		has(t, errs, c.want)
	}
}

// TestSayOwner: of a visitor who has become a user, offerctl user says at whom to look.
func TestSayOwner(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	sayOwner(&out, "x1", []byte(`{"key":"a:x1","owner":"u:o'neil & co"}`))
	sayOwner(&out, "x2", []byte(`{"key":"a:x2"}`))
	if want := "visitor x1 has become user o'neil & co, who has all that was known of the visitor: offerctl user 'o'\\''neil & co'\n"; out.String() != want {
		t.Errorf("%s, want %s", out.String(), want)
	}
}
