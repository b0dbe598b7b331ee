package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"offerstream/pipeline/broker"
	"offerstream/pipeline/checkpoint"
	"offerstream/pipeline/coupon"
	"offerstream/pipeline/task"
	"offerstream/state"
)

// Options configure a Worker. Zero values mean the defaults in parentheses.
type Options struct {
	Connect    func(ctx context.Context) (*broker.Conn, error) // connects; retries until ctx is done, or until it can never succeed
	Dir        string                                          // directory of the partitions' state
	CacheBytes int64                                           // size of the cache of decoded users, for all partitions together (256 MB)
	Checkpoint time.Duration                                   // time between two checkpoints (1 s)
	Snapshot   time.Duration                                   // time between two snapshots of a partition (10 min)
	Confirm    time.Duration                                   // how long a contradiction is looked at again before it is loud (20 s)
	Coupons    *coupon.Keys                                    // keys of coupons: a set that names another one stops the partition (codes are placeholders)
	Standbys   int                                             // members that follow each partition beside its owner, so that a crash costs no replay (0)
	Now        func() int64                                    // the owner's clock, for ticks (time.Now)
	Metrics    prometheus.Registerer                           // (metrics are not shown)
	Log        *slog.Logger                                    // (slog.Default)

	joining  func() error                          // called between the transactions of a join; its error ends the attempt (none)
	encode   int                                   // bytes of a checkpoint to encode at a time, in the order of 100 us: events wait for no more (32 KB)
	behind   uint64                                // messages of a log that wait, until offers wait for each other: broker.Chains.SetBehind (64)
	memTable int64                                 // size of the stores' memtables; a checkpoint may take 15% of it (64 MB)
	world    task.World                            // (task.Real)
	disk     disk                                  // (machine)
	archive  func(*broker.Conn) checkpoint.Archive // (checkpoint.Objects)
}

func (o Options) withDefaults() Options {
	if o.CacheBytes == 0 {
		o.CacheBytes = 256 << 20
	}
	if o.Checkpoint == 0 {
		o.Checkpoint = time.Second
	}
	if o.Snapshot == 0 {
		o.Snapshot = 10 * time.Minute
	}
	if o.Confirm == 0 {
		o.Confirm = 20 * time.Second
	}
	if o.encode == 0 {
		o.encode = 32 << 10
	}
	if o.behind == 0 {
		o.behind = 64
	}
	if o.memTable == 0 {
		o.memTable = 64 << 20
	}
	if o.Now == nil {
		o.Now = func() int64 { return time.Now().UnixNano() }
	}
	if o.Metrics == nil {
		o.Metrics = prometheus.NewRegistry()
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.world == nil {
		o.world, o.disk = task.Real{}, machine{}
		o.archive = func(c *broker.Conn) checkpoint.Archive { return checkpoint.Objects{Conn: c, Connect: o.Connect} }
	}
	return o
}

// A Worker is a member of a deployment's group of workers. It owns its share of
// the partitions; if it is the only member, all of them.
type Worker struct {
	opt    Options
	id     string // as a member of the group; kept in Options.Dir
	world  task.World
	disk   disk
	met    *metrics
	sets   checkpoint.Sets
	live   atomic.Pointer[broker.Live]   // as last told by the bucket; nil: not known
	paused atomic.Pointer[broker.Pauses] // likewise

	snapshotting atomic.Bool  // a partition is making a snapshot
	folding      atomic.Int32 // second folds under way
	seconds      atomic.Int64 // bytes that second states may still take

	short     atomic.Pointer[string] // why it takes no partitions: the disk has no room; nil: it has
	ahead     atomic.Int64           // how far its clock is ahead of the clock of NATS, in nanoseconds, when last compared
	restoring atomic.Int64           // bytes of the snapshots being restored
	lease     atomic.Pointer[leased] // of the current connection

	mu         sync.Mutex
	partitions []*partition // by number; nil: has never run
	group      *group       // of the current connection; nil: none
}

// A leased says when the lease was last renewed, and why not since then.
type leased struct {
	renewed time.Time
	why     error
}

// New makes a worker; Run runs it.
func New(opt Options) (*Worker, error) {
	if opt.Dir == "" {
		return nil, errors.New("worker: no directory for the state given")
	}
	opt = opt.withDefaults()
	w := &Worker{opt: opt, world: opt.world, disk: opt.disk}
	w.met = newMetrics(w.opt.Metrics, w)
	return w, nil
}

// Run runs the worker until ctx is done, and then stores a last checkpoint of each
// partition. It connects again when the connection is lost. It returns an error
// if the worker can never work: its deployment has changed, or its directory
// cannot be used.
func (w *Worker) Run(ctx context.Context) error {
	id, leave, err := w.disk.member(w.opt.Dir)
	if err != nil {
		return err
	}
	defer leave()
	w.id = id
	defer func() {
		for _, p := range w.all() {
			if p != nil {
				p.close()
			}
		}
	}()
	for {
		conn, err := w.opt.Connect(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		err = w.work(ctx, conn)
		conn.Close()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		w.opt.Log.Warn("the connection to NATS is lost: connecting anew")
	}
}

// work runs the worker over one connection.
func (w *Worker) work(ctx context.Context, conn *broker.Conn) error {
	g := newGroup(w, conn)
	w.lease.Store(&leased{renewed: w.world.Now()})
	if err := w.join(g); err != nil {
		return err
	}
	defer w.join(nil)
	unlisten, err := w.report(conn)
	if err != nil {
		w.opt.Log.Warn("cannot listen for requests for the status: offerctl status will not show this worker", "error", err)
	}
	defer unlisten()
	within, cancel := context.WithCancel(context.Background())
	watch := task.Group{World: w.world}
	defer watch.Wait()
	defer cancel()
	w.live.Store(nil) // another set may be live now
	w.paused.Store(nil)
	watch.Go(func() { conn.WatchLive(within, func(live broker.Live) { w.live.Store(&live) }) })
	watch.Go(func() { conn.WatchPauses(within, func(pauses broker.Pauses) { w.paused.Store(&pauses) }) })
	g.look() // look for room before a store is opened
	watch.Go(func() { g.guard(within) })
	watch.Go(func() { g.watch(within) })
	watch.Go(func() { conn.WatchClock(within, w.opt.Now, func(ahead time.Duration) { w.ahead.Store(int64(ahead)) }) })
	defer conn.Wire.OnClose(g.wake)()
	err = g.run(ctx)
	if err != nil || ctx.Err() != nil {
		g.endAll()
	}
	g.all.Wait()
	return err
}

// join makes g the current group; nil: there is none.
func (w *Worker) join(g *group) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.group = g
	if g == nil {
		return nil
	}
	if w.partitions == nil {
		w.partitions = make([]*partition, g.conn.Partitions)
	}
	if len(w.partitions) != g.conn.Partitions {
		return fmt.Errorf("the deployment now has %d partitions, it had %d: start the worker again, with an empty --dir", g.conn.Partitions, len(w.partitions))
	}
	return nil
}

// changed wakes the group's task.
func (w *Worker) changed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.group != nil {
		w.group.wake.Set()
	}
}

