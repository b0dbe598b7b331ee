package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/checkpoint"
	"offerstream/pipeline/task"
	"offerstream/state"
)

// A committer stores checkpoints, one at a time, each after all records before
// its cursor are stored: see doc.go. All methods but commit are for the
// partition's task.
type committer struct {
	world  task.World
	wake   task.Signal // the partition's, set when a checkpoint has ended
	writer *checkpoint.Writer
	fold   *pipeline.Fold
	chains *broker.Chains
	met    *metrics
	busy   bool          // a checkpoint is under way
	took   time.Duration // how long its encoding took
	stored uint64        // the last message in the last stored checkpoint

	mu    sync.Mutex
	ended bool  // the checkpoint under way has ended
	err   error // with this error
}

func newCommitter(a *attempt) *committer {
	return &committer{world: a.p.w.world, wake: a.p.wake, writer: checkpoint.NewWriter(a.cache, a.from.Epoch), fold: a.fold, chains: a.chains, met: a.p.w.met}
}

// begin encodes what has changed in the cache, and stores it while the fold goes
// on.
func (c *committer) begin(ctx context.Context, cursor pipeline.Cursor) error {
	start := c.world.Now()
	if err := c.writer.Encode(cursor); err != nil {
		return err
	}
	c.took = c.world.Now().Sub(start)
	c.busy = true
	c.world.Go(func() {
		err := c.commit(ctx)
		c.mu.Lock()
		c.ended, c.err = true, err
		c.mu.Unlock()
		c.wake.Set()
	})
	return nil
}

func (c *committer) commit(ctx context.Context) error {
	cursor := c.writer.Cursor()
	if err := c.chains.Await(ctx, cursor); err != nil {
		return err
	}
	c.chains.Sent(cursor) // the map of its chains is the writer's
	start := c.world.Now()
	if err := c.writer.Commit(); err != nil {
		if !errors.Is(err, state.ErrTooBig) {
			err = fmt.Errorf("%w: %w", errStore, err)
		}
		return fmt.Errorf("checkpoint at message %d: %w", cursor.Seq, err)
	}
	c.met.checkpoint.Observe((c.took + c.world.Now().Sub(start)).Seconds())
	c.met.checkpointBytes.Observe(float64(c.writer.Bytes()))
	return nil
}

// poll takes the outcome of the checkpoint under way, if it has ended.
func (c *committer) poll() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		return nil
	}
	err := c.err
	c.busy, c.ended, c.err = false, false, nil
	if err == nil {
		c.writer.Done()
		stored := c.writer.Cursor()
		c.stored = stored.Seq
		for name, ch := range stored.Chains { // the transactions of a join store the fold's cursor as it is
			if ch.Sent > 0 {
				c.fold.Sent(name, ch.Sent)
			}
		}
	}
	return err
}

// wait blocks until no checkpoint is under way.
func (c *committer) wait() error {
	for {
		if err := c.poll(); err != nil || !c.busy {
			return err
		}
		c.wake.Wait(context.Background(), task.Forever)
	}
}

// errStore means that a commit has failed. Whether it is in the store is known
// only when the store is opened again.
var errStore = errors.New("the state cannot be written to the disk: make room or repair the disk, then start the worker again")
