package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/broker/embedded"
	"offerstream/pipeline/event"
	"offerstream/pipeline/page"
	"offerstream/pipeline/value"
)

var (
	drillStreams = flag.Int("streams", 200, "open pages in TestPages")
	drillSeed    = flag.Uint64("seed", 0, "of TestPages; 0: a new one")
)

const (
	drillKey       = "web-key"
	drillSecret    = "the secret that signs user tokens"
	drillVisitors  = "00112233445566778899aabbccddeeff"
	drillCampaigns = 12 // of one user; beyond it, a campaign sends a second offer
)

// TestMain is also the gateway that TestPages kills.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_GATEWAY") != "" {
		main()
	}
	os.Exit(m.Run())
}

// A drill is a deployment whose gateway is a process, with open pages.
type drill struct {
	t     *testing.T
	rng   *rand.Rand
	ns    *embedded.Server
	dir   string // of NATS
	conn  *broker.Conn
	args  []string // the gateway's
	api   string   // the gateway's addresses
	ops   string
	proc  *exec.Cmd
	log   lines
	tabs  []*tab
	tally tally

	running sync.WaitGroup

	// What is stored; of store, until it has ended.
	stored  int
	current []map[string]string // the open offers of each tab, by campaign
}

// TestPages holds streams open for visitors and users, as pages do, while offers are stored
// and redeemed, the gateway is killed and started again, and NATS is restarted. In the end
// each page shows the offers that are open; none was shown twice.
func TestPages(t *testing.T) {
	n := *drillStreams
	files := uint64(n)*3 + 1000 // half of three quarters of the gateway's are for one address
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatal(err)
	}
	if lim.Cur < files {
		lim.Cur, lim.Max = files, max(files, lim.Max)
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
			t.Skipf("%d streams need %d open files in each of two processes, and this one may not have so many (%v): raise `ulimit -Hn`, or give fewer -streams", n, files, err)
		}
	}
	seed := *drillSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	d := newDrill(t, seed)
	d.open(n)
	d.awaitStreams(n)
	stop, ended := make(chan struct{}), make(chan struct{})
	d.running.Go(func() { defer close(ended); d.store(max(300, n/2), stop) })
	d.awaitShown(2 * n)

	d.kill()
	d.start()
	d.awaitStreams(n)
	d.awaitShown(2 * n)

	port := d.ns.ClientURL()
	d.ns.Shutdown()
	d.ns = startNATS(t, d.dir, portOf(t, port))
	d.awaitShown(2 * n)
	close(stop)
	<-ended
	if t.Failed() {
		return
	}
	for i := range d.tabs { // what comes before these has come
		d.offer(i, "last")
	}
	d.judge(n)
}

