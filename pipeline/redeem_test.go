package pipeline

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/coupon"
	"offerstream/pipeline/event"
)

// couponScene gives a coupon at each View, which expires after a minute: of the pool
// spring at View Pool.
func couponScene() scene {
	return scene{nil, []string{
		`{"id":"made","on":["View"],"offer":{"channel":"web","kind":"service","coupon":{"expires":60000000000}}}`,
		`{"id":"pooled","on":["View Pool"],"offer":{"channel":"push","kind":"service","coupon":{"expires":60000000000,"pool":"spring"}}}`,
	}}
}

// codes are the codes of the coupons that went out, the oldest first, as they would be
// under a key of the set.
func (p *posted) codes(keys *coupon.Keys) (all []string) {
	for _, e := range p.sent {
		o := e.Offer
		code := o.Coupon.Code
		if !o.pooled {
			code = keys.Key(keys.IDs()[0]).Mint(o.Campaign, o.Entity(), o.ID, time.Unix(0, o.until))
		}
		all = append(all, code)
	}
	return all
}

func (p *posted) redeem(user, code, order string) {
	p.event(user, CouponRedeemed, fmt.Sprintf(`"code":%q,"orderId":%q`, code, order))
}

func (p *posted) void(user, code, order string) {
	p.event(user, CouponVoided, fmt.Sprintf(`"code":%q,"orderId":%q`, code, order))
}

// pagesAre compares the page records since the last call: type, user and order.
func (p *posted) pagesAre(want string) {
	p.t.Helper()
	var got []string
	for _, e := range p.pages {
		r := e.Page
		got = append(got, strings.TrimSpace(fmt.Sprint(r.Type, " ", r.User, " ", r.OrderID)))
	}
	if p.pages = nil; strings.Join(got, ", ") != want {
		p.t.Errorf("page records: %s, want %s", strings.Join(got, ", "), want)
	}
}

// state is that of a code for an order.
func (p *posted) state(user, code, order, want string) {
	p.t.Helper()
	if s, err := p.f.Coupon(user, code, order); err != nil || s.State != want {
		p.t.Errorf("%s of %s for %q is %+v, %v, want %s", code, user, order, s, err, want)
	}
}

// TestCouponOnce: a code is for one order, however it is typed and however often that
// order asks, until it is voided; then for another one, once more.
func TestCouponOnce(t *testing.T) {
	keys := couponKeys(t, 1)
	p := newPosted(t, couponScene())
	p.event("u", "View", "")
	code := p.codes(keys)[0]
	p.state("u:u", code, "o1", CouponOpen)
	p.redeem("u", strings.ToLower(strings.ReplaceAll(code, "-", " ")), "o1")
	if r := p.pages[0].Page; r.Code != code || r.Offer != p.sent[0].Offer.ID || r.Campaign != "made" || string(r.JSON()) != fmt.Sprintf(`{"type":"redeemed","user":"u","offer":%q,"campaign":"made","code":%q,"orderId":"o1","time":"1970-01-01T00:00:02Z"}`, r.Offer, code) {
		t.Errorf("the record is %s", r.JSON())
	}
	p.pagesAre("redeemed u o1")
	p.again()
	p.redeem("u", code, "o1")
	p.redeem("u", code, "o2")
	p.pagesAre("")
	p.state("u:u", code, "o1", CouponUsed)
	p.state("u:u", code, "o2", CouponTaken)
	p.state("u:u", code, "", CouponTaken)
	p.void("u", code, "o2")
	p.pagesAre("")
	p.void("u", code, "o1")
	p.void("u", code, "o1")
	p.pagesAre("voided u o1")
	p.again()
	p.state("u:u", code, "o1", CouponVoid)
	p.redeem("u", code, "o1") // late
	p.pagesAre("")
	p.redeem("u", code, "o3")
	p.redeem("u", code, "o2")
	p.pagesAre("redeemed u o3")
	p.state("u:u", code, "o3", CouponUsed)
}

