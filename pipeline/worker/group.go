package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"offerstream/pipeline/broker"
	"offerstream/pipeline/task"
)

const (
	renewEvery = broker.LeaseFor / 3
	handFor    = 4 * time.Second // how long a member that leaves waits for others to be ready
)

// A group is this worker among the others, over one connection. Its task
// keeps the lease, and starts and ends partitions as duty says.
type group struct {
	w    *Worker
	conn *broker.Conn
	log  *slog.Logger
	wake task.Event // something has changed
	all  task.Group // the partitions that run

	mu       sync.Mutex
	others   members // nil: not known yet
	assigned bool    // once what all do was known
	fatal    error

	rev     uint64 // of the lease
	said    broker.Claim
	renewed time.Time
}

func newGroup(w *Worker, conn *broker.Conn) *group {
	return &group{w: w, conn: conn, log: w.opt.Log.With("member", w.id), wake: w.world.NewEvent(), all: task.Group{World: w.world}}
}

// watch keeps up what the others claim.
func (g *group) watch(ctx context.Context) {
	g.conn.WatchLeases(ctx, func(leases map[string][]byte) {
		others := members{}
		for id, value := range leases {
			if id == g.w.id {
				continue
			}
			c, err := broker.ParseClaim(value)
			if err != nil {
				g.log.Warn("another member's lease is not understood: it counts as one that owns nothing", "other", id, "error", err)
			}
			others[id] = c
		}
		g.mu.Lock()
		g.others = others
		g.mu.Unlock()
		g.wake.Set()
	})
}

// run is the group's task until ctx is done, the connection is lost or the
// worker can never work.
func (g *group) run(ctx context.Context) error {
	var until time.Time // leaving
	for {
		now := g.w.world.Now()
		leaving, short := ctx.Err() != nil, g.w.short.Load() != nil
		switch {
		case (leaving || short) && until.IsZero():
			until = now.Add(handFor)
		case !leaving && !short:
			until = time.Time{}
		}
		if short {
			if !now.Before(until) {
				g.endAll()
			}
			g.closeIdle()
		}
		g.assign(leaving || short)
		if c := g.claims(leaving || short); g.known() && (!c.Equal(g.said) || now.Sub(g.renewed) >= renewEvery) {
			g.renew(c)
		}
		g.mu.Lock()
		fatal := g.fatal
		g.mu.Unlock()
		switch {
		case fatal != nil:
			return fatal
		case g.conn.Wire.IsClosed():
			return nil
		case leaving && (len(g.claims(true).Own) == 0 || !now.Before(until)):
			if err := g.conn.DropLease(context.Background(), g.w.id, g.rev); err != nil {
				g.log.Warn("cannot give up the lease: it expires", "error", err)
			}
			return nil
		}
		wait := renewEvery - now.Sub(g.renewed)
		if leaving {
			wait = min(wait, until.Sub(now))
			g.wake.Wait(context.Background(), max(wait, time.Millisecond))
		} else {
			g.wake.Wait(ctx, max(wait, time.Millisecond))
		}
	}
}

func (g *group) known() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.others != nil
}

// joined says that it runs what it should of what was known once.
func (g *group) joined() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.assigned
}

// renew says in the lease what this member does, and that it lives.
func (g *group) renew(c broker.Claim) {
	g.renewed = g.w.world.Now() // also where it fails: another attempt is soon enough
	ctx := context.Background()
	rev, err := g.conn.PutLease(ctx, g.w.id, c.Value(), broker.LeaseFor, g.rev)
	if errors.Is(err, broker.ErrLeaseLost) { // expired, or of this worker before it was started again
		if g.rev != 0 && rev == 0 {
			g.log.Warn("the lease has expired: others may have taken over, and do for a moment what this worker does; nothing is lost or doubled by that")
		}
		rev, err = g.conn.PutLease(ctx, g.w.id, c.Value(), broker.LeaseFor, rev)
	}
	if err != nil {
		g.log.Warn("cannot renew the lease: trying again", "error", err)
		return
	}
	g.rev, g.said = rev, c
}

// claims are what this member does now.
func (g *group) claims(leaving bool) broker.Claim {
	c := broker.Claim{Leaving: leaving, Short: g.w.short.Load() != nil}
	for _, p := range g.w.all() {
		switch {
		case p == nil || !p.running.Load() || p.status.stopped.Load() != nil:
		case !p.muted.Load():
			c.Own = append(c.Own, p.number)
		case p.ending(): // it takes over nothing any more
		case p.status.caughtUp.Load():
			c.Ready = append(c.Ready, p.number)
		default:
			c.Follow = append(c.Follow, p.number)
		}
	}
	return c
}

// assign starts, ends, mutes and unmutes partitions.
func (g *group) assign(leaving bool) {
	g.mu.Lock()
	others := g.others
	g.mu.Unlock()
	if others == nil {
		return
	}
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.assigned = true
	}()
	all := members{g.w.id: broker.Claim{Leaving: leaving}}
	for id, c := range others {
		all[id] = c
	}
	if leaving && len(others) == 0 {
		g.endAll()
		return
	}
	for n, p := range g.w.all() {
		runs := p != nil && p.running.Load()
		if runs && p.ending() {
			continue
		}
		owns := runs && !p.muted.Load()
		d := all.duty(g.w.id, n, g.w.opt.Standbys, owns, runs && p.status.caughtUp.Load())
		switch {
		case !runs && d != leaveIt:
			g.start(n, d != ownIt)
		case owns && d != ownIt:
			g.log.Info("partition handed over", "partition", n)
			p.setMuted(true)
			if d == leaveIt {
				p.end(!leaving)
			}
		case runs && !owns && d == ownIt:
			g.log.Info("partition taken over", "partition", n)
			p.setMuted(false)
		case runs && d == leaveIt:
			p.end(!leaving)
		}
	}
}

// start runs a partition.
func (g *group) start(n int, muted bool) {
	p := g.w.partition(n, g.conn)
	if p.status.stopped.Load() != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.begin(cancel, muted)
	g.all.Go(func() {
		defer g.wake.Set()
		defer p.running.Store(false)
		if err := p.run(ctx, g.conn); err != nil {
			g.mu.Lock()
			g.fatal = errors.Join(g.fatal, fmt.Errorf("partition %d: %w", n, err))
			g.mu.Unlock()
		}
	})
}

// endAll ends all partitions, each with a checkpoint where it can be.
func (g *group) endAll() {
	for _, p := range g.w.all() {
		if p != nil && p.running.Load() {
			p.end(false)
		}
	}
}
