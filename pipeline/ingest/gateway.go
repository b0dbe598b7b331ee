package ingest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
)

// Limits of one request.
const (
	MaxBatchBytes  = 500 << 10 // bytes of the body, both as sent and inflated
	MaxBatchEvents = 5000      // events in a batch
)

// deadLanes is the number of lanes for dead letters. Each dead letter is a separate
// message, and their order does not matter. There are several lanes so that a batch
// of only bad events is stored in time.
const deadLanes = 8

// A Log stores events: in the broker's streams, or in memory for tests.
type Log interface {
	// Partitions is the number of partitions, which never changes.
	Partitions() int
	// Publish appends a pack to the partition's log and returns once it is
	// acknowledged. A pack that is published again under the same id is stored
	// once. After a broker.ErrLoud nothing more may be published.
	Publish(ctx context.Context, partition int, id string, pack []byte) error
	// DeadLetter stores a dead letter in the same way.
	DeadLetter(ctx context.Context, id string, letter pipeline.Dead) error
	// Clock is the live campaign set's clock, and ClockBroker if no set is live.
	Clock() string
	// Ready returns why the log cannot store events now, nil if it can. It is
	// called for every request, so it must not ask the server.
	Ready() error
	// Refused returns why the log has lately stored nothing, although Ready is nil;
	// nil as far as is known. It must not ask the server either.
	Refused() error
}

// Options configure a Gateway. Zero values mean the defaults in parentheses.
type Options struct {
	Log         Log
	WriteKeys   []string              // at least one
	Timeout     time.Duration         // limit for the acknowledgement of one request's events (10 s)
	Attempt     time.Duration         // limit for one publish, which is then repeated (2 s)
	PackBytes   int                   // limit for one pack (256 KB); NATS accepts 1 MB by default
	PackEvents  int                   // limit for one pack (2000)
	QueueBytes  int                   // limit for what waits in one partition (4 MB); beyond it, 429
	MemoryBytes int                   // limit for all requests together (128 MB); beyond it, 429
	Requests    int                   // limit for requests at once (4096); beyond it, 429
	Now         func() int64          // the clock for receivedAt, nanoseconds since 1970 (time.Now)
	Metrics     prometheus.Registerer // (metrics are not shown)
	Logger      *slog.Logger          // (slog.Default)
}

