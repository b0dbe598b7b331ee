package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/nats-io/nats.go"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/coupon"
)

// couponKeys returns keys, one of which is the key returned.
func couponKeys(t *testing.T) (*coupon.Keys, *coupon.Key) {
	t.Helper()
	k, err := coupon.NewKey(bytes.Repeat([]byte{1}, coupon.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := coupon.Parse(k.Text())
	if err != nil {
		t.Fatal(err)
	}
	return keys, k
}

// couponOffer is an offer to ada as it is with a code.
func couponOffer(t *testing.T, code string, withheld bool) []byte {
	t.Helper()
	url := coupon.URL("https://shop.example/?a=1&c=", code)
	o := &pipeline.Offer{ID: "0123", Campaign: "sale", Channel: "sms", User: "ada", Withheld: withheld, Coupon: &pipeline.OfferCoupon{Code: code, URL: url}, Data: json.RawMessage(fmt.Sprintf(`{"text":"%s, %s"}`, code, code))}
	b, err := o.AppendJSON(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestVerifyCoupons: without keys the log gives placeholders, and an offer that is
// stored with a code equals one with these if nothing else differs. With keys the
// codes must be equal.
func TestVerifyCoupons(t *testing.T) {
	keys, k := couponKeys(t)
	mint := func(offer string) string { return k.Mint("sale", "u:ada", offer, time.Time{}) }
	code, other := mint("0123"), mint("0124")
	c := connect(t, startNATS(t, t.TempDir()).ClientURL(), 1)
	stored := func(chain, code string, change func(data []byte) []byte, opt *VerifyOptions, gives string) Sums {
		t.Helper()
		data := change(couponOffer(t, code, chain == "withheld"))
		m := &nats.Msg{Subject: c.Names.ChainSubject(chain, 0), Data: data, Header: nats.Header{"Offerstream-N": {"1"}, "Offerstream-S": {"1"}, "Offerstream-K": {"0"}, "Offerstream-T": {"5"}, "ce-id": {"0123"}}}
		if _, err := c.JS.PublishMsg(within(t), m); err != nil {
			t.Fatal(err)
		}
		v := &verification{reading: &reading{replay: &replay{conn: c}, end: 1}, opt: opt, newest: 1, chains: map[string]*comparison{}}
		defer v.close()
		ch, err := v.chain(within(t), chain, 0)
		if err != nil {
			t.Fatal(err)
		}
		given := record{pos: pipeline.Position{N: 1, S: 1, T: 5}, id: "0123", hash: xxhash.Sum64(couponOffer(t, gives, chain == "withheld"))}
		if err := ch.given(within(t), given); err != nil {
			t.Fatal(err)
		}
		st, err := c.JS.Stream(within(t), c.Names.OffersStream())
		if err == nil {
			err = st.Purge(within(t))
		}
		if err != nil {
			t.Fatal(err)
		}
		return v.sums
	}
	same := func(data []byte) []byte { return data }
	without, with := &VerifyOptions{}, &VerifyOptions{Coupons: keys}
	for _, tc := range []struct {
		name        string
		chain, code string
		change      func([]byte) []byte
		opt         *VerifyOptions
		gives       string
		different   int
	}{
		{"without keys", "offers.sms", code, same, without, coupon.Placeholder, 0},
		{"without keys, another code", "offers.sms", other, same, without, coupon.Placeholder, 0},
		{"without keys, a placeholder", "offers.sms", coupon.Placeholder, same, without, coupon.Placeholder, 0},
		{"without keys, withheld", "withheld", code, same, without, coupon.Placeholder, 0},
		{"without keys, another text", "offers.sms", code, func(b []byte) []byte { return bytes.Replace(b, []byte(", "), []byte("; "), 1) }, without, coupon.Placeholder, 1},
		{"without keys, two codes", "offers.sms", code, func(b []byte) []byte { return bytes.Replace(b, []byte(code+`"}`), []byte(other+`"}`), 1) }, without, coupon.Placeholder, 1},
		{"without keys, no code", "offers.sms", "sms", same, without, coupon.Placeholder, 1},
		{"with keys", "offers.sms", code, same, with, code, 0},
		{"with keys, another code", "offers.sms", other, same, with, code, 1},
		{"with keys, a placeholder", "offers.sms", coupon.Placeholder, same, with, code, 1},
	} {
		want := Sums{Offers: 1, Stored: 1, Different: tc.different}
		if got := stored(tc.chain, tc.code, tc.change, tc.opt, tc.gives); got != want {
			t.Errorf("%s: %+v, want %+v", tc.name, got, want)
		}
	}
}

// TestVerifyCouponKey: with keys that lack one that the log needs nothing is
// verified, as all codes would differ.
func TestVerifyCouponKey(t *testing.T) {
	ns := startNATS(t, t.TempDir())
	c := connect(t, ns.ClientURL(), 1)
	keys, k := couponKeys(t)
	def := views(t, 1)
	def.Coupons = &campaign.Coupons{Key: "k00000000"}
	w := start(t, ns.ClientURL(), t.TempDir())
	w.inForce(t, apply(t, c, def))
	w.stop(t)
	verified(t, c)
	want := "verify partition 0: control message 1: a coupon key is missing: the campaign set makes codes under k00000000, the keys given are: " + k.ID()
	if _, err := Verify(within(t), c, &VerifyOptions{Coupons: keys}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}
