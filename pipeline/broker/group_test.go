package broker

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline/broker/embedded"
)

// watched holds what a watch has last reported.
type watched struct {
	mu     sync.Mutex
	leases map[string][]byte // nil before the first report
	times  int
	left   []string // ids
}

func watchLeases(t *testing.T, c *Conn) *watched {
	t.Helper()
	w := &watched{}
	ctx, cancel := context.WithCancel(limited(t))
	ended := make(chan error, 1)
	go func() {
		ended <- c.WatchLeases(ctx, func(leases map[string][]byte) {
			w.mu.Lock()
			defer w.mu.Unlock()
			for id := range w.leases {
				if _, ok := leases[id]; !ok {
					w.left = append(w.left, id)
				}
			}
			w.leases = leases
			w.times++
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the watch ended with %v", err)
		}
	})
	return w
}

func (w *watched) is(want map[string]string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.leases != nil && maps.EqualFunc(w.leases, want, func(a []byte, b string) bool { return string(a) == b })
}

func (w *watched) gone() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.left)
}

func (w *watched) await(t *testing.T, what string, want map[string]string) {
	t.Helper()
	await(t, what, func() bool { return w.is(want) })
}

func putLease(t *testing.T, c *Conn, id, value string, ttl time.Duration, rev uint64) uint64 {
	t.Helper()
	rev, err := c.PutLease(limited(t), id, []byte(value), ttl, rev)
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

// lost checks that a put is refused, and which revision is reported as alive.
func lost(t *testing.T, c *Conn, id string, rev, stands uint64) {
	t.Helper()
	got, err := c.PutLease(limited(t), id, []byte("lost"), time.Minute, rev)
	if !errors.Is(err, ErrLeaseLost) || got != stands {
		t.Errorf("lease %s after %d: %d, %v; want %d and that it is lost", id, rev, got, err, stands)
	}
}

func TestLeases(t *testing.T) {
	s := serve(t, embedded.Options{})
	a, b := dial(t, Options{InProcess: s, Partitions: 1, Prefix: "x"}), dial(t, Options{InProcess: s, Prefix: "x"})
	w := watchLeases(t, b)
	w.await(t, "no leases", map[string]string{})
	one := putLease(t, a, "one", "", time.Minute, 0)
	two := putLease(t, b, "two", "p=1\nq", time.Minute, 0)
	w.await(t, "both leases", map[string]string{"one": "", "two": "p=1\nq"})
	late := watchLeases(t, a)
	late.await(t, "both leases, to one who comes later", map[string]string{"one": "", "two": "p=1\nq"})

	lost(t, a, "one", 0, one)
	lost(t, b, "two", two+17, two)
	lost(t, a, "three", 5, 0)
	renewed := putLease(t, b, "two", "p=2", time.Minute, two)
	lost(t, b, "two", two, renewed)
	w.await(t, "a new value", map[string]string{"one": "", "two": "p=2"})
	w.mu.Lock()
	times := w.times
	w.mu.Unlock()
	renewed = putLease(t, b, "two", "p=2", time.Minute, renewed)

	if all, err := a.Leases(limited(t)); err != nil || len(all) != 2 || string(all["two"].Value) != "p=2" || time.Since(all["one"].Time).Abs() > time.Hour {
		t.Errorf("looked at once: %+v, %v", all, err)
	}
	if err := b.DropLease(limited(t), "two", two); !errors.Is(err, ErrLeaseLost) {
		t.Errorf("dropped by one who does not hold it: %v", err)
	}
	for range 2 { // dropping it a second time changes nothing
		if err := b.DropLease(limited(t), "two", renewed); err != nil {
			t.Error(err)
		}
	}
	w.await(t, "one has left", map[string]string{"one": ""})
	if all, err := a.Leases(limited(t)); err != nil || len(all) != 1 {
		t.Errorf("looked at once after that: %+v, %v", all, err)
	}
	w.mu.Lock()
	if w.times != times+1 {
		t.Errorf("told %d times, of a drop and of a renewal that changed nothing", w.times-times)
	}
	w.mu.Unlock()
	lost(t, b, "two", renewed, 0)
	putLease(t, b, "two", "again", time.Minute, 0)
	w.await(t, "one is back", map[string]string{"one": "", "two": "again"})
}

func TestLeaseThatIsNone(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 1})
	for _, bad := range []struct {
		id, value string
		ttl       time.Duration
		want      string
	}{
		{"", "", time.Minute, "1 to 32 characters, a-z and 0-9"},
		{"a.b", "", time.Minute, "1 to 32 characters, a-z and 0-9"},
		{"*", "", time.Minute, "1 to 32 characters, a-z and 0-9"},
		{strings.Repeat("a", 33), "", time.Minute, "1 to 32 characters, a-z and 0-9"},
		{"a", "", time.Second - 1, "at least a second"},
		{"a", strings.Repeat("x", maxLease+1), time.Minute, "65537 bytes, at most 65536 are allowed"},
	} {
		if _, err := c.PutLease(limited(t), bad.id, []byte(bad.value), bad.ttl, 0); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("lease %q: %v", bad.id, err)
		}
	}
	// A key put there by hand is not a member.
	for _, key := range []string{"member.UPPER", "member.a", "note"} {
		if _, err := c.JS.Publish(limited(t), "$KV.GROUP."+key, []byte("hello")); err != nil {
			t.Fatal(err)
		}
	}
	putLease(t, c, "b", strings.Repeat("x", maxLease), time.Minute, 0)
	watchLeases(t, c).await(t, "a large one alone", map[string]string{"b": strings.Repeat("x", maxLease)})
}

