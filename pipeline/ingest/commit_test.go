package ingest

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"offerstream/pipeline/event"
)

// These tests check the timing of group commit to the nanosecond: in a synctest
// bubble the clock stands still while any goroutine can run, and a sleep takes no
// real time.

// inBubble runs a test in a bubble, with a separate pool of requests: their
// channels belong to the bubble, and must not stay in the shared pool.
func inBubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	fresh := func() { requests = sync.Pool{New: requests.New} }
	fresh()
	defer fresh()
	synctest.Test(t, test)
}

// slowLog acknowledges a pack after a time that depends on the partition.
func slowLog(partitions int, takes func(partition int) time.Duration) *fakeLog {
	log := newFakeLog(partitions)
	log.publish = func(ctx context.Context, p int, _ string, _ []byte) error {
		select {
		case <-time.After(takes(p)):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return log
}

// userOf returns a user of a partition.
func userOf(partition, of int) string {
	for n := 0; ; n++ {
		if u := fmt.Sprint("v", n); event.Partition("u:"+u, of) == partition {
			return u
		}
	}
}

// timed posts a request and returns how long the answer took.
func timed(g *Gateway, path, body string) (*httptest.ResponseRecorder, time.Duration) {
	start := time.Now()
	w := post(g, path, body)
	return w, time.Since(start)
}

func packSizes(log *fakeLog, partition int) (sizes []int) {
	log.mu.Lock()
	defer log.mu.Unlock()
	for _, p := range log.packs[partition] {
		sizes = append(sizes, strings.Count(p, "\n")+1)
	}
	return sizes
}

// TestIdleAddsNoWait: an idle gateway adds no delay to that of the log, and does
// not pack events together that come one after the other.
func TestIdleAddsNoWait(t *testing.T) {
	for _, takes := range []time.Duration{0, 3 * time.Millisecond} {
		inBubble(t, func(t *testing.T) {
			log := slowLog(4, func(int) time.Duration { return takes })
			g := newGateway(t, log)
			for n := range 20 {
				if w, took := timed(g, "/v1/page", numbered("u", n)); w.Code != 200 || took != takes {
					t.Fatalf("event %d: %d after %s, the log takes %s", n, w.Code, took, takes)
				}
			}
			all := batch(numbered(userOf(0, 4), 20), numbered(userOf(1, 4), 21), numbered(userOf(2, 4), 22), numbered(userOf(3, 4), 23))
			if w, took := timed(g, "/v1/batch", all); w.Code != 200 || took != takes {
				t.Errorf("a batch for every partition: %d after %s, the log takes %s", w.Code, took, takes)
			}
			for _, size := range packSizes(log, event.Partition("u:u", 4)) {
				if size != 1 {
					t.Errorf("a pack of %d events", size)
				}
			}
		})
	}
}

// TestPacksGrowUnderLoad: packs grow with the load: all events that come during
// one publish are in the next, so that no request waits for more than two.
func TestPacksGrowUnderLoad(t *testing.T) {
	const takes = 10 * time.Millisecond
	for _, load := range []struct{ each, pack int }{{5, 2}, {50, 20}, {200, 80}} { // requests in 25 ms, events in a pack
		inBubble(t, func(t *testing.T) {
			log := slowLog(1, func(int) time.Duration { return takes })
			g := newGateway(t, log)
			every := 25 * time.Millisecond / time.Duration(load.each)
			var all sync.WaitGroup
			var mu sync.Mutex
			var longest time.Duration
			for n := range 20 * load.each {
				all.Go(func() {
					w, took := timed(g, "/v1/page", numbered("u", n))
					if w.Code != 200 {
						t.Errorf("event %d: %d %s", n, w.Code, w.Body)
					}
					mu.Lock()
					longest = max(longest, took)
					mu.Unlock()
				})
				time.Sleep(every)
			}
			all.Wait()
			sizes := packSizes(log, 0)
			for i, size := range sizes[1 : len(sizes)-1] {
				if size < load.pack-1 || size > load.pack+1 {
					t.Errorf("one event each %s: pack %d has %d events, %d come while one is out", every, i+1, size, load.pack)
				}
			}
			if longest > 2*takes {
				t.Errorf("one event each %s: a request took %s, a publish takes %s", every, longest, takes)
			}
		})
	}
}

// TestStalledPartition: if the log of one partition stores nothing, the requests
// with events for it fail, each at its own timeout. Other requests are not
// delayed.
func TestStalledPartition(t *testing.T) {
	const timeout = 7 * time.Second
	inBubble(t, func(t *testing.T) {
		log := slowLog(4, func(p int) time.Duration {
			if p == 2 {
				return time.Hour
			}
			return 0
		})
		g := newGateway(t, log, func(o *Options) { o.Timeout, o.Attempt = timeout, 2*time.Second })
		stalled := userOf(2, 4)
		var all sync.WaitGroup
		for n := range 40 { // one every 500 ms: many of them come while another request's pack is being published
			all.Go(func() {
				events := numbered(stalled, n)
				if n%2 == 1 {
					events = batch(numbered(userOf(0, 4), n), numbered(stalled, n))
				}
				path := [...]string{"/v1/page", "/v1/batch"}[n%2]
				w, took := timed(g, path, events)
				// A pack is given up early only if there is no time for the pause before another attempt.
				if w.Code != 503 || took > timeout || took < timeout-time.Second {
					t.Errorf("request %d, which touches the partition: %d after %s, its timeout is %s", n, w.Code, took, timeout)
				}
				if !strings.Contains(w.Body.String(), `"reason":"log"`) || w.Header().Get("Retry-After") == "" {
					t.Errorf("request %d: %s", n, w.Body)
				}
			})
			for _, p := range []int{0, 1, 3} {
				if w, took := timed(g, "/v1/page", numbered(userOf(p, 4), 100+n)); w.Code != 200 || took != 0 {
					t.Errorf("partition %d: %d after %s", p, w.Code, took)
				}
			}
			time.Sleep(500 * time.Millisecond)
		}
		all.Wait()
	})
}

// TestSlowPartition: a slow publish delays only the requests with events for its
// partition.
func TestSlowPartition(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		log := slowLog(2, func(p int) time.Duration { return time.Duration(p) * 1500 * time.Millisecond })
		g := newGateway(t, log)
		both := batch(numbered(userOf(0, 2), 1), numbered(userOf(1, 2), 2))
		if w, took := timed(g, "/v1/batch", both); w.Code != 200 || took != 1500*time.Millisecond {
			t.Errorf("both partitions: %d after %s", w.Code, took)
		}
		if w, took := timed(g, "/v1/page", numbered(userOf(0, 2), 3)); w.Code != 200 || took != 0 {
			t.Errorf("the other partition: %d after %s", w.Code, took)
		}
	})
}

