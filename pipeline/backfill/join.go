package backfill

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime/debug"
	"slices"
	"sync"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/checkpoint"
	"offerstream/state"
)

// A Join joins the live state in a store with a second one, at the switch at which
// the live fold stands. All users are joined in the order of their keys, and committed
// in transactions, each with the key of its last user in the cursor. So whoever is
// interrupted goes on from there; nobody reads the log meanwhile.
//
// With one core everything happens in the caller's task. With more, one goroutine
// reads both stores, others join, and the caller commits.
type Join struct {
	Fold   *pipeline.Fold
	Live   checkpoint.Store // has all that the fold has changed, with a cursor that stands at the switch
	Second *Second
	Cores  int
	Only   []string     // keys of the users that are joined; nil: all
	Shrink int          // transactions are smaller than half of the store's limit by this factor; 0: 1
	Moment func() error // called between transactions; its error ends the join; may be nil

	before func(live, second *pipeline.Entity) // called before each user is joined, for tests; nil: nothing
	facts  func(key string) (*pipeline.Entity, error)
	failed func() error
	joins  []*pipeline.Join
	mu     sync.Mutex // for joins
	free   sync.Pool  // of chunks
	users  int
	batch  *state.Batch
}

// A SecondError is an error of the second state in a join: the live one is sound.
type SecondError struct{ error }

func (e SecondError) Unwrap() error { return e.error }

// A CommitError is an error of a commit to the live store in a join: whether it is
// stored is not known.
type CommitError struct{ error }

func (e CommitError) Unwrap() error { return e.error }

// chunkUsers and chunkBytes bound what is handed on at a time.
const (
	chunkUsers = 128
	chunkBytes = 256 << 10
)

// A chunk is some users, in the order of their keys.
type chunk struct {
	users []joined
	arena []byte
	err   error
	done  chan struct{} // nil: it is done where it is read
}

// A joined is a user, first as both stores have it, then as it is after the join.
type joined struct {
	key          string
	live, second []byte
	has          bool // the second state has the user
	pieces       state.Pieces
	dueBefore    int64

	after   *pipeline.Entity
	changed bool
	due     int64
	record  []byte
}

// Run joins the users that are not joined yet, and ends the switch. It returns how
// many users it has joined.
func (j *Join) Run(ctx context.Context) (users int, err error) {
	sw, from := j.Fold.Switching()
	if sw == nil {
		return 0, errors.New("the fold stands at no switch")
	}
	if seq, _, _, _ := j.Fold.At(); j.Second.Seq() != seq {
		return 0, SecondError{fmt.Errorf("the second state is at message %d, and the switch is message %d", j.Second.Seq(), seq+1)}
	}
	facts := &facts{store: j.Live, read: map[string]*pipeline.Entity{}}
	j.facts, j.failed = facts.entity, facts.failed
	j.batch = j.Live.NewBatch()
	if j.Cores > 1 {
		err = j.parallel(ctx, from)
	} else {
		err = j.alone(ctx, from)
	}
	if err == nil {
		err = j.commit("")
	}
	if err != nil {
		return j.users, err
	}
	j.Fold.Switched(j.Second.fold.Cursor(), j.joins...)
	return j.users, nil
}

// alone joins in the caller's task.
func (j *Join) alone(ctx context.Context, from string) error {
	w, err := j.worker()
	if err != nil {
		return err
	}
	return j.read(ctx, from, func(c *chunk) error {
		w.all(c)
		return j.take(c)
	})
}

// parallel joins on several goroutines.
func (j *Join) parallel(ctx context.Context, from string) error {
	within, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	todo, order := make(chan *chunk, j.Cores), make(chan *chunk, 2*j.Cores)
	for range j.Cores {
		w, err := j.worker()
		if err != nil {
			close(todo)
			return err
		}
		all.Go(func() {
			for c := range todo {
				w.all(c)
				close(c.done)
			}
		})
	}
	var errRead error
	all.Go(func() {
		defer close(todo)
		defer close(order)
		defer func() {
			if cause := recover(); cause != nil {
				errRead = fmt.Errorf("reading the two states panicked: %v\n%s", cause, debug.Stack())
			}
		}()
		errRead = j.read(within, from, func(c *chunk) error {
			c.done = make(chan struct{})
			for _, to := range []chan *chunk{order, todo} {
				select {
				case to <- c:
				case <-within.Done():
					return within.Err()
				}
			}
			return nil
		})
	})
	for c := range order {
		select {
		case <-c.done:
		case <-within.Done():
			return ctx.Err()
		}
		if err := j.take(c); err != nil {
			return err
		}
	}
	return errRead
}

