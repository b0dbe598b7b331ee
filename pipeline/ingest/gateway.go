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

// Bounds of what one request may bring.
const (
	MaxBatchBytes  = 500 << 10 // one body, as sent and inflated
	MaxBatchEvents = 5000      // events in one batch
)

// deadLanes carry the dead letters, each a message of its own and in no
// order; several, so that a batch of nothing else is stored in time.
const deadLanes = 8

// A Log is where events go: the broker's streams, or a fake in memory.
type Log interface {
	// Partitions is the number of partitions, which never changes.
	Partitions() int
	// Publish appends a pack to the partition's log and returns once it is
	// acknowledged. A pack published again under the same id is stored once.
	// A broker.ErrLoud says that publishing must end.
	Publish(ctx context.Context, partition int, id string, pack []byte) error
	// DeadLetter does the same on the gateway's dead letters.
	DeadLetter(ctx context.Context, id string, letter pipeline.Dead) error
	// Clock is the live campaign set's clock, ClockBroker where none is live.
	Clock() string
	// Ready says why the log cannot take events now, nil if it can. It is
	// asked at every request and answers from memory.
	Ready() error
}

// Options of a Gateway. What is zero has the default in parentheses.
type Options struct {
	Log         Log
	WriteKeys   []string              // at least one
	Timeout     time.Duration         // for the acknowledgement of one request's events (10 s)
	Attempt     time.Duration         // for one publish, which is then repeated (2 s)
	PackBytes   int                   // of one pack (256 KB); NATS takes 1 MB by default
	PackEvents  int                   // in one pack (2000)
	QueueBytes  int                   // waiting in one partition (4 MB); beyond: 429
	MemoryBytes int                   // in all requests together (128 MB); beyond: 429
	Requests    int                   // at once (4096); beyond: 429
	Now         func() int64          // the clock for receivedAt, nanoseconds since 1970 (time.Now)
	Metrics     prometheus.Registerer // (none are registered anywhere)
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

// A Gateway takes events over HTTP and puts them into the log. It is an
// http.Handler; Run serves it on listeners of its own.
type Gateway struct {
	opt    Options
	keys   [][sha256.Size]byte
	lanes  []*lane // one per partition
	dead   []*lane
	memory budget
	slots  chan struct{} // one per request in hand
	times  logTimes
	met    *metrics

	leaving  atomic.Bool   // not ready any more, but requests are still taken
	draining atomic.Bool   // no further request is taken
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
		return nil, errors.New("ingest: no write key given: without one nobody could send events")
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

// sent looks at a publish's outcome for the error that stops the gateway.
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
		g.opt.Logger.Error("gateway stopped: no event is taken any more", "error", err)
	})
}

// Ready says why the gateway should get no further requests, nil if it may.
func (g *Gateway) Ready() error {
	if g.leaving.Load() || g.draining.Load() {
		return errors.New("draining")
	}
	return g.able()
}

// able says why events cannot be stored now, nil if they can.
func (g *Gateway) able() error {
	select {
	case <-g.stopped:
		return fmt.Errorf("stopped: %w", g.cause)
	default:
		return g.opt.Log.Ready()
	}
}

// Drain takes no further request (503), waits until those in hand are
// answered and ends the lanes. Every event that was answered with 200 is in
// the log by then; at ctx's end the rest is given up, unanswered. Later calls
// wait for the first and return what it did.
func (g *Gateway) Drain(ctx context.Context) error {
	g.drainOnce.Do(func() {
		g.draining.Store(true)
		g.drainErr = g.drain(ctx)
		g.cancel()
		g.ended.Wait()
	})
	return g.drainErr
}

// drain takes all slots: when they are its own, no request is in hand.
func (g *Gateway) drain(ctx context.Context) error {
	for i := range cap(g.slots) {
		select {
		case g.slots <- struct{}{}:
		case <-ctx.Done():
			err := fmt.Errorf("drain: %d requests were still in hand: %w", cap(g.slots)-i, ctx.Err())
			g.stop(err)
			return err
		}
	}
	return nil
}

// known reports whether key is a write key. Its time depends on neither.
func (g *Gateway) known(key string) bool {
	sum, found := sha256.Sum256([]byte(key)), 0
	for i := range g.keys {
		found |= subtle.ConstantTimeCompare(sum[:], g.keys[i][:])
	}
	return found == 1
}
