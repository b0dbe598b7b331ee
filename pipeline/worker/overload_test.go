package worker

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/broker/embedded"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
)

// Limits that no overload may exceed, however slow the machine is.
const (
	maxWaiting = 4096     // records that wait on one partition's chains, as in package broker
	maxHeld    = 64 << 20 // bytes of the heap, without Badger's, in a worker with the options of small
)

var overloadEvents = flag.Int("overload-events", 100_000, "in the backlogs of TestOverload")

// small limits the memory that a worker keeps anyway, so that an excess shows.
func small(o *Options) { o.CacheBytes, o.memTable = 16<<20, 4<<20 }

// TestServerProcess runs NATS if this process was started as a server, so that
// NATS's memory is not counted as the worker's.
func TestServerProcess(t *testing.T) {
	dir := os.Getenv("OFFERSTREAM_TEST_NATS")
	if dir == "" {
		t.Skip("not to be run by itself")
	}
	ns, err := embedded.Start(embedded.Options{Dir: dir, Port: -1, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(ns.ClientURL())
	io.Copy(io.Discard, os.Stdin) // runs until the parent process ends
	ns.Shutdown()
}

// startServer starts NATS in a separate process and returns its address.
func startServer(t *testing.T) (url string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestServerProcess$")
	cmd.Env = append(os.Environ(), "OFFERSTREAM_TEST_NATS="+t.TempDir())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	url, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(url)
}

// A watch measures repeatedly how much a worker holds.
type watch struct {
	waiting int    // the most records that waited in a partition
	held    int64  // the most bytes of the heap, in addition to what earlier tests left
	by      string // which code held most of them
	end     chan struct{}
	done    sync.WaitGroup
}

func watchOver(r *running) *watch {
	w := &watch{end: make(chan struct{})}
	runtime.GC()
	runtime.GC() // the profile is that of the previous collection
	left, _ := held()
	w.done.Go(func() {
		for looks := 0; ; looks++ {
			for _, s := range r.Status() {
				w.waiting = max(w.waiting, s.Waiting)
			}
			if looks%20 == 0 {
				if bytes, by := held(); bytes-left > w.held {
					w.held, w.by = bytes-left, by
				}
			}
			select {
			case <-w.end:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	return w
}

// bounded ends the watch and checks the limits.
func (w *watch) bounded(t *testing.T) {
	t.Helper()
	close(w.end)
	w.done.Wait()
	t.Logf("at most %d records waited in a partition, and %.1f MB were held", w.waiting, float64(w.held)/1e6)
	if w.waiting > maxWaiting {
		t.Errorf("%d records waited, at most %d may", w.waiting, maxWaiting)
	}
	if w.held > maxHeld {
		t.Errorf("%d bytes were held, at most %d may be: %s", w.held, maxHeld, w.by)
	}
}

// held returns the bytes of the heap after the last collection, from the sampled
// profile, and which code allocated most of them. It leaves out the buffers in
// which Badger builds tables, as they depend on the speed of the disk.
func held() (bytes int64, by string) {
	records := make([]runtime.MemProfileRecord, 4096)
	n, ok := runtime.MemProfile(records, false)
	for !ok {
		records = make([]runtime.MemProfileRecord, 2*n)
		n, ok = runtime.MemProfile(records, false)
	}
	most := int64(0)
	for _, r := range records[:n] {
		frames, badger, place := runtime.CallersFrames(r.Stack()), false, ""
		for more := true; more; {
			var f runtime.Frame
			f, more = frames.Next()
			place += " < " + f.Function
			badger = badger || strings.Contains(f.Function, "/badger/")
		}
		if !badger {
			here := sampled(r.InUseBytes(), r.InUseObjects())
			if bytes += here; here > most {
				most, by = here, fmt.Sprintf("%d%s", here, place)
			}
		}
	}
	return bytes, by
}

// sampled extrapolates the bytes sampled at one place to all its bytes.
func sampled(bytes, objects int64) int64 {
	if objects == 0 {
		return 0
	}
	size := float64(bytes) / float64(objects)
	return int64(float64(bytes) / (1 - math.Exp(-size/float64(runtime.MemProfileRate))))
}

// backlog publishes n views of 1 KB each in packs of 60: event i is of user
// i%users, at second(i). It returns when they are in the logs.
func backlog(t *testing.T, c *broker.Conn, n, users int, from string, second func(i int) float64) {
	t.Helper()
	js, err := jetstream.New(c.NC, jetstream.WithPublishAsyncMaxPending(64)) // unacknowledged messages use memory of this process too
	if err != nil {
		t.Fatal(err)
	}
	packs := make([][]byte, c.Partitions)
	events := make([]int, c.Partitions)
	put := func(p int) {
		if len(packs[p]) > 0 {
			if _, err := js.PublishAsync(c.Names.EventsSubject(p, "in"), packs[p], jetstream.WithStallWait(time.Minute)); err != nil {
				t.Fatal(err)
			}
		}
		packs[p], events[p] = nil, 0
	}
	for i := range n {
		user := fmt.Sprint(from, i%users)
		p := event.Partition("u:"+user, c.Partitions)
		packs[p] = append(append(packs[p], at(int64(second(i)*1e9), fmt.Sprint(from, "-", i), user, 800)...), '\n')
		if events[p]++; events[p] == 60 {
			put(p)
		}
	}
	for p := range packs {
		put(p)
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-within(t).Done():
		t.Fatal("the backlog cannot be published")
	}
}

// tenth returns a set that sends an offer at every tenth view of a user.
func tenth(t *testing.T) *campaign.Definition {
	def := views(t, 1)
	def.Clock = campaign.ClockEvent
	def.Campaigns[0].If = []string{"seen % 10 == 0"}
	return def
}

// TestOverload starts a worker on a log with far more events than it may hold.
func TestOverload(t *testing.T) {
	url := startServer(t)
	c := connect(t, url, 2)
	hash := apply(t, c, tenth(t))
	dir := t.TempDir()
	w := start(t, url, dir, small)
	w.inForce(t, hash)
	w.stop(t)
	n, users := *overloadEvents, *overloadEvents/100
	backlog(t, c, n, users, "user", func(i int) float64 { return 1 + float64(i)/1000 })
	w = start(t, url, dir, small)
	h := watchOver(w)
	w.applied(t, c)
	h.bounded(t)
	if got := len(stored(t, c)); got != n/10 {
		t.Errorf("%d offers, want %d", got, n/10)
	}
}

// TestOverloadAfterAnHour stops a worker for an hour of log time, in which timers
// become due and events come. The worker then fires each timer once, in order.
func TestOverloadAfterAnHour(t *testing.T) {
	url := startServer(t)
	c := connect(t, url, 1)
	hash := apply(t, c, waiting(t, campaign.ClockEvent, 10*time.Minute))
	dir := t.TempDir()
	w := start(t, url, dir, small)
	w.inForce(t, hash)
	const users = 5000
	backlog(t, c, users, users, "first", func(i int) float64 { return 1 + float64(i*7919%users)/100 }) // late events count as now
	w.applied(t, c)
	w.stop(t)
	n := *overloadEvents / 4
	backlog(t, c, n, n/10, "while", func(i int) float64 { return 100 + 3600*float64(i)/float64(n) })
	w = start(t, url, dir, small)
	h := watchOver(w)
	w.applied(t, c)
	h.bounded(t)
	first, last := 0, ""
	err := c.ScanOffers(within(t), 0, func(r broker.Record) error {
		var o pipeline.Offer
		if err := json.Unmarshal(r.Data, &o); err != nil {
			return err
		}
		if o.Time < last {
			t.Errorf("an offer is of %s, after one of %s", o.Time, last)
		}
		last = o.Time
		if strings.HasPrefix(o.User, "first") {
			first++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if first != users {
		t.Errorf("%d offers of timers that were due, want %d", first, users)
	}
	verified(t, c)
}

// TestOverloadSubscriber: NATS disconnects a subscriber to all offers that reads
// none. A subscriber with a consumer from which it never pulls costs nothing. All
// offers are stored in spite of both.
func TestOverloadSubscriber(t *testing.T) {
	if testing.Short() {
		t.Skip("takes as long as NATS waits for a subscriber, 10 s")
	}
	n := *overloadEvents / 2
	url := startServer(t)
	c := connect(t, url, 2)
	def := views(t, 1)
	def.Clock = campaign.ClockEvent
	large := 90_000_000 / n // together they exceed the 64 MB that NATS buffers for a subscriber
	def.Campaigns[0].Offer.Data = fmt.Appendf(nil, `{"text":%q}`, strings.Repeat("x", large))
	hash := apply(t, c, def)
	w := start(t, url, t.TempDir(), small)
	w.inForce(t, hash)
	deaf, err := net.Dial("tcp", strings.TrimPrefix(url, "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	fmt.Fprintf(deaf, "CONNECT {\"verbose\":false}\r\nSUB %s 1\r\nSUB %s 2\r\n", c.Names.OffersOf(0), c.Names.OffersOf(1))
	consumer, err := c.JS.CreateConsumer(within(t), c.Names.OffersStream(), jetstream.ConsumerConfig{Durable: "never"})
	if err != nil {
		t.Fatal(err)
	}
	h := watchOver(w)
	backlog(t, c, n, n/100, "user", func(i int) float64 { return 1 + float64(i)/1000 })
	w.applied(t, c)
	h.bounded(t)
	if got := len(stored(t, c)); got != n {
		t.Errorf("%d offers, want %d", got, n)
	}
	info, err := consumer.Info(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if info.NumPending != uint64(n) || info.NumAckPending != 0 {
		t.Errorf("%d offers lie ready for the consumer and %d are on their way, want %d and 0", info.NumPending, info.NumAckPending, n)
	}
	if err := deaf.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	got, err := io.Copy(io.Discard, deaf) // the data on its way, and then the end of the connection
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("who reads nothing was not cut off")
	}
	t.Logf("who read nothing was cut off, with %.1f MB of %.1f on their way", float64(got)/1e6, float64(n*large)/1e6)
}
