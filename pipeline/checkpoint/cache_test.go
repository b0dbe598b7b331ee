package checkpoint

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/value"
	"offerstream/state"
)

var cacheSeed = flag.Uint64("seed", 0, "of the random events; 0: a new one")

// random returns a seeded random source and logs its seed.
func random(t *testing.T) *rand.Rand {
	seed := *cacheSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano()) % 1e9
	}
	t.Logf("go test ./pipeline/checkpoint -run '^%s$' -seed %d", t.Name(), seed)
	return rand.New(rand.NewPCG(seed, 2))
}

// views returns a set that sends an offer some time after the third Product
// Viewed, unless it is cancelled.
func views() *campaign.Definition {
	return &campaign.Definition{
		Engine: pipeline.Engine, Clock: campaign.ClockBroker, Lateness: campaign.DefaultLateness, Bounds: campaign.DefaultBounds,
		Forget:   campaign.Forget{Anonymous: campaign.DefaultForgetAnonymous, Known: campaign.DefaultForgetKnown},
		Features: []campaign.Feature{{Name: "seen", On: []string{"Product Viewed"}, Agg: "count"}},
		Campaigns: []campaign.Campaign{{ID: "again", On: []string{"Product Viewed"}, If: []string{"seen >= 3"},
			Unless: &campaign.Unless{On: []string{"Order Completed"}, Within: 1e9},
			Offer:  campaign.OfferSpec{Channel: "web", Kind: campaign.Advertising, Data: []byte(`{"n":"{{ seen }}"}`)}}},
	}
}

func view(i int, user string) []byte {
	return fmt.Appendf(nil, `{"type":"track","event":"Product Viewed","userId":%q,"messageId":"%s-%d","receivedAt":%q}`, user, user, i, value.FormatTime(time.Now().UnixNano()))
}

// TestCache folds random events through caches of many sizes. Checkpoints are
// committed at once, late, or only before the next one. Every user is compared
// with a fold that keeps all users in memory.
func TestCache(t *testing.T) {
	for _, max := range []int64{1, 2000, 20_000, 1 << 30} {
		t.Run(fmt.Sprint(max, " bytes"), func(t *testing.T) { cacheAgainstMemory(t, max, false) })
	}
}

// TestCacheCancels is TestCache with absences that are cancelled.
func TestCacheCancels(t *testing.T) {
	for _, max := range []int64{1, 2000, 20_000, 1 << 30} {
		t.Run(fmt.Sprint(max, " bytes"), func(t *testing.T) { cacheAgainstMemory(t, max, true) })
	}
}

