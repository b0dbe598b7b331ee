package pipeline

import (
	"fmt"
	"strings"
	"testing"

	"offerstream/pipeline/campaign"
)

// itemScene is a set about products: features of them, a campaign that asks, one that
// goes to a list, and one with a budget and a pool.
func itemScene(t *testing.T) *Backtest {
	t.Helper()
	text := string((&scene{
		features: []string{countViews,
			`{"name":"prices","per":"product","on":["Price"],"by":"event.properties.mall","agg":"last","of":"event.properties.price"}`,
			`{"name":"viewers","per":"product","on":["View"],"agg":"count","within":3600000000000}`,
			`{"name":"watchers","per":"product","on":["Watch"],"remove_on":["Unwatch"],"agg":"users","keep":20}`},
		campaigns: []string{sends("asks", "viewers", `"on":["View"],"if":["viewers >= 2"]`),
			sends("drop", "", `"on":["Price"],"users":"watchers"`),
			`{"id":"gift","on":["Order"],"offer":{"channel":"gift","kind":"advertising","coupon":{"pool":"spring"}},"budget":{"offers":3,"within":3600000000000}}`},
	}).set())
	def, err := campaign.ParseDefinition([]byte(strings.Replace(text, `"features"`, `"items":[{"kind":"product","key":"product_id"}],"features"`, 1)))
	if err != nil {
		t.Fatal(err)
	}
	b, problems := NewBacktest(def)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return b
}

func take(t *testing.T, b *Backtest, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if err := b.Line([]byte(l), func(*Offer) {}); err != nil {
			t.Fatal(err)
		}
		if b.Refused != nil {
			t.Fatalf("%s: %v", l, b.Refused)
		}
	}
}

// TestItem checks that Item shows what is stored of an item as expressions read it,
// and that it changes nothing.
func TestItem(t *testing.T) {
	t.Parallel()
	b := itemScene(t)
	for u := range 12 {
		take(t, b, fmt.Sprintf(`{"type":"track","userId":"w%02d","event":"Watch","timestamp":"2026-01-01T10:00:00Z","properties":{"product_id":"p1"}}`, u))
	}
	take(t, b, at("10:00:00", "View", `"product_id":"p1"`),
		`{"type":"item","kind":"product","id":"p1","event":"Price","timestamp":"2026-01-01T10:01:00Z","properties":{"mall":"a","price":10}}`)
	before := string(b.Users["i:product:p1"].AppendBinary(nil))
	v, err := b.Item(ItemKey("product", "p1"))
	if err != nil {
		t.Fatal(err)
	}
	if after := string(b.Users["i:product:p1"].AppendBinary(nil)); after != before {
		t.Error("Item changed the item")
	}
	const want = `{"key":"i:product:p1","kind":"product","id":"p1","known":true,"now":"2026-01-01T10:01:00Z","last_update":"2026-01-01T10:01:00Z","forgotten":"2028-12-31T10:01:00Z",` +
		`"size":{"entries":2,"most_entries":65536,"entry_bytes":41,"most_entry_bytes":4194304},` +
		`"features":{"prices":{"a":10},"viewers":1,"watchers":{"size":12,"keep":20,"first":["u:w00","u:w01","u:w02","u:w03","u:w04","u:w05","u:w06","u:w07","u:w08","u:w09"]}}}`
	if got := asJSON(v); got != want {
		t.Errorf("the item is\n%s\nwant\n%s", got, want)
	}
	if u, err := b.User("u:w00"); err != nil || !u.Known || string(u.Features["n"]) != "0" {
		t.Errorf("a user of the backtest: %+v, %v", u, err)
	}
	for name, want := range map[string]string{"prices": "null", "viewers": "0"} {
		if got := string(b.Empty(name)); got != want {
			t.Errorf("%s without an entry is %s, want %s", name, got, want)
		}
	}
	if v, err = b.Item("i:product:other"); err != nil || v.Known || v.Last != "" || string(v.Features["viewers"]) != "0" {
		t.Errorf("an unknown item: %+v, %v", v, err)
	}
	if _, err = b.Item("i:prodct:p1"); err == nil || !strings.Contains(err.Error(), `did you mean "product"?`) {
		t.Errorf("an unknown kind: %v", err)
	}
}

// TestItemSending checks what Item tells while an item is sending to users.
func TestItemSending(t *testing.T) {
	t.Parallel()
	b := itemScene(t)
	take(t, b, at("10:00:00", "Watch", `"product_id":"p1"`))
	e := b.Users["i:product:p1"]
	list := b.fold.step.live.features[b.fold.step.live.featureIndex["watchers"]].id
	e.fan = &fan{parts: []fanPart{{1, []byte("\x04done")}, {list, []byte("\x04drop")}, {2, []byte("\x04gone")}}, part: 1, next: 1}
	v, err := b.Item(e.Key)
	if want := []ItemSending{{"drop", "watchers", 1, 1}, {"gone", "", 0, 0}}; err != nil || asJSON(v.Sending) != asJSON(want) {
		t.Errorf("%+v, %v, want %+v", v.Sending, err, want)
	}
}

// TestUserOfItems checks what User tells of items, and of what a user waits for.
func TestUserOfItems(t *testing.T) {
	t.Parallel()
	b := itemScene(t)
	take(t, b, at("10:00:00", "Watch", `"product_id":"p1"`), at("10:00:00", "Watch", `"product_id":"p0"`))
	e := b.Users["u:u"]
	e.claims = []claim{{visitor: "a:x"}}
	c := &b.fold.step.live.campaigns[b.fold.step.live.unitIndex["gift"]]
	w := pending{stage: stageGrant, campaign: "gift", trigger: c.trigger, since: c.since, due: e.last, stored: &storedEvent{raw: []byte("{}"), json: 2},
		ask: &asked{of: "p:spring", got: []grant{{of: "c:gift", at: e.last, value: million}, {of: "p:other", at: e.last, code: "A1"}}}}
	e.waiting = append(e.waiting, w)
	v, err := b.fold.User("u:u")
	if err != nil {
		t.Fatal(err)
	}
	if len(v.Features) != 1 || string(v.Features["n"]) != "0" {
		t.Errorf("the user's features: %s", asJSON(v.Features))
	}
	if got, want := asJSON(v.Lists), `[{"item":"i:product:p0","list":"watchers"},{"item":"i:product:p1","list":"watchers"}]`; got != want {
		t.Errorf("lists %s, want %s", got, want)
	}
	const want = `[{"campaign":"gift","kind":"grant","asks":"p:spring","asked":"2026-01-01T10:00:00Z","granted":[{"of":"c:gift","value":1,"time":"2026-01-01T10:00:00Z"},{"of":"p:other","code":"A1","time":"2026-01-01T10:00:00Z"}]}]`
	if got := asJSON(v.Pending); got != want || asJSON(v.Claims) != `["a:x"]` {
		t.Errorf("pending %s, claims %v, want %s", got, v.Claims, want)
	}
	take(t, b, `{"type":"track","anonymousId":"x","event":"Watch","timestamp":"2026-01-01T10:00:01Z","properties":{"product_id":"p2"}}`)
	b.Users["a:x"].owner = "u:u"
	if v, err = b.fold.User("a:x"); err != nil || v.Owner != "u:u" || !v.Known {
		t.Errorf("the visitor: %+v, %v", v, err)
	}
}
