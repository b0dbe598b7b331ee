package deliver

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Bytes of a secret, by the specification of Standard Webhooks.
const (
	leastSecretBytes = 24
	mostSecretBytes  = 64
	mostSecrets      = 4 // signatures of one message
)

// A signer signs messages as Standard Webhooks does. Its secret has one key a line:
// during a rotation messages are signed with the new and the old one.
type signer struct {
	secret *Secret

	mu   sync.Mutex
	text string // from which keys are
	keys []*standardwebhooks.Webhook
}

// now returns the keys as they are now.
func (s *signer) now() ([]*standardwebhooks.Webhook, error) {
	text := s.secret.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys != nil && s.text == text {
		return s.keys, nil
	}
	keys, err := readKeys(text)
	if err != nil {
		return nil, err
	}
	s.text, s.keys = text, keys
	return keys, nil
}

func readKeys(text string) (keys []*standardwebhooks.Webhook, err error) {
	for i, line := range strings.Fields(text) {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(line, "whsec_"))
		if err != nil || len(key) < leastSecretBytes || len(key) > mostSecretBytes {
			return nil, fmt.Errorf("key %d of the signing secret is not whsec_ and %d to %d bytes in base64: make one with echo whsec_$(openssl rand -base64 32)", i+1, leastSecretBytes, mostSecretBytes)
		}
		k, err := standardwebhooks.NewWebhookRaw(key)
		if err != nil {
			return nil, fmt.Errorf("key %d of the signing secret: %w", i+1, err)
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 || len(keys) > mostSecrets {
		return nil, fmt.Errorf("the signing secret has %d keys: give 1 to %d, one a line", len(keys), mostSecrets)
	}
	return keys, nil
}

// sign adds the headers of an attempt to send a body.
func (s *signer) sign(h http.Header, id string, at time.Time, body []byte) error {
	keys, err := s.now()
	if err != nil {
		return err
	}
	var all []string
	for _, k := range keys {
		one, err := k.Sign(id, at, body)
		if err != nil {
			return fmt.Errorf("sign the message: %w", err)
		}
		all = append(all, one)
	}
	h.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(at.Unix(), 10))
	h.Set(standardwebhooks.HeaderWebhookSignature, strings.Join(all, " "))
	return nil
}
