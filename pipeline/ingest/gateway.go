package ingest

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"offerstream/config"
	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/page"
)

// Limits of one request.
const (
	MaxBatchBytes  = 4 << 20 // bytes of the body, both as sent and inflated
	MaxBatchEvents = 5000    // events in a batch
)

// A Log stores events: in the broker's streams, or in memory for tests.
type Log interface {
	// Partitions is the number of partitions, which never changes.
	Partitions() int
	// Publish appends a pack to the partition's log and returns once it is
	// acknowledged. A pack that is published again under the same id is stored
	// once. After a broker.ErrLoud nothing more may be published.
	Publish(ctx context.Context, partition int, id string, pack []byte) error
	// DeadLetters stores dead letters in one message, in the same way. After a
	// broker.ErrNoRoom there is no use in trying again at once.
	DeadLetters(ctx context.Context, id string, letters []pipeline.Dead) error
	// Coupon asks for the state of a code of the user with an entity key, of the
	// partition, once all that was published there is applied; order may be "". It asks
	// until there is an answer or ctx is done.
	Coupon(ctx context.Context, partition int, user, code, order string) (pipeline.CouponState, error)
	// Clock is the live campaign set's clock, and ClockBroker if no set is live.
	Clock() string
	// ForgetAnonymous is the live campaign set's forget.anonymous, and its default if no
	// set is live.
	ForgetAnonymous() time.Duration
	// Ready returns why the log cannot store events now, nil if it can. It is
	// called for every request, so it must not ask the server.
	Ready() error
	// Refused returns why the log has lately stored nothing, although Ready is nil;
	// nil as far as is known. It must not ask the server either.
	Refused() error
}

// Options configure a Gateway. Zero values mean the defaults in parentheses.
type Options struct {
	Log             Log
	WriteKeys       []string              // keys of role browser
	ServerKeys      []string              // keys of role server
	Keys            []config.Key          // further keys
	KeysFile        string                // a file of further keys (config.ParseKeys), read again while Run runs; at least one key must be given in any of these ways
	Timeout         time.Duration         // limit for the acknowledgement of one request's events (10 s)
	Attempt         time.Duration         // limit for one publish, which is then repeated (2 s)
	PackBytes       int                   // limit for one pack (256 KB); NATS accepts 1 MB by default
	PackEvents      int                   // limit for one pack (2000)
	QueueBytes      int                   // limit for what waits in one partition (4 MB); beyond it, 429
	MemoryBytes     int                   // limit for all requests together (128 MB); beyond it, 429
	Page            *page.Page            // serves offers to pages (none are served)
	config.Exposure                       // with TLSCert Run serves HTTPS, with HTTP/2
	Requests        int                   // limit for requests whose body is there (4096); beyond it, 429
	Connections     int                   // limit for connections (16384, or three quarters of the files that the process may open); beyond it, closed
	Now             func() int64          // the clock for receivedAt, nanoseconds since 1970 (time.Now)
	Metrics         prometheus.Registerer // (metrics are not shown)
	Logger          *slog.Logger          // (slog.Default)
}