func (o Options) withDefaults() Options {
	set(&o.Timeout, 10*time.Second)
	set(&o.Attempt, 2*time.Second)
	set(&o.PackBytes, 256<<10)
	set(&o.PackEvents, 2000)
	set(&o.QueueBytes, 4<<20)
	set(&o.MemoryBytes, 128<<20)
	set(&o.Requests, 4096)
	if o.Now == nil {
		o.Now = func() int64 { return time.Now().UnixNano() }
	}
	if o.Metrics == nil {
		o.Metrics = prometheus.NewRegistry()
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

func set[T comparable](to *T, def T) {
	var zero T
	if *to == zero {
		*to = def
	}
}

// A Gateway accepts events over HTTP and stores them in the log. It is an
// http.Handler; Run serves it on a listener.
type Gateway struct {
	opt    Options
	keys   [][sha256.Size]byte
	lanes  []*lane // one per partition
	dead   []*lane
	memory budget
	slots  chan struct{} // holds an element for each request being handled
	times  logTimes
	met    *metrics

	leaving  atomic.Bool   // not ready any more, but requests are still accepted
	draining atomic.Bool   // no further request is accepted
	stopped  chan struct{} // closed by stop
	stopOnce sync.Once
	cause    error // why it stopped; read after stopped

	drainOnce sync.Once
	drainErr  error

	cancel context.CancelFunc // ends the lanes
	ended  sync.WaitGroup
}

// New makes a gateway and starts its lanes; Drain ends them.
func New(opt Options) (*Gateway, error) {
	if opt.Log == nil {
		return nil, errors.New("ingest: no log given")
	}
	if len(opt.WriteKeys) == 0 {
		return nil, errors.New("ingest: no write key given: nobody could send events")
	}
	opt = opt.withDefaults()
	g := &Gateway{
		opt:     opt,
		memory:  budget{max: int64(opt.MemoryBytes)},
		slots:   make(chan struct{}, opt.Requests),
		stopped: make(chan struct{}),
	}
	for _, k := range opt.WriteKeys {
		if k == "" {
			return nil, errors.New("ingest: an empty write key")
		}
		g.keys = append(g.keys, sha256.Sum256([]byte(k)))
	}
	g.met = newMetrics(opt.Metrics, g.queued)
	g.startLanes()
	return g, nil
}

func (g *Gateway) startLanes() {
	ctx, cancel := context.WithCancel(context.Background())
	g.cancel = cancel
	nonce := make([]byte, 8)
	rand.Read(nonce)
	lim := limits{g.opt.PackBytes, g.opt.PackEvents, int64(g.opt.QueueBytes), g.opt.Attempt}
	for p := range g.opt.Log.Partitions() {
		name := fmt.Sprintf("%s-%d", hex.EncodeToString(nonce), p)
		g.lanes = append(g.lanes, newLane(name, lim, g.met, g.opt.Logger, func(ctx context.Context, pk *pack) error {
			return g.sent(g.opt.Log.Publish(ctx, p, pk.id, pk.data))
		}))
	}
	lim.packEvents = 1
	for i := range deadLanes {
		name := fmt.Sprintf("%s-d%d", hex.EncodeToString(nonce), i)
		g.dead = append(g.dead, newLane(name, lim, g.met, g.opt.Logger, func(ctx context.Context, pk *pack) error {
			letter := pipeline.Dead{Reason: pk.why.Reason, Detail: pk.why.Detail, Raw: pk.data}
			return g.sent(g.opt.Log.DeadLetter(ctx, pk.id, letter))
		}))
	}
	for _, l := range append(g.lanes[:len(g.lanes):len(g.lanes)], g.dead...) {
		g.ended.Go(func() { l.run(ctx) })
	}
}

func (g *Gateway) queued() float64 {
	n := int64(0)
	for _, l := range g.lanes {
		n += l.queued.Load()
	}
	for _, l := range g.dead {
		n += l.queued.Load()
	}
	return float64(n)
}

// sent stops the gateway if a publish has failed with a loud error.
func (g *Gateway) sent(err error) error {
	if errors.Is(err, broker.ErrLoud) {
		g.stop(err)
	}
	return err
}

// stop makes every request from now on fail with 503, and Run return.
func (g *Gateway) stop(err error) {
	g.stopOnce.Do(func() {
		g.cause = err
		close(g.stopped)
		g.cancel()
		g.opt.Logger.Error("gateway stopped: it accepts no more events", "error", err)
	})
}

// Ready returns why the gateway should not get further requests, nil if it may.
func (g *Gateway) Ready() error {
	if g.leaving.Load() || g.draining.Load() {
		return errors.New("draining")
	}
	if err := g.able(); err != nil {
		return err
	}
	return g.opt.Log.Refused() // requests are taken nevertheless: it may be over, or concern some partitions only
}

// able returns why events cannot be stored now, nil if they can.
func (g *Gateway) able() error {
	select {
	case <-g.stopped:
		return fmt.Errorf("stopped: %w", g.cause)
	default:
		return g.opt.Log.Ready()
	}
}

// Drain refuses further requests (503), waits until the accepted ones are
// answered, and ends the lanes. When ctx ends, it fails the remaining requests.
// Every event that was answered with 200 is in the log. Later calls wait for the
// first one and return its error.
func (g *Gateway) Drain(ctx context.Context) error {
	g.drainOnce.Do(func() {
		g.draining.Store(true)
		g.drainErr = g.drain(ctx)
		g.cancel()
		g.ended.Wait()
	})
	return g.drainErr
}

// drain takes all slots: once it has them, no request is being handled.
func (g *Gateway) drain(ctx context.Context) error {
	for i := range cap(g.slots) {
		select {
		case g.slots <- struct{}{}:
		case <-ctx.Done():
			err := fmt.Errorf("drain: %d requests were not answered yet: %w", cap(g.slots)-i, ctx.Err())
			g.stop(err)
			return err
		}
	}
	return nil
}

// known reports whether key is a write key. How long it takes depends neither on
// key nor on the write keys.
func (g *Gateway) known(key string) bool {
	sum, found := sha256.Sum256([]byte(key)), 0
	for i := range g.keys {
		found |= subtle.ConstantTimeCompare(sum[:], g.keys[i][:])
	}
	return found == 1
}
