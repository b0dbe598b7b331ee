package worker

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/state"
)

var (
	seeds    = flag.Int("seeds", 100, "simulations that TestSimulation runs")
	fromSeed = flag.Uint64("seed", 1, "of the first simulation")
)

// TestSimulation runs a whole group, broker, disks and clocks included, as
// seeds have it: crashes at any step, lost and late answers, frozen workers
// and brokers, lost disks, joins and leaves. The offers must be those of a
// pure fold of the log, each once and in order.
func TestSimulation(t *testing.T) {
	var total simCounts
	var mu sync.Mutex
	var next atomic.Uint64
	next.Store(*fromSeed)
	last := *fromSeed + uint64(*seeds)
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for seed := next.Add(1) - 1; seed < last && !t.Failed(); seed = next.Add(1) - 1 {
				n, err := simulate(t, seed)
				if err != nil {
					t.Errorf("go test ./pipeline/worker -run '^TestSimulation$' -args -seeds=1 -seed=%d\n%v", seed, err)
				}
				mu.Lock()
				total.add(n)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	t.Logf("%d seeds: %s", *seeds, total)
}

// TestSimulationRepeats: a seed is one history.
func TestSimulationRepeats(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		a, err := simulate(t, seed)
		if err != nil {
			t.Fatal(err)
		}
		b, err := simulate(t, seed)
		if err != nil {
			t.Fatal(err)
		}
		if a.trace != b.trace {
			t.Errorf("seed %d: two histories", seed)
		}
	}
}

// simCounts say what a simulation went through.
type simCounts struct {
	events, offers, steps                                                                                   int
	crashes, freezes, restarts, lostDisks, full, leaves, cuts, loud, accepted, snapshots, restored, expired int
	trace                                                                                                   uint64
}

func (c *simCounts) add(o simCounts) {
	c.events += o.events
	c.offers += o.offers
	c.steps += o.steps
	c.crashes += o.crashes
	c.freezes += o.freezes
	c.restarts += o.restarts
	c.lostDisks += o.lostDisks
	c.full += o.full
	c.leaves += o.leaves
	c.cuts += o.cuts
	c.loud += o.loud
	c.accepted += o.accepted
	c.snapshots += o.snapshots
	c.restored += o.restored
	c.expired += o.expired
}

func (c simCounts) String() string {
	return fmt.Sprintf("%d messages, %d offers, %d steps; %d crashes, %d disks lost or set back, %d full, %d freezes, %d broker restarts, %d leaves, %d streams cut back, %d loud stops of these, %d partitions accepted, %d snapshots made, %d restored, %d times the log's beginning expired",
		c.events, c.offers, c.steps, c.crashes, c.lostDisks, c.full, c.freezes, c.restarts, c.leaves, c.cuts, c.loud, c.accepted, c.snapshots, c.restored, c.expired)
}

// A simGroup is a deployment in a simulation.
type simGroup struct {
	*simulation
	broker     *simBroker
	partitions int
	standbys   int
	sets       map[string]*pipeline.Set
	snapshots  map[int][]simSnapshot
	accepted   map[int][]simAccepted
	sound      map[int]bool // partitions of which nothing was lost since
	workers    []*simWorker
	world      *process // what is no worker
	log        *slog.Logger
	counts     simCounts
}

// A simWorker is a machine on which a worker runs, again and again.
type simWorker struct {
	name   string
	disk   *simDisk
	cache  int64
	of     *process // nil: it does not run
	w      *Worker
	cancel context.CancelFunc
	ended  *error // of Run, once it has returned
}

// A simDisk survives its worker.
type simDisk struct {
	*simulation
	limit  state.Limit // of a commit
	stores map[string]*state.Memory

	since, until time.Duration // it gets full, and there is room again
	from, to     int64         // what is free: falls so far
	died         error         // it was written to where nothing was free
}

// fillsWithin is how long a disk takes to get full.
const fillsWithin = 20 * time.Second

