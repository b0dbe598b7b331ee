package ingest

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"offerstream/config"
)

// A user token may be a JSON Web Token (RFC 7519) instead: sub is the userId, exp must be
// there, and nbf is obeyed. It is signed with HS256 under the key's secret, or with RS256,
// ES256 or EdDSA under a key of the file that jwks names, which is the public part of what
// the shop's login signs with. No other algorithm is taken.

const (
	longestJWT  = 8 << 10 // bytes
	maxJWKS     = 1 << 20 // bytes of a file
	knownTokens = 1 << 15 // tokens that are known to be good, twice: those found last, and as many before them
)

// isJWT reports whether a token has the form of a JWT: three parts.
func isJWT(token string) bool { return strings.Count(token, ".") == 2 }

// A keySets holds the public keys of all files, by the files' names, and the tokens under
// them that were found good. It never changes but for these, so it is made anew when a file
// has changed.
type keySets struct {
	files map[string]*jose.JSONWebKeySet

	mu          sync.Mutex
	good, older map[[sha256.Size]byte]int64 // by key, token and user: the token's expiry, seconds since 1970
}

// readKeySets reads the files that keys name. text tells whether any has changed.
func readKeySets(keys []config.Key) (_ *keySets, text string, err error) {
	sets := &keySets{files: map[string]*jose.JSONWebKeySet{}, good: map[[sha256.Size]byte]int64{}}
	for i := range keys {
		name := keys[i].JWKS
		if name == "" || sets.files[name] != nil {
			continue
		}
		b, set, err := readJWKS(name)
		if err != nil {
			return nil, "", fmt.Errorf("jwks of the key %q: %w", keys[i].Name, err)
		}
		sets.files[name] = set
		text += name + "\x00" + string(b) + "\x00"
	}
	return sets, text, nil
}

func readJWKS(name string) ([]byte, *jose.JSONWebKeySet, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxJWKS+1))
	if err == nil && len(b) > maxJWKS {
		err = fmt.Errorf("%s has more than %d bytes", name, maxJWKS)
	}
	if err != nil {
		return nil, nil, err
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(b, &set); err != nil {
		return nil, nil, fmt.Errorf("%s is not a set of JSON Web Keys: %w", name, err)
	}
	for i := range set.Keys {
		if k := &set.Keys[i]; !k.Valid() || !k.IsPublic() {
			return nil, nil, fmt.Errorf("%s: key %d is not a public key: give only public ones", name, i+1)
		}
	}
	if len(set.Keys) == 0 {
		return nil, nil, fmt.Errorf("%s has no keys", name)
	}
	return b, &set, nil
}

// proves reports whether a JWT under a key is a user's now, in nanoseconds since 1970, and
// until when, in seconds since 1970.
func (s *keySets) proves(key *config.Key, token, user string, now int64) (until int64, ok bool) {
	if len(token) > longestJWT {
		return 0, false
	}
	var memory [1 << 10]byte
	sum := sha256.Sum256(append(append(append(append(memory[:0], key.Hash[:]...), token...), 0), user...))
	if until, ok = s.known(sum); ok {
		return until, now/int64(time.Second) < until
	}
	until, err := s.verify(key, token, user, time.Unix(0, now))
	if err != nil {
		return 0, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep(sum, until)
	return until, true
}

// known returns the expiry of a token that was found good.
func (s *keySets) known(sum [sha256.Size]byte) (until int64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if until, ok = s.good[sum]; ok {
		return until, true
	}
	if until, ok = s.older[sum]; ok {
		s.keep(sum, until)
	}
	return until, ok
}

// keep remembers a good token, as one found last. It forgets those found long ago.
func (s *keySets) keep(sum [sha256.Size]byte, until int64) {
	if len(s.good) >= knownTokens {
		s.good, s.older = map[[sha256.Size]byte]int64{}, s.good
	}
	s.good[sum] = until
}

// verify returns when a token of the user expires, in seconds since 1970.
func (s *keySets) verify(key *config.Key, token, user string, now time.Time) (until int64, err error) {
	var algs []jose.SignatureAlgorithm
	if key.Secret != nil {
		algs = append(algs, jose.HS256)
	}
	set := s.files[key.JWKS]
	if set != nil {
		algs = append(algs, jose.RS256, jose.ES256, jose.EdDSA)
	}
	if len(algs) == 0 {
		return 0, errors.New("the key takes no JWT")
	}
	parsed, err := jwt.ParseSigned(token, algs)
	if err != nil {
		return 0, err
	}
	var with any = key.Secret
	if head := parsed.Headers[0]; head.Algorithm != string(jose.HS256) {
		switch those := set.Key(head.KeyID); {
		case len(those) == 1:
			with = those[0].Key
		case head.KeyID == "" && len(set.Keys) == 1:
			with = set.Keys[0].Key
		default:
			return 0, fmt.Errorf("no key has the kid %q", head.KeyID)
		}
	}
	var claims jwt.Claims
	if err := parsed.Claims(with, &claims); err != nil {
		return 0, err
	}
	switch {
	case claims.Expiry == nil:
		return 0, errors.New("exp is missing")
	case now.Unix() >= int64(*claims.Expiry):
		return 0, errors.New("it has expired")
	case claims.Subject == "" || claims.Subject != user:
		return 0, errors.New("it is another user's")
	}
	return int64(*claims.Expiry), claims.ValidateWithLeeway(jwt.Expected{Time: now}, 0)
}
