package worker

import (
	"bytes"
	"testing"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/coupon"
)

// TestCouponKey: a set that names a coupon key that the worker lacks stops the
// partition, when it comes and after a restart, until the worker has the key.
func TestCouponKey(t *testing.T) {
	t.Parallel()
	key, err := coupon.NewKey(bytes.Repeat([]byte{1}, coupon.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := coupon.Parse(key.Text())
	if err != nil {
		t.Fatal(err)
	}
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 1)
	without := apply(t, c, views(t, 1))
	dir := t.TempDir()
	const want = "a coupon key is missing: the campaign set makes codes under "
	w := start(t, ns.ClientURL(), dir, func(o *Options) { o.Coupons = &coupon.Keys{} })
	w.inForce(t, without)
	def := views(t, 1)
	def.Coupons = &campaign.Coupons{Key: key.ID()}
	hash := apply(t, c, def)
	w.stopsLoudly(t, want+key.ID()+", the keys given are: none")
	w.stop(t)

	w = start(t, ns.ClientURL(), dir, func(o *Options) { o.Coupons = keys })
	w.inForce(t, hash)
	publish(t, c, []scripted{{0, view(0, "ada")}})
	w.applied(t, c)
	w.stop(t)
	w = start(t, ns.ClientURL(), dir, func(o *Options) { o.Coupons = &coupon.Keys{} })
	w.stopsLoudly(t, "campaign set "+hash+": "+want)
	w.stop(t)
	w = start(t, ns.ClientURL(), dir, func(o *Options) { o.Coupons = nil })
	w.inForce(t, hash)
}