func (d *simDisk) free(string) (int64, error) {
	if d.until <= d.time {
		return 1 << 50, nil
	}
	return max(d.to, d.from-int64(float64(d.from)*(d.time-d.since).Seconds()/fillsWithin.Seconds())), nil
}

// write needs so much room; a machine's disk would kill the process without.
func (d *simDisk) write(bytes int64) {
	if free, _ := d.free(""); free < bytes && d.died == nil {
		d.died = fmt.Errorf("SIGBUS after %v: %d bytes are free on a disk and %d are written", d.time, free, bytes)
	}
}

// A simStore is a store on a disk that may be full.
type simStore struct {
	*state.Memory
	disk *simDisk
}

func (s simStore) Commit(b *state.Batch, cursor []byte) error {
	s.disk.write(1)
	return s.Memory.Commit(b, cursor)
}

func (s simStore) Close() error {
	s.disk.write(1)
	return s.Memory.Close()
}

func (d *simDisk) open(dir string, _ state.Options) (store, error) {
	if d.stores[dir] == nil {
		d.stores[dir] = state.NewMemory(d.limit)
	}
	d.write(1)
	return simStore{d.stores[dir], d}, nil
}

func (d *simDisk) restore(dir string, _ state.Options, r io.Reader) error {
	whole, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	d.write(int64(len(whole)) * snapshotByte)
	m := state.NewMemory(d.limit)
	if err := m.Restore(bytes.NewReader(whole)); err != nil {
		return err
	}
	d.stores[dir] = m
	return nil
}

func (d *simDisk) member(dir string) (string, func(), error) { return dir, func() {}, nil }

func (d *simDisk) discard(dir string) error { delete(d.stores, dir); return nil }

// snapshotByte is how many bytes of a snapshot one in the simulation stands for.
const snapshotByte = 1 << 18

// A simArchive is the object store, as one connection sees it.
type simArchive struct {
	*simGroup
	wire  broker.Wire
	whole bool // nothing of it is damaged later: there is no other
}

type simSnapshot struct {
	meta    broker.SnapshotMeta
	bytes   []byte
	damaged bool
}

func (a simArchive) put(ctx context.Context, partition int, seq uint64, metadata map[string]string, write func(io.Writer) error) error {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	return a.wire.(*simWire).call(ctx, func() error {
		put := simSnapshot{broker.SnapshotMeta{Partition: partition, Seq: seq, Bytes: int64(b.Len()) * snapshotByte, Metadata: metadata}, b.Bytes(), false}
		a.keep(partition, put)
		for i, s := range a.snapshots[partition] { // where another is of use
			if s.meta.Seq == seq && !a.whole && a.chance(100) && slices.ContainsFunc(a.snapshots[partition], func(o simSnapshot) bool {
				return o.meta.Seq != seq && !o.damaged && o.meta.Metadata[acceptedKey] == metadata[acceptedKey]
			}) {
				a.snapshots[partition][i].bytes, a.snapshots[partition][i].damaged = b.Bytes()[:b.Len()/2], true
			}
		}
		a.counts.snapshots++
		return nil
	})
}

// keep adds a snapshot, of which there are two.
func (g *simGroup) keep(p int, s simSnapshot) {
	all := append(slices.DeleteFunc(slices.Clone(g.snapshots[p]), func(o simSnapshot) bool { return o.meta.Seq == s.meta.Seq }), s)
	slices.SortStableFunc(all, func(x, y simSnapshot) int { return cmp.Compare(y.meta.Seq, x.meta.Seq) })
	g.snapshots[p] = all[:min(len(all), 2)]
}

func (a simArchive) drop(ctx context.Context, partition int, which func(seq uint64) bool) error {
	return a.wire.(*simWire).call(ctx, func() error {
		a.snapshots[partition] = slices.DeleteFunc(slices.Clone(a.snapshots[partition]), func(s simSnapshot) bool { return which(s.meta.Seq) })
		return nil
	})
}

func (a simArchive) list(ctx context.Context, partition int) (metas []broker.SnapshotMeta, err error) {
	err = a.wire.(*simWire).call(ctx, func() error {
		metas = nil
		for _, s := range a.snapshots[partition] {
			metas = append(metas, s.meta)
		}
		return nil
	})
	return metas, err
}

