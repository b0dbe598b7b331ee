package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"offerstream/pipeline"
	"offerstream/pipeline/task"
)

// Bounds of what waits for its turn on the chains of one partition. Append
// blocks at them, so that the fold never runs far ahead of what is stored.
const (
	maxWaiting = 4096
	publishFor = 5 * time.Second // one publish, until its outcome counts as unknown
)

// Chains are the chains of one partition, over one connection: what is known
// of their tails dies with it (PROTOCOL.md, P5). Append and Err are for the
// partition's task, Await for one other.
//
// Muted, they publish nothing: a follower keeps what waits until it sees that
// the owner has stored it.
//
// Whatever happens to a publish, the chain's last message says where to go
// on (P1):
//
//	what happened                       the tail then says     next
//	stored, acknowledged                -                      the next record
//	stored, acknowledgement lost        this record            the next record
//	not stored                          the one before         this record again
//	another writer was faster           a later one            the one after that
//	the broker lost what it had         less than was known    loud, after 20 s
//	another log's record stands there   differs from the fold  loud, after 20 s
//
// A tail ahead of the fold is skipped up to, and compared when the fold gets
// there. That it never does would be a silence in which offers are lost, so a
// fold that is past the tail's message without it is loud too.
type Chains struct {
	conn      *Conn
	partition int
	confirm   time.Duration
	end       atomic.Uint64 // the log's, when it was last looked up

	ctx    context.Context
	cancel context.CancelCauseFunc
	done   task.Group
	failed task.Event // a chain cannot go on
	muted  atomic.Bool

	mu      sync.Mutex
	chains  map[string]*chain // written by the partition's task alone
	names   []string          // of chains, in the order in which they were opened
	known   Known
	waiting int
	awaited bool       // somebody waits until a chain moves on:
	room    task.Event // Append, until there is room
	settled task.Event // Await, until all is stored
}

// Known is, by chain, the number of the last record that was acknowledged or
// seen stored. It outlives connections: a tail below it means that the broker
// lost what it had.
type Known map[string]uint64

// ChainOptions say how OpenChains opens a partition's chains.
type ChainOptions struct {
	Cursor  pipeline.Cursor // of the state
	Known   Known           // what was seen stored before; it is kept up
	End     uint64          // the last sequence of the partition's log
	Confirm time.Duration   // how long a tail that cannot be is read again; then the error is Loud
	Muted   bool            // until SetMuted
	Failed  task.Event      // set when a chain cannot go on: Err says why
}

// OpenChains reads the tails of all the partition's chains and holds them
// against the cursor and against what is known stored.
func (c *Conn) OpenChains(ctx context.Context, partition int, o ChainOptions) (*Chains, error) {
	if c.opt.Reconnect {
		return nil, errors.New("chains need a connection that does not come back by itself: what is known of their tails dies with it")
	}
	cs := &Chains{conn: c, partition: partition, confirm: o.Confirm, chains: map[string]*chain{}, known: o.Known, failed: o.Failed,
		done: task.Group{World: c.World}, room: c.World.NewEvent(), settled: c.World.NewEvent()}
	cs.muted.Store(o.Muted)
	cs.end.Store(o.End)
	cs.ctx, cs.cancel = context.WithCancelCause(context.Background())
	names, err := cs.stored(ctx)
	if err != nil {
		return nil, err
	}
	for name := range o.Cursor.Chains {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if _, err := cs.open(ctx, name, o.Cursor); err != nil {
			cs.Close()
			return nil, err
		}
	}
	return cs, nil
}

// stored lists the chains that have records.
func (cs *Chains) stored(ctx context.Context) (names []string, err error) {
	n := cs.conn.Names
	for _, of := range [...]struct{ stream, filter string }{{n.OffersStream(), n.OffersOf(cs.partition)}, {n.DeadStream(), n.DeadSubject(cs.partition)}} {
		subjects, err := cs.conn.Wire.Subjects(ctx, of.stream, of.filter)
		if err != nil {
			return nil, fmt.Errorf("chains of partition %d: %w", cs.partition, err)
		}
		for _, s := range subjects {
			names = append(names, n.chainOf(s))
		}
	}
	return names, nil
}

// chainOf is the inverse of ChainSubject.
func (n Names) chainOf(subject string) string {
	name := strings.TrimPrefix(subject, n.subject(""))
	return name[:strings.LastIndexByte(name, '.')]
}

