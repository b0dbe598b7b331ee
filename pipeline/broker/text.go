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
)

// A text of any size is stored in the campaigns' bucket as chunks of its gzip, and
// as a manifest, which is written after them.

// maxChunk is the size in bytes of a chunk, so that it fits into a message of 1 MB.
const maxChunk = 900 << 10

// manifest is the value of the text's key.
type manifest struct {
	Chunks int    `json:"chunks"`
	Bytes  int    `json:"bytes"`         // size of the text
	Sum    string `json:"sum,omitempty"` // a part of the chunks' keys: another text under the same key has other chunks
}

func chunkKey(key, sum string, i int) string {
	if sum != "" {
		key += "." + sum
	}
	return key + "." + strconv.Itoa(i)
}

// putText stores a text under a key.
func (c *Conn) putText(ctx context.Context, key, sum string, text []byte) error {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write(text); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	m := manifest{Bytes: len(text), Sum: sum}
	for zipped.Len() > 0 {
		if _, err := c.kv.Put(ctx, chunkKey(key, sum, m.Chunks), zipped.Next(maxChunk)); err != nil {
			return err
		}
		m.Chunks++
	}
	b, err := json.Marshal(m)
	if err == nil {
		_, err = c.kv.Put(ctx, key, b)
	}
	return err
}

// text reads the text under a key. The error is jetstream.ErrKeyNotFound or
// jetstream.ErrInvalidKey if there is none.
func (c *Conn) text(ctx context.Context, key string, most int) ([]byte, manifest, error) {
	var m manifest
	value, _, err := c.Wire.Get(ctx, c.Names.CampaignsBucket(), key)
	if err != nil {
		return nil, m, err
	}
	if err := json.Unmarshal(value, &m); err != nil || m.Bytes > most {
		return nil, m, fmt.Errorf("its manifest cannot be read: %q", value)
	}
	var zipped bytes.Buffer
	for i := range m.Chunks {
		chunk, _, err := c.Wire.Get(ctx, c.Names.CampaignsBucket(), chunkKey(key, m.Sum, i))
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			err = errors.New("it is not there")
		}
		if err != nil {
			return nil, m, fmt.Errorf("chunk %d of %d: %w", i+1, m.Chunks, err)
		}
		zipped.Write(chunk)
	}
	z, err := gzip.NewReader(&zipped)
	if err != nil {
		return nil, m, err
	}
	text, err := io.ReadAll(io.LimitReader(z, int64(m.Bytes)+1))
	if err != nil {
		return nil, m, err
	}
	if len(text) != m.Bytes {
		return nil, m, fmt.Errorf("its size is not the %d bytes that its manifest says", m.Bytes)
	}
	return text, m, nil
}