func (a simArchive) open(ctx context.Context, m broker.SnapshotMeta) (r io.ReadCloser, err error) {
	err = a.wire.(*simWire).call(ctx, func() error {
		for _, s := range a.snapshots[m.Partition] {
			if s.meta.Seq == m.Seq {
				a.counts.restored++
				r = io.NopCloser(bytes.NewReader(s.bytes))
				return nil
			}
		}
		return broker.ErrSnapshotGone
	})
	return r, err
}

// simulate runs one history.
func simulate(t *testing.T, seed uint64) (simCounts, error) {
	g := &simGroup{simulation: newSimulation(seed), partitions: 1 + int(seed%3), sets: map[string]*pipeline.Set{}, snapshots: map[int][]simSnapshot{}, accepted: map[int][]simAccepted{}, sound: map[int]bool{}, world: &process{name: "world"}, log: quiet()}
	defer g.end()
	if os.Getenv("LOG") != "" {
		g.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Duration("at", g.time)
			}
			return a
		}}))
	}
	g.broker = newSimBroker(g.simulation)
	next := g.script(t, seed)
	g.standbys = g.rng.IntN(2)
	for i := range 1 + g.rng.IntN(3) {
		m := &simWorker{name: fmt.Sprint("worker", i), cache: 256 << 20, disk: &simDisk{simulation: g.simulation, limit: state.Limit{Entries: 2000, Bytes: 1 << 20, Large: 1 << 19}, stores: map[string]*state.Memory{}}}
		if g.chance(500) { // checkpoints within messages, and users that leave the cache
			m.disk.limit.Entries, m.cache = 30+g.rng.IntN(100), int64(1+g.rng.IntN(20_000))
		}
		g.workers = append(g.workers, m)
	}
	for _, w := range g.workers {
		g.run1(w)
	}
	err := g.history(next)
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, g.state())
	}
	g.counts.steps, g.counts.trace = g.steps, g.trace
	return g.counts, err
}

// history lets events come and things go wrong. Where a stream is cut back and
// partitions stop, an operator may accept that, and more comes.
func (g *simGroup) history(next func() (scripted, bool)) error {
	for {
		cut := g.chance(400)
		limit := 1 << 30
		if cut && g.chance(500) {
			limit = g.rng.IntN(60) // and the rest behind it
		}
		if err := g.phase(next, limit, cut); err != nil {
			return err
		}
		stopped := g.stopped()
		switch {
		case g.died() != nil:
			return g.died()
		case len(stopped) == 0:
			return g.exact()
		}
		for _, p := range slices.Sorted(maps.Keys(stopped)) {
			if g.counts.cuts == 0 || g.sound[p] {
				return stopped[p]
			}
		}
		g.counts.loud++
		if g.counts.loud == 3 || g.chance(300) {
			return nil
		}
		if err := g.accept(); err != nil {
			return err
		}
		for _, m := range g.workers {
			g.run1(m)
		}
	}
}

// phase lets at most so many packs come, and faults meanwhile, in the end a
// stream that is cut back; and returns once all is done or partitions have
// stopped.
func (g *simGroup) phase(next func() (scripted, bool), limit int, cut bool) error {
	g.broker.faults = g.someFaults()
	loaded, over := false, false
	g.start(g.world, func() {
		for p := range g.partitions {
			for g.broker.stream(fmt.Sprint("EVENTS-", p)).last[fmt.Sprintf("events.%d.control", p)] == 0 && len(g.stopped()) == 0 {
				g.rest(context.Background(), nil, 100*time.Millisecond)
			}
		}
		for ; limit > 0; limit-- {
			g.rest(context.Background(), nil, g.upTo(300*time.Millisecond))
			pk, ok := next()
			if !ok {
				break
			}
			for again := true; again; again = g.chance(20) { // a retry after the broker's dedupe window
				g.broker.store(fmt.Sprintf("events.%d.in", pk.p), nil, pk.data, nil)
				g.counts.events++
			}
		}
		loaded = true
	})
	g.start(g.world, func() {
		for !loaded {
			g.rest(context.Background(), nil, g.upTo(3*time.Second))
			g.fault()
		}
		if cut {
			g.cutBack()
		}
		g.rest(context.Background(), nil, g.upTo(5*time.Second))
		g.heal()
		g.rest(context.Background(), nil, time.Minute) // until all have heard of the last faults, and what is confirmed for long
		over = true
	})
	return g.simulation.run(func() bool { return over && g.settled() }, g.time+time.Hour)
}

