package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline/campaign"
)

// maxSet is the size in bytes of a set, uncompressed.
const maxSet = 256 << 20

func setKey(hash string) string { return "set." + hash }

// ErrNoSet means that the bucket does not have the set.
var ErrNoSet = errors.New("there is no such campaign set")

// PutSet stores the set under its hash. Putting it again changes nothing.
func (c *Conn) PutSet(ctx context.Context, def *campaign.Definition) (hash string, err error) {
	hash = def.Hash()
	if _, err := c.Set(ctx, hash); err == nil {
		return hash, nil
	}
	if err := c.putText(ctx, setKey(hash), "", def.JSON()); err != nil {
		return "", fmt.Errorf("store campaign set %s: %w", hash, err)
	}
	return hash, nil
}

// Set reads a set and checks its hash. The error is ErrNoSet if the bucket does
// not have the set.
func (c *Conn) Set(ctx context.Context, hash string) (*campaign.Definition, error) {
	text, _, err := c.text(ctx, setKey(hash), maxSet)
	if errors.Is(err, jetstream.ErrKeyNotFound) || errors.Is(err, jetstream.ErrInvalidKey) {
		err = ErrNoSet
	}
	if err != nil {
		return nil, fmt.Errorf("read campaign set %s: %w", hash, err)
	}
	def, err := campaign.ParseDefinition(text)
	if err != nil {
		return nil, fmt.Errorf("read campaign set %s: %w", hash, err)
	}
	if got := def.Hash(); got != hash {
		return nil, fmt.Errorf("read campaign set %s: the stored set has hash %s: apply the campaigns again, with this version of the program", hash, got)
	}
	return def, nil
}