func portOf(t *testing.T, natsURL string) int {
	t.Helper()
	u, err := url.Parse(natsURL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func newDrill(t *testing.T, seed uint64) *drill {
	t.Helper()
	d := &drill{t: t, rng: rand.New(rand.NewPCG(seed, 0)), dir: t.TempDir()}
	d.ns = startNATS(t, d.dir, -1)
	var err error
	d.conn, err = broker.Connect(limited(t), broker.Options{URL: d.ns.ClientURL(), Partitions: 4, Reconnect: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.conn.Close)
	file := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	d.api, d.ops = freeAddress(t), freeAddress(t)
	d.args = []string{"--nats", d.ns.ClientURL(), "--addr", d.api, "--metrics-addr", d.ops, "--visitor-key", file("visitor.key", drillVisitors),
		"--keys", file("keys.yaml", fmt.Sprintf("- {name: web, key: %q, roles: [browser], secret: %q}\n", drillKey, drillSecret))}
	d.start()
	t.Cleanup(func() { d.running.Wait(); d.kill() }) // the test's context is done
	return d
}

// freeAddress is an address on which nothing listens now.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start starts the gateway.
func (d *drill) start() {
	d.t.Helper()
	d.proc = exec.Command(os.Args[0], d.args...)
	d.proc.Env = append(os.Environ(), "TEST_GATEWAY=1")
	d.proc.Stderr = &d.log
	if err := d.proc.Start(); err != nil {
		d.t.Fatal(err)
	}
}

// kill kills the gateway, as kill -9 does.
func (d *drill) kill() {
	d.proc.Process.Kill()
	d.proc.Wait()
}

// open opens pages: of visitors, whose first tokens are of any age, and of users.
func (d *drill) open(n int) {
	client := &http.Client{Transport: &http.Transport{}}
	keys := page.NewKeys([][]byte{{0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}})
	for i := range n {
		t := &tab{gateway: "http://" + d.api, client: client, rng: rand.New(rand.NewPCG(d.rng.Uint64(), 0)), tally: &d.tally, has: map[string]bool{}, shown: map[string]int{}}
		if i%2 == 0 {
			t.user = fmt.Sprintf("user/%d é", i)
		} else {
			t.id = keys.NewID()
			// The stream renews after 10 minutes, and the token expires after 15: about half are
			// of an age at which one of the two happens during the test.
			age := time.Duration(595+d.rng.IntN(10)) * time.Second
			if i%4 == 1 {
				age = time.Duration(d.rng.IntN(1800)) * time.Second
			}
			t.token, t.expires = keys.Token(t.id, time.Now().Add(-age))
		}
		t.key = event.UserKey(t.user+t.id, t.user == "")
		d.tabs = append(d.tabs, t)
		d.current = append(d.current, map[string]string{})
		d.running.Go(func() { t.run(d.t.Context()) })
	}
}

// awaitStreams waits until the gateway has so many open streams.
func (d *drill) awaitStreams(n int) {
	d.t.Helper()
	await(d.t, &d.log, fmt.Sprint(n, " open streams"), func() bool { return d.metric("offerstream_gateway_page_streams") >= float64(n) })
}

// metric is what the gateway says of itself; 0 if nothing.
func (d *drill) metric(name string) float64 {
	_, body := get("http://" + d.ops + "/metrics")
	if m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(body); m != nil {
		n, _ := strconv.ParseFloat(m[1], 64)
		return n
	}
	return 0
}

// awaitShown waits until n more offers are shown.
func (d *drill) awaitShown(n int) {
	d.t.Helper()
	until := d.tally.shown.Load() + int64(n)
	await(d.t, &d.log, "offers come to the pages", func() bool { return d.tally.shown.Load() >= until })
}

// store stores offers, so many a second, of the tabs in turn, until stop is closed; now and
// then one is redeemed.
func (d *drill) store(rate int, stop <-chan struct{}) {
	tick := time.NewTicker(time.Second / 100)
	defer tick.Stop()
	for i := 0; ; {
		select {
		case <-stop:
			return
		case <-d.t.Context().Done(): // the test has failed
			return
		case <-tick.C:
		}
		for range rate / 100 {
			at := i % len(d.tabs)
			if !d.offer(at, fmt.Sprint("campaign-", i/len(d.tabs)%drillCampaigns)) || d.rng.IntN(8) == 0 && !d.redeem(at) {
				return
			}
			i++
		}
	}
}

// offer stores an offer for a tab, as a worker does.
func (d *drill) offer(at int, campaign string) bool {
	d.stored++
	t, now := d.tabs[at], time.Now()
	o := &pipeline.Offer{ID: fmt.Sprintf("%032x", d.stored), Campaign: campaign, Channel: broker.WebChannel, Kind: "advertising", User: t.user + t.id, Anon: t.user == "",
		Event: "m", Time: value.FormatTime(now.UnixNano()), Expires: value.FormatTime(now.Add(time.Hour).UnixNano()), Data: json.RawMessage(`{"title":"10% off bags"}`)}
	body, err := o.AppendJSON(nil)
	if err != nil {
		d.t.Error(err)
		return false
	}
	d.current[at][campaign] = o.ID
	return d.put(d.conn.Names.OfferSubject(broker.WebChannel, d.partition(t)), o.ID, body)
}

func (d *drill) partition(t *tab) int { return event.Partition(t.key, d.conn.Partitions) }

// redeem redeems the coupon of one of a tab's offers.
func (d *drill) redeem(at int) bool {
	campaign := fmt.Sprint("campaign-", d.rng.IntN(drillCampaigns))
	id := d.current[at][campaign]
	if id == "" {
		return true
	}
	delete(d.current[at], campaign)
	return d.put(d.conn.Names.PageSubject(d.partition(d.tabs[at])), "redeemed "+id, fmt.Appendf(nil, `{"type":"redeemed","offer":%q}`, id))
}

// put stores a message once, however often NATS is gone meanwhile.
func (d *drill) put(subject, id string, data []byte) bool {
	ctx, cancel := context.WithTimeout(d.t.Context(), within)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		try, cancel := context.WithTimeout(ctx, 2*time.Second)
		_, err := d.conn.JS.Publish(try, subject, data, jetstream.WithMsgID(id))
		cancel()
		if err == nil {
			return true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			d.t.Errorf("an offer cannot be stored: %v", err)
			return false
		}
	}
}

// judge waits until each tab has seen the last offer, and compares what it was told with
// what is stored.
func (d *drill) judge(n int) {
	d.t.Helper()
	missing := func() (ids []string) {
		for i, t := range d.tabs {
			if !t.sees(d.current[i]["last"]) {
				ids = append(ids, t.key)
			}
		}
		return ids
	}
	await(d.t, &d.log, "each page has its last offer", func() bool { return len(missing()) == 0 })
	lost, repeated, stale := 0, 0, 0
	for i, t := range d.tabs {
		t.mu.Lock()
		open := map[string]bool{}
		for _, id := range d.current[i] {
			if open[id] = true; t.shown[id] == 0 || !t.has[id] {
				lost++
				d.t.Errorf("%s was not shown the open offer %s", t.key, id)
			}
		}
		for id := range t.has {
			if !open[id] {
				stale++
				d.t.Errorf("%s shows the offer %s, which is not open", t.key, id)
			}
		}
		for id, times := range t.shown {
			if times > 1 {
				repeated++
				d.t.Errorf("%s was shown the offer %s %d times", t.key, id, times)
			}
		}
		for _, w := range t.wrong {
			d.t.Errorf("%s: %s", t.key, w)
		}
		t.mu.Unlock()
	}
	shown := int(d.tally.shown.Load())
	d.t.Logf("%d streams, %d offers stored, %d shown, %d lost, %d repeated, %d left over; %d were over before their page was there; reconnections %d, renewals %d in the stream and %d by POST; the gateway's memory %.0f MB",
		n, d.stored, shown, lost, repeated, stale, d.stored-shown+repeated, d.tally.streams.Load()-int64(n), d.tally.inStream.Load(), d.tally.renewed.Load(), d.metric("process_resident_memory_bytes")/1e6)
}
