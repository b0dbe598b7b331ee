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
	handFor    = 4 * time.Second // how long a leaving member waits for others to be ready
)

// A group is this worker's part in the group of workers, over one connection. Its
// task renews the lease, and starts and ends partitions as duty says.
type group struct {
	w    *Worker
	conn *broker.Conn
	log  *slog.Logger
	wake task.Signal // set when something has changed
	all  task.Group  // the running partitions

	mu       sync.Mutex
	others   members // the other members; nil: not known yet
	assigned bool    // assign has run with others known
	fatal    error

	rev     uint64       // the lease's revision
	said    broker.Claim // the lease's claim
	renewed time.Time
}

func newGroup(w *Worker, conn *broker.Conn) *group {
	return &group{w: w, conn: conn, log: w.opt.Log.With("member", w.id), wake: w.world.NewSignal(), all: task.Group{World: w.world}}
}

// watch keeps the other members' claims up to date.
func (g *group) watch(ctx context.Context) {
	g.conn.WatchLeases(ctx, func(leases map[string][]byte) {
		others := members{}
		for id, value := range leases {
			if id == g.w.id {
				continue
			}
			c, err := broker.ParseClaim(value)
			if err != nil {
				g.log.Warn("another member's lease cannot be decoded: that member counts as owning nothing", "other", id, "error", err)
			}
			others[id] = c
		}
		g.mu.Lock()
		g.others = others
		g.mu.Unlock()
		g.wake.Set()
	})
}

// run is the group's task, until ctx is done, the connection is lost, or an error
// shows that the worker can never work.
func (g *group) run(ctx context.Context) error {
	var until time.Time // until when to wait for others to take over, when leaving or short of disk
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
				g.log.Warn("cannot give up the lease: it will expire by itself", "error", err)
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

// joined reports whether the worker has started the partitions that it should
// run, given the other members.
func (g *group) joined() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.assigned
}

// renew puts the lease with this member's claim.
func (g *group) renew(c broker.Claim) {
	now := g.w.world.Now()
	g.renewed = now // set before the outcome is known: after a failure too, the next renewal is soon enough
	ctx := context.Background()
	rev, err := g.conn.PutLease(ctx, g.w.id, c.Value(), broker.LeaseFor, g.rev)
	if errors.Is(err, broker.ErrLeaseLost) { // it has expired, or it is from before this worker was restarted
		if g.rev != 0 && rev == 0 {
			g.log.Warn("the lease has expired: other workers may have taken over, and for a moment do the same work as this one; that loses and doubles nothing")
		}
		rev, err = g.conn.PutLease(ctx, g.w.id, c.Value(), broker.LeaseFor, rev)
	}
	if err != nil {
		g.log.Warn("cannot renew the lease: trying again", "error", err)
		if l := g.w.lease.Load(); l != nil {
			g.w.lease.Store(&leased{l.renewed, err})
		}
		return
	}
	g.w.lease.Store(&leased{renewed: now})
	g.rev, g.said = rev, c
}

// claims returns what this member does now.
func (g *group) claims(leaving bool) broker.Claim {
	c := broker.Claim{Leaving: leaving, Short: g.w.short.Load() != nil}
	for _, p := range g.w.all() {
		switch {
		case p == nil || !p.running.Load() || p.status.stopped.Load() != nil:
		case !p.muted.Load():
			c.Own = append(c.Own, p.number)
		case p.ending(): // it cannot take over any more
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
		if runs {
			g.adjust(p, owns, d, !leaving)
		} else if d != leaveIt {
			g.start(n, d != ownIt)
		}
	}
}

// adjust makes a running partition do its duty. discard says whether to discard
// the state of a partition that is to end.
func (g *group) adjust(p *partition, owns bool, d duty, discard bool) {
	switch {
	case owns && d != ownIt:
		g.log.Info("partition handed over", "partition", p.number)
		p.setMuted(true)
		if d == leaveIt {
			p.end(discard)
		}
	case !owns && d == ownIt:
		g.log.Info("partition taken over", "partition", p.number)
		p.setMuted(false)
	case d == leaveIt:
		p.end(discard)
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

// endAll ends all partitions, each with a last checkpoint if possible.
func (g *group) endAll() {
	for _, p := range g.w.all() {
		if p != nil && p.running.Load() {
			p.end(false)
		}
	}
}
