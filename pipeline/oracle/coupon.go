package oracle

import (
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// A coupon is what an offer shows of its coupon. Without keys the code is COUPON.
type coupon struct {
	Discount  string `json:"discount,omitempty"`
	SingleUse bool   `json:"single_use,omitempty"`
	Claim     string `json:"claim,omitempty"`
	Code      string `json:"code"`
	URL       string `json:"url,omitempty"`
	Expires   string `json:"expires,omitempty"`
}

// coupon makes the coupon of an offer that goes out now and expires then, nil if it has
// none.
func (c *campaign) coupon(set *definition, now, offerExpires int64) *coupon {
	spec := c.Offer.Coupon
	if spec == nil {
		return nil
	}
	made := &coupon{Discount: spec.Discount, SingleUse: spec.SingleUse, Claim: spec.Claim, Code: "COUPON"}
	if set.Coupons != nil && set.Coupons.URL != "" {
		made.URL = set.Coupons.URL + made.Code
	}
	if spec.Expires > 0 {
		made.Expires = clock(plus(now, spec.Expires))
	} else if offerExpires != 0 {
		made.Expires = clock(offerExpires)
	}
	return made
}

// value returns the coupon as a value in expressions.
func (c *coupon) value() ref.Val {
	m := textMap{values: map[string]ref.Val{"code": types.String(c.Code), "url": types.String(first(c.URL, c.Code))}}
	if at, err := time.Parse(time.RFC3339Nano, c.Expires); err == nil {
		m.values["expires"] = types.Timestamp{Time: at}
	}
	return m
}
