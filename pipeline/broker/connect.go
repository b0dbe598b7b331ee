package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline/task"
)

// Options configure a connection. Zero values mean the defaults in parentheses.
type Options struct {
	URL       string                     // one or several URLs, separated by commas
	Creds     string                     // a credentials file (none)
	InProcess nats.InProcessConnProvider // an embedded server, instead of URL
	Client    string                     // the connection's name, shown to operators; answers come to _INBOX_<Client>
	Prefix    string                     // Names.Prefix

	Partitions int           // (the deployment's number; 8 for a new deployment)
	Replicas   int           // replicas of each stream (1)
	Retention  time.Duration // how long events are kept (7 days)

	// Durability is DurabilityWarn or DurabilityStrict: what Connect does if NATS
	// may lose messages that it has acknowledged ("": this is not checked).
	Durability string

	// Join makes Connect accept an existing deployment as it is, and create
	// nothing. It is for tools.
	Join bool

	// Reconnect makes a lost connection reconnect by itself, for ever, without
	// buffering anything meanwhile. Without it a lost connection is closed, and
	// what was learned over it must not be relied on any more (PROTOCOL.md, P5).
	Reconnect bool

	Log *slog.Logger // (slog.Default)
}

// Defaults of a deployment.
const (
	DefaultPartitions = 8
	DefaultRetention  = 7 * 24 * time.Hour
)

// Times of connecting.
const (
	firstWait = 100 * time.Millisecond // after the first failed attempt
	lastWait  = 5 * time.Second        // at most, between two attempts
	sayEvery  = 10 * time.Second       // between two log lines about failed attempts
	tryFor    = 10 * time.Second       // limit of one attempt: a cluster without a leader never answers; the next attempt goes on with what this one made
)

// A Conn is a connection to a deployment that Connect has provisioned or checked.
type Conn struct {
	Wire       Wire
	World      task.World
	NC         *nats.Conn          // nil in the simulation
	JS         jetstream.JetStream // nil in the simulation
	Names      Names
	Partitions int
	Log        *slog.Logger

	opt    Options
	least  int // how many records of a chain of offers go as a batch: so many, and more; 0: they go one by one
	kv     jetstream.KeyValue
	denied denials
	closed chan struct{}
}

// Connect connects, and provisions or checks the deployment. While NATS cannot
// be reached or is not ready, Connect tries again until ctx is done. It returns
// a Refusal at once.
func Connect(ctx context.Context, o Options) (*Conn, error) {
	if o.Replicas == 0 {
		o.Replicas = 1
	}
	if o.Retention == 0 {
		o.Retention = DefaultRetention
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if err := (Names{o.Prefix}).check(); err != nil {
		return nil, err
	}
	var said time.Time
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		within, cancel := context.WithTimeout(ctx, tryFor)
		c, err := connect(within, o)
		cancel()
		var no *Refusal
		if err == nil || errors.As(err, &no) {
			return c, err
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("connect to NATS at %s: %w (%v)", o.where(), err, ctx.Err())
		}
		if time.Since(said) >= sayEvery {
			said = time.Now()
			o.Log.Warn("NATS is not ready: trying again until it is", "url", o.where(), "error", err)
		}
		if err := task.Sleep(ctx, task.Real{}, wait/2+rand.N(wait/2)); err != nil {
			continue
		}
	}
}

// where returns the server's URLs without passwords.
func (o Options) where() string {
	if o.InProcess != nil {
		return "this process"
	}
	all := strings.Split(o.URL, ",")
	for i, s := range all {
		if !strings.Contains(s, "://") {
			s = "nats://" + s
		}
		u, err := url.Parse(strings.TrimSpace(s))
		if err != nil {
			return "the given URL"
		}
		all[i] = u.Redacted()
	}
	return strings.Join(all, ",")
}

// connect makes one attempt.
func connect(ctx context.Context, o Options) (c *Conn, err error) {
	c = &Conn{World: task.Real{}, Names: Names{o.Prefix}, Log: o.Log, opt: o, closed: make(chan struct{})}
	if c.NC, err = nats.Connect(o.URL, c.options()...); err != nil {
		return nil, o.refused(err)
	}
	if c.JS, err = jetstream.New(c.NC); err == nil {
		c.Wire = &natsWire{nc: c.NC, js: c.JS, closed: c.closed}
		err = c.provision(ctx)
	}
	if err == nil && o.Durability != "" {
		err = c.durability(ctx)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Conn) options() []nats.Option {
	o := c.opt
	opts := []nats.Option{
		nats.Name(o.Client),
		nats.Timeout(5 * time.Second),
		nats.PingInterval(10 * time.Second), // a server that hangs is noticed within half a minute
		nats.MaxPingsOutstanding(2),
		nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if !c.denied.note(err) {
				c.Log.Warn("NATS", "error", err)
			}
		}),
		nats.ClosedHandler(func(*nats.Conn) { close(c.closed) }),
	}
	if o.Client != "" { // an inbox that other users may not listen on: messages of the log are delivered there
		opts = append(opts, nats.CustomInboxPrefix("_INBOX_"+o.Client))
	}
	if o.Creds != "" {
		opts = append(opts, nats.UserCredentials(o.Creds))
	}
	if o.InProcess != nil {
		opts = append(opts, nats.InProcessServer(o.InProcess))
	}
	if !o.Reconnect {
		return append(opts, nats.NoReconnect())
	}
	return append(opts,
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // a password may be changed, and changed back
		nats.CustomReconnectDelay(func(tries int) time.Duration {
			wait := min(firstWait<<min(tries, 10), lastWait)
			return wait/2 + rand.N(wait/2)
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err == nil {
				return // Close
			}
			c.Log.Warn("the connection to NATS is lost: trying again", "error", err)
		}),
		nats.ReconnectHandler(func(*nats.Conn) { c.Log.Info("connected to NATS again") }),
	)
}

// Simulated returns a connection to a simulated deployment.
func Simulated(w Wire, world task.World, names Names, partitions int, log *slog.Logger) *Conn {
	return &Conn{Wire: w, World: world, Names: names, Partitions: partitions, Log: log, least: 2, closed: make(chan struct{})}
}

// Closed returns a channel that is closed when the connection has ended for good.
func (c *Conn) Closed() <-chan struct{} { return c.closed }

// Close ends the connection and returns when it has ended.
func (c *Conn) Close() {
	if c.NC == nil {
		return // the simulation closes its own
	}
	c.NC.Close()
	<-c.closed
}
