package worker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/checkpoint"
	"offerstream/pipeline/task"
	"offerstream/state"
)

// A committer encodes and stores checkpoints, one at a time, each after all records
// before its cursor are stored: see doc.go. All methods but commit are for the
// partition's task.
type committer struct {
	world  task.World
	wake   task.Signal // the partition's, set when a checkpoint has ended
	writer *checkpoint.Writer
	fold   *pipeline.Fold
	chains *broker.Chains
	met    *metrics
	busy   bool          // a checkpoint is under way
	whole  bool          // and encoded
	took   time.Duration // how long its encoding took
	stored uint64        // the last message in the last stored checkpoint

	mu    sync.Mutex
	ended bool  // the checkpoint under way has ended
	err   error // with this error
}

func newCommitter(a *attempt) *committer {
	return &committer{world: a.p.w.world, wake: a.p.wake, writer: checkpoint.NewWriter(a.cache, a.from.Epoch), fold: a.fold, chains: a.chains, met: a.p.w.met}
}

// begin begins a checkpoint with what has changed in the cache. It is for more to
// encode and store it.
func (c *committer) begin(cursor pipeline.Cursor) error {
	c.busy, c.whole, c.took = true, false, 0
	return c.writer.Begin(cursor)
}

// more encodes about so many bytes of the checkpoint under way. Once it is encoded, it
// is stored while the fold goes on. more reports whether there is more to encode.
func (c *committer) more(ctx context.Context, bytes int) bool {
	if !c.busy || c.whole {
		return false
	}
	start := c.world.Now()
	c.whole = c.writer.Some(bytes)
	c.took += c.world.Now().Sub(start)
	if !c.whole {
		return true
	}
	c.world.Go(func() {
		err := c.commit(ctx)
		c.mu.Lock()
		c.ended, c.err = true, err
		c.mu.Unlock()
		c.wake.Set()
	})
	return false
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

// wait encodes the rest of the checkpoint under way, and blocks until it has ended.
func (c *committer) wait(ctx context.Context) error {
	c.more(ctx, math.MaxInt)
	for {
		if err := c.poll(); err != nil || !c.busy {
			return err
		}
		c.wake.Wait(context.Background(), task.Forever)
	}
}

// end gives up a checkpoint that is not encoded yet, and waits for one that is being
// stored.
func (c *committer) end() {
	if c.busy && !c.whole {
		c.busy = false
	}
	c.wait(context.Background())
}

// errStore means that a commit has failed. Whether it is in the store is known
// only when the store is opened again.
var errStore = errors.New("the state cannot be written to the disk: make room or repair the disk, then start the worker again")