// TestCouponRefused: nobody else's code is taken, no expired one, and nothing that a
// browser sent.
func TestCouponRefused(t *testing.T) {
	keys := couponKeys(t, 1)
	p := newPosted(t, couponScene())
	p.event("u", "View", "")
	p.event("v", "View", "")
	mine, theirs := p.codes(keys)[0], p.codes(keys)[1]
	p.redeem("u", theirs, "o1")
	p.redeem("u", "COUPON", "o1")
	p.redeem("u", mine, "")
	p.redeem("u", mine, strings.Repeat("o", maxOrder+1))
	p.redeem("u", "", "o1")
	p.message(In, fmt.Appendf(nil, `{"type":"system","event":"Coupon Redeemed","userId":"u","messageId":"b","proof":"none","properties":{"code":%q,"orderId":"o1"}}`, mine))
	p.pagesAre("")
	p.state("u:u", theirs, "o1", CouponUnknown)
	p.state("u:w", mine, "o1", CouponUnknown)
	p.message(In, fmt.Appendf(nil, `{"type":"system","event":"Coupon Redeemed","userId":"u","messageId":"s","properties":{"code":%q,"orderId":17}}`, mine))
	p.pagesAre("redeemed u 17")
	p.tick(60)
	p.state("u:v", theirs, "o1", CouponExpired)
	p.state("u:u", mine, "17", CouponUsed) // it was valid then
	p.redeem("v", theirs, "o1")
	p.pagesAre("")
	p.tick(uint64(couponStays / time.Second))
	p.state("u:v", theirs, "o1", CouponExpired) // as the code says
	p.state("u:u", mine, "17", CouponExpired)
	if n := len(p.ents["u:v"].coupons); n != 1 {
		t.Errorf("%d coupons, want the one that no event has removed", n)
	}
	p.event("v", "View", "")
	if n := len(p.ents["u:v"].coupons); n != 1 {
		t.Errorf("%d coupons, want the new one alone", n)
	}
}

// TestCouponKeys: with keys a code must have been made under one of them, for whoever
// got it; without keys the fold decides by the rest of it.
func TestCouponKeys(t *testing.T) {
	keys, others := couponKeys(t, 1), couponKeys(t, 2)
	for _, tt := range []struct {
		name  string
		keys  *coupon.Keys
		under *coupon.Keys
		end   string // in place of the code's last digit
		want  string
	}{
		{"right", keys, keys, "", "redeemed u o"},
		{"a digit is wrong", keys, keys, "Z", ""},
		{"under another key", keys, others, "", ""},
		{"under another key that the fold has too", couponKeys(t, 1, 2), others, "", "redeemed u o"},
		{"without keys", nil, keys, "Z", "redeemed u o"},
	} {
		p := newPosted(t, couponScene())
		if err := p.f.Coupons(tt.keys); err != nil {
			t.Fatal(err)
		}
		p.event("u", "View", "")
		code := p.codes(tt.under)[0]
		if tt.end != "" {
			if code[len(code)-1:] == tt.end {
				tt.end = "Y"
			}
			code = code[:len(code)-1] + tt.end
		}
		p.redeem("u", code, "o")
		t.Log(tt.name)
		p.pagesAre(tt.want)
	}
}

// TestCouponPool: codes of pools are compared as they are typed where that tells them
// apart, else exactly.
func TestCouponPool(t *testing.T) {
	p := newPosted(t, couponScene())
	p.message(In, event.AppendCodes(nil, "spring", []string{"AB-O1", "ab01", "Summer-L7", "FOR-V"}, `"messageId":"1"`))
	for _, user := range []string{"u", "u", "u", "v"} {
		p.event(user, "View Pool", "")
		p.deliver(0)
	}
	p.redeem("u", "abo1", "o1") // two are like it
	p.redeem("u", "for-v", "o1")
	p.pagesAre("")
	p.redeem("u", "ab01", "o1")
	p.redeem("u", "summer17", "o2")
	p.redeem("u", "AB-O1", "o3")
	if c := p.pages[1].Page.Code; c != "Summer-L7" {
		t.Errorf("the record has the code %s, want that of the pool", c)
	}
	p.pagesAre("redeemed u o1, redeemed u o2, redeemed u o3")
}

