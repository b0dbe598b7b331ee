package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline/coupon"
)

// couponsRun runs `offerctl coupons`.
func couponsRun(t *testing.T, args ...string) (out, errs string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), append([]string{"coupons"}, args...), stdio{strings.NewReader(""), &o, &e})
	return o.String(), e.String(), code
}

const couponSet = `
version: 1
campaigns:
  sale:
    on: Product Viewed
    offer: {channel: web, kind: service, data: {title: Sale}}
`

func TestCoupons(t *testing.T) {
	made, errs, code := couponsRun(t, "new-key")
	again, _, _ := couponsRun(t, "new-key")
	if code != 0 || errs != "" || !regexp.MustCompile(`^# k[0-9a-f]{8}\n[0-9a-f]{64}\n$`).MatchString(made) || made == again {
		t.Fatalf("exit %d: %q, then %q\n%s", code, made, again, errs)
	}
	file := writeFile(t, "coupon.keys", made+again)
	campaigns := writeFile(t, "sale.yaml", couponSet)
	keys, err := coupon.Parse(made)
	if err != nil {
		t.Fatal(err)
	}
	k := keys.Key(keys.IDs()[0])
	if !strings.Contains(made, "# "+k.ID()) {
		t.Errorf("%q has not its id %s", made, k.ID())
	}
	valid := k.Mint("sale", coupon.User("ada"), "0123", time.Time{})
	old := k.Mint("other", coupon.Anonymous("ada"), "0123", time.Unix(1, 0))
	number := fmt.Sprint(coupon.Number("other"))
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{valid + " --user ada --campaigns " + campaigns, 0, "valid\ncampaign  sale\nexpires   never\nkey       " + k.ID() + "\ncode      " + valid + "\n"},
		{strings.ToLower(strings.ReplaceAll(valid, "-", "")) + " --user ada", 0, "valid\ncampaign  number " + fmt.Sprint(coupon.Number("sale")) + "\nexpires   never\nkey       " + k.ID() + "\ncode      " + valid + "\n"},
		{valid + " --user eve", 1, "not valid: the code is another user's, or nobody has issued it\n"},
		{valid + " --user ada --anonymous", 1, "not valid: the code is another user's, or nobody has issued it\n"},
		{old + " --user ada --anonymous --campaigns " + campaigns, 1, "not valid: the code has expired\ncampaign  number " + number + ", which none of --campaigns has\nexpires   1970-01-01T00:00:01Z\n"},
		{valid[1:] + " --user ada", 1, "not valid: this is not a coupon code"},
		{valid + " --user ada --coupon-keys " + writeFile(t, "other.keys", again), 1, "not valid: the code was made under a key that is not among the keys given: it is " + k.ID() + "\n"},
	} {
		t.Setenv("OFFERSTREAM_COUPON_KEYS", file)
		out, errs, code := couponsRun(t, append([]string{"check"}, strings.Fields(c.args)...)...)
		if code != c.code || errs != "" || !strings.HasPrefix(out, c.want) {
			t.Errorf("%s: exit %d\n%s%s\nwant %d\n%s", c.args, code, out, errs, c.code, c.want)
		}
	}
	var got struct {
		Valid                      bool
		Reason, Code, Key, Expires string
		Campaign                   []string
		Number                     *uint32
	}
	out, _, code := couponsRun(t, "check", valid, "--user", "ada", "--json", "--campaigns", campaigns)
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 || !got.Valid || got.Code != valid || len(got.Campaign) != 1 || got.Campaign[0] != "sale" || got.Expires != "" {
		t.Errorf("exit %d: %s (%v)", code, out, err)
	}
	if out, _, code = couponsRun(t, "check", old, "--user", "ada", "--json"); code != 1 || out != fmt.Sprintf(`{"valid":false,"reason":"forged","code":%q,"key":%q}`+"\n", old, k.ID()) {
		t.Errorf("exit %d: %s", code, out)
	}
	os.Unsetenv("OFFERSTREAM_COUPON_KEYS")
	for _, c := range []struct{ args, want string }{
		{"", "write coupons new-key, coupons check CODE, coupons import POOL FILE or coupons left"}, {"check", "0 codes given"}, {"check A B", "2 codes given"}, {"check A", "--user is required"}, {"check A --user ada", "--coupon-keys is required"}, {"new-key A", "write coupons new-key"},
	} {
		if out, errs, code := couponsRun(t, strings.Fields(c.args)...); code != 2 || out != "" || !strings.Contains(errs, c.want) {
			t.Errorf("coupons %s: exit %d\n%s%s", c.args, code, out, errs)
		}
	}
	if _, errs, code := couponsRun(t, "check", "A", "--user", "ada", "--coupon-keys", "no.keys"); code != 1 || !strings.Contains(errs, "--coupon-keys: open no.keys") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

// TestBacktestCouponKeys: a backtest takes keys that have the key of its set, and
// no others.
func TestBacktestCouponKeys(t *testing.T) {
	made, _, _ := couponsRun(t, "new-key")
	file := writeFile(t, "coupon.keys", made)
	campaigns := writeFile(t, "sale.yaml", couponSet)
	events := writeFile(t, "events.jsonl", `{"type":"track","event":"Product Viewed","userId":"ada","messageId":"1","timestamp":"2026-01-01T00:00:00Z"}`+"\n")
	for keys, want := range map[string]int{file: 0, "no.keys": 1} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), []string{"backtest", "--campaigns", campaigns, "--events", events, "--coupon-keys", keys}, stdio{strings.NewReader(""), &out, &errs}); code != want {
			t.Errorf("--coupon-keys %s: exit %d\n%s%s", keys, code, &out, &errs)
		}
	}
}
