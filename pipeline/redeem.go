package pipeline

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fastjson"

	"offerstream/pipeline/coupon"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// redeem.go is what becomes of the coupons of a user: each is for one order
// (LANGUAGE.md, rule 28).

// redeemEngine is the first engine in which users hold coupons.
const redeemEngine = 5

// The events that use a coupon, and that say that its order was cancelled, as tracks
// and as system events.
const (
	CouponRedeemed = "Coupon Redeemed"
	CouponVoided   = "Coupon Voided"
)

// Limits of the coupons that a user holds.
const (
	mostCoupons = 128                // coupons
	couponStays = 7 * 24 * time.Hour // for which a coupon that has expired stays, so that a checkout is told so
	mostVoided  = 8                  // orders that are remembered as cancelled, of one coupon
	maxOrder    = 256                // bytes of an order's id
)

// A heldCoupon is a coupon with which an offer went out to the user.
type heldCoupon struct {
	offer    string // the offer's id
	campaign string // the id of its unit
	to       string // the entity that got it, for which its code was made: the user, or a visitor who has become it
	code     string // of a pool; "": it was made under a key
	at       int64  // log time at which it went out
	expires  int64  // NoDue: never
	order    string // that has used it; "": none has
	used     int64  // log time of that
	voided   []string
}

// gone reports whether the coupon has expired for so long that it is forgotten.
func (c *heldCoupon) gone(now int64) bool { return c.expired(value.Minus(now, int64(couponStays))) }

func (c *heldCoupon) expired(now int64) bool { return c.expires != NoDue && c.expires <= now }

// until is the expiry in a code.
func (c *heldCoupon) until() (t time.Time) {
	if c.expires != NoDue {
		t = time.Unix(0, c.expires)
	}
	return t
}

// holdCoupon remembers the coupon of an offer that goes out.
func (e *Entity) holdCoupon(o *Offer, now int64) {
	c := heldCoupon{offer: o.ID, campaign: o.Campaign, to: e.Key, at: now, expires: o.until}
	if o.pooled {
		c.code = o.Coupon.Code
	}
	e.coupons = append(e.coupons, c)
	e.boundCoupons(now)
}

// boundCoupons forgets the coupons that have expired long ago, and as many others as are
// too many: first those that have expired, then those that are used, of each the oldest.
func (e *Entity) boundCoupons(now int64) {
	e.coupons = slices.DeleteFunc(e.coupons, func(c heldCoupon) bool { return c.gone(now) })
	class := func(c *heldCoupon) int {
		switch {
		case c.expired(now):
			return 0
		case c.order != "":
			return 1
		}
		return 2
	}
	for len(e.coupons) > mostCoupons {
		first := 0
		for i := range e.coupons {
			if class(&e.coupons[i]) < class(&e.coupons[first]) {
				first = i
			}
		}
		if class(&e.coupons[first]) > 0 {
			e.live.tally.features.Bounds++
		}
		e.coupons = slices.Delete(e.coupons, first, first+1)
	}
}

// mergeCoupons adds the coupons of a visitor, by when they went out, those of the user
// first.
func (e *Entity) mergeCoupons(a *Entity, now int64) {
	if len(a.coupons) == 0 {
		return
	}
	e.coupons = append(e.coupons, a.coupons...)
	slices.SortStableFunc(e.coupons, func(x, y heldCoupon) int { return cmp.Compare(x.at, y.at) })
	e.boundCoupons(now)
}

// couponOf is the coupon of the user with a code, however people have typed it; nil if
// there is none. The code of a pool is compared as it is, and then as it may be typed,
// unless two codes are then the same. Without keys the end of a code that was made under
// one, which is the proof that it was, is not looked at.
func (e *Entity) couponOf(text string, now int64, keys *coupon.Keys) *heldCoupon {
	find := func(is func(c *heldCoupon) bool) (found *heldCoupon, n int) {
		for i := range e.coupons {
			if c := &e.coupons[i]; !c.gone(now) && is(c) {
				if n++; found == nil {
					found = c
				}
			}
		}
		return found, n
	}
	if c, n := find(func(c *heldCoupon) bool { return c.code != "" && c.code == text }); n > 0 {
		return c
	}
	if info, ok := coupon.Read(text); ok {
		c, _ := find(func(c *heldCoupon) bool {
			return c.code == "" && info.Of(c.campaign, c.offer, c.until()) && (keys == nil || keys.Made(info, c.to))
		})
		if c != nil {
			return c
		}
	}
	typed := coupon.Typed(text)
	if c, n := find(func(c *heldCoupon) bool { return c.code != "" && typed != "" && coupon.Typed(c.code) == typed }); n == 1 {
		return c
	}
	return nil
}

