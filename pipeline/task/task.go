// Package task lets workers run several tasks concurrently. A task waits on
// signals. To pass something to a task, put it where the task looks for it, and
// set the task's signal.
//
// There are two worlds: Real, where a task is a goroutine, and the simulation's,
// where one task runs at a time and a seed decides which one. Code that runs in
// both must start goroutines, wait and read the clock through its World only.
package task

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// A World runs tasks and has a clock.
type World interface {
	Go(fn func())
	NewSignal() Signal
	Now() time.Time                       // for measuring durations; it never steps
	Jitter(d time.Duration) time.Duration // a random duration from 0 to below d
}

// A Signal wakes one task.
type Signal interface {
	// Set wakes the task, or lets its next Wait return at once. Any task may
	// call it.
	Set()
	// Wait returns when the signal has been set since the last Wait, when d has
	// passed, or when ctx is done. The caller must check again whether there is
	// something to do: it may have been done already.
	Wait(ctx context.Context, d time.Duration)
}

// Forever is the longest Wait.
const Forever = time.Hour

// Sleep waits for d, or until ctx is done: then it returns ctx's error.
func Sleep(ctx context.Context, w World, d time.Duration) error {
	if d > 0 && ctx.Err() == nil {
		w.NewSignal().Wait(ctx, d)
	}
	return ctx.Err()
}

// A Group is a set of tasks whose end any number of other tasks can wait for.
type Group struct {
	World World

	mu      sync.Mutex
	n       int
	waiters []Signal // one for each waiting task, as a signal wakes only one task
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

// Wait returns when all tasks of the group have ended.
func (g *Group) Wait() {
	for {
		g.mu.Lock()
		if g.n == 0 {
			g.mu.Unlock()
			return
		}
		e := g.World.NewSignal()
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

func (Real) NewSignal() Signal { return &RealSignal{set: make(chan struct{}, 1)} }

// A RealSignal is a signal of Real.
type RealSignal struct {
	set   chan struct{}
	timer *time.Timer
}

func (e *RealSignal) Set() {
	select {
	case e.set <- struct{}{}:
	default:
	}
}

func (e *RealSignal) Wait(ctx context.Context, d time.Duration) {
	select {
	case <-e.set:
	default:
		WaitOr[struct{}](ctx, e, d, nil)
	}
}

// WaitOr is e.Wait, but also returns when c delivers a value, which it returns
// with ok true.
func WaitOr[T any](ctx context.Context, e *RealSignal, d time.Duration, c <-chan T) (got T, ok bool) {
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