// TestLeaseExpires: a renewed lease outlives its first duration. A lease that is
// not renewed ends, its holder's late renewal is refused, and the id can be taken
// again.
func TestLeaseExpires(t *testing.T) {
	t.Parallel()
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 1})
	w := watchLeases(t, c)
	put := time.Now()
	frozen := putLease(t, c, "frozen", "f", 1100*time.Millisecond, 0) // rounded up to two seconds
	alive := putLease(t, c, "alive", "x", time.Minute, 0)
	await(t, "the end of a lease", func() bool {
		alive = putLease(t, c, "alive", "x", time.Minute, alive)
		return w.is(map[string]string{"alive": "x"})
	})
	took := time.Since(put)
	t.Logf("a lease of 2 s left after %s", took)
	if took < 2*time.Second {
		t.Errorf("a lease of 2 s left after %s", took)
	}
	lost(t, c, "frozen", frozen, 0)
	back := putLease(t, c, "frozen", "back", time.Minute, 0)
	lost(t, c, "frozen", frozen, back)
	w.await(t, "the id is taken again", map[string]string{"alive": "x", "frozen": "back"})
}

// TestLeaseRenewed: renewing a lease restarts its duration.
func TestLeaseRenewed(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 1})
	ctx := limited(t)
	rev := putLease(t, c, "a", "", time.Second, 0)
	rev = putLease(t, c, "a", "", time.Hour, rev)
	short := putLease(t, c, "b", "", 2*time.Second, 0)
	await(t, "a shorter lease that began later is over", func() bool {
		_, err := c.PutLease(ctx, "c", nil, time.Minute, 0)
		m, err2 := c.Wire.Last(ctx, c.Names.groupStream(), c.Names.leaseSubject("b"))
		return err2 == nil && m.Seq > short && (err == nil || errors.Is(err, ErrLeaseLost))
	})
	putLease(t, c, "a", "", time.Hour, rev)
}

// TestLeaseForOne: if several take a lease at once, one gets it.
func TestLeaseForOne(t *testing.T) {
	s := serve(t, embedded.Options{})
	dial(t, Options{InProcess: s, Partitions: 1})
	ctx := limited(t)
	for range 20 {
		revs, errs := make([]uint64, 4), make([]error, 4)
		var all sync.WaitGroup
		for i := range revs {
			c := dial(t, Options{InProcess: s})
			all.Go(func() { revs[i], errs[i] = c.PutLease(ctx, "a", []byte{byte(i)}, time.Minute, 0) })
		}
		all.Wait()
		won := -1
		for i, err := range errs {
			switch {
			case err == nil && won < 0:
				won = i
			case err == nil:
				t.Fatalf("both %d and %d have it", won, i)
			case !errors.Is(err, ErrLeaseLost):
				t.Fatal(err)
			}
		}
		if won < 0 {
			t.Fatal("nobody has it")
		}
		if err := dial(t, Options{InProcess: s}).DropLease(ctx, "a", revs[won]); err != nil { // the next round takes the lease after the message that ended it
			t.Fatal(err)
		}
	}
}