// TestMergeCoupons: a code that was given to a visitor is the user's once the record is
// there, used or not; until then nobody knows. What comes for the visitor goes to the user.
func TestMergeCoupons(t *testing.T) {
	keys := couponKeys(t, 1)
	p := newPosted(t, couponScene())
	if err := p.f.Coupons(keys); err != nil {
		t.Fatal(err)
	}
	p.event("~v", "View", "")
	p.event("~v", "View", "")
	p.event("u", "View", "")
	a, b := p.codes(keys)[0], p.codes(keys)[1]
	p.redeem("~v", a, "o1")
	p.pagesAre("redeemed v o1")
	p.redeem("u", b, "o2")
	p.state("u:u", b, "o2", CouponUnknown)
	p.identify("u", "v")
	p.state("u:u", b, "o2", CouponAwaited)
	p.deliver(1)
	p.pages = nil
	p.state("u:u", b, "o2", CouponAwaited)
	p.deliver(0)
	p.state("u:u", b, "o2", CouponOpen)
	p.state("u:u", a, "o2", CouponTaken)
	p.redeem("u", a, "o2")
	p.pagesAre("")
	p.redeem("~v", b, "o3")
	p.deliver(0)
	p.pagesAre("redeemed u o3")
	p.state("u:u", b, "o3", CouponUsed)
	u, err := p.f.User("u:u")
	if err != nil || len(u.Coupons) != 3 || u.Coupons[1].Visitor != "a:v" || u.Coupons[1].OrderID != "o3" {
		t.Errorf("the user is shown with %+v, %v", u.Coupons, err)
	}
}

// TestCouponDuplicate: an event that came before the coupon did counts when it comes
// again, though it is a duplicate; what is decided stays.
func TestCouponDuplicate(t *testing.T) {
	keys := couponKeys(t, 1)
	p := newPosted(t, couponScene())
	p.event("~v", "View", "")
	code := p.codes(keys)[0]
	same := fmt.Appendf(nil, `{"type":"system","event":"Coupon Redeemed","userId":"u","messageId":"same","properties":{"code":%q,"orderId":"o1"}}`, code)
	p.message(In, same)
	p.identify("u", "v")
	p.deliver(0)
	p.pages = nil
	p.message(In, same)
	p.message(In, same)
	p.pagesAre("redeemed u o1")
	if n := p.f.Duplicates(); n != 2 {
		t.Errorf("%d duplicates, want 2", n)
	}
	p.void("u", code, "o1")
	p.message(In, same)
	p.pagesAre("voided u o1")
}

// TestCouponBound: a user holds so many coupons; those that are used leave first.
func TestCouponBound(t *testing.T) {
	keys := couponKeys(t, 1)
	s := couponScene()
	s.campaigns[0] = `{"id":"made","on":["View"],"offer":{"channel":"web","kind":"service","coupon":{}}}`
	p := newPosted(t, s)
	for range mostCoupons {
		p.event("u", "View", "")
	}
	all := p.codesForEver(keys)
	p.redeem("u", all[5], "o")
	p.pagesAre("redeemed u o")
	p.event("u", "View", "")
	p.event("u", "View", "")
	p.state("u:u", all[5], "o", CouponUnknown)
	p.state("u:u", all[0], "o", CouponUnknown)
	p.state("u:u", all[1], "o", CouponOpen)
	if n := len(p.ents["u:u"].coupons); n != mostCoupons {
		t.Errorf("%d coupons, want %d", n, mostCoupons)
	}
	if _, features := p.f.Counts(); features.Bounds != 2 {
		t.Errorf("the bound was counted %d times, want 2", features.Bounds)
	}
}

// codesForEver are the codes of coupons that never expire.
func (p *posted) codesForEver(keys *coupon.Keys) (all []string) {
	for _, e := range p.sent {
		all = append(all, keys.Key(keys.IDs()[0]).Mint(e.Offer.Campaign, e.Offer.Entity(), e.Offer.ID, time.Time{}))
	}
	return all
}

// TestCouponEngine: under an engine without coupons nothing is remembered.
func TestCouponEngine(t *testing.T) {
	def := couponScene().withItems(t, campaign.ClockBroker)
	def.Engine, def.Items, def.Campaigns = redeemEngine-1, nil, slices.DeleteFunc(def.Campaigns, func(c campaign.Campaign) bool { return c.ID == "pooled" })
	p := newPostedOf(t, mustRun(t, def))
	p.event("u", "View", "")
	p.redeem("u", p.codes(couponKeys(t, 1))[0], "o")
	p.pagesAre("")
	if n := len(p.ents["u:u"].coupons); n != 0 {
		t.Errorf("%d coupons", n)
	}
}
