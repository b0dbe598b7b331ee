package pipeline

import "offerstream/pipeline/campaign"

// An OfferCoupon is the coupon of an offer.
type OfferCoupon struct {
	Code string `json:"code"`
	URL  string `json:"url,omitempty"`
}

func (s *step) coupon(c *campaign.Coupon, set *campaign.Coupons, campaignID, userKey, offerID string, expires int64) *OfferCoupon {
	return &OfferCoupon{Code: "COUPON"}
}