// TestLateLimit: a limit that goes off just when a request is acknowledged does not fail
// the next one that has its memory.
func TestLateLimit(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		acknowledged := 0
		for range 5000 {
			r := requests.Get().(*request)
			if s := r.state.Load(); s != live || len(r.done) > 0 {
				t.Fatalf("a new request is in state %d, and has %d outcomes", s, len(r.done))
			}
			r.open.Store(1)
			r.deadline = time.Now().Add(time.Second)
			go func() {
				time.Sleep(time.Second)
				r.settle()
			}()
			if err := r.wait(t.Context(), time.Second); err == nil {
				acknowledged++
			} else if err != errDeadline {
				t.Fatal(err)
			}
			r.release()
			synctest.Wait()
		}
		if acknowledged == 0 {
			t.Error("none was acknowledged")
		}
	})
}

// TestEndedLane: requests that wait in a lane fail when it ends, and so do those that
// come afterwards.
func TestEndedLane(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		log := newFakeLog(1)
		log.publish = func(ctx context.Context, _ int, _ string, _ []byte) error { <-ctx.Done(); return ctx.Err() }
		g := newGateway(t, log, func(o *Options) { o.Attempt = time.Hour })
		var all sync.WaitGroup
		for n := range 3 {
			all.Go(func() {
				if w, took := timed(g, "/v1/page", numbered("u", n)); w.Code != 503 || took != time.Second {
					t.Errorf("request %d: %d after %s", n, w.Code, took)
				}
			})
		}
		time.Sleep(time.Second)
		g.stop(errFake)
		all.Wait()
		r := requests.Get().(*request)
		r.add(g.lanes[0], 0)
		start := time.Now()
		if !dispatch(r) || r.wait(t.Context(), time.Minute) != errStopped || time.Since(start) > 0 {
			t.Errorf("a request of a lane that has ended: %v after %s", r.err, time.Since(start))
		}
		if n := g.queued(); n != 0 {
			t.Errorf("%.0f bytes are queued", n)
		}
	})
}
