package checkpoint

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/state"
)

// A heavy folds events through a cache in front of a store.
type heavy struct {
	t     *testing.T
	store *state.Store
	cache *Cache
	fold  *pipeline.Fold
	w     *Writer
	seq   uint64
}

// newHeavy makes a fold of views, of which each user keeps thousands of products.
func newHeavy(t *testing.T, cache int64) *heavy {
	store, err := state.Open(t.TempDir(), state.Options{MemTable: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	def := views()
	def.Bounds.Keys = 4096
	def.Features = append(def.Features, campaign.Feature{Name: "products", On: []string{"Product Viewed"}, Agg: "count", By: "event.properties.product_id"})
	set, problems := pipeline.Compile(def)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	c := NewCache(store, cache, Lookups{})
	return &heavy{t: t, store: store, cache: c, fold: newFold(t, func(string) (*pipeline.Set, error) { return set, nil }, c), w: NewWriter(c, 0), seq: 1}
}

// take folds a message, with checkpoints as a worker makes them.
func (h *heavy) take(message string) {
	h.t.Helper()
	h.seq++
	h.cache.Expect([]byte(message))
	if err := h.fold.Begin(pipeline.Message{Seq: h.seq, Stored: int64(h.seq) * 1e6, Kind: pipeline.In, Data: []byte(message)}); err != nil {
		h.t.Fatal(err)
	}
	for {
		more, err := h.fold.Next()
		if err != nil {
			h.t.Fatal(err)
		}
		h.fold.Effects()
		if !more {
			return
		}
		if h.cache.Full(1) {
			h.commit()
		}
	}
}

// commit makes a checkpoint, and returns its bytes.
func (h *heavy) commit() int {
	h.t.Helper()
	if err := errors.Join(h.w.Encode(h.fold.Cursor()), h.w.Commit()); err != nil {
		h.t.Fatal(err)
	}
	h.w.Done()
	return h.w.Bytes()
}

func product(user, i, id int) string {
	return fmt.Sprintf(`{"type":"track","event":"Product Viewed","userId":"u%d","messageId":"m%d","properties":{"product_id":"%078d"}}`, user, i, id)
}

// fill lets a user hold as much as it may, or at least 400 KB.
func (h *heavy) fill(user int) {
	h.t.Helper()
	var events []string
	for i := range 4096 {
		events = append(events, product(user, i, i))
		if len(events) == 64 {
			h.take(strings.Join(events, "\n"))
			events = nil
		}
	}
}

// TestHeavyUser: a checkpoint after a tiny event of a user who holds some hundred
// KB writes some KB, whether the user was in the cache or not.
func TestHeavyUser(t *testing.T) {
	for _, cached := range []bool{true, false} {
		cache := int64(1)
		if cached {
			cache = 64 << 20
		}
		h := newHeavy(t, cache)
		h.fill(0)
		h.commit()
		b, pieces, _, err := h.store.Entity("u:u0", nil)
		if err != nil || len(b) < 200_000 || pieces == nil {
			t.Fatalf("the user takes %d bytes in %d pieces: %v", len(b), len(pieces), err)
		}
		most, written := 0, 0
		const events = 100
		for i := range events {
			h.take(product(1, i, 1))
			h.commit()
			h.take(product(2, i, 1)) // after it, an entity that is not needed leaves
			if cached != (h.cache.entries["u:u0"] != nil) {
				t.Fatalf("it is not so that the user is in the cache: %v", cached)
			}
			h.take(product(0, 5000+i, i*37))
			n := h.commit()
			most, written = max(most, n), written+n
		}
		t.Logf("cached %v: a user of %d bytes; a checkpoint after each event wrote %d, at most %d", cached, len(b), written/events, most)
		if written/events > 60_000 || most > 90_000 {
			t.Error("that is too much")
		}
		if _, err := h.store.Check(dueOf); err != nil {
			t.Error(err)
		}
	}
}

// TestHeavyTurns lets heavy users have tiny events in turn. If they are in the
// cache, a checkpoint holds many of them.
func TestHeavyTurns(t *testing.T) {
	const users, rounds = 10, 40
	h := newHeavy(t, 1<<30)
	for u := range users {
		h.fill(u)
	}
	h.commit()
	h.take(product(0, 4999, 1))
	h.commit()
	before, checkpoints := h.w.gen, 0
	for i := range rounds {
		for u := range users {
			h.take(product(u, 5000+i, i))
			if h.cache.Full(1) {
				h.commit()
			}
		}
	}
	checkpoints = int(h.w.gen - before)
	t.Logf("%d checkpoints for %d events", checkpoints, users*rounds)
	if checkpoints > users*rounds/10 {
		t.Errorf("%d checkpoints for %d events", checkpoints, users*rounds)
	}
}

// TestGrowth lets users learn as much as an event can hold. No checkpoint is too
// big for a transaction, as Full counts what comes.
func TestGrowth(t *testing.T) {
	h := newHeavy(t, 1<<30)
	for round := range 4 {
		for u := range 200 {
			h.take(fmt.Sprintf(`{"type":"identify","userId":"u%d","messageId":"i%d","traits":{"t%d":%q}}`, u, round, round, strings.Repeat("x", 31_000)))
			if h.cache.Full(1) {
				h.commit()
			}
		}
	}
	h.commit()
}
