package broker

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline/task"
)

const (
	// RefusedFor is how long publishes must fail, without one that succeeds, until
	// NATS counts as refusing them: choosing a new leader takes seconds.
	RefusedFor = 5 * time.Second
	// lookStreams is the time between two looks at what a log accepts.
	lookStreams = time.Second
)

// A failure is since when something has failed, and why it last did.
type failure struct {
	since time.Time
	why   error
}

// failures are the failures of a process' publishes, by what they publish to.
type failures struct {
	mu  sync.Mutex
	all map[string]failure
}

// note records the outcome of a publish.
func (f *failures) note(what string, now time.Time, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch old, is := f.all[what]; {
	case err == nil:
		delete(f.all, what)
	case is:
		f.all[what] = failure{old.since, err}
	default:
		if f.all == nil {
			f.all = map[string]failure{}
		}
		f.all[what] = failure{now, err}
	}
}

// fails reports whether the last publish failed.
func (f *failures) fails(what string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, is := f.all[what]
	return is
}

// refused returns the failure that has lasted longest, if it has lasted for at
// least RefusedFor.
func (f *failures) refused(now time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var first failure
	for _, o := range f.all {
		if first.why == nil || o.since.Before(first.since) {
			first = o
		}
	}
	if d := now.Sub(first.since); first.why != nil && d >= RefusedFor {
		return fmt.Errorf("publishes to NATS have failed for %s: %w", d.Round(time.Second), first.why)
	}
	return nil
}

// Refused returns why NATS does not store events now, although the connection is
// there; nil as far as is known. It does not ask the server.
func (g *GatewayLog) Refused() error {
	if err := g.failing.refused(time.Now()); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, why := range g.wrong { // any of them
		return why
	}
	return nil
}

// watch keeps what Refused returns up to date until ctx is done or the connection is
// closed.
func (g *GatewayLog) watch(ctx context.Context) {
	for n := 0; task.Sleep(ctx, g.conn.World, lookStreams) == nil && !g.conn.NC.IsClosed(); n++ {
		if g.Ready() == nil {
			g.watchOnce(ctx, n%g.conn.Partitions)
		}
	}
}

// watchOnce looks at one partition's stream, and at those that were wrong, and
// publishes where publishing fails: without that, a gateway that gets no requests
// because it is not ready would never know that NATS stores again.
func (g *GatewayLog) watchOnce(ctx context.Context, next int) {
	var all sync.WaitGroup
	for p := range g.conn.Partitions {
		if fails := g.failing.fails(g.conn.Names.EventsSubject(p, "in")); fails || p == next || g.known(p) != nil {
			all.Go(func() {
				if sound := g.look(ctx, p); sound && fails {
					g.try(ctx, p)
				}
			})
		}
	}
	all.Wait()
}

func (g *GatewayLog) known(p int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.wrong[p]
}

// look compares a partition's stream with what was acknowledged, and reports whether
// it is right. What is wrong may become right again: a frozen server answers stale
// for a moment.
func (g *GatewayLog) look(ctx context.Context, p int) (sound bool) {
	ctx, cancel := context.WithTimeout(ctx, publishFor)
	defer cancel()
	acked := g.seqs[p].Load()
	_, end, err := g.conn.Extent(ctx, p)
	var wrong error
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		wrong = fmt.Errorf("stream %s is gone: NATS has lost it, or has another directory: restore its data, or start a worker, which makes the stream anew", g.conn.Names.EventsStream(p))
	case err != nil:
		return false // not known
	case end < acked:
		wrong = fmt.Errorf("stream %s ends at message %d, but message %d was acknowledged: NATS has lost messages: find out what is lost, and then start this gateway again", g.conn.Names.EventsStream(p), end, acked)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if wrong == nil {
		delete(g.wrong, p)
		return true
	}
	if g.wrong[p] == nil {
		g.conn.Log.Error("the log is not the one that this gateway has written to: it is not ready", "error", wrong)
	}
	g.wrong[p] = wrong
	return false
}

// try publishes a pack without events, which changes nothing but log time. It must
// not go to a log that has lost messages: enough of them would hide the loss.
func (g *GatewayLog) try(ctx context.Context, p int) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	g.Publish(ctx, p, "try-"+rand.Text(), nil) // it notes the outcome
}

// A GatewayReport is a gateway's answer on the GatewaysSubject.
type GatewayReport struct {
	Refused string // what GatewayLog.Refused returns
}

// Report answers requests for the gateway's status until stop is called. A gateway
// that drains is none of the deployment's problems.
func (g *GatewayLog) Report() (stop func(), err error) {
	return g.conn.Wire.Listen(g.conn.Names.GatewaysSubject(), func(q Question) {
		var r GatewayReport
		if err := g.Refused(); err != nil {
			r.Refused = err.Error()
		}
		b, err := json.Marshal(r)
		if err == nil {
			err = q.Answer(b)
		}
		if err != nil {
			g.conn.Log.Debug("cannot answer a request for the status", "error", err)
		}
	})
}

// note records the outcome of a publish of events. One that was given up because
// this process ends says nothing about NATS.
func (g *GatewayLog) note(m *nats.Msg, err error) {
	if !errors.Is(err, context.Canceled) {
		g.failing.note(m.Subject, time.Now(), err)
	}
}
