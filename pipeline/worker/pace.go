package worker

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"offerstream/pipeline/task"
)

const (
	defaultRate = 0.5                    // of a core, for a second fold
	paceAfter   = 5 * time.Millisecond   // least work between two rests
	paceMost    = 500 * time.Millisecond // the longest rest
)

// A pace makes a task rest, so that it takes only a share of a core.
type pace struct {
	w     *Worker
	since time.Time    // when it began to work
	rate  atomic.Int64 // in thousandths
}

func (c *pace) set(rate float64) {
	if rate <= 0 {
		rate = defaultRate
	}
	c.rate.Store(int64(1000 * min(rate, 1)))
}

// rest pauses if the task has worked for a while. All second folds of the worker
// together take at most half of its cores.
func (c *pace) rest(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	world := c.w.world
	worked := world.Now().Sub(c.since)
	if worked < paceAfter {
		return nil
	}
	rate := float64(c.rate.Load()) / 1000
	if n := c.w.folding.Load(); n > 0 {
		rate = min(rate, float64(runtime.GOMAXPROCS(0))/2/float64(n))
	}
	rest := min(time.Duration(float64(worked)*(1-rate)/rate), paceMost)
	err := task.Sleep(ctx, world, rest)
	c.since = world.Now()
	return err
}