// read reads both stores and calls fn with one chunk after the other.
func (j *Join) read(ctx context.Context, from string, fn func(*chunk) error) error {
	second := inOrder(j.Second.store, from)
	defer second.stop()
	c := j.chunk()
	give := func() error {
		if err := ctx.Err(); err != nil {
			return err
		}
		full := c
		c = j.chunk()
		return fn(full)
	}
	err := j.Live.Entities(from, func(key string, b []byte, pieces state.Pieces) error {
		if !pipeline.IsUser(key) || j.Only != nil && !slices.Contains(j.Only, key) {
			return nil
		}
		of, has, err := second.find(key)
		if err != nil {
			return err
		}
		u := joined{key: key, pieces: pieces, live: c.copy(b), has: has}
		if has {
			u.second = c.copy(of)
		}
		c.users = append(c.users, u)
		if len(c.users) == chunkUsers || len(c.arena) >= chunkBytes {
			return give()
		}
		return nil
	})
	if err != nil || len(c.users) == 0 {
		return err
	}
	return give()
}

// An ordered reads the entities of a second state for who asks in the order of keys.
type ordered struct {
	next func() (record, bool)
	stop func()
	at   record
	more bool
	err  error
}

type record struct {
	key string
	b   []byte // valid until next is called
}

// inOrder reads the entities whose keys are above from. stop must be called.
func inOrder(store checkpoint.Store, from string) *ordered {
	o := &ordered{}
	enough := errors.New("enough")
	o.next, o.stop = iter.Pull(func(yield func(record) bool) {
		o.err = store.Entities(from, func(key string, b []byte, _ state.Pieces) error {
			if !yield(record{key, b}) {
				return enough
			}
			return nil
		})
	})
	o.at, o.more = o.next()
	return o
}

// find returns the entity with a key that is above the one before.
func (o *ordered) find(key string) (b []byte, found bool, err error) {
	for o.more && o.at.key < key {
		o.at, o.more = o.next()
	}
	if !o.more && o.err != nil {
		return nil, false, SecondError{o.err}
	}
	return o.at.b, o.more && o.at.key == key, nil
}

// chunk is an empty chunk, with the memory of one that is no longer used.
func (j *Join) chunk() *chunk {
	c, _ := j.free.Get().(*chunk)
	if c == nil {
		return &chunk{}
	}
	clear(c.users)
	c.users, c.arena, c.done = c.users[:0], c.arena[:0], nil
	return c
}

// copy copies bytes into the chunk's memory.
func (c *chunk) copy(b []byte) []byte {
	n := len(c.arena)
	c.arena = append(c.arena, b...)
	return c.arena[n:len(c.arena):len(c.arena)]
}

// take commits the users of a chunk, with those before it, if they are many.
func (j *Join) take(c *chunk) error {
	if c.err == nil {
		c.err = j.failed()
	}
	if c.err != nil {
		return c.err
	}
	limit, shrink := j.Live.Limit(), max(j.Shrink, 1)
	for i := range c.users {
		u := &c.users[i]
		j.users++
		if !u.changed {
			continue
		}
		if u.after.Empty() {
			j.batch.Delete(u.key, u.pieces)
		} else {
			j.batch.Put(u.key, u.record, u.pieces)
		}
		if u.due != u.dueBefore {
			if u.dueBefore != pipeline.NoDue {
				j.batch.Unschedule(u.dueBefore, u.key)
			}
			if u.due != pipeline.NoDue {
				j.batch.Schedule(u.due, u.key)
				j.Fold.Schedule(u.due, u.key)
			}
		}
		if j.batch.Entries() >= limit.Entries/3/shrink || j.batch.Bytes() >= limit.Bytes/2/shrink {
			if err := j.commit(u.key); err != nil {
				return err
			}
		}
	}
	j.free.Put(c)
	return nil
}

