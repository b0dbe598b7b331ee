package broker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"offerstream/pipeline"
	"offerstream/pipeline/broker/embedded"
	"offerstream/pipeline/campaign"
)

func define(clock string, campaigns int) *campaign.Definition {
	d := &campaign.Definition{Engine: pipeline.Engine, Clock: clock, Lateness: campaign.DefaultLateness, Bounds: campaign.DefaultBounds}
	noise := rand.New(rand.NewPCG(1, 2)) // so that it does not compress
	for i := range campaigns {
		text := make([]byte, 60)
		for j := range text {
			text[j] = byte('a' + noise.IntN(26))
		}
		d.Campaigns = append(d.Campaigns, campaign.Campaign{ID: fmt.Sprint("c", i), On: []string{string(text)},
			Offer: campaign.OfferSpec{Channel: "web", Kind: campaign.Service, Data: json.RawMessage(`{"a":"<b>"}`)}})
	}
	return d
}

func TestSets(t *testing.T) {
	t.Parallel()
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 1})
	ctx := limited(t)
	for _, def := range []*campaign.Definition{define(campaign.ClockBroker, 0), define(campaign.ClockBroker, 25_000)} {
		for range 2 { // storing it a second time changes nothing
			hash, err := c.PutSet(ctx, def)
			if err != nil || hash != def.Hash() {
				t.Fatalf("put: %q, %v", hash, err)
			}
		}
		got, err := c.Set(ctx, def.Hash())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.JSON(), def.JSON()) {
			t.Errorf("a set of %d campaigns came back changed", len(def.Campaigns))
		}
	}
	if _, err := c.kv.Get(ctx, chunkKey(setKey(define(campaign.ClockBroker, 25_000).Hash()), "", 1)); err != nil {
		t.Errorf("the large set is not in several chunks: %v", err)
	}
	for _, hash := range []string{"0123", "", "a b", "x.y", "*"} {
		if _, err := c.Set(ctx, hash); !errors.Is(err, ErrNoSet) {
			t.Errorf("set %q: %v", hash, err)
		}
	}
}

// TestDamagedSet: a stored set whose content does not have its hash is refused;
// storing it again repairs it.
func TestDamagedSet(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 1})
	ctx := limited(t)
	def, other := define(campaign.ClockBroker, 1), define(campaign.ClockBroker, 2)
	for _, d := range []*campaign.Definition{def, other} {
		if _, err := c.PutSet(ctx, d); err != nil {
			t.Fatal(err)
		}
	}
	hash := def.Hash()
	for _, suffix := range []string{"", ".0"} {
		e, err := c.kv.Get(ctx, setKey(other.Hash())+suffix)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.kv.Put(ctx, setKey(hash)+suffix, e.Value()); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Set(ctx, hash); err == nil || errors.Is(err, ErrNoSet) {
			t.Errorf("damaged by %q: %v", suffix, err)
		}
	}
	if _, err := c.PutSet(ctx, def); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Set(ctx, hash); err != nil {
		t.Error(err)
	}
}
