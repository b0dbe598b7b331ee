package pipeline

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/coupon"
	"offerstream/pipeline/value"
)

// ErrCouponKey means that a set makes codes of coupons under a key that is not
// among the keys of the fold. With other codes its offers would differ from those
// of a fold that has the key.
var ErrCouponKey = errors.New("a coupon key is missing")

// Coupons gives the fold the keys under which it makes codes of coupons. Without
// this call, and with nil, all codes are coupon.Placeholder. The error is
// ErrCouponKey if the keys lack that of the set in force, and the fold is of no
// use then. Begin returns it for a message that puts such a set in force.
func (f *Fold) Coupons(keys *coupon.Keys) (err error) {
	f.coupons = keys
	if f.step.live.couponKey, err = f.couponKey(f.step.live.Set); err != nil {
		return fmt.Errorf("campaign set %s: %w", f.cur.Set, err)
	}
	return nil
}

// Coupons is Fold.Coupons for the backtest's set.
func (b *Backtest) Coupons(keys *coupon.Keys) error { return b.fold.Coupons(keys) }

// couponKey is the key of a set's codes; nil if they are placeholders, because the
// fold has no keys or the set names none.
func (f *Fold) couponKey(set *Set) (*coupon.Key, error) {
	c := set.def.Coupons
	if f.coupons == nil || c == nil || c.Key == "" {
		return nil, nil
	}
	if k := f.coupons.Key(c.Key); k != nil {
		return k, nil
	}
	have := strings.Join(f.coupons.IDs(), ", ")
	if have == "" {
		have = "none"
	}
	return nil, fmt.Errorf("%w: the campaign set makes codes under %s, the keys given are: %s: give a file that has it with --coupon-keys", ErrCouponKey, c.Key, have)
}

// coupon is the coupon c of an offer of a campaign, whose id includes the row. set
// may be nil. expires is when the coupon expires, in nanoseconds since 1970; NoDue:
// never.
func (s *step) coupon(c *campaign.Coupon, set *campaign.Coupons, campaignID, userKey, offerID string, expires int64) *OfferCoupon {
	o := &OfferCoupon{Discount: c.Discount, SingleUse: c.SingleUse, Claim: c.Claim, Code: coupon.Placeholder}
	var until time.Time
	if expires != NoDue {
		until = time.Unix(0, expires)
		o.Expires = value.FormatTime(expires)
	}
	if k := s.live.couponKey; k != nil {
		o.Code = k.Mint(campaignID, userKey, offerID, until)
	}
	if set != nil {
		o.URL = coupon.URL(set.URL, o.Code)
	}
	return o
}