// script makes a set live, and returns what gives one pack after the other: of
// random campaigns under the events' clock, or of timers under the broker's.
func (g *simGroup) script(t *testing.T, seed uint64) (next func() (scripted, bool)) {
	if g.chance(600) {
		s := write(t, seed, g.partitions)
		g.goLive(t, s.def)
		return func() (scripted, bool) {
			if len(s.packs) == 0 {
				return scripted{}, false
			}
			pk := s.packs[0]
			s.packs = s.packs[1:]
			return pk, true
		}
	}
	def := waiting(t, pipeline.ClockBroker, time.Duration(1+g.rng.IntN(20))*time.Second)
	g.goLive(t, def)
	left, ahead := 40+g.rng.IntN(80), time.Duration(0)
	if g.chance(100) {
		ahead = 24 * time.Hour // the gateway's clock
	}
	return func() (scripted, bool) {
		left--
		if left == 30 && g.chance(300) { // campaigns change meanwhile
			other := waiting(t, pipeline.ClockBroker, time.Duration(1+g.rng.IntN(20))*time.Second)
			other.Features = append(other.Features, pipeline.Feature{Name: "more", On: []string{"Product Viewed"}, Agg: "count"})
			g.goLive(t, other)
		}
		p := g.rng.IntN(g.partitions)
		var data []byte
		for i := range 1 + g.rng.IntN([]int{3, 3, 30}[g.rng.IntN(3)]) { // many: so that checkpoints fall within
			data = append(data, g.visit(p, fmt.Sprint("m", left, "-", i), ahead)...)
		}
		return scripted{p, data}, left > 0
	}
}

// visit is an event of somebody in a partition.
func (g *simGroup) visit(p int, id string, ahead time.Duration) []byte {
	user := "user-0"
	for i := range 200 { // somebody is in it
		user = fmt.Sprint("user-", g.rng.IntN(20)+i/20)
		if pipeline.Partition("u:"+user, g.partitions) == p {
			break
		}
	}
	name := []string{"Product Viewed", "Product Viewed", "Order Completed"}[g.rng.IntN(3)]
	return fmt.Appendf(nil, `{"type":"track","event":%q,"userId":%q,"messageId":%q,"receivedAt":%q}`+"\n", name, user, id, pipeline.FormatTime(g.now().Add(ahead).UnixNano()))
}

// cutBack lets the broker come back with less than it had acknowledged.
func (g *simGroup) cutBack() {
	streams := []string{"OFFERS", "EVENTS-0"}
	name := streams[g.rng.IntN(len(streams))]
	if len(g.broker.stream(name).messages) == 0 {
		return
	}
	g.broker.restart(g.upTo(time.Second))
	n := 1 + g.rng.IntN(5)
	if name != "OFFERS" && g.chance(500) { // a power loss: nobody remembers more than is on its disk
		for _, m := range g.workers {
			g.crash(m)
		}
		for _, m := range g.workers { // and the log loses what is in part there
			if st := m.disk.stores[filepath.Join(m.name, "partition-0")]; st != nil {
				c, err := loadCursor(simStore{st, m.disk})
				if lost := len(g.broker.stream(name).messages) - int(c.Seq); err == nil && c.Partly != 0 && 0 < lost && lost < 10 {
					n = lost
				}
			}
		}
	}
	g.broker.cutBack(name, n)
	clear(g.sound)
	if name != "OFFERS" && g.chance(500) { // others come in place of those that are lost
		for i := range n + g.rng.IntN(3) {
			g.broker.store("events.0.in", nil, g.visit(0, fmt.Sprint("instead-", i), 0), nil)
		}
	}
	g.counts.cuts++
}

