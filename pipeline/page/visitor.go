package page

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
)

// Keys are what all gateways of a deployment sign the ids and tokens of visitors with. The
// first signs; those after it are older ones, whose ids and tokens are still taken.
//
//	id     ov_RANDOM_CHECK      RANDOM: 26 characters; CHECK: 16 characters, the beginning of
//	                            the HMAC-SHA-256 of "id" and RANDOM, in base32
//	token  ID.EXPIRY.MAC        EXPIRY: seconds since 1970; MAC: the HMAC-SHA-256 of "token"
//	                            and ID.EXPIRY, in base64url without padding
//
// So an id that a gateway has issued can be told from others without a store.
type Keys struct{ all [][]byte }

// Times of a visitor.
const (
	TokenLife  = 15 * time.Minute
	tokenRenew = 10 * time.Minute     // after which a stream brings the next token
	MostForget = 400 * 24 * time.Hour // after a token has expired, until it renews its id no more, whatever a set says: browsers keep no cookie longer
)

const (
	idPrefix   = "ov_"
	randomSize = 26 // of rand.Text
	checkSize  = 16
	idSize     = len(idPrefix) + randomSize + 1 + checkSize
)

// NewKeys returns the keys of a deployment. There is at least one.
func NewKeys(all [][]byte) *Keys { return &Keys{all} }

// NewKey returns a new key, in hexadecimal digits.
func NewKey() string {
	b := make([]byte, 32)
	rand.Read(b)
	return hex.EncodeToString(b)
}

func mac(key []byte, what, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte("offerstream " + what + "\x00" + text))
	return h.Sum(nil)
}

func check(key []byte, random string) string {
	return base32.StdEncoding.EncodeToString(mac(key, "id", random))[:checkSize]
}

// NewID issues the id of a new visitor.
func (k *Keys) NewID() string {
	random := rand.Text()
	return idPrefix + random + "_" + check(k.all[0], random)
}

// Issued reports whether a gateway has issued an anonymousId.
func (k *Keys) Issued(id string) bool {
	if len(id) != idSize || !strings.HasPrefix(id, idPrefix) || id[len(idPrefix)+randomSize] != '_' {
		return false
	}
	random, got := id[len(idPrefix):len(idPrefix)+randomSize], id[idSize-checkSize:]
	for _, key := range k.all {
		if hmac.Equal([]byte(check(key, random)), []byte(got)) {
			return true
		}
	}
	return false
}

func signed(key []byte, text string) string {
	return text + "." + base64.RawURLEncoding.EncodeToString(mac(key, "token", text))
}

// Token returns a token of a visitor, and when it expires.
func (k *Keys) Token(id string, now time.Time) (token string, expires time.Time) {
	expires = now.Add(TokenLife).Truncate(time.Second)
	return signed(k.all[0], id+"."+strconv.FormatInt(expires.Unix(), 10)), expires
}

// IsToken reports whether a text is meant as a visitor's token, and not a user's.
func IsToken(text string) bool { return strings.HasPrefix(text, idPrefix) }

// Open returns whose a token is, and when it expires or has expired. ok is false if no
// gateway has made it.
func (k *Keys) Open(token string) (id string, expires time.Time, ok bool) {
	const longest = idSize + 1 + 12 + 1 + 43
	end := strings.LastIndexByte(token, '.')
	if len(token) > longest || end <= idSize || token[idSize] != '.' {
		return "", expires, false
	}
	seconds, err := strconv.ParseInt(token[idSize+1:end], 10, 64)
	if err != nil || !k.Issued(token[:idSize]) {
		return "", expires, false
	}
	for _, key := range k.all {
		if hmac.Equal([]byte(signed(key, token[:end])), []byte(token)) {
			return token[:idSize], time.Unix(seconds, 0), true
		}
	}
	return "", expires, false
}

// Proves reports whether a token is a visitor's now.
func (k *Keys) Proves(token, id string, now time.Time) bool {
	whose, expires, ok := k.Open(token)
	return ok && whose == id && now.Before(expires)
}