// redeem applies an event about a coupon: the first order with which its code comes has
// it, until that order is cancelled. What is decided stays so, hence an event that comes
// twice changes nothing; one that came before the coupon did, and comes again, counts.
func (s *step) redeem(ev *event.Event) {
	e := s.entity
	if len(e.coupons) == 0 || s.second || ev.NoProof || ev.Type != event.Track && ev.Type != event.System || ev.Name != CouponRedeemed && ev.Name != CouponVoided || s.live.def.Engine < redeemEngine {
		return
	}
	order := orderID(ev.Get("properties", "orderId"))
	code := orderID(ev.Get("properties", "code"))
	if order == "" || code == "" {
		return
	}
	c := e.couponOf(code, s.now, s.couponKeys())
	if c == nil || slices.Contains(c.voided, order) {
		return
	}
	kind := PageRedeemed
	switch {
	case ev.Name == CouponVoided && c.order == order:
		kind = PageVoided
		c.order, c.used = "", 0
		c.voided = keepNewest(append(c.voided, order), mostVoided)
	case ev.Name == CouponRedeemed && c.order == "" && !c.expired(s.now):
		c.order, c.used = order, s.now
	default:
		return
	}
	r := &PageRecord{
		ID: pageID(kind, e.Key, c.offer, order), Type: kind, User: e.Key[2:], Anon: e.Key[0] == 'a',
		Offer: c.offer, Campaign: c.campaign, Code: c.shown(code), OrderID: order, Time: value.FormatTime(s.now),
	}
	s.page(r)
}

// shown is the coupon's code as it was given out. typed is the code as it came.
func (c *heldCoupon) shown(typed string) string {
	if c.code != "" {
		return c.code
	}
	info, _ := coupon.Read(typed)
	return info.Code
}

// orderID is the id of an order, or a code, in an event: a text, or a number as its
// decimal text; "" if it is none, or too long.
func orderID(v *fastjson.Value) string {
	if v == nil || v.Type() != fastjson.TypeString && v.Type() != fastjson.TypeNumber {
		return ""
	}
	id, _ := value.AliasJSONKey(v)
	if len(id) > maxOrder {
		return ""
	}
	return strings.Clone(id)
}

// The states of a coupon for an order.
const (
	CouponOpen    = "open"     // it can be used
	CouponUsed    = "redeemed" // the order has used it
	CouponTaken   = "used"     // another order has used it
	CouponExpired = "expired"
	CouponVoid    = "voided"  // the order had used it, and was cancelled
	CouponUnknown = "unknown" // the user has no such coupon
	CouponAwaited = "awaited" // the user has no such coupon, and waits for the record of a visitor, who may have it
)

// A CouponState is what is known of a code of a user.
type CouponState struct {
	State    string `json:"state"`
	Code     string `json:"code,omitempty"` // as it was given out, but for CouponUnknown and CouponAwaited
	Offer    string `json:"offer,omitempty"`
	Campaign string `json:"campaign,omitempty"`
	OrderID  string `json:"orderId,omitempty"`  // that has used it
	Redeemed string `json:"redeemed,omitempty"` // log time of that, RFC 3339
	Expires  string `json:"expires,omitempty"`
}

// Coupon tells the state of a code of the user with an entity key, for an order; "" is
// no order. It changes nothing.
func (f *Fold) Coupon(key, code, order string) (s CouponState, err error) {
	e, err := f.ents.Look(key)
	if err != nil {
		return s, err
	}
	now := f.cur.LogTime
	var c *heldCoupon
	if !e.forgottenUnder(f.step.live.def, now, f.cur.Second) {
		c = e.couponOf(code, now, f.coupons)
	}
	if c == nil {
		info, ok := coupon.Read(code)
		switch {
		case ok && !info.Expires.IsZero() && info.Expires.UnixNano() <= now:
			return CouponState{State: CouponExpired, Code: info.Code, Expires: value.FormatTime(info.Expires.UnixNano())}, nil
		case len(e.claims) > 0:
			return CouponState{State: CouponAwaited}, nil
		}
		return CouponState{State: CouponUnknown}, nil
	}
	s = CouponState{State: CouponOpen, Code: c.shown(code), Offer: c.offer, Campaign: c.campaign, OrderID: c.order}
	if c.expires != NoDue {
		s.Expires = value.FormatTime(c.expires)
	}
	if c.order != "" {
		s.Redeemed = value.FormatTime(c.used)
	}
	switch {
	case order != "" && slices.Contains(c.voided, order):
		s.State = CouponVoid
	case order != "" && c.order == order:
		s.State = CouponUsed
	case c.order != "":
		s.State = CouponTaken
	case c.expired(now):
		s.State = CouponExpired
	}
	return s, nil
}

func (e *Entity) appendCoupons(w *value.Writer) {
	if len(e.coupons) == 0 {
		return
	}
	w.Len(len(e.coupons))
	for i := range e.coupons {
		c := &e.coupons[i]
		w.Text(c.offer)
		w.Text(c.campaign)
		w.Text(c.to)
		w.Text(c.code)
		w.Int(c.at)
		if w.Byte(truth(c.expires != NoDue)); c.expires != NoDue {
			w.Int(c.expires)
		}
		w.Text(c.order)
		w.Int(c.used)
		w.Len(len(c.voided))
		for _, order := range c.voided {
			w.Text(order)
		}
	}
}

func (e *Entity) readCoupons(r *value.Reader) {
	e.coupons = readList(r, 9, func() heldCoupon {
		c := heldCoupon{offer: r.Text(), campaign: r.Text(), to: r.Text(), code: r.Text(), at: r.Int(), expires: NoDue}
		if r.Byte() != 0 {
			c.expires = r.Int()
		}
		c.order, c.used = r.Text(), r.Int()
		c.voided = readList(r, 1, r.Text)
		return c
	})
}
