package coupon

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"
)

// key returns the key whose secret is 32 times a byte, or 0 to 31 for byte 0.
func key(t testing.TB, b byte) *Key {
	t.Helper()
	secret := bytes.Repeat([]byte{b}, KeySize)
	for i := range secret {
		if b == 0 {
			secret[i] = byte(i)
		}
	}
	k, err := NewKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func keysOf(keys ...*Key) *Keys { return &Keys{keys} }

var (
	then  = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	never time.Time
)

const offerID = "0123456789abcdef0123456789abcdef"

// vectors were computed by another program from the description in doc.go. Codes
// that customers have must stay valid: a vector never changes.
var vectors = []struct {
	key                   byte
	campaign, user, offer string
	expires               time.Time
	id, code              string
}{
	{0, "coupang-sms", "u:ada", offerID, then, "k630dcd29", "2RRDSMMNZZP-KWMD5AVJ01Y-P6YM7654D7F-2XMNGS4WNBP"},
	{0, "sale/서울", "a:anon-1", "ffffffffffffffffffffffffffffffff", never, "k630dcd29", "2RRDSMMV222-5S00000001N-4C14H6VEX88-4HDD87ZFZWX"},
	{255, "dormant", "u:김철수", "00000000000000000000000000000000", time.Unix(maxExpiry, 0), "kaf961376", "3BWP2DVCEK4-T63ZZZZZZW4-W30ENY6JMFW-3VJGWDFBGTR"},
}

func TestVectors(t *testing.T) {
	keys := keysOf(key(t, 255), key(t, 0))
	for _, v := range vectors {
		k := key(t, v.key)
		if code := k.Mint(v.campaign, v.user, v.offer, v.expires); k.ID() != v.id || code != v.code {
			t.Errorf("%s: key %s gives %s, want key %s and %s", v.campaign, k.ID(), code, v.id, v.code)
		}
		info, err := keys.Check(v.code, v.user, then.Add(-1))
		if err != nil || info.Code != v.code || info.Key != v.id || info.Campaign != Number(v.campaign) || !info.Expires.Equal(v.expires) {
			t.Errorf("%s says %+v, %v", v.code, info, err)
		}
	}
}

// TestEveryBit: a code of which any bit is changed is not valid, and neither is
// the code for another user.
func TestEveryBit(t *testing.T) {
	k := key(t, 0)
	keys := keysOf(k)
	code := k.Mint("coupang-sms", "u:ada", offerID, never)
	raw, _ := read(code)
	for bit := 4; bit < 8*codeSize; bit++ {
		changed := raw
		changed[bit/8] ^= 0x80 >> (bit % 8)
		want := ErrForged
		switch {
		case bit < 8:
			want = ErrMalformed
		case bit < 40:
			want = ErrUnknownKey
		}
		if _, err := keys.Check(write(&changed), "u:ada", then); !errors.Is(err, want) {
			t.Errorf("bit %d is changed: %v, want %v", bit, err, want)
		}
	}
	for _, user := range []string{"u:ad", "u:adam", "u:Ada", "a:ada", "ada", ""} {
		if info, err := keys.Check(code, user, then); err != ErrForged || info.Campaign != 0 {
			t.Errorf("user %q: %+v, %v", user, info, err)
		}
	}
}

// TestDistinct: a code differs if anything that it is made of does, and is the
// same if nothing does.
func TestDistinct(t *testing.T) {
	k := key(t, 0)
	codes := map[string]string{}
	for _, c := range []struct {
		name, campaign, user, offer string
		k                           *Key
		expires                     time.Time
	}{
		{"a code", "sale", "u:ada", offerID, k, then},
		{"another campaign", "sale/1", "u:ada", offerID, k, then},
		{"another user", "sale", "u:eve", offerID, k, then},
		{"another offer", "sale", "u:ada", offerID[1:] + "0", k, then},
		{"another key", "sale", "u:ada", offerID, key(t, 1), then},
		{"another expiry", "sale", "u:ada", offerID, k, then.Add(time.Second)},
		{"no expiry", "sale", "u:ada", offerID, k, never},
	} {
		code := c.k.Mint(c.campaign, c.user, c.offer, c.expires)
		if again := c.k.Mint(c.campaign, c.user, c.offer, c.expires); again != code {
			t.Errorf("%s: %s, then %s", c.name, code, again)
		}
		if other, has := codes[code]; has {
			t.Errorf("%s has the code of %s", c.name, other)
		}
		codes[code] = c.name
	}
	if a, b := k.Mint("sale", "u:ada", offerID, then.Add(1)), k.Mint("sale", "u:ada", offerID, then.Add(time.Second)); a != b {
		t.Errorf("a nanosecond is not rounded up to a second: %s, %s", a, b)
	}
}

// TestExpiry: a code is valid until it expires, and not then.
func TestExpiry(t *testing.T) {
	k := key(t, 0)
	keys := keysOf(k)
	for _, c := range []struct{ expires, last time.Time }{
		{then, then.Add(-1)},
		{then.Add(time.Millisecond), then.Add(time.Second - 1)},
		{time.Unix(-5, 0), time.Unix(0, 999_999_999)},
		{time.Unix(0, 0), time.Unix(0, 999_999_999)},
		{time.Unix(0, math.MaxInt64), time.Unix(0, math.MaxInt64)},
		{time.Unix(1<<40, 0), time.Unix(maxExpiry, -1)},
	} {
		code := k.Mint("sale", "u:ada", offerID, c.expires)
		if info, err := keys.Check(code, "u:ada", c.last); err != nil {
			t.Errorf("expires %s, checked %s: %+v, %v", c.expires, c.last, info, err)
		}
		info, err := keys.Check(code, "u:ada", c.last.Add(time.Second))
		if err != ErrExpired || info.Expires.Before(c.last) || info.Campaign != Number("sale") {
			t.Errorf("expires %s, checked a second after %s: %+v, %v", c.expires, c.last, info, err)
		}
	}
	code := k.Mint("sale", "u:ada", offerID, never)
	if info, err := keys.Check(code, "u:ada", time.Unix(1<<40, 0)); err != nil || !info.Expires.IsZero() {
		t.Errorf("a code that never expires: %+v, %v", info, err)
	}
}

// TestRotation: while there are two keys, codes under both are valid.
func TestRotation(t *testing.T) {
	before, after := key(t, 1), key(t, 2)
	was, is := before.Mint("sale", "u:ada", offerID, then), after.Mint("sale", "u:ada", offerID, then)
	for _, c := range []struct {
		keys     *Keys
		was, is  bool
		whatKeys string
	}{
		{keysOf(before), true, false, "the old key"},
		{keysOf(before, after), true, true, "both keys"},
		{keysOf(after), false, true, "the new key"},
		{nil, false, false, "no key"},
	} {
		for code, valid := range map[string]bool{was: c.was, is: c.is} {
			_, err := c.keys.Check(code, "u:ada", then.Add(-1))
			if valid != (err == nil) || err != nil && !errors.Is(err, ErrUnknownKey) {
				t.Errorf("%s with %s: %v", code, c.whatKeys, err)
			}
		}
	}
}

// TestTyped: a code is read as people write it, and Info has it as it was made.
func TestTyped(t *testing.T) {
	keys := keysOf(key(t, 0))
	code := vectors[1].code // it has 0, 1, and a run of them
	if form := regexp.MustCompile(`^[0-9A-HJKMNP-TV-Z]{11}(-[0-9A-HJKMNP-TV-Z]{11}){3}$`); !form.MatchString(code) || !IsCode(code) {
		t.Errorf("%q has not the form of a code", code)
	}
	for _, typed := range []string{
		code, strings.ToLower(code), strings.ReplaceAll(code, "-", ""), strings.ReplaceAll(code, "-", " - "), " " + code + " ",
		strings.ReplaceAll(code, "0", "o"), strings.ReplaceAll(code, "0", "O"), strings.ReplaceAll(code, "1", "I"), strings.ReplaceAll(code, "1", "l"),
	} {
		info, err := keys.Check(typed, vectors[1].user, then)
		if err != nil || info.Code != code {
			t.Errorf("%q: %+v, %v", typed, info, err)
		}
		if IsCode(typed) != (typed == code) {
			t.Errorf("IsCode(%q) is %v", typed, IsCode(typed))
		}
	}
	for _, no := range []string{"", "-", Placeholder, code[1:], code + "0", code + code, "U" + code[1:], "0" + code[1:], code[:len(code)-1] + "\n", code + "é", strings.Repeat("-", maxText) + code, strings.Replace(code, "0", "０", 1)} {
		if info, err := keys.Check(no, vectors[1].user, then); err != ErrMalformed || info != (Info{}) || IsCode(no) {
			t.Errorf("%q: %+v, %v", no, info, err)
		}
	}
}

// TestRoundTrip: whatever bits a code has, its text has the same.
func TestRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		raw := [codeSize]byte{version}
		for i := 1; i < codeSize; i++ {
			raw[i] = byte(rng.Uint32())
		}
		text := write(&raw)
		if back, ok := read(text); !ok || back != raw {
			t.Fatalf("%x is written %s and read %x, %v", raw, text, back, ok)
		}
	}
}

func TestURL(t *testing.T) {
	for _, c := range [][3]string{{"https://shop.example/c/", "X-1", "https://shop.example/c/X-1"}, {"https://shop.example/?c=", Placeholder, "https://shop.example/?c=COUPON"}, {"", "X", ""}} {
		if got := URL(c[0], c[1]); got != c[2] {
			t.Errorf("URL(%q, %q) = %q", c[0], c[1], got)
		}
	}
}

// FuzzCheck: no text but the codes that were issued is valid, and each valid text
// is read as one of these.
func FuzzCheck(f *testing.F) {
	k := key(f, 0)
	keys, issued := keysOf(k), map[string]bool{}
	for i := range 4 {
		code := k.Mint(fmt.Sprint("c", i), "u:ada", offerID, never)
		issued[code] = true
		f.Add(code)
		f.Add(strings.ToLower(code[1:]))
	}
	f.Add("COUPON")
	f.Fuzz(func(t *testing.T, text string) {
		info, err := keys.Check(text, "u:ada", then)
		if err == nil && !issued[info.Code] {
			t.Errorf("%q is valid: %+v", text, info)
		}
		if _, err := keys.Check(text, "u:eve", then); err == nil {
			t.Errorf("%q is valid for another user", text)
		}
	})
}