func (o Options) withDefaults() Options {
	o.Timeout = cmp.Or(o.Timeout, 10*time.Second)
	o.Attempt = cmp.Or(o.Attempt, 2*time.Second)
	o.PackBytes = cmp.Or(o.PackBytes, 256<<10)
	o.PackEvents = cmp.Or(o.PackEvents, 2000)
	o.QueueBytes = cmp.Or(o.QueueBytes, 4<<20)
	o.MemoryBytes = cmp.Or(o.MemoryBytes, 128<<20)
	o.Requests = cmp.Or(o.Requests, 4096)
	o.Connections = cmp.Or(o.Connections, maxConnections)
	if files := maxFiles(); files > 0 {
		o.Connections = int(min(uint64(o.Connections), files*3/4))
	}
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

// A Gateway accepts events over HTTP and stores them in the log. It is an
// http.Handler; Run serves it on a listener.
type Gateway struct {
	opt         Options
	keys        atomic.Pointer[keyring]
	keysFile    keysFile
	denied      deniedLog
	certificate *certificate // nil: no HTTPS
	proxies     proxies
	rates       *rates
	redaction   *redaction // nil: all is stored
	ids         requestIDs
	lanes       []*lane // one per partition
	letters     *letterbox
	memory      budget
	arrivals    arrivals
	connections connections
	slots       chan struct{} // holds an element for each request being handled
	times       logTimes
	listeners   listeners
	met         *metrics

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
	opt = opt.withDefaults()
	g := &Gateway{
		opt:     opt,
		memory:  budget{max: int64(opt.MemoryBytes)},
		slots:   make(chan struct{}, opt.Requests),
		proxies: opt.Proxies, rates: newRates(), redaction: newRedaction(opt.Exposure), ids: newRequestIDs(),
		stopped: make(chan struct{}),
	}
	// One address may use half of what is there for connections and for bodies on
	// their way, and these half of the memory. So it leaves as much to the others.
	g.arrivals = arrivals{max: int64(opt.MemoryBytes / 2), each: int64(opt.MemoryBytes / 4), by: map[netip.Addr]int64{}}
	if err := g.loadKeys(); err != nil {
		return nil, fmt.Errorf("ingest: %w", err)
	}
	var err error
	if g.certificate, err = newCertificate(opt.TLSCert, opt.TLSKey, opt.Logger); err != nil {
		return nil, fmt.Errorf("ingest: %w", err)
	}
	g.denied.log = opt.Logger
	g.met = newMetrics(opt.Metrics, g)
	g.connections = connections{max: opt.Connections, each: max(opt.Connections/2, 1), refused: g.met.closed, by: map[netip.Addr]int{}, of: map[net.Conn]netip.Addr{}}
	g.startLanes()
	return g, nil
}

func (g *Gateway) startLanes() {
	ctx, cancel := context.WithCancel(context.Background())
	g.cancel = cancel
	nonce := make([]byte, 8)
	rand.Read(nonce)
	lim := limits{g.opt.PackBytes, g.opt.PackEvents, int64(g.opt.QueueBytes)}
	for p := range g.opt.Log.Partitions() {
		name := fmt.Sprintf("%s-%d", hex.EncodeToString(nonce), p)
		g.lanes = append(g.lanes, newLane(name, lim, g.opt.Attempt, g.met, g.opt.Logger, func(ctx context.Context, pk *pack) error {
			return g.sent(g.opt.Log.Publish(ctx, p, pk.id, pk.data))
		}))
	}
	for _, l := range g.lanes {
		g.ended.Go(func() { l.run(ctx) })
	}
	g.letters = &letterbox{
		name: hex.EncodeToString(nonce) + "-d", packBytes: g.opt.PackBytes, timeout: g.opt.Timeout, met: g.met, log: g.opt.Logger,
		keys: map[[sha256.Size]byte]*allowance{}, wake: make(chan struct{}, 1), ended: make(chan struct{}),
		store: func(ctx context.Context, id string, letters []pipeline.Dead) error {
			return g.sent(g.opt.Log.DeadLetters(ctx, id, letters))
		},
	}
	g.letters.attempts = attempts{g.opt.Attempt, g.met, g.letters.note}
	g.ended.Go(func() { g.letters.run(ctx) })
}

func (g *Gateway) queued() float64 {
	n := g.letters.queued()
	for _, l := range g.lanes {
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
// answered and their dead letters are stored, and ends the lanes. When ctx ends, it
// fails the remaining requests.
// Every event that was answered with 200 is in the log. Later calls wait for the
// first one and return its error.
func (g *Gateway) Drain(ctx context.Context) error {
	g.drainOnce.Do(func() {
		g.draining.Store(true)
		g.drainErr = g.drain(ctx)
		g.cancel()
		g.ended.Wait()
		g.listeners.close()
	})
	return g.drainErr
}

// drain takes all slots: once it has them, no request is being handled. Then it
// waits for the letters.
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
	g.letters.close()
	select {
	case <-g.letters.ended:
	case <-ctx.Done(): // the letterbox logs what it loses
	}
	return nil
}
