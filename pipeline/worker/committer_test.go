package worker

import (
	"bytes"
	"errors"
	"fmt"
	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/checkpoint"
	"offerstream/pipeline/task"
	"offerstream/pipeline/value"
	"offerstream/state"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// at returns an event with a log time, padded to a size.
func at(ns int64, id, user string, size int) []byte {
	e := fmt.Sprintf(`{"type":"track","event":"Product Viewed","userId":%q,"messageId":%q,"timestamp":%q,"properties":{"x":"`, user, id, value.FormatTime(ns))
	return append([]byte(e), strings.Repeat("x", size)+`"}}`...)
}

// TestBurst folds users far larger than the cache estimates, in packs too large
// for one checkpoint.
func TestBurst(t *testing.T) {
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 1)
	hash := apply(t, c, waiting(t, campaign.ClockEvent, time.Hour))
	reg := prometheus.NewRegistry()
	w := start(t, ns.ClientURL(), t.TempDir(), func(o *Options) { o.memTable, o.CacheBytes, o.Metrics = 1<<20, 1<<20, reg })
	w.inForce(t, hash)
	const packs, users = 6, 40
	for p := range packs {
		var pack [][]byte
		for u := range users {
			pack = append(pack, at(int64(p+1)*1e9, fmt.Sprint(p, "-", u), fmt.Sprint("user", (p*7+u)%60), 20_000))
		}
		publish(t, c, []scripted{{0, bytes.Join(pack, []byte("\n"))}})
	}
	publish(t, c, []scripted{{0, at(7200e9, "end", "other", 10)}}) // all timers fire in one message
	w.applied(t, c)
	if n := len(stored(t, c)); n != 60 {
		t.Errorf("%d offers, want 60", n)
	}
	if v, st := verified(t, c), w.Status()[0]; v.Applied != st.Applied {
		t.Errorf("%d events applied, %d are in the log", st.Applied, v.Applied)
	}
	t.Logf("%v checkpoints were too big", counter(t, reg, "offerstream_worker_interruptions_total"))
}

func counter(t *testing.T, reg prometheus.Gatherer, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// TestKillWithinMessage kills the worker while it folds a message that makes
// thousands of timers due, with checkpoints between them.
func TestKillWithinMessage(t *testing.T) {
	t.Parallel()
	rng := moments(t)
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 1)
	hash := apply(t, c, waiting(t, campaign.ClockEvent, time.Hour))
	dir := t.TempDir()
	small := func(o *Options) { o.memTable = 1 << 20 }
	w := start(t, ns.ClientURL(), dir, small)
	w.inForce(t, hash)
	const users = 4000
	for u := 0; u < users; u += 500 {
		var pack [][]byte
		for i := range 500 {
			pack = append(pack, at(int64(1e9+u/7), fmt.Sprint("m", u+i), fmt.Sprint("user", u+i), 10))
		}
		publish(t, c, []scripted{{0, bytes.Join(pack, []byte("\n"))}})
	}
	w.applied(t, c)
	w.stop(t)
	publish(t, c, []scripted{{0, at(7200e9, "end", "other", 10)}})
	within := 0
	for range 8 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "OFFERSTREAM_TEST_URL="+ns.ClientURL(), "OFFERSTREAM_TEST_DIR="+dir, "OFFERSTREAM_TEST_SMALL=1")
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		before := len(stored(t, c))
		more := before + rng.IntN(users/4)
		await(t, "more offers", func() bool { n := len(stored(t, c)); return n > more || n == users })
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
		store, err := openState(fmt.Sprint(dir, "/partition-0"), state.Options{Identity: state.Identity{Partitions: 1}})
		if err != nil {
			t.Fatal(err)
		}
		cursor, err := checkpoint.LoadCursor(store)
		if err != nil {
			t.Fatal(err)
		}
		if cursor.Chains["offers.web"].K > 0 {
			within++
		}
		store.Close()
	}
	w = start(t, ns.ClientURL(), dir, small)
	w.applied(t, c)
	if n := len(stored(t, c)); n != users {
		t.Errorf("%d offers, want %d", n, users)
	}
	verified(t, c)
	t.Logf("%d of 8 kills left a checkpoint within the message", within)
}

// TestCommitThatFails: after a failed commit it is not known whether the store has
// it, so the partition must not go on.
func TestCommitThatFails(t *testing.T) {
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 1)
	store, err := openState(t.TempDir(), state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	chains, err := c.OpenChains(within(t), 0, broker.ChainOptions{Known: broker.Known{}})
	if err != nil {
		t.Fatal(err)
	}
	defer chains.Close()
	met := newMetrics(prometheus.NewRegistry(), &Worker{})
	writer := checkpoint.NewWriter(checkpoint.NewCache(store, 1<<20, checkpoint.Lookups{}), 0)
	cm := &committer{world: task.Real{}, wake: task.Real{}.NewSignal(), writer: writer, chains: chains, met: met}
	store.Close()
	if err := cm.begin(pipeline.Cursor{Seq: 1}); err != nil {
		t.Fatal(err)
	}
	if err := cm.wait(within(t)); !errors.Is(err, errStore) {
		t.Errorf("got %v", err)
	}
}
