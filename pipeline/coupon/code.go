package coupon

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Placeholder stands for a code wherever there are no keys.
const Placeholder = "COUPON"

const (
	version   = 1
	headSize  = 18 // bytes before the MAC; the first one has 4 unused bits
	macSize   = 10
	codeSize  = headSize + macSize
	digits    = (8*codeSize - 4) / 5 // of a code's text, without hyphens
	group     = 11                   // digits between two hyphens
	nonceBits = 38
	maxExpiry = 1<<34 - 1 // seconds since 1970
	maxText   = 256       // bytes of a text that Check looks at
)

// The reasons why a code is not valid.
var (
	ErrMalformed  = errors.New("this is not a coupon code: a character is missing, wrong or too many")
	ErrUnknownKey = errors.New("the code was made under a key that is not among the keys given")
	ErrForged     = errors.New("the code is another user's, or nobody has issued it")
	ErrExpired    = errors.New("the code has expired")
)

// Info is what a code says.
type Info struct {
	Code     string    // the code as Mint wrote it, however it was typed: what to record as used
	Key      string    // id of the key
	Campaign uint32    // the campaign's Number
	Expires  time.Time // UTC; zero: never
	Nonce    uint64    // 38 bits that tell offers of the campaign to this user apart
}

// User is the user with a userId, as Mint and Check expect it.
func User(userID string) string { return "u:" + userID }

// Anonymous is the user with an anonymousId, as Mint and Check expect it.
func Anonymous(anonymousID string) string { return "a:" + anonymousID }

// Number is the number of a campaign in codes. The id includes the row:
// "sale/seoul".
func Number(campaign string) uint32 {
	sum := sha256.Sum256([]byte(campaign))
	return binary.BigEndian.Uint32(sum[:])
}

// URL is the address of a code: base, as it is, followed by the code. It is empty
// without a base.
func URL(base, code string) string {
	if base == "" {
		return ""
	}
	return base + code
}

// Mint returns the code of an offer. The same offer has the same code. expires is
// rounded up to a second; the zero Time means never.
func (k *Key) Mint(campaign, user, offerID string, expires time.Time) string {
	var code [codeSize]byte
	code[0] = version
	binary.BigEndian.PutUint32(code[1:], k.id)
	binary.BigEndian.PutUint32(code[5:], Number(campaign))
	n := nonce(offerID)
	binary.BigEndian.PutUint64(code[9:], expiry(expires)<<30|n>>8) // the lower 8 bits of the nonce follow
	code[17] = byte(n)
	copy(code[headSize:], k.mac(code[:headSize], user))
	return write(&code)
}

// nonce is the nonce of an offer.
func nonce(offerID string) uint64 {
	sum := sha256.Sum256([]byte(offerID))
	return binary.BigEndian.Uint64(sum[:]) >> (64 - nonceBits)
}

// expiry is the expiry in a code: 0 stands for never, so what expired in 1970 or
// before expires in the first second.
func expiry(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	s := t.Unix()
	if t.Nanosecond() > 0 {
		s++
	}
	return uint64(min(max(s, 1), maxExpiry))
}

func (k *Key) mac(head []byte, user string) []byte {
	m := hmac.New(sha256.New, k.secret[:])
	m.Write([]byte("offerstream coupon\x00"))
	m.Write(head)
	m.Write([]byte(user))
	return m.Sum(nil)[:macSize]
}

