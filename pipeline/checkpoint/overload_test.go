package checkpoint

import (
	"errors"
	"flag"
	"fmt"
	"runtime"
	"testing"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/value"
	"offerstream/state"
)

var overloadUsers = flag.Int("overload-users", 100_000, "of TestOverloadUsers")

// waiting returns a set that sends an offer an hour after a Product Viewed.
func waiting() *campaign.Definition {
	def := views()
	def.Clock = campaign.ClockEvent
	def.Campaigns[0].If = []string{"seen >= 1"}
	def.Campaigns[0].Unless.Within = time.Hour
	return def
}

// TestOverloadUsers folds one event for each of very many users, each of which
// then has a timer. The cache stays within its limit; only the queue of timers
// grows with the number of users.
func TestOverloadUsers(t *testing.T) {
	const most = 8 << 20
	store, err := state.Open(t.TempDir(), state.Options{MemTable: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	c := NewCache(store, most, Lookups{})
	set, problems := pipeline.Compile(waiting())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	fold := newFold(t, func(string) (*pipeline.Set, error) { return set, nil }, c)
	w := NewWriter(c, 0)
	users := *overloadUsers
	peak, cached := int64(0), 0
	for u := range users {
		at := value.FormatTime(1e9 + int64(u)*60_000) // a million users a minute
		e := fmt.Appendf(nil, `{"type":"track","event":"Product Viewed","userId":"user-%d","messageId":"m%d","timestamp":%q,"properties":{"x":"xxxxxxxxxx"}}`, u, u, at)
		if got := effects(t, fold, pipeline.Message{Seq: uint64(u + 2), Kind: pipeline.In, Data: e}); got != "" {
			t.Fatalf("offers before their time: %s", got)
		}
		peak, cached = max(peak, c.bytes), max(cached, len(c.entries))
		if c.Full(1) {
			if err := errors.Join(w.Encode(fold.Cursor()), w.Commit()); err != nil {
				t.Fatal(err)
			}
			w.Done()
		}
	}
	// Changed entities stay until they are committed, at most as many as Full allows.
	changed := int64(store.Limit().Bytes / 2 / growth * (decodedExtra + 64))
	t.Logf("%d users: at most %d in the cache, which took %.1f MB, and may take %.1f beside what has changed", users, cached, float64(peak)/1e6, most/1e6)
	if peak > most+changed {
		t.Errorf("the cache took %d bytes, at most %d and %d that changed may be", peak, most, changed)
	}
	if len(c.entries) >= users {
		t.Error("no user has left the cache")
	}

	waits := 0
	if err := store.Timers(func(int64, string) error { waits++; return nil }); err != nil {
		t.Fatal(err)
	}
	if waits < users-len(c.dirty) {
		t.Errorf("%d timers are in the store, want %d but for %d that changed", waits, users, len(c.dirty))
	}
	store.Close()
	queue := newFold(t, func(string) (*pipeline.Set, error) { return set, nil }, pipeline.Memory{})
	before := allocated()
	for u := range users {
		queue.Schedule(int64(u), fmt.Sprint("u:user-", u))
	}
	t.Logf("a timer takes %.0f bytes of the queue", float64(allocated()-before)/float64(users))
	runtime.KeepAlive(queue)
}

// allocated returns the size of the heap after a garbage collection.
func allocated() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
