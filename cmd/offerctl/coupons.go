package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"offerstream/config"
	"offerstream/pipeline/coupon"
	"offerstream/pipeline/event"
)

// couponKeys declares --coupon-keys. The function that it returns reads the keys
// after the flags have been read: nil if none are given.
func (f *flags) couponKeys() func() (*coupon.Keys, error) {
	text := f.String("coupon-keys", "", config.CouponKeysAbout)
	return func() (*coupon.Keys, error) {
		if *text != "" {
			keys, err := config.ReadCouponKeys(*text)
			if err != nil {
				err = fmt.Errorf("--coupon-keys: %w", err)
			}
			return keys, err
		}
		keys, err := config.ReadCouponKeys(envOr("OFFERSTREAM_COUPON_KEYS", ""))
		if err != nil {
			err = fmt.Errorf("OFFERSTREAM_COUPON_KEYS: %w", err)
		}
		return keys, err
	}
}

// coupons is `offerctl coupons`.
func coupons(ctx context.Context, args []string, std stdio) error {
	if len(args) > 0 {
		switch args[0] {
		case "import":
			return importCodes(ctx, args[1:], std)
		case "left":
			return codesLeft(ctx, args[1:], std)
		}
	}
	fs := newFlags(std, `coupons new-key | check CODE --user U [--anonymous] [--coupon-keys FILE] [--campaigns PATH] [--json]
       offerctl coupons import POOL FILE [--nats URL]
       offerctl coupons left [POOL...] [--json] [--nats URL]`, `
import fills a pool with codes that the shop has made, and left shows how many are
left: see offerctl coupons import --help and offerctl coupons left --help.

new-key makes a key under which codes of coupons are made, and prints it as a line
for a file of keys, after a line with its id. Keep the file secret, give it to
workers and to the checkout as --coupon-keys, and name the id in the campaigns:

  coupons: {key: ID, url: "https://shop.example/c/"}

To change the key, add the new one to the file, restart the workers, then name its
id. Keep the old one until the last code under it has expired, and for the
retention of events.

check says whether a code is valid for a user now: whether it was made for that
user under a key of the file, and has not expired. Whether it was used already only
the shop knows. With --campaigns it names the campaign. The exit status is 1 if
the code is not valid.`,
		"offerctl coupons new-key >> coupon.keys\nofferctl coupons check 2RRDSMMNZZP-KWMD5AVJ01Y-P6YM7654D7F-2XMNGS4WNBP --user ada --coupon-keys coupon.keys")
	readKeys := fs.couponKeys()
	c := couponCheck{std: std}
	user := fs.String("user", "", "check: the user's id, `U`")
	anonymous := fs.Bool("anonymous", false, "check: U is an anonymousId")
	fs.StringVar(&c.campaigns, "campaigns", "", "check: `PATH` of the campaigns, one of which the code may be of")
	fs.BoolVar(&c.asJSON, "json", false, "check: print one JSON object on standard output, and nothing else")
	rest, err := fs.parse(args)
	if err != nil {
		return err
	}
	switch {
	case len(rest) == 1 && rest[0] == "new-key":
		return newCouponKey(std)
	case len(rest) == 0 || rest[0] != "check":
		return usagef("no subcommand: write coupons new-key, coupons check CODE, coupons import POOL FILE or coupons left")
	case len(rest) != 2:
		return usagef("%s given: name exactly one, within quotes if it has spaces", count(len(rest)-1, "code"))
	case *user == "":
		return usagef("--user is required: a code is valid for one user alone")
	}
	if err := event.CheckUser(*user); err != nil {
		return err
	}
	keys, err := readKeys()
	if err != nil {
		return err
	}
	if keys == nil {
		return usagef("--coupon-keys is required: a code can be checked only with its key")
	}
	key := coupon.User(*user)
	if *anonymous {
		key = coupon.Anonymous(*user)
	}
	return c.check(keys, rest[1], key)
}

// newCouponKey prints a new key.
func newCouponKey(std stdio) error {
	secret := make([]byte, coupon.KeySize)
	if _, err := rand.Read(secret); err != nil {
		return fmt.Errorf("make a coupon key: %w", err)
	}
	k, err := coupon.NewKey(secret)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(std.out, "# %s\n%s\n", k.ID(), k.Text())
	return err
}

// A couponCheck is one run of `coupons check`. Its fields are the result, in JSON.
type couponCheck struct {
	std       stdio
	campaigns string
	asJSON    bool

	Valid    bool      `json:"valid"`
	Reason   string    `json:"reason,omitempty"` // malformed, unknown key, forged or expired
	Code     string    `json:"code,omitempty"`   // as it was made
	Key      string    `json:"key,omitempty"`
	Campaign []string  `json:"campaign,omitempty"` // those of --campaigns that have the number; hardly ever more than one
	Number   *uint32   `json:"number,omitempty"`   // the campaign's; absent if the code is forged
	Expires  time.Time `json:"expires,omitzero"`   // absent: never, or the code is forged
}

func (c *couponCheck) check(keys *coupon.Keys, code, user string) error {
	info, why := keys.Check(code, user, time.Now())
	c.Valid, c.Code, c.Key = why == nil, info.Code, info.Key
	for _, known := range []struct {
		err    error
		reason string
	}{{coupon.ErrMalformed, "malformed"}, {coupon.ErrUnknownKey, "unknown key"}, {coupon.ErrForged, "forged"}, {coupon.ErrExpired, "expired"}} {
		if errors.Is(why, known.err) {
			c.Reason = known.reason
		}
	}
	if c.Valid || c.Reason == "expired" {
		c.Number, c.Expires = &info.Campaign, info.Expires
		if err := c.name(info.Campaign); err != nil {
			return err
		}
	}
	if c.asJSON {
		b, err := json.Marshal(c)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.std.out, "%s\n", b)
	} else {
		c.show(why)
	}
	if !c.Valid {
		return errSilent
	}
	return nil
}

// name finds the campaigns that have the number.
func (c *couponCheck) name(number uint32) error {
	if c.campaigns == "" {
		return nil
	}
	def, err := loadCampaigns(c.campaigns)
	if err != nil {
		return err
	}
	is := func(id string) {
		if coupon.Number(id) == number {
			c.Campaign = append(c.Campaign, id)
		}
	}
	for _, cp := range def.Campaigns {
		if len(cp.Rows) == 0 {
			is(cp.ID)
		}
		for _, row := range cp.Rows {
			is(cp.ID + "/" + row.ID)
		}
	}
	return nil
}

func (c *couponCheck) show(why error) {
	if why != nil {
		fmt.Fprintf(c.std.out, "not valid: %v\n", why)
	} else {
		fmt.Fprintln(c.std.out, "valid")
	}
	if c.Number == nil {
		return
	}
	name, expires := strings.Join(c.Campaign, " or "), "never"
	if name == "" {
		name = fmt.Sprintf("number %d", *c.Number)
		if c.campaigns != "" {
			name += ", which none of --campaigns has"
		}
	}
	if !c.Expires.IsZero() {
		expires = c.Expires.Format(time.RFC3339)
	}
	fmt.Fprintf(c.std.out, "campaign  %s\nexpires   %s\nkey       %s\ncode      %s\n", name, expires, c.Key, c.Code)
}
