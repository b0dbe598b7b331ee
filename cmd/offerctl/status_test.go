package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/broker/embedded"
	"offerstream/pipeline/event"
	"offerstream/pipeline/worker"
)

// startMember starts a worker. It must be stopped before the test ends.
func startMember(t *testing.T, url, dir string) (stop func()) {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	w, err := worker.New(worker.Options{Dir: dir, Standbys: 1, Confirm: 2 * time.Second, Log: quiet, Connect: func(ctx context.Context) (*broker.Conn, error) {
		return broker.Connect(ctx, broker.Options{URL: url, Client: "worker", Log: quiet})
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

type statusJSON struct {
	OK bool
	audit.Overview
}

// statusOf repeats `offerctl status` until holds is true.
func statusOf(t *testing.T, url, what string, holds func(statusJSON) bool) (s statusJSON) {
	t.Helper()
	for start := time.Now(); ; {
		var out, errs bytes.Buffer
		code := run(t.Context(), []string{"status", "--json", "--nats", url}, stdio{strings.NewReader(""), &out, &errs})
		s = statusJSON{}
		if err := json.Unmarshal(out.Bytes(), &s); err != nil || code > 1 || s.OK != (code == 0) {
			t.Fatalf("exit %d: %v\n%s%s", code, err, out.String(), errs.String())
		}
		if holds(s) {
			return s
		}
		if time.Since(start) > 2*time.Minute {
			t.Fatalf("timed out waiting for %s\n%s", what, out.String())
		}
	}
}

// screen collects a command's output, and ends the command after left writes.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
	left int
	end  func()
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left--; s.left == 0 {
		s.end()
	}
	return s.text.Write(b)
}

// TestStatusCommand shows no workers, a group of two, a member that does not
// answer, and a partition that has stopped.
func TestStatusCommand(t *testing.T) {
	t.Parallel()
	const partitions = 4
	ns, err := embedded.Start(embedded.Options{Dir: t.TempDir(), Port: -1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.Shutdown)
	url := ns.ClientURL()
	if _, errs := fails(t, 1, "status", "--nats", url); !strings.Contains(errs, "there is no deployment") {
		t.Errorf("%s", errs)
	}
	conn, err := broker.Connect(t.Context(), broker.Options{URL: url, Client: "test", Partitions: partitions, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	if out, _ := fails(t, 1, "status", "--nats", url); !strings.Contains(out, "none: no worker runs") || strings.Count(out, "nobody") != partitions {
		t.Errorf("%s", out)
	}

	if err := conn.PutSnapshot(t.Context(), 1, 7, nil, strings.NewReader("12345")); err != nil {
		t.Fatal(err)
	}
	dirs := []string{t.TempDir(), t.TempDir()}
	stop := []func(){startMember(t, url, dirs[0]), startMember(t, url, dirs[1])}
	for i := range 100 {
		user := fmt.Sprint("u", i)
		m := &nats.Msg{Subject: conn.Names.EventsSubject(event.Partition("u:"+user, partitions), "in"), Data: fmt.Appendf(nil, `{"type":"page","userId":%q,"messageId":"%d"}`, user, i)}
		if _, err := conn.JS.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	s := statusOf(t, url, "two members, each partition with an owner and a standby, and all applied", func(s statusJSON) bool {
		ready, events, one := 0, uint64(0), true
		for _, m := range s.Members {
			ready += len(m.Ready)
		}
		for _, p := range s.Partitions {
			events += p.Events
			one = one && len(p.Owners) == 1 // in a hand-over two leases say so for a moment
		}
		return s.OK && len(s.Members) == 2 && ready == partitions && events == 100 && one
	})
	owns := 0
	for _, m := range s.Members {
		owns += len(m.Owns)
		if !m.Answers || m.Leaving || len(m.Follows) > 0 || m.Error != "" || time.Since(m.Heard).Abs() > time.Minute {
			t.Errorf("member %+v", m)
		}
	}
	if owns != partitions {
		t.Errorf("%d partitions have an owner: %+v", owns, s.Members)
	}
	for i, p := range s.Partitions {
		if p.Partition != i || len(p.Owners) != 1 || !p.Answers || p.Seq == 0 || p.LogTime.IsZero() || p.Bytes == 0 || len(p.Stops) > 0 || (p.Snapshot != nil) != (i == 1) {
			t.Errorf("partition %+v", p)
		}
	}
	if p := s.Partitions[1].Snapshot; p != nil && (p.Seq != 7 || p.Bytes != 5 || time.Since(p.Time).Abs() > time.Hour) {
		t.Errorf("its snapshot: %+v", p)
	}
	out := offerctl(t, "status", "--nats", url)
	if lines := strings.Split(out, "\n"); len(lines) != 3+1+1+partitions+2 || !strings.Contains(out, s.Members[1].ID) || strings.Contains(out, "nobody") || strings.Contains(out, "not answer") {
		t.Errorf("%s", out)
	}

	ctx, cancel := context.WithCancel(t.Context())
	seen := &screen{left: 2, end: cancel}
	if code := run(ctx, []string{"status", "--watch", "--nats", url}, stdio{strings.NewReader(""), seen, seen}); code != 0 {
		t.Errorf("--watch: exit %d", code)
	}
	if n := strings.Count(seen.text.String(), "member "); n != 2 || strings.Contains(seen.text.String(), "\x1b") {
		t.Errorf("--watch shows %d tables:\n%s", n, seen.text.String())
	}

	stop[0]()
	stop[1]()
	rev, err := conn.PutLease(t.Context(), "frozen", []byte(`{"own":[0,2,3]}`), time.Minute, 0)
	if err != nil {
		t.Fatal(err)
	}
	out, _ = fails(t, 1, "status", "--nats", url)
	if !strings.Contains(out, "0 2-3") || strings.Count(out, "  does not answer") != 1 || strings.Count(out, "its owner does not answer") != 3 || strings.Count(out, "nobody") != 1 {
		t.Errorf("%s", out)
	}
	if err := conn.DropLease(t.Context(), "frozen", rev); err != nil {
		t.Fatal(err)
	}

	// A message that is not an offer, on a chain of partition 2.
	if _, err := conn.JS.PublishMsg(t.Context(), &nats.Msg{Subject: conn.Names.OfferSubject("web", 2), Data: []byte("by hand")}); err != nil {
		t.Fatal(err)
	}
	startMember(t, url, dirs[0])
	s = statusOf(t, url, "a partition that has stopped", func(s statusJSON) bool {
		n := 0
		for _, p := range s.Partitions {
			n += len(p.Owners)
		}
		return len(s.Partitions[2].Stops) == 1 && n == partitions-1
	})
	if p := s.Partitions[2]; s.OK || p.Answers || len(p.Owners) > 0 || p.Stops[0].Member != s.Members[0].ID || !strings.Contains(p.Stops[0].Why, "by hand") {
		t.Errorf("%+v", p)
	}
	if out, _ := fails(t, 1, "status", "--nats", url); !strings.Contains(out, "STOPPED") || !strings.Contains(out, "partition 2 has stopped on "+s.Members[0].ID+": ") {
		t.Errorf("%s", out)
	}
}

func TestRanges(t *testing.T) {
	for want, ns := range map[string][]int{"-": nil, "4": {4}, "0-2 5": {0, 1, 2, 5}, "1 3 5-6": {1, 3, 5, 6}} {
		if got := ranges(ns); got != want {
			t.Errorf("%v: %s, want %s", ns, got, want)
		}
	}
}
