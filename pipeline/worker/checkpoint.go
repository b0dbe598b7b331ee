package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/task"
	"offerstream/state"
)

// noteSince is the note that holds Cursor.Since, which is large and changes
// only with the campaign set.
const noteSince = "since"

// loadCursor reads where the store stands.
func loadCursor(store store) (cursor pipeline.Cursor, err error) {
	b, err := store.Cursor()
	if err != nil || b == nil {
		return cursor, err
	}
	if err := json.Unmarshal(b, &cursor); err != nil {
		return cursor, fmt.Errorf("%w: cursor: %w", state.ErrDamaged, err)
	}
	since, err := store.Note(noteSince)
	if err != nil {
		return cursor, err
	}
	if since != nil {
		if err := json.Unmarshal(since, &cursor.Since); err != nil {
			return cursor, fmt.Errorf("%w: note %s: %w", state.ErrDamaged, noteSince, err)
		}
	}
	return cursor, nil
}

// A checkpoint is what changed up to a cursor, on its way into the store.
type checkpoint struct {
	gen    uint64
	cursor pipeline.Cursor
	took   time.Duration // encoding
}

// A committer stores checkpoints, one at a time, each after the records
// before it: see doc.go. All but commit is for the partition's task.
type committer struct {
	world  task.World
	wake   task.Event // the partition's, when one has ended
	store  store
	chains *broker.Chains
	met    *metrics
	batch  *state.Batch
	epoch  uint32 // of the Since that the store holds
	busy   bool
	at     checkpoint // the one under way
	stored uint64     // the last message of the last one that is stored

	mu    sync.Mutex
	ended bool  // the one under way,
	err   error // with this
}

func newCommitter(s *session) *committer {
	return &committer{world: s.w.world, wake: s.wake, store: s.store, chains: s.chains, met: s.w.met, batch: s.store.NewBatch(), epoch: s.from.Epoch}
}

// begin encodes what the cache has changed and stores it beside the fold.
func (c *committer) begin(ctx context.Context, cache *cache, cursor pipeline.Cursor) error {
	start := c.world.Now()
	gen, cursor, err := encode(c.batch, cache, cursor, &c.epoch)
	if err != nil {
		return err
	}
	c.at = checkpoint{gen: gen, cursor: cursor, took: c.world.Now().Sub(start)}
	c.busy = true
	c.world.Go(func() {
		err := c.commit(ctx, c.at)
		c.mu.Lock()
		c.ended, c.err = true, err
		c.mu.Unlock()
		c.wake.Set()
	})
	return nil
}

// encode puts all that has changed into the batch, and returns the cursor that
// is stored with it. What the cursor leaves to the note is put there too where
// another set has come into force since the epoch of the last one.
func encode(b *state.Batch, cache *cache, cursor pipeline.Cursor, epoch *uint32) (gen uint64, _ pipeline.Cursor, err error) {
	b.Reset()
	gen = cache.encode(b)
	since := cursor.Since
	cursor.Since = nil
	if cursor.Epoch != *epoch {
		j, err := json.Marshal(since)
		if err != nil {
			return gen, cursor, err
		}
		b.Note(noteSince, j)
		*epoch = cursor.Epoch
	}
	return gen, cursor, nil
}

func (c *committer) commit(ctx context.Context, at checkpoint) error {
	if err := c.chains.Await(ctx, at.cursor); err != nil {
		return err
	}
	j, err := json.Marshal(at.cursor)
	if err != nil {
		return err
	}
	start := c.world.Now()
	if err := c.store.Commit(c.batch, j); err != nil {
		if !tooBig(err) {
			err = fmt.Errorf("%w: %w", errStore, err)
		}
		return fmt.Errorf("checkpoint at message %d: %w", at.cursor.Seq, err)
	}
	c.met.checkpoint.Observe((at.took + c.world.Now().Sub(start)).Seconds())
	c.met.checkpointBytes.Observe(float64(c.batch.Bytes()))
	return nil
}

// poll takes the outcome of the checkpoint under way, if it has ended.
func (c *committer) poll(cache *cache) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		return nil
	}
	err := c.err
	c.busy, c.ended, c.err = false, false, nil
	if err == nil {
		cache.committed, c.stored = c.at.gen, c.at.cursor.Seq
	}
	return err
}

// wait blocks until no checkpoint is under way.
func (c *committer) wait(cache *cache) error {
	for {
		if err := c.poll(cache); err != nil || !c.busy {
			return err
		}
		c.wake.Wait(context.Background(), task.Forever)
	}
}

// full says whether what has changed should be stored soon: half of what one
// transaction holds, less where that was too much before.
func full(cache *cache, limit state.Limit, shrink int) bool {
	return len(cache.dirty) >= limit.Entries/6/shrink || cache.changed >= limit.Bytes/2/shrink
}

// errStore marks a commit that failed: whether it is in the store is known when
// that is opened again.
var errStore = errors.New("the disk does not take the state: make room or see to the disk, then start the worker again")

func tooBig(err error) bool { return errors.Is(err, state.ErrTooBig) }
