package ingest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"offerstream/config"
	"offerstream/pipeline/event"
)

// signed is a JWT.
func signed(t testing.TB, alg jose.SignatureAlgorithm, key any, kid string, claims any) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.Signed(s).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// publicKeys writes a file of public keys by their kid.
func publicKeys(t testing.TB, file string, keys map[string]crypto.Signer) {
	t.Helper()
	var set jose.JSONWebKeySet
	for kid, k := range keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.Public(), KeyID: kid})
	}
	b, err := json.Marshal(set)
	if err == nil {
		err = os.WriteFile(file, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

type claims = map[string]any

// TestJWT: which JSON Web Tokens prove a user.
func TestJWT(t *testing.T) {
	const secret = "0123456789abcdef0123456789abcdef"
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "login.json")
	publicKeys(t, file, map[string]crypto.Signer{"r": rsaKey, "e": ecKey, "d": edKey})
	hmacOnly, jwksOnly, both := config.KeyOf("hmac", "hmac", event.Browser), config.KeyOf("jwks", "jwks", event.Browser), config.KeyOf("both", "both", event.Browser)
	hmacOnly.Secret, both.Secret, jwksOnly.JWKS, both.JWKS = []byte(secret), []byte(secret), file, file
	log := newFakeLog(1)
	g := newGateway(t, log, func(o *Options) { o.ServerKeys, o.Keys = nil, []config.Key{hmacOnly, jwksOnly, both} })

	now := testNow / int64(time.Second)
	ann := claims{"sub": "ann", "exp": now + 60}
	but := func(changes claims) claims {
		c := claims{}
		for _, from := range []claims{ann, changes} {
			for k, v := range from {
				if c[k] = v; v == nil {
					delete(c, k)
				}
			}
		}
		return c
	}
	rsaDER := rsaKey.PublicKey.N.Bytes()
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"sub":"ann","exp":%d}`, now+60)) + "."
	for _, c := range []struct {
		name, token string
		by          string // the keys under which it proves ann
	}{
		{"HS256", signed(t, jose.HS256, []byte(secret), "", ann), "hmac both"},
		{"RS256", signed(t, jose.RS256, rsaKey, "r", ann), "jwks both"},
		{"ES256", signed(t, jose.ES256, ecKey, "e", ann), "jwks both"},
		{"EdDSA", signed(t, jose.EdDSA, edKey, "d", ann), "jwks both"},
		{"another secret", signed(t, jose.HS256, []byte(strings.ToUpper(secret)), "", ann), ""},
		{"HS256 under a public key", signed(t, jose.HS256, rsaDER, "r", ann), ""},
		{"HS512", signed(t, jose.HS512, []byte(secret+secret), "", ann), ""},
		{"RS512", signed(t, jose.RS512, rsaKey, "r", ann), ""},
		{"none", none, ""},
		{"another kid", signed(t, jose.RS256, rsaKey, "x", ann), ""},
		{"the kid of another kind", signed(t, jose.RS256, rsaKey, "e", ann), ""},
		{"no kid", signed(t, jose.RS256, rsaKey, "", ann), ""},
		{"expired", signed(t, jose.EdDSA, edKey, "d", but(claims{"exp": now})), ""},
		{"no exp", signed(t, jose.EdDSA, edKey, "d", but(claims{"exp": nil})), ""},
		{"not yet", signed(t, jose.EdDSA, edKey, "d", but(claims{"nbf": now + 1})), ""},
		{"now", signed(t, jose.EdDSA, edKey, "d", but(claims{"nbf": now, "iat": now})), "jwks both"},
		{"another user's", signed(t, jose.EdDSA, edKey, "d", but(claims{"sub": "bob"})), ""},
		{"nobody's", signed(t, jose.EdDSA, edKey, "d", but(claims{"sub": nil})), ""},
		{"too long", signed(t, jose.EdDSA, edKey, "d", but(claims{"x": strings.Repeat("x", longestJWT)})), ""},
		{"broken", "a.b.c", ""},
	} {
		for range 2 { // the second time it is known
			for _, key := range []string{"hmac", "jwks", "both"} {
				log.set(func() { log.packs, log.ids = make([][]string, 1), map[string]bool{} })
				w := post(g, "/v1/batch", `{"userToken":"`+c.token+`","batch":[{"type":"page","userId":"ann"}]}`, as(key))
				proved := len(log.all()) == 1 && !strings.Contains(log.all()[0], "proof")
				if w.Code != 200 || proved != slices.Contains(strings.Fields(c.by), key) {
					t.Errorf("%s under %s: %d %s %q", c.name, key, w.Code, w.Body, log.all())
				}
			}
		}
	}
}

// TestJWKSFile: the file of public keys is read again when it changes, and one that cannot
// be read changes nothing.
func TestJWKSFile(t *testing.T) {
	dir := t.TempDir()
	keys, file := filepath.Join(dir, "keys.yaml"), filepath.Join(dir, "login.json")
	if err := os.WriteFile(keys, []byte("- {name: web, key: web, roles: [browser], identity: verified, jwks: login.json}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var pairs [2]ed25519.PrivateKey
	var tokens [2]string
	for i := range pairs {
		_, pairs[i], _ = ed25519.GenerateKey(rand.Reader)
		tokens[i] = signed(t, jose.EdDSA, pairs[i], "", claims{"sub": "ann", "exp": testNow/int64(time.Second) + 60})
	}
	publicKeys(t, file, map[string]crypto.Signer{"": pairs[0]})
	g := newGateway(t, newFakeLog(1), func(o *Options) { o.ServerKeys, o.KeysFile, o.Logger = nil, keys, slog.New(slog.DiscardHandler) })
	check := func(want ...int) {
		t.Helper()
		for i, tok := range tokens {
			if w := post(g, "/v1/page", `{"userId":"ann"}`, as("web"), with(headerToken, tok)); w.Code != want[i] {
				t.Errorf("token %d: %d %s", i, w.Code, w.Body)
			}
		}
	}
	check(200, 401)
	publicKeys(t, file, map[string]crypto.Signer{"": pairs[1]})
	g.reloadKeys()
	check(401, 200)
	private, _ := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: pairs[0]}}})
	for _, broken := range []string{"", "{}", `{"keys":[{"kty":"oct","k":"AAAA"}]}`, string(private)} {
		if err := os.WriteFile(file, []byte(broken), 0o600); err != nil {
			t.Fatal(err)
		}
		g.reloadKeys()
		check(401, 200)
		if _, err := New(Options{Log: newFakeLog(1), KeysFile: keys}); err == nil {
			t.Errorf("a gateway starts with %q", broken)
		}
	}
}

// TestTokenPlaces: where an event may have its token, which of several counts, and that it
// is never stored.
func TestTokenPlaces(t *testing.T) {
	tok := token()
	for _, c := range []struct {
		path, body string
		proved     bool
	}{
		{"/v1/page", `{"userId":"ann","context":{"userToken":"TOKEN","a":1}}`, true},
		{"/v1/page", `{"userId":"ann","properties":{"a":1,"userToken":"TOKEN"}}`, true},
		{"/v1/page", `{"userId":"ann","context":{"userToken":"x"},"properties":{"userToken":"TOKEN"}}`, false},
		{"/v1/page", `{"userId":"ann","userToken":"x","properties":{"userToken":"TOKEN"}}`, false},
		{"/v1/page", `{"userId":"bob","properties":{"userToken":"TOKEN"}}`, false},
		{"/v1/page", `{"userId":"ann","properties":{"user\u0054oken":"TOKEN","userToken":"TOKEN"}}`, true},
		{"/v1/batch", `{"batch":[{"type":"page","userId":"ann"}],"context":{"userToken":"TOKEN"}}`, true},
		{"/v1/batch", `{"batch":[{"type":"page","userId":"ann"}],"context":{"userToken":"TOKEN"},"userToken":"x"}`, false},
		{"/v1/batch", `{"batch":[{"type":"page","userId":"ann"}],"context":{"userT\u006fken":"TOKEN"}}`, true},
		{"/batch", `{"api_key":"browser","batch":[{"event":"A","distinct_id":"ann","properties":{"userToken":"TOKEN"}}]}`, true},
		{"/v1/cloudevents", `{"id":"1","source":"s","type":"A","subject":"ann","data":{"userToken":"TOKEN"}}`, true},
		{"/api/s/page", `{"userId":"ann","properties":{"userToken":"TOKEN"}}`, true},
	} {
		log := newFakeLog(1)
		w := post(newRoleGateway(t, log), c.path, strings.ReplaceAll(c.body, "TOKEN", tok), func(r *http.Request) { as("browser")(r) })
		got := log.all()
		if w.Code != 200 || len(got) != 1 || strings.Contains(got[0], "proof") == c.proved || strings.Contains(got[0], tok) || !json.Valid([]byte(got[0])) {
			t.Errorf("%s %s: %d %s %q", c.path, c.body, w.Code, w.Body, got)
		}
	}
}

// TestKnownTokens: of the good tokens, as many are known as were found or asked for last.
func TestKnownTokens(t *testing.T) {
	sets, _, err := readKeySets(nil)
	if err != nil {
		t.Fatal(err)
	}
	sum := func(i int) [sha256.Size]byte { return sha256.Sum256([]byte{byte(i), byte(i >> 8), byte(i >> 16)}) }
	for i := range 4 * knownTokens {
		sets.keep(sum(i), int64(i))
		if until, ok := sets.known(sum(0)); !ok || until != 0 {
			t.Fatalf("after %d, the one that was always asked for: %d, %v", i, until, ok)
		}
	}
	last := 4*knownTokens - 1
	if until, ok := sets.known(sum(last - knownTokens/2)); !ok || until != int64(last-knownTokens/2) {
		t.Errorf("one of the last: %d, %v", until, ok)
	}
	if _, ok := sets.known(sum(1)); ok || len(sets.good)+len(sets.older) > 2*knownTokens {
		t.Errorf("one of the first is known: %v; %d and %d are", ok, len(sets.good), len(sets.older))
	}
}
