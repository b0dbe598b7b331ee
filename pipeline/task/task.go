// Package task is how workers do several things at a time, and wait. A task
// runs for itself and waits on events; whoever has something for it leaves
// that where the task looks, and sets the event.
//
// There are two worlds: Real, where a task is a goroutine, and the
// simulation's, where one task runs at a time and a seed decides which. What
// runs in both starts no goroutine, waits on no channel and looks at no clock
// but through its World.
package task

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// A World is where tasks run and time passes.
type World interface {
	Go(fn func())
	NewEvent() Event
	Now() time.Time                       // to measure how long things take; it never steps
	Jitter(d time.Duration) time.Duration // at random, from 0 to below d
}

// An Event is what one task waits on.
type Event interface {
	// Set wakes the task, or lets its next Wait return at once. Anybody may.
	Set()
	// Wait returns when the event has been set since the last Wait, when d has
	// passed, or when ctx is done. What was waited for is to be looked at
	// again: it may have been taken before.
	Wait(ctx context.Context, d time.Duration)
}

// Forever is as long as a Wait can be.
const Forever = time.Hour

// Sleep waits for d, or until ctx is done: then it returns ctx's error.
func Sleep(ctx context.Context, w World, d time.Duration) error {
	if d > 0 && ctx.Err() == nil {
		w.NewEvent().Wait(ctx, d)
	}
	return ctx.Err()
}

// A Group is tasks whose end can be awaited, by any number of others.
type Group struct {
	World World

	mu      sync.Mutex
	n       int
	waiters []Event // each of its own, as an event is one task's
}

// Go runs fn as a task of the group.
func (g *Group) Go(fn func()) {
	g.mu.Lock()
	g.n++
	g.mu.Unlock()
	g.World.Go(func() {
		defer g.ended()
		fn()
	})
}

func (g *Group) ended() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n--; g.n > 0 {
		return
	}
	for _, e := range g.waiters {
		e.Set()
	}
	g.waiters = nil
}

// Wait returns when all have ended.
func (g *Group) Wait() {
	for {
		g.mu.Lock()
		if g.n == 0 {
			g.mu.Unlock()
			return
		}
		e := g.World.NewEvent()
		g.waiters = append(g.waiters, e)
		g.mu.Unlock()
		e.Wait(context.Background(), Forever)
	}
}

// Real is the world of goroutines and the system's clock.
type Real struct{}

func (Real) Go(fn func()) { go fn() }

func (Real) Now() time.Time { return time.Now() }

func (Real) Jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d)
}

func (Real) NewEvent() Event { return &RealEvent{set: make(chan struct{}, 1)} }

// A RealEvent is what Real's NewEvent makes.
type RealEvent struct {
	set   chan struct{}
	timer *time.Timer
}

func (e *RealEvent) Set() {
	select {
	case e.set <- struct{}{}:
	default:
	}
}

func (e *RealEvent) Wait(ctx context.Context, d time.Duration) {
	select {
	case <-e.set:
	default:
		WaitOr[struct{}](ctx, e, d, nil)
	}
}

// WaitOr is e.Wait, which also ends when something comes on a channel.
func WaitOr[T any](ctx context.Context, e *RealEvent, d time.Duration, c <-chan T) (got T, ok bool) {
	if d <= 0 {
		return got, false
	}
	if e.timer == nil {
		e.timer = time.NewTimer(d)
	} else {
		e.timer.Reset(d)
	}
	defer e.timer.Stop()
	select {
	case <-e.set:
	case <-e.timer.C:
	case <-ctx.Done():
	case got, ok = <-c:
	}
	return got, ok
}
