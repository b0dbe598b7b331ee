package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"offerstream/pipeline/broker"
	"offerstream/pipeline/task"
	"offerstream/state"
)

// Options of a Worker. What is zero has the default in parentheses.
type Options struct {
	Connect    func(ctx context.Context) (*broker.Conn, error) // tries until ctx is done, or it can never be
	Dir        string                                          // where the partitions' state lies
	CacheBytes int64                                           // for decoded users of all partitions (256 MB)
	Checkpoint time.Duration                                   // between two (1 s)
	Confirm    time.Duration                                   // how long what cannot be is looked at again (20 s)
	Now        func() int64                                    // the owner's clock, for ticks (time.Now)
	Metrics    prometheus.Registerer                           // (none are registered anywhere)
	Log        *slog.Logger                                    // (slog.Default)

	memTable int64      // a checkpoint has room for 15% of it (64 MB)
	world    task.World // (task.Real)
	disk     disk       // (badgers)
}

func (o Options) withDefaults() Options {
	if o.CacheBytes == 0 {
		o.CacheBytes = 256 << 20
	}
	if o.Checkpoint == 0 {
		o.Checkpoint = time.Second
	}
	if o.Confirm == 0 {
		o.Confirm = 20 * time.Second
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
		o.world, o.disk = task.Real{}, badgers{}
	}
	return o
}

// A Worker owns all partitions of a deployment.
type Worker struct {
	opt   Options
	world task.World
	disk  disk
	met   *metrics
	sets  sets
	live  atomic.Pointer[string] // hash of the live set

	mu         sync.Mutex
	partitions []*partition
	connected  bool
}

// New makes a worker; Run is its life.
func New(opt Options) (*Worker, error) {
	if opt.Dir == "" {
		return nil, errors.New("worker: no directory for the state given")
	}
	opt = opt.withDefaults()
	w := &Worker{opt: opt, world: opt.world, disk: opt.disk}
	w.met = newMetrics(w.opt.Metrics, w)
	return w, nil
}

// Run works until ctx is done, then leaves a checkpoint. It returns early
// when it can never work: the deployment is another, or its directory cannot
// be used. A lost connection is made again.
func (w *Worker) Run(ctx context.Context) error {
	defer w.close()
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

// work runs all partitions over one connection.
func (w *Worker) work(ctx context.Context, conn *broker.Conn) error {
	if err := w.open(conn); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	watch := task.Group{World: w.world}
	defer watch.Wait()
	defer cancel()
	w.live.Store(nil) // what was live may not be any more
	watch.Go(func() { conn.WatchLive(ctx, func(hash string) { w.live.Store(&hash) }) })
	w.setConnected(true)
	defer w.setConnected(false)
	all := task.Group{World: w.world}
	for _, p := range w.all() {
		if err := w.listen(p, conn); err != nil {
			w.opt.Log.Warn("queries about users are not answered", "error", err)
		}
		all.Go(func() { p.run(ctx, conn) })
	}
	all.Wait()
	closed := w.world.NewEvent()
	defer conn.Wire.OnClose(closed)()
	for ctx.Err() == nil && !conn.Wire.IsClosed() { // all have stopped loudly
		closed.Wait(ctx, task.Forever)
	}
	return nil
}

// open opens the partitions' stores, once.
func (w *Worker) open(conn *broker.Conn) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.partitions != nil {
		if len(w.partitions) != conn.Partitions {
			return fmt.Errorf("the deployment now has %d partitions, it had %d", conn.Partitions, len(w.partitions))
		}
		return nil
	}
	var ps []*partition
	for p := range conn.Partitions {
		part, err := newPartition(w, p, w.identity(conn))
		if err != nil {
			for _, open := range ps {
				open.store.Close()
			}
			return err
		}
		ps = append(ps, part)
	}
	w.partitions = ps
	return nil
}

func (w *Worker) identity(conn *broker.Conn) state.Identity {
	return state.Identity{Prefix: conn.Names.Prefix, Partitions: conn.Partitions}
}

func (w *Worker) close() {
	for _, p := range w.all() {
		if p.store == nil {
			continue // it could not be made anew
		}
		if err := p.store.Close(); err != nil {
			p.log.Warn("closing state", "error", err)
		}
	}
}

func (w *Worker) all() []*partition {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.partitions
}

func (w *Worker) setConnected(yes bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.connected = yes
}

func (w *Worker) liveSet() string {
	if h := w.live.Load(); h != nil {
		return *h
	}
	return ""
}

// Ready says why the worker does not keep up with all partitions, nil if it
// does.
func (w *Worker) Ready() error {
	w.mu.Lock()
	connected, ps := w.connected, w.partitions
	w.mu.Unlock()
	if !connected {
		return errors.New("not connected to NATS")
	}
	for _, p := range ps {
		if why := p.status.stopped.Load(); why != nil {
			return fmt.Errorf("partition %d has stopped: %s", p.p, *why)
		}
		if !p.status.caughtUp.Load() {
			return fmt.Errorf("partition %d is catching up: %d messages to go", p.p, p.status.pending.Load())
		}
	}
	return nil
}

// A Status is how far one partition is.
type Status struct {
	Seq     uint64 // the last message applied
	Applied uint64 // events applied, over its life
	Waiting int    // offers not known stored
	LogTime int64
	Set     string // hash of the campaign set in force
	Stopped string // why it stopped loudly; empty: it did not
}

// Status is how far the partitions are; nil before the first connection.
func (w *Worker) Status() []Status {
	var all []Status
	for _, p := range w.all() {
		s := Status{Seq: p.status.seq.Load(), Applied: p.status.applied.Load(), Waiting: p.status.waiting(), LogTime: p.status.logTime.Load()}
		if set := p.status.set.Load(); set != nil {
			s.Set = *set
		}
		if why := p.status.stopped.Load(); why != nil {
			s.Stopped = *why
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
