package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
)

var chaosFor = flag.Duration("for", 10*time.Second, "how long TestChaos has faults")

const chaosPartitions = 6

// A chaos is a deployment of real processes, with the faults that it suffers.
type chaos struct {
	t       *testing.T
	bin     string
	conn    *broker.Conn // to NATS directly, not over a link
	url     string       // NATS's URL
	nats    *child
	gateway *child
	addr    string // the gateway's address
	workers []*child
	dirs    []string // the workers' directories
	ready   []string // the workers' addresses for metrics
	links   []*link  // the links of the workers and of the gateway

	mu     sync.Mutex
	counts map[string]int // faults by kind
	wrong  []string       // faults that could not be caused, and wrong reactions
	deaths []*death
}

// A death is the kill of a worker, with the partitions that it owned.
type death struct {
	own   []int
	again time.Time // when it was restarted
}

// TestChaos causes faults, which a seed decides, in a deployment of real processes
// while events come. Afterwards all acknowledged events must have counted once,
// and the offers must be those of the log.
func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 25 s")
	}
	seed := *fromSeed
	t.Logf("go test ./pipeline/worker -run '^TestChaos$' -count=1 -args -for=%v -seed=%d", *chaosFor, seed)
	ch := newChaos(t)
	hash := apply(t, ch.conn, chaosSet(t))
	ch.inForce(hash)
	ch.importCodes(within(t), 0)

	l := newLoad(ch.addr, seed)
	ctx, cancel := context.WithTimeout(t.Context(), *chaosFor+2*time.Minute)
	defer cancel()
	begin := time.Now()
	var all sync.WaitGroup
	all.Go(func() { l.send(ctx, rand.New(rand.NewPCG(seed, 1)), *chaosFor) })
	all.Go(func() {
		<-time.After(*chaosFor / 4)
		ch.importCodes(ctx, 1)
	})
	for _, faults := range ch.plan(seed, *chaosFor) {
		all.Go(func() {
			for _, f := range faults {
				<-time.After(time.Until(begin.Add(f.from)))
				ch.inject(f)
				<-time.After(time.Until(begin.Add(f.to)))
				ch.note(f.end())
			}
		})
	}
	all.Wait()
	t.Logf("faults: %v", ch.counts)
	ch.recovered()
	ch.audit(l)
}

