package oracle

import (
	"crypto/sha256"
	"encoding/hex"
	"math/big"
	"slices"
	"strings"
	"time"
)

// A voucher is a coupon that a user got with an offer.
type voucher struct {
	offer, campaign string
	pooled          string // the code of a pool, "" of others
	at, expires     int64  // log times; expires 0: never
	order           string // that has used it
	voided          []string
	theirs          bool // it was a visitor's
}

const stays = 7 * day // for which an expired one is still known

func (v *voucher) forgotten(now int64) bool { return v.expires != 0 && v.expires <= minus(now, stays) }

// gets remembers the coupon of an offer that goes out.
func (u *user) gets(o *Offer, c *campaign, now int64) {
	if o.Coupon == nil || o.Withheld || u.set.Engine < 5 {
		return
	}
	v := &voucher{offer: o.ID, campaign: o.Campaign, at: now}
	if c.Offer.Coupon.Pool != "" {
		v.pooled = o.Coupon.Code
	}
	if at, err := time.Parse(time.RFC3339Nano, o.Coupon.Expires); err == nil {
		v.expires = at.UnixNano()
	}
	u.vouchers = append(u.vouchers, v)
	u.boundVouchers(now)
}

// boundVouchers keeps at most 128: the expired ones leave first, then the used ones.
func (u *user) boundVouchers(now int64) {
	u.vouchers = slices.DeleteFunc(u.vouchers, func(v *voucher) bool { return v.forgotten(now) })
	for _, leaves := range []func(v *voucher) bool{
		func(v *voucher) bool { return v.expires != 0 && v.expires <= now },
		func(v *voucher) bool { return v.order != "" },
		func(v *voucher) bool { return true },
	} {
		for len(u.vouchers) > 128 && slices.ContainsFunc(u.vouchers, leaves) {
			i := slices.IndexFunc(u.vouchers, leaves)
			u.vouchers = slices.Delete(u.vouchers, i, i+1)
		}
	}
}

// joinVouchers takes over those of a visitor.
func (u *user) joinVouchers(a *user, now int64) {
	for _, v := range a.vouchers {
		v.theirs = true
	}
	if len(a.vouchers) == 0 {
		return
	}
	u.vouchers = append(slices.Clone(u.vouchers), a.vouchers...)
	slices.SortStableFunc(u.vouchers, func(x, y *voucher) int { return compare(x.at, y.at) })
	u.boundVouchers(now)
}

// redeem applies an event that uses a coupon, or says that its order was cancelled. It
// does so for a duplicate too.
func (u *user) redeem(ev *event) {
	if u.set.Engine < 5 || ev.typ != "track" && ev.typ != "system" || ev.name != "Coupon Redeemed" && ev.name != "Coupon Voided" || ev.root.text("proof") == "none" {
		return
	}
	props := ev.root.object("properties")
	code, _ := id(props.get("code"))
	order, _ := id(props.get("orderId"))
	if code == "" || order == "" || len(code) > 256 || len(order) > 256 {
		return
	}
	v, written := u.voucherOf(code, ev.now)
	say := func(typ string) {
		u.out.tell(told{Type: typ, User: u.key[2:], Anon: u.key[:2] == "a:", Offer: v.offer, Campaign: v.campaign, Code: written, OrderID: order, Time: clock(ev.now)}, u.key, v.offer, order)
	}
	redeems := ev.name == "Coupon Redeemed"
	switch {
	case v == nil:
		u.out.meet("coupon: not the user's")
	case slices.Contains(v.voided, order):
		u.out.meet("coupon: of an order that was cancelled")
	case !redeems && v.order == order:
		u.out.meet("coupon: voided")
		v.order, v.voided = "", append(v.voided, order)
		v.voided = v.voided[max(0, len(v.voided)-8):]
		say("voided")
	case !redeems:
		u.out.meet("coupon: voided for an order that has not used it")
	case v.order == order:
		u.out.meet("coupon: asked again")
	case v.order != "":
		u.out.meet("coupon: used already")
	case v.expires != 0 && v.expires <= ev.now:
		u.out.meet("coupon: expired")
	default:
		v.order = order
		u.out.meet("coupon: redeemed")
		for what, is := range map[string]bool{"of a visitor": v.theirs, "of a pool": v.pooled != "", "after it was voided": len(v.voided) > 0, "by a duplicate": u.duplicate(ev), "for a visitor": ev.forwarded} {
			if is {
				u.out.meet("coupon: redeemed, " + what)
			}
		}
		say("redeemed")
	}
}

