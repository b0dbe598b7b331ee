package deliver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
)

// Options say which offers are sent, where to and how. Zero values mean the defaults in
// parentheses.
type Options struct {
	Conn    *broker.Conn // that reconnects by itself
	Channel string
	Name    string // of the durable consumer (deliver-<channel>-<preset>)
	New     bool   // a consumer that is made begins with what comes from now on (with all that OFFERS has)
	Letters bool   // sends again what it has given up, until all of it has ended, and then ends

	Receiver Receiver

	Rate        float64       // attempts a second (any)
	Concurrency int           // attempts at a time (16)
	Timeout     time.Duration // of an attempt (15 s)
	Attempts    int           // of an offer, before it is given up (100)
	Within      time.Duration // since it was stored, after which an offer is given up (72 h)

	// Report sends events to the gateway, and returns when it has them. It is called
	// with at most 64 events at a time (nil: none are sent).
	Report func(ctx context.Context, events [][]byte) error

	Seed    uint64                // of the random part of waits
	Metrics prometheus.Registerer // (none)
	Log     *slog.Logger          // (slog.Default)

	firstWait, lastWait time.Duration // backoff's, for tests
	ackWait             time.Duration // for tests
}

// Defaults of Options.
const (
	DefaultConcurrency = 16
	DefaultTimeout     = 15 * time.Second
	DefaultAttempts    = 100
	DefaultWithin      = 72 * time.Hour
)

// grace is how long attempts under way may go on when the process is told to end.
const grace = 10 * time.Second

// A Deliverer sends the offers of one channel.
type Deliverer struct {
	opt     Options
	to      transport
	preset  *preset
	backoff *backoff
	limiter *rate.Limiter
	slots   chan struct{}
	dead    *broker.Undelivered
	met     *metrics
	reports chan *report

	numbers map[string]uint64 // the last on each subject; of take
	letters letters

	holding // what was taken and is not acknowledged

	pauseMu sync.Mutex
	paused  time.Time // no attempt before: the receiver has asked for it

	stopOnce sync.Once
	stopped  chan struct{} // closed when the receiver is gone
	stopErr  error
}

// ErrGone means that the receiver takes nothing any more.
var ErrGone = errors.New("the receiver is gone")

// New returns a Deliverer for Run.
func New(o Options) (*Deliverer, error) {
	if !campaign.Channel(o.Channel) {
		return nil, fmt.Errorf("%q is not a channel's name: 1 to 32 of a-z, 0-9, _ and -", o.Channel)
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	def := func(is *time.Duration, d time.Duration) {
		if *is == 0 {
			*is = d
		}
	}
	def(&o.Timeout, DefaultTimeout)
	def(&o.Within, DefaultWithin)
	def(&o.firstWait, firstWait)
	def(&o.lastWait, lastWait)
	def(&o.ackWait, ackWait)
	if o.Attempts == 0 {
		o.Attempts = DefaultAttempts
	}
	if o.Concurrency == 0 {
		o.Concurrency = DefaultConcurrency
	}
	if o.Name == "" {
		o.Name = "deliver-" + o.Channel + "-" + o.Receiver.Preset
	}
	if len(o.Name) > 64 || strings.ContainsFunc(o.Name, func(r rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789_-", r) }) {
		return nil, fmt.Errorf("%q is not a name for a consumer: at most 64 of a-z, 0-9, _ and -", o.Name)
	}
	d := &Deliverer{opt: o, backoff: newBackoff(o.firstWait, o.lastWait, o.Seed), slots: make(chan struct{}, o.Concurrency),
		reports: make(chan *report), numbers: map[string]uint64{}, letters: letters{late: map[uint64]bool{}}, stopped: make(chan struct{})}
	if o.Rate > 0 {
		d.limiter = rate.NewLimiter(rate.Limit(o.Rate), max(1, int(o.Rate/10)))
	}
	if o.Conn != nil {
		d.dead = o.Conn.Undelivered()
	}
	d.holding.init()
	d.met = newMetrics(o.Metrics, o.Channel, &d.holding)
	return d, d.receive(&o)
}

// Run sends offers until ctx is done; then it lets attempts under way end, gives back
// what it has not sent, and returns. If the receiver is gone it sends nothing more, and
// returns ErrGone when ctx is done, of letters at once. Any other error ends it at once.
func (d *Deliverer) Run(ctx context.Context) error {
	con, err := d.open(ctx)
	if err != nil {
		return err
	}
	hard, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	var aside sync.WaitGroup // what ends after the lanes
	ended := make(chan struct{})
	aside.Go(func() { d.heartbeats(ended) })
	aside.Go(func() { d.reporter(hard, ended) })
	run, end := context.WithCancel(ctx)
	defer end()
	err = d.take(run, hard, con)
	end()
	late := time.AfterFunc(grace, cut)
	d.lanesEnded.Wait()
	late.Stop()
	close(ended)
	aside.Wait()
	d.giveBack()
	if err == nil && d.isStopped() {
		if !d.opt.Letters {
			<-ctx.Done()
		}
		err = d.stopErr
	}
	if d.opt.Letters {
		d.opt.Log.Info("letters were sent again", "delivered", d.letters.delivered.Load(), "not_delivered", d.letters.failed.Load(), "of_others", d.letters.others)
	}
	return err
}

// stop ends the channel: the receiver takes nothing any more.
func (d *Deliverer) stop(why string) {
	d.stopOnce.Do(func() {
		d.stopErr = fmt.Errorf("%w: %s: nothing more is sent on channel %s, and its offers stay in OFFERS: find out where they belong, and start again", ErrGone, why, d.opt.Channel)
		d.opt.Log.Error("CHANNEL STOPPED", "channel", d.opt.Channel, "error", d.stopErr)
		d.met.stopped.Set(1)
		close(d.stopped)
	})
}

func (d *Deliverer) isStopped() bool {
	select {
	case <-d.stopped:
		return true
	default:
		return false
	}
}

// Ready returns why nothing is sent now, nil if offers are sent.
func (d *Deliverer) Ready() error {
	if d.isStopped() {
		return d.stopErr
	}
	if !d.opt.Conn.NC.IsConnected() {
		return errors.New("there is no connection to NATS")
	}
	return nil
}
