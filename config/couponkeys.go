package config

import (
	"errors"
	"fmt"
	"os"

	"offerstream/pipeline/coupon"
	"offerstream/pipeline/lazyregexp"
)

const couponKeysInEnv = "The variable may also have the keys themselves, separated by commas"

// CouponKeysAbout describes a flag or variable whose value ReadCouponKeys reads.
const CouponKeysAbout = "a `FILE` of keys under which codes of coupons are made, as coupons new-key makes them; OFFERSTREAM_COUPON_KEYS in the environment. " + couponKeysInEnv

// keyLike matches what was meant as keys and not as the name of a file, even if a
// digit is missing.
var keyLike = lazyregexp.New(`^[\s,]*[0-9A-Fa-f]{40,}`)

// ReadCouponKeys reads the value of coupon-keys: the name of a file of keys, or the
// keys themselves. It returns nil for an empty one. Errors do not quote secrets.
func ReadCouponKeys(t string) (*coupon.Keys, error) {
	switch {
	case t == "":
		return nil, nil
	case keyLike.MatchString(t):
		keys, err := coupon.Parse(t)
		if err != nil {
			return nil, errors.New("these are not coupon keys, of which each is 64 hexadecimal digits, with commas between them")
		}
		return keys, nil
	}
	b, err := os.ReadFile(t)
	if err != nil {
		return nil, err
	}
	keys, err := coupon.Parse(string(b))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t, err)
	}
	return keys, nil
}
