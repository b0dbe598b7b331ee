package pipeline

import (
	"testing"

	"offerstream/pipeline/campaign"
)

// TestUser checks that User shows what is stored as expressions read it, and
// that it changes nothing.
func TestUser(t *testing.T) {
	def, err := campaign.ParseDefinition((&scene{
		features: []string{`{"name":"brands","on":["View"],"by":"category","agg":"distinct","of":"item.brand","within":60000000000}`, countViews,
			`{"name":"seen","on":["View"],"agg":"list","fields":["brand","p"],"keep":2}`, `{"name":"low","on":["Add"],"agg":"min","of":"event.properties.p"}`, looking},
		campaigns: []string{sends("cart", "", `"on":["View"],"unless":{"on":["Order"],"match":"brand","within":600000000000}`), sends("stay", "", looked), sends("hello", "n", `"on":["View"]`)},
	}).set())
	if err != nil {
		t.Fatal(err)
	}
	b, problems := NewBacktest(def)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for _, l := range []string{
		at("10:00:00", "View", `"category":"bag","brand":"acme","p":[1]`), identify("10:00:01", `"age":31,"name":"Kim"`),
		at("10:01:00", "View", `"category":"hat","brand":"zeta"`), at("10:01:00", "View", `"category":"hat","brand":"apex"`),
		`{"type":"system","event":"Consent Granted","userId":"u","timestamp":"2026-01-01T10:01:00Z","properties":{"channel":"sms"}}`,
	} {
		if err := b.Line([]byte(l), func(*Offer) {}); err != nil {
			t.Fatal(err)
		}
	}
	before := string(b.Users["u:u"].AppendBinary(nil))
	v, err := b.fold.User("u:u")
	if err != nil {
		t.Fatal(err)
	}
	if after := string(b.Users["u:u"].AppendBinary(nil)); after != before {
		t.Error("User changed the user")
	}
	ids := v.Offers
	v.Offers = nil
	const want = `{"key":"u:u","known":true,"now":"2026-01-01T10:01:00Z","last_event":"2026-01-01T10:01:00Z","events":5,"size":{"entries":10,"entry_bytes":206,"trait_bytes":18,"pending_bytes":0},"traits":{"age":31,"name":"Kim"},` +
		`"session":{"started":"2026-01-01T10:00:00Z","last":"2026-01-01T10:01:00Z","count":3,"events":["View","View","View"],"referrer_host":"","source":"","keyword":""},` +
		`"consent":[{"channel":"sms","granted":true,"time":"2026-01-01T10:01:00Z","holds":true}],` +
		`"features":{"brands":{"hat":2},"looking":"60s","low":null,"n":3,"seen":[{"brand":"zeta"},{"brand":"apex"}]},` +
		`"pending":[{"campaign":"cart","key":"acme","kind":"absence","due":"2026-01-01T10:10:00Z"},{"campaign":"cart","key":"apex","kind":"absence","due":"2026-01-01T10:11:00Z"},{"campaign":"cart","key":"zeta","kind":"absence","due":"2026-01-01T10:11:00Z"}],` +
		`"sent":[{"campaign":"hello","ever":3,"times":["2026-01-01T10:00:00Z","2026-01-01T10:01:00Z","2026-01-01T10:01:00Z"]},{"campaign":"stay","ever":3,"times":["2026-01-01T10:01:00Z","2026-01-01T10:01:00Z","2026-01-01T10:01:00Z"]}],"offers":null}`
	if got := asJSON(v); got != want {
		t.Errorf("the user is\n%s\nwant\n%s", got, want)
	}
	if len(ids) != 6 {
		t.Errorf("%d offer ids are remembered, want 6", len(ids))
	}
	if v, err = b.fold.User("a:nobody"); err != nil || v.Known || v.Last != "" || string(v.Features["n"]) != "0" {
		t.Errorf("an unknown user: %+v, %v", v, err)
	}
}
