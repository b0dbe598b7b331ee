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

const (
	// maxWaiting is how many records may wait on the chains of one partition.
	// Append blocks there, so that the fold never runs far ahead of the records
	// that are stored.
	maxWaiting = 4096
	// publishFor is how long one publish waits for its acknowledgement; then its
	// outcome counts as unknown.
	publishFor = 5 * time.Second
)

// Chains are the chains of one partition over one connection. What is known of
// the tails must not outlive that connection (PROTOCOL.md, P5). Append and Err
// are for the partition's task, Await for one other task.
//
// Muted chains publish nothing: a follower keeps waiting records until it sees
// that the owner has stored them.
//
// Whatever happens to a publish, the chain's last message tells which record
// comes next (P1):
//
//	what happened                       the tail is then       next
//	stored, acknowledged                -                      the next record
//	stored, acknowledgement lost        this record            the next record
//	not stored                          the record before      this record again
//	another writer was faster           a later record         the record after that
//	the broker lost records             below a known record   loud, after 20 s
//	the record is of another log        not the fold's         loud, after 20 s
//
// If the tail is ahead of the fold, the fold's records are skipped up to the
// tail, and the tail is compared with the fold's record of that number. A fold
// that never produced that record would lose offers in silence, so it is also
// loud if the fold passes the tail's message without producing it.
type Chains struct {
	conn      *Conn
	partition int
	confirm   time.Duration
	end       atomic.Uint64 // the log's last sequence, when last looked up

	ctx    context.Context
	cancel context.CancelCauseFunc
	done   task.Group
	failed task.Signal // set when a chain cannot go on
	muted  atomic.Bool
	behind atomic.Bool // the fold is: its records may wait to be more

	failing failures // publishes, by chain

	mu                    sync.Mutex
	chains                map[string]*chain // written by the partition's task alone
	names                 []string          // of the chains, in the order of opening
	known                 Known
	waiting, mailsWaiting int         // records, and those of them that are mails
	bytes                 int         // of the mails that wait
	awaited               bool        // a task waits for one of these signals:
	room                  task.Signal // set for Append when there may be room
	settled               task.Signal // set for Await when a record has been stored
}

// Known maps a chain to its last record that was acknowledged or seen stored. It
// outlives connections: a tail before it means that the broker has lost records, or
// that mails have expired.
type Known map[string]ChainTail

// ChainOptions tell OpenChains how to open a partition's chains.
type ChainOptions struct {
	Cursor  pipeline.Cursor // the state's
	Known   Known           // records seen stored before; Chains updates it
	End     uint64          // the last sequence of the partition's log
	Confirm time.Duration   // how long to read an impossible tail again before the error is Loud
	Muted   bool            // until SetMuted
	Failed  task.Signal     // set when a chain cannot go on: then Err returns why
}

// OpenChains reads the tails of all chains of the partition and compares them
// with the cursor and with the records known stored. A chain of mails that the
// cursor does not have is opened with its first mail: a partition costs nothing for
// those to which it sends nothing.
func (c *Conn) OpenChains(ctx context.Context, partition int, o ChainOptions) (*Chains, error) {
	if c.opt.Reconnect {
		return nil, errors.New("open chains: the connection must not reconnect by itself, as what is known of the tails would be stale then")
	}
	cs := &Chains{conn: c, partition: partition, confirm: o.Confirm, chains: map[string]*chain{}, known: o.Known, failed: o.Failed,
		done: task.Group{World: c.World}, room: c.World.NewSignal(), settled: c.World.NewSignal()}
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
	if names, err = cs.conn.OfferChains(ctx, cs.partition); err != nil {
		return nil, err
	}
	dead, err := cs.conn.chainsUnder(ctx, cs.partition, n.DeadStream(), n.DeadSubject(cs.partition))
	return append(names, dead...), err
}

// OfferChains lists a partition's chains of offers that have records, those of the
// withheld and page records included.
func (c *Conn) OfferChains(ctx context.Context, partition int) ([]string, error) {
	return c.chainsUnder(ctx, partition, c.Names.OffersStream(), c.Names.OfferChainsOf(partition)...)
}

// chainsUnder lists a partition's chains that have records in a stream under the
// filters.
func (c *Conn) chainsUnder(ctx context.Context, partition int, stream string, filters ...string) (names []string, err error) {
	for _, filter := range filters {
		subjects, err := c.Wire.Subjects(ctx, stream, filter)
		if err != nil {
			return nil, fmt.Errorf("chains of partition %d: %w", partition, err)
		}
		for _, s := range subjects {
			names = append(names, c.Names.chainOf(s))
		}
	}
	slices.Sort(names)
	return names, nil
}