// partition returns partition n, and makes it if it has never run.
func (w *Worker) partition(n int, conn *broker.Conn) *partition {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.partitions[n] == nil {
		w.partitions[n] = newPartition(w, n, state.Identity{Prefix: conn.Names.Prefix, Partitions: conn.Partitions})
	}
	return w.partitions[n]
}

// all returns the partitions by number, nil for those that have never run.
func (w *Worker) all() []*partition {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.partitions)
}

// members returns how many members are alive, this one included; 0: not known.
func (w *Worker) members() int {
	w.mu.Lock()
	g := w.group
	w.mu.Unlock()
	if g == nil {
		return 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.others == nil {
		return 0
	}
	return 1 + len(g.others)
}

// Ready returns why the worker does not keep up with its partitions, nil if it
// does.
func (w *Worker) Ready() error {
	w.mu.Lock()
	g, ps := w.group, w.partitions
	w.mu.Unlock()
	if g == nil {
		return errors.New("not connected to NATS")
	}
	if why := w.short.Load(); why != nil {
		return errors.New(*why)
	}
	if !g.joined() {
		return errors.New("the group's other members are not known yet")
	}
	if err := w.refused(); err != nil {
		return err
	}
	for _, p := range ps {
		if p == nil {
			continue
		}
		if why := p.status.stopped.Load(); why != nil {
			return fmt.Errorf("partition %d has stopped: %s", p.number, *why)
		}
		if p.running.Load() && !p.status.caughtUp.Load() {
			return fmt.Errorf("partition %d is catching up: %d messages to go", p.number, p.status.pending.Load())
		}
		if err := p.refused(); err != nil {
			return fmt.Errorf("partition %d: %w", p.number, err)
		}
	}
	return nil
}

// refused returns why the lease is not renewed, if it must have expired; nil if it is.
func (w *Worker) refused() error {
	l := w.lease.Load()
	if l == nil {
		return nil
	}
	d := w.world.Now().Sub(l.renewed)
	if d <= broker.LeaseFor {
		return nil
	}
	why := l.why
	if why == nil {
		why = errors.New("the worker hangs, or waits for NATS")
	}
	return fmt.Errorf("the lease has not been renewed for %s: %w", d.Round(time.Second), why)
}

// Status returns the status of all partitions, by number; nil before the first
// connection.
func (w *Worker) Status() []broker.PartitionStatus {
	var all []broker.PartitionStatus
	for _, p := range w.all() {
		var s broker.PartitionStatus
		if p != nil {
			runs, muted := p.running.Load(), p.muted.Load()
			s = broker.PartitionStatus{Owned: runs && !muted, Follows: runs && muted,
				Seq: p.status.seq.Load(), Lag: p.status.pending.Load(), Applied: p.status.applied.Load(), LogTime: p.status.logTime.Load()}
			s.Waiting, s.Mails = p.status.waiting()
			if set := p.status.set.Load(); set != nil {
				s.Set = *set
			}
			if c := p.status.controlled.Load(); c != nil {
				s.Revision, s.Pauses, s.Paused, s.Channels, s.Braked = c.revision, c.pauses, c.paused, c.channels, c.braked
			}
			if runs {
				s.Pools = p.status.held.Load().low()
			}
			if second := p.status.second.Load(); second != nil && runs {
				s.Second = second
			}
			if why := p.status.stopped.Load(); why != nil {
				s.Stopped = *why
			}
			if err := p.refused(); err != nil {
				s.Refused = err.Error()
			}
		}
		all = append(all, s)
	}
	return all
}

// Ops serves /metrics, /healthz and /readyz.
func (w *Worker) Ops(from prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(from, promhttp.HandlerOpts{}))
	mux.HandleFunc("/healthz", func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprintln(rw, "ok") })
	mux.HandleFunc("/readyz", func(rw http.ResponseWriter, _ *http.Request) {
		if err := w.Ready(); err != nil {
			http.Error(rw, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(rw, "ok")
	})
	return mux
}
