package broker

import (
	"bytes"
	"context"
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

func TestLive(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 1})
	ctx := limited(t)
	is, rev, err := c.Live(ctx)
	if is.Set != "" || rev != 0 || err != nil {
		t.Fatalf("none is live: %+v, %d, %v", is, rev, err)
	}
	if err := c.MakeLive(ctx, "0123", rev); !errors.Is(err, ErrNoSet) {
		t.Errorf("a set that is not there: %v", err)
	}
	one, err := c.PutSet(ctx, define(campaign.ClockBroker, 1))
	if err != nil {
		t.Fatal(err)
	}
	two, err := c.PutSet(ctx, define(campaign.ClockEvent, 2))
	if err != nil {
		t.Fatal(err)
	}
	for _, next := range []string{one, two, one} {
		if err := c.MakeLive(ctx, next, rev); err != nil {
			t.Fatal(err)
		}
		if err := c.MakeLive(ctx, two, rev); !errors.Is(err, ErrLiveChanged) {
			t.Errorf("over what nobody had looked at: %v", err)
		}
		if is, rev, err = c.Live(ctx); is.Set != next || err != nil {
			t.Fatalf("live: %+v, %v, want %q", is, err, next)
		}
	}
}

// live stores a set and makes it the live one.
func live(t *testing.T, c *Conn, def *campaign.Definition) string {
	t.Helper()
	ctx := limited(t)
	hash, err := c.PutSet(ctx, def)
	if err != nil {
		t.Fatal(err)
	}
	_, rev, err := c.Live(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.MakeLive(ctx, hash, rev); err != nil {
		t.Fatal(err)
	}
	return hash
}

// TestWatchLive: a watch reports the live set and each change, also after the
// server was away.
func TestWatchLive(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, embedded.Options{Dir: dir, Port: -1})
	url, port := s.ClientURL(), portOf(t, s)
	c := dial(t, Options{URL: url, Partitions: 1, Reconnect: true})
	ctx, cancel := context.WithCancel(limited(t))
	told, ended := make(chan string, 16), make(chan error, 1)
	go func() { ended <- c.WatchLive(ctx, func(live Live) { told <- live.Set }) }()
	next := func(want string) {
		t.Helper()
		select {
		case got := <-told:
			if got != want {
				t.Fatalf("told %q, want %q", got, want)
			}
		case <-ctx.Done():
			t.Fatalf("%q was never told", want)
		}
	}
	next("")
	next(live(t, c, define(campaign.ClockBroker, 1)))
	next(live(t, c, define(campaign.ClockBroker, 2)))
	s.Shutdown()
	serve(t, embedded.Options{Dir: dir, Port: port})
	other := dial(t, Options{URL: url})
	next(live(t, other, define(campaign.ClockBroker, 3)))
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the watch ended with %v", err)
	}
}

func TestWatchLiveEndsWithItsConnection(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 1})
	told, ended := make(chan string, 1), make(chan error, 1)
	go func() { ended <- c.WatchLive(limited(t), func(live Live) { told <- live.Set }) }()
	<-told
	c.Close()
	if err := <-ended; err == nil {
		t.Error("the watch ended without an error")
	}
}