// newChaos starts all processes.
func newChaos(t *testing.T) *chaos {
	t.Helper()
	ch := &chaos{t: t, counts: map[string]int{}, bin: build(t, "gateway", "worker", "offerctl")}
	natsAddr := freeAddr(t)
	_, port, _ := strings.Cut(natsAddr, ":")
	ch.url = "nats://" + natsAddr
	ch.nats = newChild(t, "nats-server", []string{"OFFERSTREAM_TEST_CHAOS_NATS=" + t.TempDir(), "OFFERSTREAM_TEST_CHAOS_PORT=" + port},
		os.Args[0], "-test.run=^TestChaosServer$", "-test.timeout=1h")
	ch.begin(ch.nats)
	conn, err := broker.Connect(within(t), broker.Options{URL: ch.url, Client: "test", Partitions: chaosPartitions, Reconnect: true, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	ch.conn = conn
	proxies := newProxies()
	for i := range 3 {
		l := newLink(t, proxies, natsAddr)
		dir, ready := t.TempDir(), freeAddr(t)
		w := newChild(t, fmt.Sprint("worker ", i), nil, filepath.Join(ch.bin, "worker"),
			"--nats", "nats://"+l.addr, "--dir", dir, "--cache", "32MB", "--metrics-addr", ready)
		ch.workers, ch.dirs, ch.ready, ch.links = append(ch.workers, w), append(ch.dirs, dir), append(ch.ready, ready), append(ch.links, l)
		ch.begin(w)
	}
	l := newLink(t, proxies, natsAddr)
	ch.links = append(ch.links, l)
	ch.addr = freeAddr(t)
	ch.gateway = newChild(t, "gateway", []string{"OFFERSTREAM_WRITE_KEY=" + chaosBrowser, "OFFERSTREAM_SERVER_KEY=" + chaosServer}, filepath.Join(ch.bin, "gateway"), "--nats", "nats://"+l.addr, "--addr", ch.addr)
	ch.begin(ch.gateway)
	return ch
}

func (ch *chaos) begin(p *child) {
	ch.t.Helper()
	if err := p.start(); err != nil {
		ch.t.Fatal(err)
	}
}

// inForce waits until the set is in force in all logs.
func (ch *chaos) inForce(hash string) {
	ch.t.Helper()
	await(ch.t, "the set in all logs", func() bool {
		for p := range chaosPartitions {
			m, err := ch.conn.Wire.Last(ch.t.Context(), ch.conn.Names.EventsStream(p), ch.conn.Names.EventsSubject(p, "control"))
			if err != nil || !strings.Contains(string(m.Data), hash) {
				return false
			}
		}
		return true
	})
}

// A chaosFault is a fault of the plan.
type chaosFault struct {
	kind       string
	from, to   time.Duration
	begin, end func() error
}

// A faultKind is a kind of fault that lasts some time.
type faultKind struct {
	name        string
	least, most time.Duration
	begin, end  func() error
}

// plan returns all faults with their times, which the seed decides: for each
// process or link a list of faults, one after the other.
func (ch *chaos) plan(seed uint64, span time.Duration) (all [][]chaosFault) {
	rng := rand.New(rand.NewPCG(seed, 2))
	add := func(gap time.Duration, order []int, kinds []faultKind) {
		var faults []chaosFault
		at := between(rng, gap/4, gap)
		for i := 0; ; i++ {
			k := kinds[order[i%len(order)]]
			to := at + between(rng, k.least, k.most)
			if to > span {
				break
			}
			faults = append(faults, chaosFault{k.name, at, to, k.begin, k.end})
			at = to + between(rng, gap/4, gap)
		}
		all = append(all, faults)
	}
	order := rng.Perm(4)
	for i, w := range ch.workers {
		kinds := ch.ofWorker(i, w)
		add(2*time.Second, append(order[i:len(order):len(order)], order[:i]...), kinds) // each worker begins with a different kind
	}
	for i, l := range ch.links {
		who := "worker"
		if i == len(ch.workers) {
			who = "gateway"
		}
		add(5*time.Second, rng.Perm(4), ofLink(l, who))
	}
	const ms = time.Millisecond
	add(8*time.Second, []int{0}, []faultKind{{"kill -9 gateway", 0, 800 * ms, ch.gateway.kill, ch.gateway.start}})
	add(6*time.Second, rng.Perm(2), []faultKind{
		{"kill -9 nats-server", 0, 800 * ms, ch.nats.kill, ch.nats.start},
		{"freeze nats-server", 200 * ms, 1500 * ms, stop(ch.nats), goOn(ch.nats)},
	})
	return all
}

func between(rng *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(rng.Int64N(int64(most-least)))
}

func stop(p *child) func() error {
	return func() error { _, err := p.signal(syscall.SIGSTOP, false); return err }
}

func goOn(p *child) func() error {
	return func() error { _, err := p.signal(syscall.SIGCONT, false); return err }
}

func (ch *chaos) ofWorker(i int, w *child) []faultKind {
	const ms = time.Millisecond
	var d *death
	return []faultKind{
		{"kill -9 worker", 0, 1500 * ms, func() error {
			d = &death{own: ch.owned(ch.dirs[i])}
			return w.kill()
		}, func() error {
			d.again = time.Now()
			ch.mu.Lock()
			ch.deaths = append(ch.deaths, d)
			ch.mu.Unlock()
			return w.start()
		}},
		{"freeze worker past its lease", broker.LeaseFor + 200*ms, broker.LeaseFor + 1500*ms, stop(w), goOn(w)},
		{"lose a worker's disk", 0, 1500 * ms, func() error {
			if err := w.kill(); err != nil {
				return err
			}
			return os.RemoveAll(ch.dirs[i])
		}, w.start},
		{"leave and join", 100 * ms, 1500 * ms, w.leave, w.start},
	}
}

func ofLink(l *link, who string) []faultKind {
	const ms = time.Millisecond
	return []faultKind{
		{"cut off " + who, 0, 1000 * ms, l.cut, l.heal},
		{"slow link of " + who, 1000 * ms, 3000 * ms, func() error {
			if err := l.poison("latency", "upstream", `"latency":40,"jitter":30`); err != nil {
				return err
			}
			return l.poison("latency", "downstream", `"latency":40,"jitter":30`)
		}, l.heal},
		{"lost answers to " + who, 50 * ms, 500 * ms, func() error { return l.poison("timeout", "downstream", `"timeout":0`) }, l.heal},
		{"silent link of " + who, 500 * ms, 3000 * ms, func() error {
			if err := l.poison("timeout", "upstream", `"timeout":0`); err != nil {
				return err
			}
			return l.poison("timeout", "downstream", `"timeout":0`)
		}, l.heal},
	}
}

func (ch *chaos) inject(f chaosFault) {
	ch.mu.Lock()
	ch.counts[f.kind]++
	ch.mu.Unlock()
	ch.note(f.begin())
}

func (ch *chaos) note(err error) {
	if err == nil {
		return
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.wrong = append(ch.wrong, err.Error())
}

// owned returns the partitions that the worker of that directory claims to own;
// none if that cannot be found out quickly.
func (ch *chaos) owned(dir string) []int {
	id, err := os.ReadFile(filepath.Join(dir, "member"))
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	kv, err := ch.conn.JS.KeyValue(ctx, ch.conn.Names.GroupBucket())
	if err != nil {
		return nil
	}
	e, err := kv.Get(ctx, "member."+string(id))
	if err != nil {
		return nil
	}
	var c broker.Claim
	_, value, _ := bytes.Cut(e.Value(), []byte("\n")) // the line before it has the lease's duration
	if err := json.Unmarshal(value, &c); err != nil {
		ch.note(fmt.Errorf("the lease of member %s is %q: %w", id, e.Value(), err))
	}
	return c.Own
}

// recovered waits until all workers are ready. If one never is, it reports why.
func (ch *chaos) recovered() {
	begin := time.Now()
	client := http.Client{Timeout: time.Second}
	why := map[string]string{}
	for time.Since(begin) < time.Minute {
		clear(why)
		for i, addr := range ch.ready {
			resp, err := client.Get("http://" + addr + "/readyz")
			if err != nil {
				why[ch.workers[i].name] = err.Error()
				continue
			}
			b := make([]byte, 300)
			n, _ := resp.Body.Read(b)
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				why[ch.workers[i].name] = string(b[:n])
			}
		}
		if len(why) == 0 {
			ch.t.Logf("all workers work again after %v", time.Since(begin).Round(time.Millisecond))
			break
		}
		<-time.After(20 * time.Millisecond)
	}
	for _, name := range slices.Sorted(maps.Keys(why)) {
		ch.t.Errorf("%s does not work a minute after the last fault: %s", name, why[name])
	}
	for _, p := range append([]*child{ch.nats, ch.gateway}, ch.workers...) {
		for _, w := range p.faults() {
			ch.t.Error(w)
		}
	}
	for _, w := range ch.wrong {
		ch.t.Error(w)
	}
}

// offerctlVerify runs `offerctl verify`.
func (ch *chaos) offerctlVerify() (v audit.Verdict) {
	cmd := exec.CommandContext(within(ch.t), filepath.Join(ch.bin, "offerctl"), "verify", "--nats", ch.url, "--json")
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		ch.t.Errorf("offerctl verify: %v\n%s%s", err, out, said.String())
		return v
	}
	if err := json.Unmarshal(out, &v); err != nil {
		ch.t.Errorf("offerctl verify: %v: %s", err, out)
	}
	return v
}