// voucherOf finds the voucher with a code, and the code as it was given out.
func (u *user) voucherOf(code string, now int64) (*voucher, string) {
	for _, v := range u.vouchers {
		if !v.forgotten(now) && v.pooled != "" && v.pooled == code {
			return v, v.pooled
		}
	}
	if digits, ok := codeDigits(code); ok {
		for _, v := range u.vouchers {
			if !v.forgotten(now) && v.pooled == "" && headOf(v.campaign, v.offer, v.expires).Cmp(headIn(digits)) == 0 {
				return v, grouped(digits)
			}
		}
	}
	var like []*voucher
	for _, v := range u.vouchers {
		if !v.forgotten(now) && v.pooled != "" && asTyped(v.pooled) == asTyped(code) && asTyped(code) != "" {
			like = append(like, v)
		}
	}
	if len(like) == 1 {
		return like[0], like[0].pooled
	}
	return nil, ""
}

// Codes, as package coupon describes them: 220 bits in 44 digits. From the left: 4 bits
// version, 32 the key, 32 the campaign, 34 the expiry, 38 the nonce, 80 the MAC. Without
// keys key and MAC say nothing.

const base32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

var typos = strings.NewReplacer("-", "", " ", "", "O", "0", "I", "1", "L", "1")

func asTyped(code string) string {
	capitals := []byte(code)
	for i, c := range capitals {
		if 'a' <= c && c <= 'z' {
			capitals[i] = c - 32
		}
	}
	return typos.Replace(string(capitals))
}

// codeDigits returns the digits of a code.
func codeDigits(code string) (string, bool) {
	digits := asTyped(code)
	if len(code) > 256 || len(digits) != 44 || strings.Trim(digits, base32) != "" {
		return "", false
	}
	return digits, strings.IndexByte(base32, digits[0])>>1 == 1 // the version
}

func grouped(digits string) string {
	return digits[:11] + "-" + digits[11:22] + "-" + digits[22:33] + "-" + digits[33:]
}

// bitsOf returns the bits of digits.
func bitsOf(digits string) *big.Int {
	n := new(big.Int)
	for _, d := range digits {
		n.Add(n.Lsh(n, 5), big.NewInt(int64(strings.IndexRune(base32, d))))
	}
	return n
}

// headIn returns campaign, expiry and nonce of a code.
func headIn(digits string) *big.Int {
	n := bitsOf(digits)
	n.Rsh(n, 80)
	return n.And(n, new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 32+34+38), big.NewInt(1)))
}

// headOf returns the same of an offer.
func headOf(campaign, offer string, expires int64) *big.Int {
	first := func(text string, bits uint) *big.Int {
		sum := sha256.Sum256([]byte(text))
		n := new(big.Int).SetBytes(sum[:])
		return n.Rsh(n, 256-bits)
	}
	until := int64(0)
	if expires != 0 {
		until = min(max((expires+second-1)/second, 1), 1<<34-1)
	}
	n := first(campaign, 32)
	n.Add(n.Lsh(n, 34), big.NewInt(until))
	return n.Add(n.Lsh(n, 38), first(offer, 38))
}

// codeFor returns a code of an offer, under a key and with a MAC that are made up.
func codeFor(campaign, offer string, expires int64) string {
	n := big.NewInt(1)
	n.Add(n.Lsh(n, 32), big.NewInt(0x12345678))
	n.Add(n.Lsh(n, 32+34+38), headOf(campaign, offer, expires))
	mac, _ := new(big.Int).SetString(hex.EncodeToString([]byte(offer[:10])), 16)
	n.Add(n.Lsh(n, 80), mac)
	digits := make([]byte, 44)
	for i := range digits {
		digits[43-i] = base32[new(big.Int).And(n, big.NewInt(31)).Int64()]
		n.Rsh(n, 5)
	}
	return grouped(string(digits))
}
