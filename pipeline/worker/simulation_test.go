package worker

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/checkpoint"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
	"offerstream/state"
)

var (
	seeds    = flag.Int("seeds", 100, "simulations that TestSimulation runs")
	fromSeed = flag.Uint64("seed", 1, "of the first simulation")
)

// TestSimulation runs whole groups of workers, with broker, disks and clocks, and
// with faults that seeds decide: crashes at any step, lost and late answers,
// frozen workers and brokers, lost disks, joins and leaves. The offers must be
// those of a pure fold of the log, each once and in order. Each seed runs several
// groups, one after the other.
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
	t.Logf("%d seeds, %d groups each: %s", *seeds, histories, total)
}

// TestSimulationRepeats: the same seed gives the same history.
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

// simCounts count the events and faults of a simulation.
type simCounts struct {
	events, offers, pages, redeemed, mails, grants, returns, steps                                                           int
	crashes, freezes, restarts, lostDisks, full, leaves, cuts, backups, loud, accepted, snapshots, restored, expired, pauses int
	applies, backfills, gos, aborts, rollbacks, switches, states                                                             int
	trace                                                                                                                    uint64
}

func (c *simCounts) add(o simCounts) {
	c.events += o.events
	c.offers += o.offers
	c.pages += o.pages
	c.redeemed += o.redeemed
	c.mails += o.mails
	c.grants += o.grants
	c.returns += o.returns
	c.steps += o.steps
	c.trace = c.trace*31 + o.trace
	c.crashes += o.crashes
	c.freezes += o.freezes
	c.restarts += o.restarts
	c.lostDisks += o.lostDisks
	c.full += o.full
	c.leaves += o.leaves
	c.cuts += o.cuts
	c.backups += o.backups
	c.loud += o.loud
	c.accepted += o.accepted
	c.snapshots += o.snapshots
	c.restored += o.restored
	c.expired += o.expired
	c.pauses += o.pauses
	c.applies += o.applies
	c.backfills += o.backfills
	c.gos += o.gos
	c.aborts += o.aborts
	c.rollbacks += o.rollbacks
	c.switches += o.switches
	c.states += o.states
}

func (c simCounts) String() string {
	return fmt.Sprintf("%d messages, %d offers, %d page records (%d coupons redeemed), %d mails, %d grants (%d returned), %d steps; %d crashes, %d disks lost or set back, %d full, %d freezes, %d broker restarts, %d leaves, %d streams cut back or all restored from a backup (%d), %d loud stops of these, %d partitions accepted, %d snapshots made, %d restored, %d times the log's beginning expired, %d times something was paused or resumed, %d sets applied, %d backfills, %d of them told to go and %d ended, %d rollbacks, %d switches, %d states compared",
		c.events, c.offers, c.pages, c.redeemed, c.mails, c.grants, c.returns, c.steps, c.crashes, c.lostDisks, c.full, c.freezes, c.restarts, c.leaves, c.cuts, c.backups, c.loud, c.accepted, c.snapshots, c.restored, c.expired, c.pauses, c.applies, c.backfills, c.gos, c.aborts, c.rollbacks, c.switches, c.states)
}

// A simGroup is a deployment in a simulation.
type simGroup struct {
	*simulation
	broker     *simBroker
	partitions int
	standbys   int
	sets       map[string]*pipeline.Set
	snapshots  map[int][]simSnapshot
	seconds    map[int][]simSecond
	accepted   map[int][]simAccepted
	sound      map[int]bool // partitions of which nothing was lost since the last acceptance
	backups    []simBackup
	workers    []*simWorker
	world      *process // the process of all tasks that belong to no worker
	log        *slog.Logger
	counts     simCounts
	meets      bool            // the world is that of a shop
	shop       *simShop        // it; nil: another world
	early      bool            // its sets forget early
	lost       map[string]bool // streams that were cut back or restored
}

// A simWorker is a machine on which a worker runs and is restarted.
type simWorker struct {
	name   string
	disk   *simDisk
	cache  int64
	of     *process // the worker's process; nil: it does not run
	w      *Worker
	cancel context.CancelFunc
	ended  *error // the result of Run, once it has returned
}

