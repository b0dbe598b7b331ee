package bench

import (
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/valyala/fastjson"

	"offerstream/config"
	"offerstream/pipeline/event"
	"offerstream/pipeline/ingest"
)

// Keys of pages.
const (
	pageKey     = "bench-page"
	verifiedKey = "bench-verified" // with identity: verified
	tokenSecret = "the secret of the bench's user tokens"
)

func pageKeys() []config.Key {
	verified := config.KeyOf("verified", verifiedKey, event.Browser)
	verified.Verified, verified.Secret = true, []byte(tokenSecret)
	return []config.Key{config.KeyOf("page", pageKey, event.Browser), verified}
}

// tokenForms are events of pages without user tokens, the base, and with them. A page sends
// events of one user, each with his token in its context, where SDKs let a page put it.
func tokenForms(events []string) ([]form, error) {
	events = batchesOfOne(events)
	expires := time.Now().Add(24 * time.Hour)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(tokenSecret)}, nil)
	if err != nil {
		return nil, err
	}
	forms := []form{formOf("plain", pageKey, events)}
	for _, kind := range []struct {
		name string
		of   func(user string) (string, error)
	}{
		{"hmac", func(user string) (string, error) { return ingest.UserToken([]byte(tokenSecret), user, expires), nil }},
		{"jwt", func(user string) (string, error) {
			return jwt.Signed(signer).Claims(map[string]any{"iss": "https://login.shop.example", "aud": "shop", "sub": user, "iat": time.Now().Unix(), "exp": expires.Unix()}).Serialize()
		}},
	} {
		with, err := withTokens(events, kind.of)
		if err != nil {
			return nil, err
		}
		forms = append(forms, formOf(kind.name, verifiedKey, with))
	}
	return forms, nil
}

// batchesOfOne returns the events in an order in which each batch is of one user, without
// those that are left over.
func batchesOfOne(events []string) []string {
	waiting := map[string][]string{}
	ordered := make([]string, 0, len(events))
	for _, e := range events {
		user := userOf(e)
		waiting[user] = append(waiting[user], e)
		if some := waiting[user]; len(some) == gatewayBatch {
			ordered, waiting[user] = append(ordered, some...), nil
		}
	}
	return ordered
}

func userOf(e string) string { return fastjson.GetString([]byte(e), "userId") }

// withTokens returns the events with the user's token. All events of a user have the same.
func withTokens(events []string, tokenOf func(user string) (string, error)) ([]string, error) {
	tokens, with := map[string]string{}, make([]string, len(events))
	for i, e := range events {
		user := userOf(e)
		token, ok := tokens[user]
		if !ok {
			var err error
			if token, err = tokenOf(user); err != nil {
				return nil, err
			}
			tokens[user] = token
		}
		with[i] = strings.Replace(e, `"context":{`, `"context":{"userToken":"`+token+`",`, 1)
	}
	return with, nil
}
