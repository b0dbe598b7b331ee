package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestCouponKeys: keys come from a file, or are in the variable; a worker's log
// shows their ids alone, and no error shows a secret.
func TestCouponKeys(t *testing.T) {
	a, b := strings.Repeat("a1", 32), strings.Repeat("b2", 32)
	file := write(t, "coupon.keys", "# old\n"+a+"\n"+b+" # new\n")
	var ids []string
	for _, c := range []struct{ args, env string }{
		{"--coupon-keys " + file, ""},
		{"", file},
		{"", a + "," + b},
		{"--coupon-keys " + file, a},
	} {
		s, err := Worker(append([]string{"--dir", "d"}, strings.Fields(c.args)...), []string{"OFFERSTREAM_COUPON_KEYS=" + c.env}, nil)
		if err != nil {
			t.Fatal(err)
		}
		ids = s.CouponKeys.IDs()
		if want := "coupon_keys=" + strings.Join(ids, ","); len(ids) != 2 || !slices.Contains(strings.Fields(strings.Trim(fmt.Sprint(s.Effective()), "[]")), want) {
			t.Errorf("%+v: keys %v; %v", c, ids, s.Effective())
		}
	}
	if s, err := Worker([]string{"--dir", "d"}, nil, nil); err != nil || s.CouponKeys != nil {
		t.Errorf("without keys: %v, %v", s.CouponKeys, err)
	}
	for text, want := range map[string]string{
		a[:63]:                              "these are not coupon keys, of which each is 64 hexadecimal digits",
		a + "," + b[:62]:                    "these are not coupon keys",
		"no/such/file":                      "no/such/file",
		write(t, "coupon.keys", "# none"):   "there is no coupon key in it",
		write(t, "coupon.keys", "\n"+a[1:]): "line 2: it is not a coupon key",
	} {
		_, err := ReadCouponKeys(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), a[:8]) || strings.Contains(err.Error(), b[:8]) {
			t.Errorf("%.10s...: %v, want %q", text, err, want)
		}
	}
}