// TestLeasesBucketDeleted: if the bucket is deleted, a renewal makes it anew and
// logs that. Watches continue, and keep the members that renew in time.
func TestLeasesBucketDeleted(t *testing.T) {
	t.Parallel()
	s := serve(t, embedded.Options{})
	var log lines
	c := dial(t, Options{InProcess: s, Partitions: 1, Log: slog.New(slog.NewTextHandler(&log, nil))})
	tool := dial(t, Options{InProcess: s, Join: true})
	w, far := watchLeases(t, c), watchLeases(t, tool)
	rev := putLease(t, c, "a", "1", time.Minute, 0)
	for _, w := range []*watched{w, far} {
		w.await(t, "a lease", map[string]string{"a": "1"})
	}
	putLease(t, c, "b", "1", 2*time.Second, 0)
	over := time.Now().Add(2 * time.Second) // on a slow machine the lease may end before a watch sees it
	for _, w := range []*watched{w, far} {
		await(t, "a short one", func() bool { return w.is(map[string]string{"a": "1", "b": "1"}) || time.Now().After(over) })
	}
	if err := c.JS.DeleteKeyValue(limited(t), "GROUP"); err != nil {
		t.Fatal(err)
	}
	for _, w := range []*watched{w, far} {
		w.await(t, "the lease whose time is not over", map[string]string{"a": "1"})
	}
	if _, err := tool.PutLease(limited(t), "c", nil, time.Minute, 0); !errors.Is(err, jetstream.ErrNoStreamResponse) {
		t.Errorf("a tool has made the bucket: %v", err)
	}
	lost(t, c, "a", rev, 0)
	if !strings.Contains(log.String(), "making it anew") {
		t.Errorf("the log has no word of it:\n%s", log.String())
	}
	putLease(t, c, "a", "2", time.Minute, 0)
	for _, w := range []*watched{w, far} {
		w.await(t, "the lease that is back, and no more", map[string]string{"a": "2"})
		if slices.Contains(w.gone(), "a") {
			t.Error("it had left meanwhile")
		}
	}
	if _, err := c.group(limited(t)); err != nil {
		t.Errorf("what was made anew: %v", err)
	}
}

// TestOlderDeployment: in a deployment of an older version, without the buckets,
// a process with the right to make them does so. A tool makes none, and finds no
// leases and no snapshots.
func TestOlderDeployment(t *testing.T) {
	t.Parallel()
	s := serve(t, embedded.Options{})
	c := dial(t, Options{InProcess: s, Partitions: 1})
	for _, stream := range []string{"KV_GROUP", "OBJ_SNAPSHOTS"} {
		if err := c.JS.DeleteStream(limited(t), stream); err != nil {
			t.Fatal(err)
		}
	}
	tool := dial(t, Options{InProcess: s, Join: true})
	w := watchLeases(t, tool)
	w.await(t, "no leases", map[string]string{})
	if all, err := tool.Snapshots(limited(t), 0); err != nil || len(all) > 0 {
		t.Errorf("snapshots: %v, %v", all, err)
	}
	if _, err := tool.JS.Stream(limited(t), "KV_GROUP"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("after a tool's look: %v", err)
	}
	putLease(t, dial(t, Options{InProcess: s}), "a", "1", time.Minute, 0)
	w.await(t, "a lease", map[string]string{"a": "1"})
}

func TestForeignGroup(t *testing.T) {
	s := serve(t, embedded.Options{})
	c := dial(t, Options{InProcess: s, Partitions: 1})
	if err := c.JS.DeleteKeyValue(limited(t), "GROUP"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.JS.CreateKeyValue(limited(t), jetstream.KeyValueConfig{Bucket: "GROUP"}); err != nil {
		t.Fatal(err)
	}
	if got := refusal(t, Options{InProcess: s}); !strings.Contains(got, "bucket GROUP: its keys cannot expire: delete it") {
		t.Error(got)
	}
}

// TestLeasesAfterAnOutage: a watch notices what has changed while its server was
// away, including the end of a lease.
func TestLeasesAfterAnOutage(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, embedded.Options{Dir: dir, Port: -1})
	url, port := s.ClientURL(), portOf(t, s)
	c := dial(t, Options{URL: url, Partitions: 1, Reconnect: true})
	w := watchLeases(t, c)
	rev := putLease(t, c, "a", "1", time.Hour, 0)
	w.await(t, "a lease", map[string]string{"a": "1"})
	putLease(t, c, "b", "1", time.Second, 0)
	s.Shutdown()
	serve(t, embedded.Options{Dir: dir, Port: port})
	putLease(t, dial(t, Options{URL: url}), "a", "2", time.Hour, rev)
	w.await(t, "what has changed", map[string]string{"a": "2"})
}

func TestWatchLeasesEndsWithItsConnection(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 1})
	told, ended := make(chan map[string][]byte, 1), make(chan error, 1)
	go func() { ended <- c.WatchLeases(limited(t), func(l map[string][]byte) { told <- l }) }()
	<-told
	c.Close()
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("the watch ended with %v", err)
	}
}