// Check returns what a code says if it was issued to the user under one of the
// keys and has not expired now. Otherwise the error is ErrMalformed, ErrUnknownKey,
// ErrForged or ErrExpired. Of a code that is unknown or forged Info has only Code
// and Key, as anyone may have written the rest.
func (ks *Keys) Check(code, user string, now time.Time) (Info, error) {
	raw, ok := read(code)
	if !ok {
		return Info{}, ErrMalformed
	}
	info := Info{Code: write(&raw), Key: keyID(binary.BigEndian.Uint32(raw[1:]))}
	k := ks.Key(info.Key)
	if k == nil {
		return info, fmt.Errorf("%w: it is %s", ErrUnknownKey, info.Key)
	}
	if !hmac.Equal(raw[headSize:], k.mac(raw[:headSize], user)) {
		return info, ErrForged
	}
	times := binary.BigEndian.Uint64(raw[9:])
	info.Campaign = binary.BigEndian.Uint32(raw[5:])
	info.Nonce = (times<<8 | uint64(raw[17])) & (1<<nonceBits - 1)
	if s := times >> 30; s != 0 {
		info.Expires = time.Unix(int64(s), 0).UTC()
		if !now.Before(info.Expires) {
			return info, ErrExpired
		}
	}
	return info, nil
}

// Read returns what a code says, however it was typed, without checking it: anyone may
// have written it. ok is false if it does not have the form of a code.
func Read(code string) (info Info, ok bool) {
	raw, ok := read(code)
	if !ok {
		return Info{}, false
	}
	times := binary.BigEndian.Uint64(raw[9:])
	info = Info{Code: write(&raw), Key: keyID(binary.BigEndian.Uint32(raw[1:])), Campaign: binary.BigEndian.Uint32(raw[5:]), Nonce: (times<<8 | uint64(raw[17])) & (1<<nonceBits - 1)}
	if s := times >> 30; s != 0 {
		info.Expires = time.Unix(int64(s), 0).UTC()
	}
	return info, true
}

// Of reports whether a code says that it is that of an offer, with that campaign and
// expiry, as given to Mint.
func (i Info) Of(campaign, offerID string, expires time.Time) bool {
	until := uint64(0)
	if !i.Expires.IsZero() {
		until = uint64(i.Expires.Unix())
	}
	return i.Nonce == nonce(offerID) && until == expiry(expires) && i.Campaign == Number(campaign)
}

// Made reports whether a code was made for a user under one of the keys.
func (ks *Keys) Made(info Info, user string) bool {
	raw, ok := read(info.Code)
	k := ks.Key(info.Key)
	return ok && k != nil && hmac.Equal(raw[headSize:], k.mac(raw[:headSize], user))
}

// Typed is a text without what people change when they type a code: as capitals,
// without hyphens and spaces, with 0 for O and 1 for I and L.
func Typed(text string) string {
	b := make([]byte, 0, len(text))
	for i := range len(text) {
		c := text[i]
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		switch c {
		case '-', ' ':
			continue
		case 'O':
			c = '0'
		case 'I', 'L':
			c = '1'
		}
		b = append(b, c)
	}
	return string(b)
}

// IsCode reports whether a text is a code exactly as Mint writes it, of any key.
func IsCode(text string) bool {
	raw, ok := read(text)
	return ok && write(&raw) == text
}

// alphabet are the digits of Crockford's base32.
const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// write is the text of a code. Its bits begin after the first byte's unused 4.
func write(code *[codeSize]byte) string {
	b := make([]byte, 0, digits+digits/group)
	bits, n := uint(code[0]&15), 4
	for i, written := 0, 0; written < digits; written++ {
		if n < 5 {
			i++
			bits, n = bits<<8|uint(code[i]), n+8
		}
		if written > 0 && written%group == 0 {
			b = append(b, '-')
		}
		n -= 5
		b = append(b, alphabet[bits>>n&31])
	}
	return string(b)
}

// read is the inverse of write. It also reads what people make of a code.
func read(text string) (code [codeSize]byte, ok bool) {
	if len(text) > maxText {
		return code, false
	}
	bits, n, next, seen := uint(0), 4, 0, 0
	for _, c := range []byte(Typed(text)) {
		d := strings.IndexByte(alphabet, c)
		if d < 0 || seen == digits {
			return code, false
		}
		seen++
		bits, n = bits<<5|uint(d), n+5
		if n >= 8 {
			n -= 8
			code[next] = byte(bits >> n)
			next++
		}
	}
	return code, seen == digits && code[0] == version
}
