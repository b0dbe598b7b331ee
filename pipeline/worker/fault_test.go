package worker

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"offerstream/pipeline"
	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/checkpoint"
	"offerstream/pipeline/value"
	"offerstream/state"
)

var faultSeed = flag.Uint64("fault-seed", 0, "of the moments at which faults come; 0: a new one")

// moments returns a seeded random source and logs its seed.
func moments(t *testing.T) *rand.Rand {
	seed := *faultSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano()) % 1e9
	}
	t.Logf("go test ./pipeline/worker -run '^%s$' -fault-seed %d", t.Name(), seed)
	return rand.New(rand.NewPCG(seed, 2))
}

// TestMain also runs, in a separate process, the worker that TestKill kills.
func TestMain(m *testing.M) {
	if url := os.Getenv("OFFERSTREAM_TEST_URL"); url != "" {
		small := int64(0)
		if os.Getenv("OFFERSTREAM_TEST_SMALL") != "" {
			small = 1 << 20
		}
		w, err := New(Options{Dir: os.Getenv("OFFERSTREAM_TEST_DIR"), Log: quiet(), Checkpoint: 5 * time.Millisecond, memTable: small,
			Connect: func(ctx context.Context) (*broker.Conn, error) {
				return broker.Connect(ctx, broker.Options{URL: url, Client: "worker", Log: quiet()})
			}})
		if err == nil {
			err = w.Run(context.Background())
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestKill kills the worker with kill -9 at random moments while events come. The
// offers must be those of a backtest, none twice: that needs each mechanism in
// the table of crashes in doc.go.
func TestKill(t *testing.T) {
	t.Parallel()
	rng := moments(t)
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 3)
	s := write(t, 1+uint64(rng.IntN(40)), 3)
	hash := apply(t, c, s.def)
	dir := t.TempDir()
	w := start(t, ns.ClientURL(), dir, nil) // puts the set in force before the first event
	w.inForce(t, hash)
	w.stop(t)
	const kills = 12
	for k := range kills {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "OFFERSTREAM_TEST_URL="+ns.ClientURL(), "OFFERSTREAM_TEST_DIR="+dir)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		from, to := len(s.packs)*k/kills, len(s.packs)*(k+1)/kills
		publish(t, c, s.packs[from:to])
		<-time.After(time.Duration(rng.IntN(250)) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
	}
	w = start(t, ns.ClientURL(), dir, nil)
	w.applied(t, c)
	same(t, stored(t, c), s.want)
	verified(t, c)
}

// twins returns the directories of two workers with the same member id, as if one
// directory had been copied: both workers own all partitions.
func twins(t *testing.T) (a, b string) {
	t.Helper()
	a, b = t.TempDir(), t.TempDir()
	for _, dir := range []string{a, b} {
		if err := os.WriteFile(filepath.Join(dir, "member"), []byte("0123456789abcdef"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return a, b
}

// TestTwoOwners lets two workers own all partitions at once: that wastes work but
// loses and doubles nothing.
func TestTwoOwners(t *testing.T) {
	t.Parallel()
	rng := moments(t)
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 2)
	s := write(t, 1+uint64(rng.IntN(40)), 2)
	hash := apply(t, c, s.def)
	one, two := twins(t)
	a := start(t, ns.ClientURL(), one, nil)
	b := start(t, ns.ClientURL(), two, nil)
	a.inForce(t, hash)
	b.inForce(t, hash)
	publish(t, c, s.packs)
	a.applied(t, c)
	b.applied(t, c)
	same(t, stored(t, c), s.want)
	verified(t, c)
}

// A cutter is a TCP proxy that cuts all its connections now and then, so that
// acknowledgements are lost, or passes nothing.
type cutter struct {
	net.Listener
	to string
	mu sync.Mutex
	on map[net.Conn]bool

	hang sync.Mutex // while it is held, nothing passes
}

func newCutter(t *testing.T, url string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &cutter{Listener: l, to: strings.TrimPrefix(url, "nats://"), on: map[net.Conn]bool{}}
	t.Cleanup(func() { l.Close(); p.cut() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", p.to)
			if err != nil {
				in.Close()
				continue
			}
			p.mu.Lock()
			p.on[in], p.on[out] = true, true
			p.mu.Unlock()
			go p.copy(in, out)
			go p.copy(out, in)
		}
	}()
	return p
}

func (p *cutter) copy(to, from net.Conn) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			break
		}
		p.hang.Lock()
		_, err = to.Write(b[:n])
		p.hang.Unlock()
		if err != nil {
			break
		}
	}
	to.Close()
	from.Close()
}

// cut ends all connections; data on its way is lost.
func (p *cutter) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.on {
		c.Close()
		delete(p.on, c)
	}
}