func cacheAgainstMemory(t *testing.T, max int64, cancels bool) {
	rng := random(t)
	store, err := state.Open(t.TempDir(), state.Options{MemTable: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	c := NewCache(store, max, Lookups{})
	set, problems := pipeline.Compile(views())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	sets := func(string) (*pipeline.Set, error) { return set, nil }
	all := pipeline.Memory{}
	cached, plain := newFold(t, sets, c), newFold(t, sets, all)
	batch := store.NewBatch()
	under := uint64(0) // the checkpoint that is being encoded, or encoded, but not committed; 0: none
	whole := false     // it is encoded
	var want map[string]string
	begin := func() {
		batch.Reset()
		under, whole, want = c.begin(batch), false, map[string]string{}
		for key, e := range all {
			want[key] = string(e.AppendBinary(nil))
		}
	}
	commit := func() {
		c.encode(math.MaxInt)
		if err := store.Commit(batch, []byte("x")); err != nil {
			t.Fatal(err)
		}
		c.committed, under = under, 0
		stored := map[string]string{}
		if err := store.Entities("", func(key string, b []byte, _ state.Pieces) error { stored[key] = string(b); return nil }); err != nil {
			t.Fatal(err)
		}
		for key, b := range want {
			if stored[key] != b {
				t.Fatalf("the checkpoint has another state of %s than there was when it began", key)
			}
		}
		if len(stored) != len(want) {
			t.Fatalf("the checkpoint has %d users, want %d", len(stored), len(want))
		}
	}
	const users = 30
	for i := range 3000 {
		user := fmt.Sprint("user", min(rng.IntN(users), rng.IntN(users)))
		m := pipeline.Message{Seq: uint64(i + 2), Stored: int64(i) * 1e7, Kind: pipeline.In, Data: view(i, user)}
		if cancels && rng.IntN(10) == 0 {
			m.Data = bytes.Replace(m.Data, []byte("Product Viewed"), []byte("Order Completed"), 1)
		}
		if got, want := effects(t, cached, m), effects(t, plain, m); got != want {
			t.Fatalf("message %d: offers %s, want %s", i, got, want)
		}
		switch r := rng.IntN(20); {
		case r == 0 && under == 0:
			begin()
		case r == 1 && whole:
			commit()
		case r < 5 && under != 0:
			whole = c.encode(rng.IntN(2000))
		case r == 5:
			sameUser(t, c, all, "u:"+user)
		}
		c.check(t)
	}
	for key := range all {
		sameUser(t, c, all, key)
	}
	if max == 1<<30 && len(c.entries) != len(all) {
		t.Errorf("%d users are cached, want all %d", len(c.entries), len(all))
	}
	if under != 0 {
		commit()
	}
	begin()
	commit()
	if _, err := store.Check(dueOf); err != nil {
		t.Error(err)
	}
}

func dueOf(key string, b []byte) (int64, error) {
	e, err := pipeline.DecodeEntity(key, b)
	if err != nil {
		return 0, err
	}
	return e.Due(), nil
}

func newFold(t *testing.T, sets func(string) (*pipeline.Set, error), ents pipeline.Entities) *pipeline.Fold {
	t.Helper()
	f, err := pipeline.NewFold(pipeline.Cursor{}, sets, ents)
	if err != nil {
		t.Fatal(err)
	}
	effects(t, f, pipeline.Message{Seq: 1, Kind: pipeline.Control, Data: fmt.Appendf(nil, `{"set":"s","engine":%d}`, pipeline.Engine)})
	return f
}

// effects returns the effects of a message as text.
func effects(t *testing.T, f *pipeline.Fold, m pipeline.Message) (all string) {
	t.Helper()
	if err := f.Begin(m); err != nil {
		t.Fatal(err)
	}
	for {
		more, err := f.Next()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range f.Effects() {
			offer, err := json.Marshal(e.Offer)
			if err != nil {
				t.Fatal(err)
			}
			all += fmt.Sprintf("%s %+v %s\n", e.Chain, e.Pos, offer)
		}
		if !more {
			return all
		}
	}
}

func sameUser(t *testing.T, c *Cache, all pipeline.Memory, key string) {
	t.Helper()
	got, err := c.Look(key)
	if err != nil {
		t.Fatal(err)
	}
	want := all[key]
	if want == nil {
		want = pipeline.NewEntity(key)
	}
	if !bytes.Equal(got.AppendBinary(nil), want.AppendBinary(nil)) {
		t.Fatalf("%s is not as a fold without a cache has it", key)
	}
}

// image describes everything in the cache: what it holds, in the order of last use,
// with each user's state, what has changed, and what it has counted.
func (c *Cache) image() string {
	var b strings.Builder
	fmt.Fprintln(&b, len(c.entries), c.bytes, c.gen, c.committed, c.changed, c.count, cap(c.buf))
	entry := func(what string, e *cached) {
		fmt.Fprintf(&b, "%s %s %d %d %v %d %x\n", what, e.entity.Key, e.size, e.due, e.stored, e.gen, e.entity.AppendBinary(nil))
	}
	if c.newest != nil {
		for e := c.newest; ; {
			entry("holds", e)
			if e = e.next; e == c.newest {
				break
			}
		}
	}
	for _, e := range c.dirty {
		entry("changed", e)
	}
	return b.String()
}

// TestLooksChangeNothing: showing a user, as `offerctl user` does, changes nothing
// in the cache, whether the user is cached, only stored, or unknown, and whether
// the cache is full. It is no lookup of the metrics either.
func TestLooksChangeNothing(t *testing.T) {
	rng := random(t)
	store, err := state.Open(t.TempDir(), state.Options{MemTable: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	lookups := 0
	count := prometheus.ObserverFunc(func(float64) { lookups++ })
	c := NewCache(store, 10_000, Lookups{Cached: count, Stored: count})
	set, problems := pipeline.Compile(views())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	f := newFold(t, func(string) (*pipeline.Set, error) { return set, nil }, c)
	const users = 30
	batch := store.NewBatch()
	looked := map[bool]int{} // by whether the user was cached
	for i := range 1000 {
		effects(t, f, pipeline.Message{Seq: uint64(i + 2), Stored: int64(i) * 1e7, Kind: pipeline.In, Data: view(i, fmt.Sprint("user", rng.IntN(users)))})
		if rng.IntN(20) == 0 {
			batch.Reset()
			g := c.begin(batch)
			c.encode(math.MaxInt)
			if err := store.Commit(batch, []byte("x")); err != nil {
				t.Fatal(err)
			}
			c.committed = g
		}
		key := fmt.Sprint("u:user", rng.IntN(users+5))
		before, had := c.image(), lookups
		user, err := f.User(key)
		if err != nil || user.Key != key {
			t.Fatalf("%+v, %v", user, err)
		}
		if after := c.image(); after != before || lookups != had {
			t.Fatalf("a look at %s has changed the cache, with %d lookups, from\n%sto\n%s", key, lookups-had, before, after)
		}
		looked[c.entries[key] != nil]++
	}
	if looked[true] == 0 || looked[false] == 0 {
		t.Errorf("looks at cached users and others: %v", looked)
	}
}

// check verifies the cache's own counts.
func (c *Cache) check(t *testing.T) {
	t.Helper()
	bytes, n := int64(0), 0
	if c.newest != nil {
		for e := c.newest; ; e = e.next {
			if c.entries[e.entity.Key] != e || e.next.prev != e {
				t.Fatalf("%s is wrongly in the ring", e.entity.Key)
			}
			bytes += weight(e)
			if n++; e.next == c.newest {
				break
			}
		}
	}
	if n != len(c.entries) || bytes != c.bytes {
		t.Fatalf("ring of %d with %d bytes, map of %d, counted %d bytes", n, bytes, len(c.entries), c.bytes)
	}
	dirty := 0
	for _, e := range c.entries {
		if e.gen == c.gen {
			dirty++
		}
	}
	if dirty != len(c.dirty) {
		t.Fatalf("%d users have changed, %d are on the list", dirty, len(c.dirty))
	}
}