// goLive makes a set the live one.
func (g *simGroup) goLive(t *testing.T, def *pipeline.Definition) {
	hash := def.Hash()
	set, problems := pipeline.Compile(def)
	if len(problems) > 0 {
		t.Error(problems)
		return
	}
	g.sets[hash] = set
	for _, m := range g.workers { // nobody fetches it: that is under a lock
		m.w.sets.sets[hash] = set
	}
	g.broker.put("CAMPAIGNS", "live", []byte(hash))
}

func (g *simGroup) someFaults() simFaults {
	rate := func() int { return g.rng.IntN(4) * g.rng.IntN(8) }
	return simFaults{lost: rate(), late: rate(), ackLost: rate(), refused: rate(), gap: rate() / 4, silence: rate() / 8, cut: rate() / 4, slowness: g.upTo(20 * time.Millisecond)}
}

// run1 starts a machine's worker.
func (g *simGroup) run1(m *simWorker) {
	m.of = &process{name: m.name}
	m.ended = nil
	world := simWorld{g.simulation, m.of}
	skew := g.upTo(2*time.Second) - time.Second
	if g.chance(50) {
		skew += time.Duration(g.rng.IntN(3)-1) * 24 * time.Hour
	}
	w, err := New(Options{Dir: m.name, Log: g.log.With("worker", m.name), Checkpoint: 200*time.Millisecond + g.upTo(time.Second), Confirm: 20 * time.Second,
		CacheBytes: m.cache, Standbys: g.standbys, Now: func() int64 { return g.now().Add(skew).UnixNano() }, world: world, disk: m.disk, archive: func(c *broker.Conn) archive { return simArchive{g, c.Wire, false} }, Snapshot: 2*time.Second + g.upTo(20*time.Second),
		Connect: func(ctx context.Context) (*broker.Conn, error) {
			for g.broker.down > g.time && ctx.Err() == nil {
				g.rest(ctx, nil, 50*time.Millisecond)
			}
			return broker.Simulated(g.broker.connect(world.of), world, broker.Names{}, g.partitions, g.log.With("worker", m.name)), ctx.Err()
		}})
	if err != nil {
		panic(err)
	}
	w.sets.sets = maps.Clone(g.sets)
	ctx, cancel := context.WithCancel(context.Background())
	m.w, m.cancel = w, cancel
	of := m.of
	g.start(of, func() {
		err := w.Run(ctx)
		if m.of == of {
			m.ended = &err
		}
	})
}

// fault lets something go wrong.
func (g *simGroup) fault() {
	m := g.workers[g.rng.IntN(len(g.workers))]
	switch g.rng.IntN(14) {
	case 0, 1, 2:
		g.crash(m)
	case 3:
		if m.of != nil && m.disk.until <= g.time { // who is frozen sees no disk get full
			m.of.frozen = g.time + g.upTo(40*time.Second)
			g.counts.freezes++
		}
	case 4:
		g.broker.restart(g.upTo(3 * time.Second))
		g.counts.restarts++
	case 5:
		g.broker.frozen = g.time + g.upTo(200*time.Millisecond)
	case 6:
		g.broker.skew = g.upTo(4*time.Second) - 2*time.Second
		if g.chance(100) {
			g.broker.skew += 24 * time.Hour
		}
	case 7:
		if m.of != nil && m.ended == nil {
			m.cancel()
			g.counts.leaves++
		}
	case 8:
		g.broker.faults = g.someFaults()
	case 13:
		if m.of == nil || m.of.frozen <= g.time {
			m.disk.fill(int64(4+g.partitions) * 64 << 20)
			g.counts.full++
		}
	case 9: // the log's beginning expires, up to a snapshot
		g.expire(g.rng.IntN(g.partitions))
	default:
		if m.of == nil || m.ended != nil {
			g.run1(m)
		}
	}
}