// open reads a chain's tail and starts it.
func (cs *Chains) open(ctx context.Context, name string, cursor pipeline.Cursor) (*chain, error) {
	c := cs.conn
	ch := &chain{all: cs, name: name, subject: c.Names.ChainSubject(name, cs.partition), wake: c.World.NewEvent(), msg: nats.Msg{Header: nats.Header{}}}
	ch.log = c.Log.With("chain", ch.subject)
	have := cursor.Chains[name].Last
	ch.stored = have.N
	err := ch.check(ctx, func(t tail) error {
		switch {
		case t.N < have.N:
			return fmt.Errorf("it ends at record %d, the state has seen record %d stored", t.N, have.N)
		case t.N == have.N && t.N > 0 && t.Position != have:
			return fmt.Errorf("its record %d is %+v, the state has %+v", t.N, t.Position, have)
		}
		return t.passed(have.N, cursor.Seq)
	})
	if err != nil {
		return nil, err
	}
	if ch.publisher, err = c.Wire.Publisher(ch.subject); err != nil {
		return nil, fmt.Errorf("chain %s: %w", ch.subject, err)
	}
	cs.mu.Lock()
	cs.chains[name] = ch
	cs.names = append(cs.names, name)
	cs.mu.Unlock()
	cs.done.Go(func() {
		defer ch.publisher.Close()
		if err := ch.run(cs.ctx); err != nil {
			cs.fail(err)
		}
	})
	return ch, nil
}

// Append puts a record behind those that wait on its chain, and blocks while
// too many do. Records come in the fold's order, those that are stored
// already included.
func (cs *Chains) Append(ctx context.Context, e pipeline.Effect) error {
	ch := cs.chains[e.Chain]
	if ch == nil {
		var err error
		if ch, err = cs.open(ctx, e.Chain, pipeline.Cursor{}); err != nil {
			return err
		}
	}
	for {
		cs.mu.Lock()
		if cs.waiting < maxWaiting {
			cs.waiting++
			ch.queue = append(ch.queue, e)
			cs.mu.Unlock()
			ch.wake.Set()
			return nil
		}
		cs.awaited = true
		cs.mu.Unlock()
		if err := cs.wait(ctx, cs.room); err != nil {
			return err
		}
	}
}

// Await returns when every record up to the cursor is stored.
func (cs *Chains) Await(ctx context.Context, cursor pipeline.Cursor) error {
	for {
		cs.mu.Lock()
		behind := false
		cs.awaited = true
		var never *chain // whose tail the fold should have come to by now
		for name, c := range cursor.Chains {
			ch := cs.chains[name]
			behind = behind || ch == nil || ch.stored < c.Last.N
		}
		for _, name := range cs.names {
			ch := cs.chains[name]
			if ch.tail.passed(cursor.Chains[name].Last.N, cursor.Seq) != nil {
				never = ch
			}
		}
		cs.mu.Unlock()
		if never != nil {
			_, err := never.look(ctx, func(t tail) error { return t.passed(cursor.Chains[never.name].Last.N, cursor.Seq) })
			if err == nil {
				err = fmt.Errorf("chain %s has changed since its tail was read", never.subject)
			}
			return err
		}
		if !behind {
			return nil
		}
		if err := cs.wait(ctx, cs.settled); err != nil {
			return err
		}
	}
}

func (cs *Chains) wait(ctx context.Context, moved task.Event) error {
	if err := cs.Err(); err != nil {
		return err
	}
	moved.Wait(ctx, task.Forever)
	if err := cs.Err(); err != nil {
		return err
	}
	return ctx.Err()
}

// Err says why a chain cannot go on, nil while all can.
func (cs *Chains) Err() error { return context.Cause(cs.ctx) }

// fail ends all chains.
func (cs *Chains) fail(err error) {
	cs.cancel(err)
	cs.room.Set()
	cs.settled.Set()
	if cs.failed != nil {
		cs.failed.Set()
	}
}

// SetMuted ends or begins publishing. What is on its way may still be stored.
func (cs *Chains) SetMuted(muted bool) {
	cs.muted.Store(muted)
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for _, ch := range cs.chains {
		ch.wake.Set()
	}
}

// Waiting is how many records are not known stored yet.
func (cs *Chains) Waiting() int {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.waiting
}

// Close gives up what waits and ends the chains.
func (cs *Chains) Close() {
	cs.fail(errors.New("closed"))
	cs.done.Wait()
}