// histories is the number of groups that a seed runs, one after the other.
const histories = 4

// simulate runs a seed's histories.
func simulate(t *testing.T, seed uint64) (all simCounts, err error) {
	for i := range uint64(histories) {
		n, err := simulateOne(t, seed*histories+i)
		all.add(n)
		if err != nil {
			return all, fmt.Errorf("history %d: %w", i+1, err)
		}
	}
	return all, nil
}

func simulateOne(t *testing.T, seed uint64) (simCounts, error) {
	g := &simGroup{simulation: newSimulation(seed), partitions: 1 + int(seed%3), sets: map[string]*pipeline.Set{}, snapshots: map[int][]simSnapshot{}, seconds: map[int][]simSecond{}, accepted: map[int][]simAccepted{}, sound: map[int]bool{}, world: &process{name: "world"}, log: quiet()}
	defer g.end()
	if os.Getenv("LOG") != "" {
		g.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Duration("at", g.time)
			}
			return a
		}}))
	}
	g.broker, g.lost = newSimBroker(g.simulation), map[string]bool{}
	g.meets = os.Getenv("SHOP") != "" || g.chance(350)
	next := g.script(t, seed)
	g.standbys = g.rng.IntN(2)
	for i := range 1 + g.rng.IntN(3) {
		m := &simWorker{name: fmt.Sprint("worker", i), cache: 256 << 20, disk: &simDisk{simulation: g.simulation, limit: state.Limit{Entries: 2000, Bytes: 1 << 20}, stores: map[string]*state.Memory{}}}
		if g.chance(500) { // small limits, so that checkpoints fall within messages and users leave the cache
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

// history publishes events and causes faults. If a stream is cut back and
// partitions stop, an operator may accept that, and more events follow.
func (g *simGroup) history(next func() (scripted, bool)) error {
	for {
		cut := g.chance(400)
		limit := 1 << 30
		if cut && g.chance(500) {
			limit = g.rng.IntN(60) // the remaining packs follow after the cut
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

// phase publishes at most limit packs and causes faults meanwhile; at the end, if
// cut is set, it cuts a stream back. It returns once everything is applied or
// partitions have stopped.
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
			if g.chance(200) {
				g.backup()
			}
		}
		switch {
		case cut && len(g.backups) > 0 && g.chance(400):
			g.restore()
		case cut:
			g.cutBack()
		}
		g.rest(context.Background(), nil, g.upTo(5*time.Second))
		g.heal()
		g.rest(context.Background(), nil, time.Minute) // until all have noticed the last faults, and contradictions have been confirmed
		over = true
	})
	return g.simulation.run(func() bool { return g.died() != nil || over && g.settled() }, g.time+time.Hour)
}

// script makes a set live, and returns a function that returns one pack after the
// other: either for random campaigns under clock: event, or for timers under
// clock: broker.
func (g *simGroup) script(t *testing.T, seed uint64) (next func() (scripted, bool)) {
	if g.meets {
		s := g.newShop()
		g.shop = s
		g.goLive(t, s.set(t))
		return s.next(t)
	}
	if g.chance(600) {
		var s script
		if g.early = g.chance(600); g.early {
			s = write(t, seed, g.partitions)
		} else {
			s = writeMixed(t, seed, g.partitions)
		}
		first, other := s.def, s.def
		if g.chance(400) { // another set is live first
			less := *s.def
			less.Features, less.Campaigns = nil, nil
			first = &less
		}
		g.goLive(t, first)
		return func() (scripted, bool) {
			if first != other && g.chance(80) {
				g.change(t, func() *campaign.Definition { return other })
			}
			if len(s.packs) == 0 {
				return scripted{}, false
			}
			pk := s.packs[0]
			s.packs = s.packs[1:]
			return pk, true
		}
	}
	def := waiting(t, campaign.ClockBroker, time.Duration(1+g.rng.IntN(20))*time.Second)
	g.goLive(t, def)
	left, ahead := 40+g.rng.IntN(80), time.Duration(0)
	if g.chance(100) {
		ahead = 24 * time.Hour // how far the gateway's clock is ahead
	}
	return func() (scripted, bool) {
		left--
		switch {
		case g.chance(950):
		case g.chance(700): // the campaign set changes meanwhile
			g.change(t, func() *campaign.Definition { return g.variant(t) })
		default:
			g.pause(t)
		}
		p := g.rng.IntN(g.partitions)
		var data []byte
		for i := range 1 + g.rng.IntN([]int{3, 3, 30}[g.rng.IntN(3)]) { // sometimes many, so that checkpoints fall within messages
			data = append(data, g.visit(p, fmt.Sprint("m", left, "-", i), ahead)...)
		}
		return scripted{p, data}, left > 0
	}
}

// visit returns an event of a random user in a partition.
func (g *simGroup) visit(p int, id string, ahead time.Duration) []byte {
	user := "user-0"
	for i := range 200 { // find a user of the partition
		user = fmt.Sprint("user-", g.rng.IntN(20)+i/20)
		if event.Partition("u:"+user, g.partitions) == p {
			break
		}
	}
	name := []string{"Product Viewed", "Product Viewed", "Order Completed"}[g.rng.IntN(3)]
	return fmt.Appendf(nil, `{"type":"track","event":%q,"userId":%q,"messageId":%q,"receivedAt":%q}`+"\n", name, user, id, value.FormatTime(g.now().Add(ahead).UnixNano()))
}

// cutBack makes the broker lose messages that it had acknowledged.
func (g *simGroup) cutBack() {
	streams := []string{"OFFERS", "EVENTS-0"}
	name := streams[g.rng.IntN(len(streams))]
	if len(g.broker.stream(name).messages) == 0 {
		return
	}
	g.broker.restart(g.upTo(time.Second))
	n := 1 + g.rng.IntN(5)
	if name != "OFFERS" && g.chance(500) { // a power cut of all machines: workers know only what is on their disks
		for _, m := range g.workers {
			g.crash(m)
		}
		for _, m := range g.workers { // and the log loses the message that the state has applied in part
			if st := m.disk.stores[filepath.Join(m.name, "partition-0")]; st != nil {
				c, err := checkpoint.LoadCursor(simStore{st, m.disk})
				if lost := len(g.broker.stream(name).messages) - int(c.Seq); err == nil && c.Partly != 0 && 0 < lost && lost < 10 {
					n = lost
				}
			}
		}
	}
	g.broker.cutBack(name, n)
	g.lost[name] = true
	clear(g.sound)
	if name != "OFFERS" && g.chance(500) { // other messages take the place of the lost ones
		for i := range n + g.rng.IntN(3) {
			g.broker.store("events.0.in", nil, g.visit(0, fmt.Sprint("instead-", i), 0), nil)
		}
	}
	g.counts.cuts++
}

// A simBackup is a copy of what the broker had at some time: of the streams, by
// name, of the snapshots and of the second states.
type simBackup struct {
	streams   map[string]simStream
	snapshots map[int][]simSnapshot
	seconds   map[int][]simSecond
}

// backup makes a backup of the broker's data.
func (g *simGroup) backup() {
	b := simBackup{map[string]simStream{}, maps.Clone(g.snapshots), maps.Clone(g.seconds)}
	for _, name := range g.dataStreams() {
		st := g.broker.stream(name)
		b.streams[name] = simStream{messages: slices.Clone(st.messages), first: st.first}
	}
	g.backups = append(g.backups, b)
}

func (g *simGroup) dataStreams() []string {
	all := []string{"OFFERS", "DEADLETTERS"}
	for p := range g.partitions {
		all = append(all, fmt.Sprint("EVENTS-", p))
	}
	return all
}

// restore gives the broker the data of one of the backups, which may be of another
// history than the present one.
func (g *simGroup) restore() {
	b := g.backups[g.rng.IntN(len(g.backups))]
	g.broker.restart(g.upTo(time.Second))
	for _, name := range g.dataStreams() {
		st := b.streams[name]
		g.broker.stream(name).holds(st.messages, st.first)
		g.lost[name] = true
	}
	g.snapshots, g.seconds = maps.Clone(b.snapshots), maps.Clone(b.seconds)
	clear(g.sound)
	g.counts.cuts++
	g.counts.backups++
}

// goLive stores a set and makes it the live one.
func (g *simGroup) goLive(t *testing.T, def *campaign.Definition) {
	if !g.store(t, def) {
		return
	}
	live, _ := g.records()
	g.put(t, "live", broker.Live{Revision: live.Revision + 1, Set: def.Hash(), By: "ada"})
}

// store stores a set.
func (g *simGroup) store(t *testing.T, def *campaign.Definition) bool {
	hash := def.Hash()
	set, problems := pipeline.Compile(def)
	if len(problems) > 0 {
		t.Error(problems)
		return false
	}
	g.sets[hash] = set
	for _, m := range g.workers { // no worker fetches the set: fetching holds a lock, which the simulation cannot schedule
		m.w.sets.Add(hash, set)
	}
	return true
}

// pause pauses some campaigns and channels, and resumes all others.
func (g *simGroup) pause(t *testing.T) {
	_, pauses := g.records()
	next := broker.Pauses{Revision: pauses.Revision + 1, By: "ada"}
	switch g.rng.IntN(4) {
	case 0:
		next.Campaigns = []string{"again"}
	case 1:
		next.Channels = []string{"web"}
	case 2: // of what brakes have paused, too
		next.Resumed = map[string]uint64{"channel web": next.Revision, "campaign again": next.Revision}
	}
	g.put(t, "paused", next)
	g.counts.pauses++
}

func (g *simGroup) put(t *testing.T, key string, record any) {
	data, err := json.Marshal(record)
	if err != nil {
		t.Error(err)
	}
	g.broker.put("CAMPAIGNS", key, data)
}

// records are the records in the bucket.
func (g *simGroup) records() (live broker.Live, pauses broker.Pauses) {
	for key, record := range map[string]any{"live": &live, "paused": &pauses} {
		if all := g.broker.values("CAMPAIGNS", key); len(all) > 0 {
			if err := json.Unmarshal(all[len(all)-1].Data, record); err != nil {
				panic(err)
			}
		}
	}
	return live, pauses
}

func (g *simGroup) someFaults() simFaults {
	rate := func() int { return g.rng.IntN(4) * g.rng.IntN(8) }
	return simFaults{lost: rate(), late: rate(), ackLost: rate(), refused: rate(), stale: 20 * rate(), gap: rate() / 4, silence: rate() / 8, cut: rate() / 4, slowness: g.upTo(20 * time.Millisecond)}
}

// run1 starts the worker of a machine.
func (g *simGroup) run1(m *simWorker) {
	m.of = &process{name: m.name}
	m.ended = nil
	world := simWorld{g.simulation, m.of}
	skew := g.upTo(2*time.Second) - time.Second
	if g.chance(50) {
		skew += time.Duration(g.rng.IntN(3)-1) * 24 * time.Hour
	}
	w, err := New(Options{Dir: m.name, Log: g.log.With("worker", m.name), Checkpoint: 200*time.Millisecond + g.upTo(time.Second), encode: 1, behind: 3, Confirm: 20 * time.Second,
		CacheBytes: m.cache, Standbys: g.standbys, Now: func() int64 { return g.now().Add(skew).UnixNano() }, world: world, disk: m.disk, archive: func(c *broker.Conn) checkpoint.Archive { return simArchive{g, c.Wire, false} }, Snapshot: 2*time.Second + g.upTo(20*time.Second),
		Connect: func(ctx context.Context) (*broker.Conn, error) {
			for g.broker.down > g.time && ctx.Err() == nil {
				g.rest(ctx, nil, 50*time.Millisecond)
			}
			return broker.Simulated(g.broker.connect(world.of), world, broker.Names{}, g.partitions, g.log.With("worker", m.name)), ctx.Err()
		}})
	if err != nil {
		panic(err)
	}
	for hash, set := range g.sets {
		w.sets.Add(hash, set)
	}
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
