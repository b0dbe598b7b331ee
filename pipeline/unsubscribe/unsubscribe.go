// Package unsubscribe has the links with which people revoke their consent to a channel.
//
// Templates of campaigns write Placeholder for `unsubscribe_url`, as the core knows
// neither the gateway's address nor a key. Whoever delivers the offer puts the link in its
// place:
//
//	<the gateway's address>/v1/unsubscribe/<payload>.<MAC>
//	payload  base64url, without padding, of: u (a userId) or a (an anonymousId),
//	         the channel, a zero byte, and the id
//	MAC      base64url of the first 16 bytes of the HMAC-SHA-256 of "unsubscribe", a
//	         zero byte and the payload's bytes
//
// A link has no expiry: a mail may be read years later, and who revokes must succeed.
// It permits nothing but to revoke the consent of that user to that channel.
package unsubscribe

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

const (
	// Placeholder stands for a link. It is an address that nobody can have (RFC 2606).
	Placeholder = "https://unsubscribe.invalid/offerstream"

	// Path is where the gateway serves links, before the token.
	Path = "/v1/unsubscribe/"

	macBytes  = 16
	leastKey  = 16 // bytes
	mostKeys  = 16
	mostToken = 2048 // characters
)

// Keys sign links with the first of them, and recognise those of all.
type Keys struct{ all [][]byte }

// Parse reads keys, one a line, each a text of at least 16 bytes. Empty lines, and those
// that begin with #, mean nothing.
func Parse(text string) (*Keys, error) {
	k := &Keys{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if len(line) < leastKey {
			return nil, fmt.Errorf("key %d for unsubscribe links has %d bytes, fewer than %d: make one with openssl rand -hex 32", len(k.all)+1, len(line), leastKey)
		}
		k.all = append(k.all, []byte(line))
	}
	switch {
	case len(k.all) == 0:
		return nil, errors.New("there is no key for unsubscribe links: make one with openssl rand -hex 32")
	case len(k.all) > mostKeys:
		return nil, fmt.Errorf("there are %d keys for unsubscribe links, at most %d can be used", len(k.all), mostKeys)
	}
	return k, nil
}

// A Link is what a link revokes.
type Link struct {
	User      string // userId or anonymousId
	Anonymous bool
	Channel   string
}

var encoding = base64.RawURLEncoding

// Token is the part of a link behind Path.
func (k *Keys) Token(l Link) string {
	payload := []byte("u")
	if l.Anonymous {
		payload = []byte("a")
	}
	payload = append(append(append(payload, l.Channel...), 0), l.User...)
	return encoding.EncodeToString(payload) + "." + encoding.EncodeToString(sum(k.all[0], payload))
}

// Open reads a token. ok is false if no key has signed it.
func (k *Keys) Open(token string) (l Link, ok bool) {
	if len(token) > mostToken {
		return l, false
	}
	text, given, _ := strings.Cut(token, ".")
	payload, err := encoding.DecodeString(text)
	if err != nil {
		return l, false
	}
	mac, err := encoding.DecodeString(given)
	if err != nil {
		return l, false
	}
	for _, key := range k.all {
		if hmac.Equal(mac, sum(key, payload)) {
			channel, user, _ := bytes.Cut(payload[1:], []byte{0})
			return Link{string(user), payload[0] == 'a', string(channel)}, true
		}
	}
	return l, false
}

func sum(key, payload []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("unsubscribe\x00"))
	mac.Write(payload)
	return mac.Sum(nil)[:macBytes]
}
