package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"offerstream/pipeline/broker"
)

// TestStops tells the worker to stop while it cannot finish its work: it ends
// nevertheless, leaves no goroutine, and finishes the work after a restart.
func TestStops(t *testing.T) {
	t.Parallel()
	for name, hinder := range map[string]func(t *testing.T, c *broker.Conn, p *cutter) (free func()){
		"nothing is wrong": func(*testing.T, *broker.Conn, *cutter) func() { return func() {} },
		"NATS hangs": func(_ *testing.T, _ *broker.Conn, p *cutter) func() {
			p.hang.Lock()
			return p.hang.Unlock
		},
		"NATS is gone": func(_ *testing.T, _ *broker.Conn, p *cutter) func() {
			p.Close()
			p.cut()
			return func() {}
		},
		"no offer can be stored": func(t *testing.T, c *broker.Conn, _ *cutter) func() {
			st, err := c.JS.Stream(within(t), c.Names.OffersStream())
			if err != nil {
				t.Fatal(err)
			}
			was := st.CachedInfo().Config
			full := was
			full.MaxBytes = 1
			update := func(cfg jetstream.StreamConfig) {
				if _, err := c.JS.UpdateStream(within(t), cfg); err != nil {
					t.Fatal(err)
				}
			}
			update(full)
			return func() { update(was) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := startNATS(t, t.TempDir(), -1)
			c := connect(t, ns.ClientURL(), 2)
			hash := apply(t, c, views(t, 1))
			dir := t.TempDir()
			p := newCutter(t, ns.ClientURL())
			w := startLabelled(t, "nats://"+p.Addr().String(), dir)
			w.inForce(t, hash)
			if goroutines(t) == 0 {
				t.Fatal("no goroutine of a worker that runs is found")
			}
			publish(t, c, []scripted{{0, view(1, "ada")}})
			w.applied(t, c)
			free := hinder(t, c, p)
			publish(t, c, []scripted{{0, view(2, "ada")}, {1, view(2, "bob")}})
			if name == "no offer can be stored" {
				await(t, "an offer that waits", func() bool { return w.Status()[0].Waiting > 0 })
			}
			began := time.Now()
			w.stop(t)
			t.Logf("stopped within %s", time.Since(began).Round(time.Millisecond))
			free()
			p.cut()
			await(t, "the goroutines' end", func() bool { return goroutines(t) == 0 })
			w = start(t, ns.ClientURL(), dir, nil)
			w.inForce(t, hash)
			w.applied(t, c)
			if n := len(stored(t, c)); n != 3 {
				t.Errorf("%d offers, want 3", n)
			}
			verified(t, c)
		})
	}
}

// startLabelled starts a worker whose goroutines, and those that they start,
// bear the test's name: other tests' workers and the servers are in this
// process too.
func startLabelled(t *testing.T, url, dir string) (w *running) {
	t.Helper()
	pprof.Do(t.Context(), pprof.Labels("worker-of", t.Name()), func(context.Context) { w = start(t, url, dir, nil) })
	return w
}

// goroutines returns the number of goroutines of the labelled worker.
func goroutines(t *testing.T) int {
	t.Helper()
	var b bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&b, 1); err != nil {
		t.Fatal(err)
	}
	all := 0
	for stack := range strings.SplitSeq(b.String(), "\n\n") { // such as "3 @ 0x..." for three goroutines, and their labels
		if strings.Contains(stack, fmt.Sprintf("\"worker-of\":%q", t.Name())) {
			n := 0
			fmt.Sscan(stack, &n)
			all += max(n, 1) // the first has a title before it
		}
	}
	return all
}

// TestConsumersDeleted: the worker goes on when an operator deletes the readers'
// consumers.
func TestConsumersDeleted(t *testing.T) {
	t.Parallel()
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 1)
	s := write(t, 5, 1)
	hash := apply(t, c, s.def)
	reg := prometheus.NewRegistry()
	w := start(t, ns.ClientURL(), t.TempDir(), func(o *Options) { o.Metrics = reg })
	w.inForce(t, hash)
	const times = 8
	for k := range times {
		publish(t, c, s.packs[len(s.packs)*k/times:len(s.packs)*(k+1)/times])
		st, err := c.JS.Stream(within(t), c.Names.EventsStream(0))
		if err != nil {
			t.Fatal(err)
		}
		for name := range st.ConsumerNames(within(t)).Name() {
			if err := st.DeleteConsumer(within(t), name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
				t.Fatal(err)
			}
		}
	}
	w.applied(t, c)
	same(t, stored(t, c), s.want)
	verified(t, c)
}

// TestLogRemadeMeanwhile replaces the log under a running worker: the worker
// notices when the reader becomes silent, and does not go on in the other log.
func TestLogRemadeMeanwhile(t *testing.T) {
	if testing.Short() {
		t.Skip("takes as long as a reader's silence, 15 s")
	}
	t.Parallel()
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 1)
	hash := apply(t, c, views(t, 100))
	w := start(t, ns.ClientURL(), t.TempDir(), nil)
	w.inForce(t, hash)
	events := [][]byte{view(1, "ada"), view(2, "ada")}
	for _, e := range events {
		publish(t, c, []scripted{{0, e}})
	}
	w.applied(t, c)
	remake(t, c, append(events, view(3, "ada")))
	w.stopsLoudly(t, "not the log")
}