// commit commits the batch. All users up to key are joined then; "": all.
func (j *Join) commit(key string) error {
	if j.batch.Entries() == 0 {
		return nil
	}
	if key == "" {
		key = allKeys
	}
	j.Fold.JoinedTo(key)
	cursor, err := checkpoint.StoredCursor(j.Fold.Cursor())
	if err != nil {
		return err
	}
	if err := j.Live.Commit(j.batch, cursor); errors.Is(err, state.ErrTooBig) {
		return err
	} else if err != nil {
		return CommitError{err}
	}
	j.batch.Reset()
	if j.Moment != nil {
		return j.Moment()
	}
	return nil
}

// allKeys is above the keys of all users.
const allKeys = "v"

// A joiner joins users, in one goroutine.
type joiner struct {
	j    *Join
	join *pipeline.Join
}

func (j *Join) worker() (*joiner, error) {
	w := &joiner{j: j}
	return w, w.anew()
}

// anew makes the join of the core. After a panic the one before cannot be used.
func (w *joiner) anew() (err error) {
	j := w.j
	if w.join, err = j.Fold.NewJoin(j.Second.fold.Cursor(), j.facts); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.joins = append(j.joins, w.join)
	return nil
}

// all joins the users of a chunk.
func (w *joiner) all(c *chunk) {
	for i := range c.users {
		if c.err = w.user(&c.users[i]); c.err != nil {
			return
		}
	}
}

// user joins a user. If its join panics, which is a function of its two states, what
// the second one has of it is left out.
func (w *joiner) user(u *joined) error {
	err := w.try(u)
	var panicked *panicked
	if errors.As(err, &panicked) {
		if err := w.anew(); err != nil {
			return err
		}
		u.has = false
		if err = w.try(u); errors.As(err, &panicked) {
			return broker.Loud(fmt.Errorf("user %q cannot be joined at a switch: %w: run another version of the worker", u.key, err))
		}
	}
	return err
}

// A panicked is the error of a panic.
type panicked struct {
	cause any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("it panicked: %v\n%s", p.cause, p.stack) }

// recovered turns a panic of fn into its error.
func recovered(fn func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = &panicked{cause, debug.Stack()}
		}
	}()
	return fn()
}

func (w *joiner) try(u *joined) error {
	return recovered(func() error { return w.joinOne(u) })
}

func (w *joiner) joinOne(u *joined) error {
	live, err := checkpoint.Decode(u.key, u.live)
	if err != nil {
		return err
	}
	var second *pipeline.Entity
	if u.has {
		if second, err = checkpoint.Decode(u.key, u.second); err != nil {
			return SecondError{err}
		}
	}
	u.dueBefore = live.Due()
	if w.j.before != nil {
		w.j.before(live, second)
	}
	w.join.User(live, second)
	u.after, u.due, u.record = live, live.Due(), live.AppendBinary(make([]byte, 0, len(u.live)+len(u.second)))
	u.changed = live.Empty() || string(u.record) != string(u.live)
	return nil
}

// facts reads the facts of a live state, for several goroutines.
type facts struct {
	store checkpoint.Store

	mu   sync.Mutex
	read map[string]*pipeline.Entity
	err  error
}

// mostFacts bounds the facts that are kept.
const mostFacts = 10_000

func (f *facts) entity(key string) (*pipeline.Entity, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e := f.read[key]; e != nil {
		return e, nil
	}
	b, _, found, err := f.store.Entity(key, nil)
	e := pipeline.NewEntity(key)
	if err == nil && found {
		e, err = checkpoint.Decode(key, b)
	}
	if err != nil {
		f.err = err // a condition would only read it as an error
		return nil, err
	}
	if len(f.read) >= mostFacts {
		clear(f.read)
	}
	f.read[key] = e
	return e, nil
}

func (f *facts) failed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}