// chainOf is the inverse of ChainSubject.
func (n Names) chainOf(subject string) string {
	name := strings.TrimPrefix(subject, n.subject(""))
	return name[:strings.LastIndexByte(name, '.')]
}

// open reads a chain's tail and starts the chain.
func (cs *Chains) open(ctx context.Context, name string, cursor pipeline.Cursor) (*chain, error) {
	c := cs.conn
	ch := &chain{all: cs, name: name, subject: c.Names.ChainSubject(name, cs.partition), wake: c.World.NewSignal(), hurry: c.World.NewSignal(), msg: nats.Msg{Header: nats.Header{}}}
	ch.log = c.Log.With("chain", ch.subject)
	ch.to, ch.mails = pipeline.MailsTo(name)
	have := cursor.Chains[name].Last
	ch.stored = have
	cs.mu.Lock()
	ch.known = cs.known[name]
	cs.mu.Unlock()
	if ch.mails && order(have, ch.known.Position) > 0 {
		ch.known = ChainTail{have, cursor.Chains[name].Sent}
	}
	err := ch.check(ctx, func(t tail) error {
		switch before := order(t.Position, have); {
		case before < 0 && !t.aged:
			return fmt.Errorf("it ends at record %d, the state has seen record %d stored", t.N, have.N)
		case before == 0 && t.seq > 0 && t.Position != have:
			return fmt.Errorf("its record %d is %+v, the state has %+v", t.N, t.Position, have)
		}
		return t.passed(have, cursor.Seq)
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

// Append adds a record to those that wait on its chain, and blocks while too
// many wait. Records must come in the fold's order, including those that are
// already stored.
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
		if cs.waiting < maxWaiting && cs.bytes < maxWaitingBytes {
			cs.waiting++
			if ch.mails {
				cs.mailsWaiting++
			}
			cs.bytes += len(e.Mail)
			ch.queue = append(ch.queue, e)
			many := len(ch.queue) >= mostBatched
			cs.mu.Unlock()
			if ch.wake.Set(); many {
				ch.hurry.Set()
			}
			return nil
		}
		cs.awaited = true
		for _, ch := range cs.chains {
			ch.hurry.Set()
		}
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
		var never *chain // a chain whose tail the fold has passed without producing its record
		for name, c := range cursor.Chains {
			ch := cs.chains[name]
			behind = behind || ch == nil || order(ch.stored, c.Last) < 0
			if ch != nil && order(ch.stored, c.Last) < 0 && !ch.mails {
				ch.hurry.Set()
			}
		}
		for _, name := range cs.names {
			ch := cs.chains[name]
			if ch.tail.passed(cursor.Chains[name].Last, cursor.Seq) != nil {
				never = ch
			}
		}
		cs.mu.Unlock()
		if never != nil {
			_, err := never.look(ctx, func(t tail) error { return t.passed(cursor.Chains[never.name].Last, cursor.Seq) })
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

func (cs *Chains) wait(ctx context.Context, moved task.Signal) error {
	if err := cs.Err(); err != nil {
		return err
	}
	moved.Wait(ctx, task.Forever)
	if err := cs.Err(); err != nil {
		return err
	}
	return ctx.Err()
}

// Err returns why a chain cannot go on; nil while all chains can.
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

// SetMuted stops or resumes publishing. A record that is on its way may still be
// stored.
func (cs *Chains) SetMuted(muted bool) {
	cs.muted.Store(muted)
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for _, ch := range cs.chains {
		ch.wake.Set()
		ch.hurry.Set()
	}
}

// SetBehind says whether the fold is behind its log, so that nobody waits for single
// records: then those of a chain may wait for each other.
func (cs *Chains) SetBehind(behind bool) {
	if cs.behind.Swap(behind) && !behind {
		cs.mu.Lock()
		defer cs.mu.Unlock()
		for _, ch := range cs.chains {
			ch.hurry.Set()
		}
	}
}

// Waiting returns how many records are not known stored yet, and how many of them
// are mails.
func (cs *Chains) Waiting() (records, mails int) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.waiting, cs.mailsWaiting
}

// Refused returns why records are not stored, if that has lasted for RefusedFor.
func (cs *Chains) Refused() error { return cs.failing.refused(cs.conn.World.Now()) }

// Close drops the waiting records and ends the chains.
func (cs *Chains) Close() {
	cs.fail(errors.New("closed"))
	cs.done.Wait()
}
