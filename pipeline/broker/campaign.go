package broker

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline/campaign"
)

const (
	liveKey  = "live"
	maxChunk = 900 << 10 // bytes of one chunk of a set, so that it fits into a message of 1 MB
	maxSet   = 256 << 20 // bytes of a set, uncompressed
)

// manifest is the value of key set.<hash>, written after the chunks.
type manifest struct {
	Chunks int `json:"chunks"`
	Bytes  int `json:"bytes"` // size of the Definition's JSON
}

func setKey(hash string) string          { return "set." + hash }
func chunkKey(hash string, i int) string { return setKey(hash) + "." + strconv.Itoa(i) }

// ErrNoSet means that the bucket does not have the set.
var ErrNoSet = errors.New("there is no such campaign set")

// PutSet stores the set under its hash. Putting it again changes nothing.
func (c *Conn) PutSet(ctx context.Context, def *campaign.Definition) (hash string, err error) {
	hash = def.Hash()
	if _, err := c.Set(ctx, hash); err == nil {
		return hash, nil
	}
	text := def.JSON()
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write(text); err != nil {
		return "", err
	}
	if err := z.Close(); err != nil {
		return "", err
	}
	m := manifest{Bytes: len(text)}
	for zipped.Len() > 0 {
		if _, err := c.kv.Put(ctx, chunkKey(hash, m.Chunks), zipped.Next(maxChunk)); err != nil {
			return "", fmt.Errorf("store campaign set %s: %w", hash, err)
		}
		m.Chunks++
	}
	b, err := json.Marshal(m)
	if err == nil {
		_, err = c.kv.Put(ctx, setKey(hash), b)
	}
	if err != nil {
		return "", fmt.Errorf("store campaign set %s: %w", hash, err)
	}
	return hash, nil
}

// Set reads a set and checks its hash. The error is ErrNoSet if the bucket does
// not have the set.
func (c *Conn) Set(ctx context.Context, hash string) (*campaign.Definition, error) {
	text, err := c.setText(ctx, hash)
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

func (c *Conn) setText(ctx context.Context, hash string) ([]byte, error) {
	text, _, err := c.Wire.Get(ctx, c.Names.CampaignsBucket(), setKey(hash))
	if errors.Is(err, jetstream.ErrKeyNotFound) || errors.Is(err, jetstream.ErrInvalidKey) {
		return nil, ErrNoSet
	}
	if err != nil {
		return nil, err
	}
	var m manifest
	if err := json.Unmarshal(text, &m); err != nil || m.Bytes > maxSet {
		return nil, fmt.Errorf("its manifest cannot be read: %q", text)
	}
	var zipped bytes.Buffer
	for i := range m.Chunks {
		chunk, _, err := c.Wire.Get(ctx, c.Names.CampaignsBucket(), chunkKey(hash, i))
		if err != nil {
			return nil, fmt.Errorf("chunk %d of %d: %w", i+1, m.Chunks, err)
		}
		zipped.Write(chunk)
	}
	z, err := gzip.NewReader(&zipped)
	if err != nil {
		return nil, err
	}
	text, err = io.ReadAll(io.LimitReader(z, int64(m.Bytes)+1))
	if err != nil {
		return nil, err
	}
	if len(text) != m.Bytes {
		return nil, fmt.Errorf("its size is not the %d bytes that its manifest says", m.Bytes)
	}
	return text, nil
}
