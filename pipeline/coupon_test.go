package pipeline

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/coupon"
)

// couponKeys returns keys whose secrets are 32 times each of these bytes.
func couponKeys(t *testing.T, secrets ...byte) *coupon.Keys {
	t.Helper()
	text := "#\n"
	for _, b := range secrets {
		k, err := coupon.NewKey(bytes.Repeat([]byte{b}, coupon.KeySize))
		if err != nil {
			t.Fatal(err)
		}
		text += k.Text() + "\n"
	}
	if len(secrets) == 0 {
		return &coupon.Keys{}
	}
	ks, err := coupon.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return ks
}

// couponSet returns a compiled set that names a coupon key; "": none.
func couponSet(t *testing.T, key string) *Set {
	t.Helper()
	def := *emptySet().def
	def.Coupons = &campaign.Coupons{Key: key, URL: "https://shop.example/c/"}
	set, problems := Compile(&def)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return set
}

// TestCouponKey: a fold with keys refuses a set that names another one, both when
// it begins with the set and when a message puts the set in force. Without keys, or
// without a name, codes are placeholders.
func TestCouponKey(t *testing.T) {
	one, two, none := couponKeys(t, 1), couponKeys(t, 1, 2), couponKeys(t)
	id := one.IDs()[0]
	other := couponKeys(t, 2).IDs()[0]
	for _, c := range []struct {
		name string
		keys *coupon.Keys
		set  string // the key that the set names
		want string // of the error
		mint bool
	}{
		{"the key", one, id, "", true},
		{"both keys", two, id, "", true},
		{"both keys, the other one named", two, other, "", true},
		{"no keys", nil, id, "", false},
		{"no key named", two, "", "", false},
		{"another key", one, other, "under " + other + ", the keys given are: " + id, false},
		{"an empty file", none, id, "the keys given are: none", false},
	} {
		set := couponSet(t, c.set)
		begin := func(cur Cursor) *Fold {
			f, err := NewFold(cur, func(string) (*Set, error) { return set, nil }, Memory{})
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
		check := func(f *Fold, err error) {
			t.Helper()
			if (err == nil) != (c.want == "") || err != nil && (!errors.Is(err, ErrCouponKey) || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s: %v, want %q", c.name, err, c.want)
			}
			if err == nil && (f.step.live.couponKey != nil) != c.mint {
				t.Errorf("%s: codes are made under %v", c.name, f.step.live.couponKey)
			}
		}
		f := begin(Cursor{Set: set.hash})
		check(f, f.Coupons(c.keys))

		f = begin(Cursor{})
		if err := f.Coupons(c.keys); err != nil {
			t.Fatal(err)
		}
		control, err := json.Marshal(map[string]any{"set": set.hash, "engine": Engine})
		if err != nil {
			t.Fatal(err)
		}
		err = f.Begin(Message{Seq: 1, Stored: 1, Kind: Control, Data: control})
		for more := err == nil; more; {
			if more, err = f.Next(); err != nil {
				t.Fatal(err)
			}
		}
		check(f, err)
	}
}

// TestOfferCoupon: the coupon of an offer has what the campaign says, and a code
// that is the user's and the campaign's.
func TestOfferCoupon(t *testing.T) {
	keys := couponKeys(t, 1)
	set := couponSet(t, keys.IDs()[0])
	f, err := NewFold(Cursor{Set: set.hash}, func(string) (*Set, error) { return set, nil }, Memory{})
	if err != nil {
		t.Fatal(err)
	}
	spec := &campaign.Coupon{Discount: "10%", SingleUse: true, Claim: "login", Expires: time.Hour}
	expires := int64(1767225600_500000000) // 2026-01-01T00:00:00.5Z
	made := func(s *campaign.Coupons, expires int64) *OfferCoupon {
		return f.step.coupon(spec, s, "sale/1", "u:ada", "0123", expires)
	}
	const url = "https://shop.example/c/"
	if got, want := *made(set.def.Coupons, expires), (OfferCoupon{"10%", true, "login", "COUPON", url + "COUPON", "2026-01-01T00:00:00.5Z"}); got != want {
		t.Errorf("without keys: %+v, want %+v", got, want)
	}
	if got, want := *made(nil, NoDue), (OfferCoupon{"10%", true, "login", "COUPON", "", ""}); got != want {
		t.Errorf("without an address and expiry: %+v, want %+v", got, want)
	}
	if err := f.Coupons(keys); err != nil {
		t.Fatal(err)
	}
	got := made(set.def.Coupons, expires)
	info, err := keys.Check(got.Code, coupon.User("ada"), time.Unix(0, expires))
	if err != nil || info.Campaign != coupon.Number("sale/1") || !info.Expires.Equal(time.Unix(1767225601, 0)) || got.URL != url+got.Code {
		t.Errorf("%+v says %+v, %v", got, info, err)
	}
	if got := made(set.def.Coupons, NoDue); got.Expires != "" || got.Code == info.Code {
		t.Errorf("a coupon that never expires: %+v", got)
	}
}

// TestOfferJSON: AppendJSON gives the bytes that encoding/json gives, whatever
// characters a text of an offer has.
func TestOfferJSON(t *testing.T) {
	whole := func() *Offer {
		return &Offer{ID: "1", Campaign: "sale/1", Channel: "web", Kind: "service", User: "ada", Anon: true, Event: "m", Key: "k", Time: "2026-01-01T00:00:00Z", Expires: "2026-01-02T00:00:00Z",
			Coupon: &OfferCoupon{"10%", true, "login", "COUPON", "https://shop.example/c/COUPON", "2026-01-02T00:00:00Z"}, Data: json.RawMessage(`{"a":[1]}`), Withheld: true}
	}
	compare := func(o *Offer) {
		t.Helper()
		want, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		got, err := o.AppendJSON([]byte("x"))
		if err != nil || string(got) != "x"+string(want) {
			t.Errorf("%s, %v\nwant %s", got, err, want)
		}
	}
	for _, change := range []func(o *Offer){
		func(o *Offer) {}, func(o *Offer) { *o = Offer{} }, func(o *Offer) { o.Withheld = false }, func(o *Offer) { o.Coupon = nil },
		func(o *Offer) { o.Coupon = &OfferCoupon{} }, func(o *Offer) { o.Coupon = &OfferCoupon{Code: "C"} }, func(o *Offer) { o.Coupon.SingleUse = false }, func(o *Offer) { o.Data = nil },
	} {
		o := whole()
		change(o)
		compare(o)
	}
	for _, special := range []string{`"`, `\`, "<", "&", "é", "\n", "\x7f", "\u2028", "\xff"} {
		o := whole()
		for _, s := range []*string{&o.ID, &o.Campaign, &o.User, &o.Event, &o.Key, &o.Coupon.Discount, &o.Coupon.Claim, &o.Coupon.Code, &o.Coupon.URL, &o.Coupon.Expires} {
			was := *s
			*s += special
			compare(o)
			*s = was
		}
	}
	const want = `{"id":"1","campaign":"sale/1","channel":"web","kind":"service","user":"ada","anonymous":true,"event":"m","key":"k","time":"2026-01-01T00:00:00Z","expires":"2026-01-02T00:00:00Z",` +
		`"coupon":{"discount":"10%","single_use":true,"claim":"login","code":"COUPON","url":"https://shop.example/c/COUPON","expires":"2026-01-02T00:00:00Z"},"data":{"a":[1]},"withheld":true}`
	if got, _ := whole().AppendJSON(nil); string(got) != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// TestWithheldChain: a withheld record is on a chain of its own.
func TestWithheldChain(t *testing.T) {
	f, err := NewFold(Cursor{}, nil, Memory{})
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range []*Offer{{Channel: "web"}, {Channel: "web", Withheld: true}, {Channel: "sms", Withheld: true}} {
		f.offer(o)
		e := f.effects[i]
		if want := []string{"offers.web", "withheld", "withheld"}[i]; e.Chain != want || e.Offer != o {
			t.Errorf("%+v is on %s, want %s", o, e.Chain, want)
		}
	}
	if last := f.cur.Chains["withheld"].Last; last.N != 2 || last.K != 1 {
		t.Errorf("the chain is at %+v", last)
	}
	if _, err := readAcceptance([]byte(`{"chains":{"withheld":3,"dead":1,"offers.web":2},"why":"a disk"}`)); err != nil {
		t.Error(err)
	}
	if _, err := readAcceptance([]byte(`{"chains":{"withheld.web":3},"why":"a disk"}`)); err == nil {
		t.Error("withheld.web is a chain")
	}
}