// TestCut cuts the worker's connection at random moments.
func TestCut(t *testing.T) {
	t.Parallel()
	rng := moments(t)
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 2)
	s := write(t, 1+uint64(rng.IntN(40)), 2)
	hash := apply(t, c, s.def)
	p := newCutter(t, ns.ClientURL())
	w := start(t, "nats://"+p.Addr().String(), t.TempDir(), nil)
	w.inForce(t, hash)
	const cuts = 20
	for k := range cuts {
		publish(t, c, s.packs[len(s.packs)*k/cuts:len(s.packs)*(k+1)/cuts])
		<-time.After(time.Duration(rng.IntN(30)) * time.Millisecond)
		p.cut()
	}
	w.applied(t, c)
	same(t, stored(t, c), s.want)
	verified(t, c)
}

// TestBrokerRestarts restarts NATS under a running worker.
func TestBrokerRestarts(t *testing.T) {
	dir := t.TempDir()
	ns := startNATS(t, dir, -1)
	url := ns.ClientURL()
	c := connect(t, url, 2)
	s := write(t, 7, 2)
	hash := apply(t, c, s.def)
	w := start(t, url, t.TempDir(), nil)
	w.inForce(t, hash)
	publish(t, c, s.packs[:len(s.packs)/2])
	ns.Shutdown()
	_, port, err := net.SplitHostPort(strings.TrimPrefix(url, "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	var n int
	fmt.Sscan(port, &n)
	startNATS(t, dir, n)
	c = connect(t, url, 2)
	publish(t, c, s.packs[len(s.packs)/2:])
	w.applied(t, c)
	same(t, stored(t, c), s.want)
	verified(t, c)
}

// stopsLoudly waits until partition 0 stops for a reason that contains words.
func (r *running) stopsLoudly(t *testing.T, words string) {
	t.Helper()
	await(t, "a loud stop", func() bool {
		st := r.Status()
		return len(st) > 0 && st[0].Stopped != ""
	})
	if why := r.Status()[0].Stopped; !strings.Contains(why, words) {
		t.Errorf("it stopped with %q, want %q in it", why, words)
	}
	if r.Ready() == nil {
		t.Error("ready with a partition that has stopped")
	}
}

// TestLoud changes log and chains without the worker: every change that could lose
// or double an offer must stop the partition (PROTOCOL.md, P5 and P8).
func TestLoud(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, words string
		change      func(t *testing.T, c *broker.Conn, events [][]byte)
		none        bool // no offers, so that only the log shows the change
	}{
		{"the log is cut back", "lost messages that it had acknowledged", func(t *testing.T, c *broker.Conn, events [][]byte) {
			remake(t, c, events[:len(events)-1])
		}, false},
		{"a log without offers is cut back", "lost messages that it had acknowledged", func(t *testing.T, c *broker.Conn, events [][]byte) {
			remake(t, c, events[:len(events)-1])
		}, true},
		{"the log is another", "not the log", func(t *testing.T, c *broker.Conn, events [][]byte) { remake(t, c, events) }, true},
		{"a chain is cut back", "lost records that it had acknowledged", func(t *testing.T, c *broker.Conn, _ [][]byte) {
			st, err := c.JS.Stream(within(t), c.Names.OffersStream())
			if err == nil {
				err = st.DeleteMsg(within(t), st.CachedInfo().State.LastSeq)
			}
			if err != nil {
				t.Fatal(err)
			}
		}, false},
		{"a foreign record on a chain", "record", func(t *testing.T, c *broker.Conn, _ [][]byte) {
			m := nats.NewMsg(c.Names.OfferSubject("web", 0))
			m.Header = nats.Header{"Offerstream-N": {"99"}, "Offerstream-S": {"1"}, "Offerstream-K": {"0"}, "Offerstream-T": {"5"}}
			if _, err := c.JS.PublishMsg(within(t), m); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"the log has lost its beginning", "expired", func(t *testing.T, c *broker.Conn, _ [][]byte) {
			publish(t, c, []scripted{{0, []byte("{}")}, {0, []byte("{}")}})
			st, err := c.JS.Stream(within(t), c.Names.EventsStream(0))
			if err == nil {
				err = st.Purge(within(t))
			}
			if err != nil {
				t.Fatal(err)
			}
		}, false},
		{"a message is missing", "gap", func(t *testing.T, c *broker.Conn, _ [][]byte) {
			publish(t, c, []scripted{{0, []byte("{}")}, {0, []byte("{}")}, {0, []byte("{}")}})
			st, err := c.JS.Stream(within(t), c.Names.EventsStream(0))
			if err == nil {
				err = st.DeleteMsg(within(t), st.CachedInfo().State.LastSeq-1)
			}
			if err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ns := startNATS(t, t.TempDir(), -1)
			c := connect(t, ns.ClientURL(), 1)
			least, want := 1, 5
			if tc.none {
				least, want = 100, 0
			}
			hash := apply(t, c, views(t, least))
			dir := t.TempDir()
			w := start(t, ns.ClientURL(), dir, nil)
			w.inForce(t, hash)
			var events [][]byte
			for i := range 5 {
				e := view(i, "ada")
				events = append(events, e)
				publish(t, c, []scripted{{0, e}})
			}
			w.applied(t, c)
			if n := len(stored(t, c)); n != want {
				t.Fatalf("%d offers, want %d", n, want)
			}
			w.stop(t)
			tc.change(t, c, events)
			w = start(t, ns.ClientURL(), dir, nil)
			w.stopsLoudly(t, tc.words)
			if why := w.Status()[0].Stopped; !strings.Contains(why, "offerctl accept --partition 0") {
				t.Errorf("it stopped with %q, which does not say how to go on", why)
			}
			w.stop(t)
			goesOn(t, c, ns.ClientURL(), dir, hash)
		})
	}
}

// goesOn accepts the loss in partition 0, and checks that workers go on after
// that: the one that had stopped, and one without state.
func goesOn(t *testing.T, c *broker.Conn, url, dir, hash string) {
	t.Helper()
	st, err := openState(filepath.Join(dir, "partition-0"), state.Options{Identity: state.Identity{Partitions: 1}, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	var before bytes.Buffer
	if _, err := st.Snapshot(&before); err != nil {
		t.Fatal(err)
	}
	st.Close()
	late := func() { // stores a snapshot of the state from before the acceptance
		if err := c.PutSnapshot(within(t), 0, 1e6, checkpoint.Metadata(pipeline.Cursor{}), bytes.NewReader(before.Bytes())); err != nil {
			t.Fatal(err)
		}
	}
	late()
	done, err := audit.Accept(within(t), c, audit.AcceptOptions{Partition: 0, Why: "a test", Dir: t.TempDir(), Log: quiet(), Lost: func(audit.Example) {},
		Connect: func(ctx context.Context) (*broker.Conn, error) {
			return broker.Connect(ctx, broker.Options{URL: url, Client: "test", Partitions: c.Partitions, Log: quiet()})
		}})
	if err != nil {
		t.Fatal(err)
	}
	if all, err := c.Snapshots(within(t), 0); err != nil || len(all) != 1 || all[0].Seq != done.Seq {
		t.Errorf("the snapshots are %+v, %v", all, err)
	}
	late()
	for i, dir := range []string{dir, t.TempDir(), dir} {
		w := start(t, url, dir, nil)
		w.inForce(t, hash)
		before := len(stored(t, c))
		for n := range 105 {
			publish(t, c, []scripted{{0, view(1000*(i+1)+n, "bea")}})
		}
		w.applied(t, c)
		w.stop(t)
		if now := len(stored(t, c)); now <= before {
			t.Errorf("no offer after the acceptance %+v", done)
		}
	}
	v, err := audit.Verify(within(t), c, &audit.VerifyOptions{FromSnapshot: len(done.Skipped) > 0}) // if messages are missing, only the snapshot has their state
	if err == nil && (!v.OK() || v.Offers == 0) {
		err = fmt.Errorf("%+v", v)
	}
	if err != nil {
		t.Error(err)
	}
}

// remake replaces partition 0's log by one with the same messages at another time.
func remake(t *testing.T, c *broker.Conn, events [][]byte) {
	t.Helper()
	ctx := within(t)
	st, err := c.JS.Stream(ctx, c.Names.EventsStream(0))
	if err != nil {
		t.Fatal(err)
	}
	var control []byte
	if m, err := st.GetMsg(ctx, 1); err == nil {
		control = m.Data
	}
	cfg := st.CachedInfo().Config
	if err := c.JS.DeleteStream(ctx, cfg.Name); err != nil {
		t.Fatal(err)
	}
	if _, err := c.JS.CreateStream(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := c.JS.Publish(ctx, c.Names.EventsSubject(0, "control"), control); err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		publish(t, c, []scripted{{0, e}})
	}
}

func view(i int, user string) []byte {
	return fmt.Appendf(nil, `{"type":"track","event":"Product Viewed","userId":%q,"messageId":"%s-%d","receivedAt":%q}`, user, user, i, value.FormatTime(time.Now().UnixNano()))
}

// TestTick: a timer fires on time, by log time, although no events come.
func TestTick(t *testing.T) {
	t.Parallel()
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 1)
	def := views(t, 1)
	def.Campaigns[0].Unless = &campaign.Unless{On: []string{"Order Completed"}, Within: 300 * time.Millisecond}
	hash := apply(t, c, def)
	w := start(t, ns.ClientURL(), t.TempDir(), nil)
	w.inForce(t, hash)
	publish(t, c, []scripted{{0, view(1, "ada")}})
	await(t, "the offer", func() bool { return len(stored(t, c)) == 1 })
	w.applied(t, c)
	verified(t, c)
}

// TestSetsGoThroughTheLog: events that were folded under one set keep their
// effect, whichever set is live later, also when the state is made anew.
func TestSetsGoThroughTheLog(t *testing.T) {
	t.Parallel()
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 1)
	w := start(t, ns.ClientURL(), t.TempDir(), nil)
	w.inForce(t, "")
	publish(t, c, []scripted{{0, view(0, "ada")}}) // no set is in force: no offer
	w.applied(t, c)
	w.inForce(t, apply(t, c, views(t, 1)))
	publish(t, c, []scripted{{0, view(1, "ada")}, {0, view(2, "ada")}}) // both fire
	w.applied(t, c)
	other := views(t, 4)
	w.inForce(t, apply(t, c, other))
	publish(t, c, []scripted{{0, view(3, "ada")}, {0, view(4, "ada")}}) // the feature has not changed and goes on: the second fires
	w.applied(t, c)
	want := len(stored(t, c))
	if want != 3 {
		t.Errorf("%d offers, want 3", want)
	}
	w.stop(t)
	w = start(t, ns.ClientURL(), t.TempDir(), nil)
	w.inForce(t, other.Hash())
	w.applied(t, c)
	if n := len(stored(t, c)); n != want {
		t.Errorf("%d offers after a replay, want %d", n, want)
	}
	verified(t, c)
}

// TestDamaged: if a byte of the state is flipped, the state is made anew from the
// log.
func TestDamaged(t *testing.T) {
	t.Parallel()
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 1)
	s := write(t, 3, 1)
	hash := apply(t, c, s.def)
	dir := t.TempDir()
	w := start(t, ns.ClientURL(), dir, nil)
	w.inForce(t, hash)
	publish(t, c, s.packs[:len(s.packs)/2])
	w.applied(t, c)
	w.stop(t)
	tables, err := filepath.Glob(filepath.Join(dir, "partition-0", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatal("no table to damage", err)
	}
	b, err := os.ReadFile(tables[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/3] ^= 1
	if err := os.WriteFile(tables[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	w = start(t, ns.ClientURL(), dir, nil)
	publish(t, c, s.packs[len(s.packs)/2:])
	w.applied(t, c)
	same(t, stored(t, c), s.want)
	verified(t, c)
}
