package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
)

// Bounds of what waits for its turn on the chains of one partition. Append
// blocks at them, so that the fold never runs far ahead of what is stored.
const (
	maxWaiting = 4096
	publishFor = 5 * time.Second // one publish, until its outcome counts as unknown
)

// Chains are the chains of one partition, over one connection: what is known
// of their tails dies with it (DESIGN.md, P5). Append and Err are for the
// partition's goroutine, Await for any.
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
	done   sync.WaitGroup

	mu      sync.Mutex
	chains  map[string]*chain // written by the partition's goroutine alone
	known   Known
	waiting int
	moved   chan struct{} // closed and replaced when a chain moves on,
	awaited bool          // if somebody waits for it
}

// Known is, by chain, the number of the last record that was acknowledged or
// seen stored. It outlives connections: a tail below it means that the broker
// lost what it had.
type Known map[string]uint64

// OpenChains reads the tails of all the partition's chains and holds them
// against the cursor and against what is known stored. end is the last
// sequence of the partition's log. A tail that cannot be is read again for
// confirm; if it stays, the error is Loud.
func (c *Conn) OpenChains(ctx context.Context, partition int, cursor pipeline.Cursor, known Known, end uint64, confirm time.Duration) (*Chains, error) {
	if c.opt.Reconnect {
		return nil, errors.New("chains need a connection that does not come back by itself: what is known of their tails dies with it")
	}
	cs := &Chains{conn: c, partition: partition, confirm: confirm, chains: map[string]*chain{}, known: known, moved: make(chan struct{})}
	cs.end.Store(end)
	cs.ctx, cs.cancel = context.WithCancelCause(context.Background())
	names, err := cs.stored(ctx)
	if err != nil {
		return nil, err
	}
	for name := range cursor.Chains {
		names[name] = true
	}
	for name := range names {
		if _, err := cs.open(ctx, name, cursor); err != nil {
			cs.Close()
			return nil, err
		}
	}
	return cs, nil
}

// stored lists the chains that have records.
func (cs *Chains) stored(ctx context.Context) (map[string]bool, error) {
	names := map[string]bool{}
	c := cs.conn
	for stream, filter := range map[string]string{c.Names.OffersStream(): c.Names.OffersOf(cs.partition), c.Names.DeadStream(): c.Names.DeadSubject(cs.partition)} {
		st, err := c.JS.Stream(ctx, stream)
		if err != nil {
			return nil, fmt.Errorf("chains of partition %d: stream %s: %w", cs.partition, stream, err)
		}
		info, err := st.Info(ctx, jetstream.WithSubjectFilter(filter))
		if err != nil {
			return nil, fmt.Errorf("chains of partition %d: subjects of %s: %w", cs.partition, stream, err)
		}
		for subject := range info.State.Subjects {
			names[c.Names.chainOf(subject)] = true
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
	ch := &chain{all: cs, name: name, subject: c.Names.ChainSubject(name, cs.partition), wake: make(chan struct{}, 1)}
	ch.log = c.Log.With("chain", ch.subject)
	var err error
	if ch.stream, err = c.JS.Stream(ctx, c.Names.ChainStream(name)); err != nil {
		return nil, fmt.Errorf("chain %s: %w", ch.subject, err)
	}
	have := cursor.Chains[name].Last
	ch.stored = have.N
	err = ch.check(ctx, func(t tail) error {
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
	stop, err := ch.listen()
	if err != nil {
		return nil, err
	}
	cs.mu.Lock()
	cs.chains[name] = ch
	cs.mu.Unlock()
	cs.done.Go(func() {
		defer stop()
		if err := ch.run(cs.ctx); err != nil {
			cs.cancel(err)
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
			select {
			case ch.wake <- struct{}{}:
			default:
			}
			return nil
		}
		moved := cs.moved
		cs.awaited = true
		cs.mu.Unlock()
		if err := cs.wait(ctx, moved); err != nil {
			return err
		}
	}
}

// Await returns when every record up to the cursor is stored.
func (cs *Chains) Await(ctx context.Context, cursor pipeline.Cursor) error {
	for {
		cs.mu.Lock()
		behind, moved := false, cs.moved
		cs.awaited = true
		var never *chain // whose tail the fold should have come to by now
		for name, c := range cursor.Chains {
			ch := cs.chains[name]
			behind = behind || ch == nil || ch.stored < c.Last.N
		}
		for name, ch := range cs.chains {
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
		if err := cs.wait(ctx, moved); err != nil {
			return err
		}
	}
}

func (cs *Chains) wait(ctx context.Context, moved <-chan struct{}) error {
	select {
	case <-moved:
		return nil
	case <-cs.ctx.Done():
		return context.Cause(cs.ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Failed is closed when a chain cannot go on; Err then says why.
func (cs *Chains) Failed() <-chan struct{} { return cs.ctx.Done() }
func (cs *Chains) Err() error              { return context.Cause(cs.ctx) }

// Waiting is how many records are not known stored yet.
func (cs *Chains) Waiting() int {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.waiting
}

// Close gives up what waits and ends the chains.
func (cs *Chains) Close() {
	cs.cancel(errors.New("closed"))
	cs.done.Wait()
}
