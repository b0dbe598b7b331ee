package ingest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"offerstream/pipeline/broker"
	"offerstream/pipeline/event"
)

func numbered(user string, n int) string {
	return fmt.Sprintf(`{"type":"page","userId":%q,"messageId":"%d"}`, user, n)
}

// numberOf returns the number that numbered has put into a stored event's
// messageId.
func numberOf(t *testing.T, event string) (n int) {
	t.Helper()
	_, rest, _ := strings.Cut(event, `"messageId":"`)
	if _, err := fmt.Sscanf(rest, "%d", &n); err != nil {
		t.Fatalf("%q: %v", event, err)
	}
	return n
}

// await polls until ok returns true, for conditions that nothing signals.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	again, end := time.NewTicker(200*time.Microsecond), time.After(20*time.Second)
	defer again.Stop()
	for !ok() {
		select {
		case <-again.C:
		case <-end:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// TestGroupCommit: events that come during a publish are packed together, in order
// and within the limits; an idle lane does not wait.
func TestGroupCommit(t *testing.T) {
	log := newFakeLog(1)
	entered, gate := make(chan string, 100), make(chan struct{})
	log.publish = func(_ context.Context, _ int, id string, _ []byte) error {
		entered <- id
		<-gate
		return nil
	}
	g := newGateway(t, log, func(o *Options) { o.PackEvents = 10 })
	var wg sync.WaitGroup
	send := func(n int) {
		wg.Go(func() {
			if w := post(g, "/v1/page", numbered("u", n)); w.Code != 200 {
				t.Error(w.Code, w.Body)
			}
		})
	}
	waiting := func(n int) func() bool {
		return func() bool {
			g.lanes[0].mu.Lock()
			defer g.lanes[0].mu.Unlock()
			return len(g.lanes[0].waiting) == n
		}
	}
	send(0)
	<-entered // the first event is published alone, at once
	for n := 1; n <= 25; n++ {
		send(n)
		await(t, "the next event waits", waiting(n))
	}
	close(gate)
	wg.Wait()
	var sizes []int
	for _, p := range log.packs[0] {
		sizes = append(sizes, strings.Count(p, "\n")+1)
	}
	if want := []int{1, 10, 10, 5}; !slices.Equal(sizes, want) {
		t.Errorf("packs of %d events, want %d", sizes, want)
	}
	for i, e := range log.events(0) {
		if numberOf(t, e) != i {
			t.Fatalf("event %d is %s", i, e)
		}
	}
}

// TestRetry: a publish that fails, or whose acknowledgement is lost, is repeated
// with the same pack and the same id, and no other pack overtakes it.
func TestRetry(t *testing.T) {
	log := newFakeLog(1)
	r := rand.New(rand.NewPCG(1, 2))
	type try struct{ id, pack string }
	var mu sync.Mutex
	var tries []try
	log.publish = func(_ context.Context, _ int, id string, pack []byte) error {
		mu.Lock()
		defer mu.Unlock()
		tries = append(tries, try{id, string(pack)})
		switch r.IntN(4) {
		case 0:
			return errFake
		case 1:
			return errAckLost
		}
		return nil
	}
	g := newGateway(t, log)
	for n := 0; n < 60; n += 3 {
		if w := post(g, "/v1/batch", batch(numbered("u", n), numbered("u", n+1), numbered("u", n+2))); w.Code != 200 {
			t.Fatal(w.Code, w.Body)
		}
	}
	for i, e := range log.events(0) {
		if numberOf(t, e) != i {
			t.Fatalf("event %d is %s", i, e)
		}
	}
	if got := len(log.events(0)); got != 60 || len(tries) <= 20 {
		t.Errorf("%d events stored in %d tries", got, len(tries))
	}
	for i := 1; i < len(tries); i++ {
		if (tries[i].id == tries[i-1].id) != (tries[i].pack == tries[i-1].pack) {
			t.Errorf("try %d: %q after %q", i, tries[i], tries[i-1])
		}
	}
}

// TestPackBytes: a batch larger than a pack is split between events; an event
// larger than a pack is alone in one.
func TestPackBytes(t *testing.T) {
	log := newFakeLog(1)
	g := newGateway(t, log, func(o *Options) { o.PackBytes = 1000 })
	var events []string
	for n := range 200 {
		pad := ""
		if n%50 == 7 {
			pad = `"x":"` + strings.Repeat("x", 5000) + `",`
		}
		events = append(events, `{`+pad+numbered("u", n)[1:])
	}
	if w := post(g, "/v1/batch", batch(events...)); w.Code != 200 {
		t.Fatal(w.Code, w.Body)
	}
	for _, p := range log.packs[0] {
		if len(p) > 1000 && strings.Contains(p, "\n") {
			t.Errorf("a pack of %d bytes and more than one event", len(p))
		}
	}
	if got := len(log.events(0)); got != 200 {
		t.Errorf("%d events stored", got)
	}
}

// TestStandstill: while the log stores nothing, requests are answered with 503 at
// their deadline, and events not sent by then are never sent; a full queue is
// answered with 429. When the log works again, so do requests.
func TestStandstill(t *testing.T) {
	log := newFakeLog(2)
	p := event.Partition("u:u", 2)
	other := ""
	for n := 0; other == ""; n++ {
		if u := fmt.Sprint("v", n); event.Partition("u:"+u, 2) != p {
			other = u
		}
	}
	entered := make(chan struct{}, 100)
	standing := true
	log.publish = func(ctx context.Context, at int, _ string, _ []byte) error {
		if at != p {
			return nil
		}
		var still bool
		log.set(func() { still = standing })
		if still {
			entered <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}
	g := newGateway(t, log, func(o *Options) {
		o.Timeout, o.Attempt, o.QueueBytes = 400*time.Millisecond, 50*time.Millisecond, 400
	})
	codes := make(chan int, 10)
	go func() { codes <- post(g, "/v1/page", numbered("u", 1)).Code }()
	<-entered
	go func() {
		codes <- post(g, "/v1/batch", batch(numbered("u", 2), numbered("u", 3), numbered(other, 4))).Code
	}()
	await(t, "the second waits", func() bool { return g.lanes[p].queued.Load() > 200 })
	w := post(g, "/v1/batch", batch(numbered("u", 5), numbered("u", 6), numbered("u", 7)))
	if w.Code != 429 || w.Header().Get("Retry-After") == "" {
		t.Errorf("beyond the queue: %d %s", w.Code, w.Body)
	}
	if w := post(g, "/v1/page", numbered(other, 8)); w.Code != 200 {
		t.Errorf("the other partition: %d %s", w.Code, w.Body)
	}
	for range 2 {
		if c := <-codes; c != 503 {
			t.Errorf("standing still: %d", c)
		}
	}
	log.set(func() { standing = false })
	if w := post(g, "/v1/page", numbered("u", 9)); w.Code != 200 {
		t.Errorf("afterwards: %d %s", w.Code, w.Body)
	}
	if e := log.events(p); numberOf(t, e[len(e)-1]) != 9 || slices.ContainsFunc(e, func(s string) bool { return numberOf(t, s) == 2 }) {
		t.Errorf("stored %q", e)
	}
	await(t, "the queues are empty", func() bool { return g.queued() == 0 })
}

// TestNoOvertaking: if a pack is given up, the later events of its requests are
// not sent either: they would overtake the earlier ones, which the client resends.
func TestNoOvertaking(t *testing.T) {
	log := newFakeLog(1)
	log.publish = func(_ context.Context, _ int, _ string, pack []byte) error {
		if strings.Contains(string(pack), `"messageId":"0"`) {
			return errFake
		}
		return nil
	}
	g := newGateway(t, log, func(o *Options) { o.PackEvents, o.Timeout = 2, 100*time.Millisecond })
	w := post(g, "/v1/batch", batch(numbered("u", 0), numbered("u", 1), numbered("u", 2), numbered("u", 3)))
	if w.Code != 503 {
		t.Fatal(w.Code, w.Body)
	}
	if w := post(g, "/v1/page", numbered("u", 4)); w.Code != 200 {
		t.Fatal(w.Code, w.Body)
	}
	if e := log.events(0); len(e) != 1 || numberOf(t, e[0]) != 4 {
		t.Errorf("stored %q", e)
	}
}

// TestStop: a log that has lost messages stops the gateway loudly; requests are
// answered with 503 from then on.
func TestStop(t *testing.T) {
	log := newFakeLog(2)
	log.publish = func(context.Context, int, string, []byte) error {
		return fmt.Errorf("sequence 5 after 9: %w", broker.ErrLoud)
	}
	g := newGateway(t, log)
	if w := post(g, "/v1/page", numbered("u", 1)); w.Code != 503 {
		t.Error(w.Code)
	}
	<-g.stopped
	calls := log.calls.Load()
	if w := post(g, "/v1/page", numbered("u", 2)); w.Code != 503 || log.calls.Load() != calls {
		t.Error(w.Code, "and published")
	}
	if err := g.Ready(); !errors.Is(err, broker.ErrLoud) {
		t.Errorf("ready says %v", err)
	}
	if err := g.Run(context.Background(), listen(t)); !errors.Is(err, broker.ErrLoud) {
		t.Errorf("run returned %v", err)
	}
}

// TestClientLeaves: the memory of a client that leaves is freed.
func TestClientLeaves(t *testing.T) {
	log := newFakeLog(1)
	entered, gate := make(chan struct{}, 10), make(chan struct{})
	log.publish = func(context.Context, int, string, []byte) error {
		entered <- struct{}{}
		<-gate
		return nil
	}
	g := newGateway(t, log)
	ctx, leave := context.WithCancel(context.Background())
	done := make(chan *httptest.ResponseRecorder, 1)
	go func() {
		done <- post(g, "/v1/page", numbered("u", 1), func(r *http.Request) { *r = *r.WithContext(ctx) })
	}()
	<-entered
	leave()
	if w := <-done; w.Code != 503 {
		t.Error(w.Code)
	}
	close(gate)
	if w := post(g, "/v1/page", numbered("u", 2)); w.Code != 200 {
		t.Error(w.Code)
	}
	await(t, "all is given back", func() bool { return g.queued() == 0 && g.memory.used.Load() == 0 })
}