// expire lets the log's beginning expire, up to a snapshot.
func (g *simGroup) expire(p int) {
	st := g.broker.stream(fmt.Sprint("EVENTS-", p))
	all := slices.DeleteFunc(slices.Clone(g.snapshots[p]), func(s simSnapshot) bool {
		return !g.isBehind(p, s.meta) || !s.damaged && !g.fits(p, s)
	})
	if len(all) > 0 {
		st.first = max(st.first, all[len(all)-1].meta.Seq+uint64(g.rng.IntN(2)))
		g.counts.expired++
	}
}

// fill lets a disk have less and less room for a while, down to none at all,
// or to what is enough for stores and not for a snapshot.
func (d *simDisk) fill(need int64) {
	d.since, d.until = d.time, d.time+d.upTo(90*time.Second)
	d.from, d.to = need*5/4, 0
	if d.chance(300) {
		d.to = need
	}
}

// crash kills a worker, and may do something to its disk.
func (g *simGroup) crash(m *simWorker) {
	if m.of == nil || m.ended != nil {
		return
	}
	g.counts.crashes++
	g.kill(m.of)
	for _, w := range slices.Clone(g.broker.wires) {
		if w.of == m.of {
			w.end()
		}
	}
	m.of = nil
	switch g.rng.IntN(6) {
	case 0:
		clear(m.disk.stores)
		g.counts.lostDisks++
	case 1:
		for _, dir := range slices.Sorted(maps.Keys(m.disk.stores)) {
			m.disk.stores[dir].Forget(g.rng.IntN(4))
		}
		g.counts.lostDisks++
	}
}

// heal ends all faults, and starts what does not run.
func (g *simGroup) heal() {
	g.broker.faults, g.broker.frozen, g.broker.down = simFaults{}, 0, 0
	for _, m := range g.workers {
		m.disk.until = 0
		if m.of != nil {
			m.of.frozen = 0
		}
		if m.of == nil || m.ended != nil {
			g.run1(m)
		}
	}
}

// settled says whether every partition has one owner that has applied
// everything, as many that follow it as there should be, and every offer is
// stored.
func (g *simGroup) settled() bool {
	if len(g.stopped()) > 0 {
		return true // exact or not, it stays so
	}
	owners, follow := make([]int, g.partitions), make([]int, g.partitions)
	for _, m := range g.workers {
		if m.ended != nil {
			g.run1(m) // it was told to leave before it was to stay
			return false
		}
		for p, s := range m.w.Status() {
			switch {
			case !s.Owned && !s.Follows:
			case s.Seq < uint64(len(g.broker.stream(fmt.Sprint("EVENTS-", p)).messages)) || s.Waiting > 0:
				return false
			case s.Owned:
				owners[p]++
			default:
				follow[p]++
			}
		}
	}
	for p := range owners {
		if owners[p] != 1 || follow[p] != min(g.standbys, len(g.workers)-1) {
			return false
		}
	}
	return true
}

// stopped says which partitions stopped loudly, and why.
func (g *simGroup) stopped() map[int]error {
	var stopped map[int]error
	for _, m := range g.workers {
		for p, s := range m.w.Status() {
			if s.Stopped != "" {
				if stopped == nil {
					stopped = map[int]error{}
				}
				stopped[p] = fmt.Errorf("%s: partition %d stopped: %s", m.name, p, s.Stopped)
			}
		}
	}
	return stopped
}

// died says which disk was written to when it was full.
func (g *simGroup) died() error {
	for _, m := range g.workers {
		if m.disk.died != nil {
			return fmt.Errorf("%s: %w", m.name, m.disk.died)
		}
	}
	return nil
}

// exact holds what is stored against a pure fold of the log.
func (g *simGroup) exact() error {
	stored := map[string][]broker.Stored{}
	for _, stream := range []string{"OFFERS", "DEADLETTERS"} {
		for _, r := range g.broker.stream(stream).messages {
			stored[r.Subject] = append(stored[r.Subject], r)
		}
	}
	for _, subject := range slices.Sorted(maps.Keys(stored)) { // whoever receives them counts
		n := uint64(0)
		for _, r := range stored[subject] {
			pos, err := broker.ParsePosition(r.Header)
			if err != nil || pos.N <= n {
				return fmt.Errorf("%s: record %d follows %d (%v)", subject, pos.N, n, err)
			}
			n = pos.N
		}
	}
	for p := range g.partitions {
		mark, markStored := g.mark(p)
		skipped := g.skipped(p)
		for subject := range stored {
			if mark > 0 && strings.HasSuffix(subject, fmt.Sprint(".", p)) {
				stored[subject] = behind(stored[subject], mark, markStored)
			}
		}
		for _, m := range g.workers {
			all, end := m.w.Status(), len(g.broker.stream(fmt.Sprint("EVENTS-", p)).messages) // nil: just started again
			if all == nil {
				continue
			}
			if s := all[p]; s.Owned && s.Seq > uint64(end) {
				return fmt.Errorf("%s: partition %d: message %d is applied, and the log ends at %d", m.name, p, s.Seq, end)
			}
		}
		fold, err := pipeline.NewFold(pipeline.Cursor{}, func(hash string) (*pipeline.Set, error) { return g.sets[hash], nil }, pipeline.Memory{})
		if err != nil {
			return err
		}
		for _, m := range g.broker.stream(fmt.Sprint("EVENTS-", p)).messages {
			if skipped[m.Seq] {
				fold.Skip(m.Seq)
				continue
			}
			if err := fold.Begin(pipeline.Message{Seq: m.Seq, Stored: m.Time, Kind: simKind(m.Subject), Data: m.Data}); err != nil {
				return err
			}
			for more := true; more; {
				if more, err = fold.Next(); err != nil {
					return err
				}
				for _, e := range fold.Effects() {
					if m.Seq < mark {
						continue // an operator has accepted how that is stored
					}
					subject := broker.Names{}.ChainSubject(e.Chain, p)
					if len(stored[subject]) == 0 {
						return fmt.Errorf("%s: record %d is missing: %+v", subject, e.Pos.N, e.Pos)
					}
					r := stored[subject][0]
					stored[subject] = stored[subject][1:]
					pos, err := broker.ParsePosition(r.Header)
					if err != nil {
						return err
					}
					if pos != e.Pos {
						return fmt.Errorf("%s: stored is %+v, the log gives %+v", subject, pos, e.Pos)
					}
					if e.Offer != nil {
						if want, err := e.Offer.AppendJSON(nil); err != nil || string(want) != string(r.Data) {
							return fmt.Errorf("%s: record %d is %s, the log gives %s (%v)", subject, pos.N, r.Data, want, err)
						}
						g.counts.offers++
					}
				}
			}
		}
	}
	for _, subject := range slices.Sorted(maps.Keys(stored)) {
		if n := len(stored[subject]); n > 0 {
			return fmt.Errorf("%s: the last %d records are too many", subject, n)
		}
	}
	return nil
}

func simKind(subject string) pipeline.Kind {
	for kind, end := range map[pipeline.Kind]string{pipeline.In: ".in", pipeline.Tick: ".tick", pipeline.Control: ".control", pipeline.Accept: ".accept"} {
		if strings.HasSuffix(subject, end) {
			return kind
		}
	}
	return 0
}

// state says where everything stands.
func (g *simGroup) state() string {
	s := fmt.Sprintf("after %v, %d steps:\n", g.time, g.steps)
	for _, name := range slices.Sorted(maps.Keys(g.broker.streams)) {
		s += fmt.Sprintf("%s: %d messages\n", name, len(g.broker.streams[name].messages))
	}
	for _, m := range g.workers {
		s += fmt.Sprintf("%s: runs %v, %+v\n", m.name, m.of != nil && m.ended == nil, m.w.Status())
		if m.ended != nil && !errors.Is(*m.ended, context.Canceled) {
			s += fmt.Sprintf("  ended: %v\n", *m.ended)
		}
	}
	return s
}
