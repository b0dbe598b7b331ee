package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
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
type Chains struct {
	conn      *Conn
	partition int
	confirm   time.Duration
	end       uint64 // the log's end when the chains were opened

	ctx    context.Context
	cancel context.CancelCauseFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	chains  map[string]*chain // written by the partition's goroutine alone
	known   Known
	waiting int
	moved   chan struct{} // closed and replaced whenever a chain moves on
}

// Known is, by chain, the number of the last record known stored. It outlives
// connections: a tail below it means that the broker lost what it had.
type Known map[string]uint64

// A tail is a chain's last message; seq 0: there is none.
type tail struct {
	pipeline.Position
	seq uint64 // in its stream: what the next publish expects
}

// A chain publishes its records one by one, in order.
type chain struct {
	all     *Chains
	name    string
	subject string
	stream  jetstream.Stream
	tail    tail // of run alone
	log     *slog.Logger

	queue  []pipeline.Effect // under all.mu, as is stored
	stored uint64            // the last record of the fold's known stored
	wake   chan struct{}
}

// OpenChains reads the tails of all the partition's chains and holds them
// against the cursor and against what is known stored. end is the last
// sequence of the partition's log. A tail that cannot be is read again for
// confirm; if it stays, the error is Loud.
func (c *Conn) OpenChains(ctx context.Context, partition int, cursor pipeline.Cursor, known Known, end uint64, confirm time.Duration) (*Chains, error) {
	cs := &Chains{conn: c, partition: partition, confirm: confirm, end: end, chains: map[string]*chain{}, known: known, moved: make(chan struct{})}
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
	cs.mu.Lock()
	known := cs.known[name]
	cs.mu.Unlock()
	err = ch.check(ctx, func(t tail) error {
		switch {
		case t.N < have.N:
			return fmt.Errorf("it ends at record %d, the state has seen record %d stored", t.N, have.N)
		case t.N < known:
			return fmt.Errorf("it ends at record %d, record %d was acknowledged", t.N, known)
		case t.N == have.N && t.N > 0 && t.Position != have:
			return fmt.Errorf("its record %d is %+v, the state has %+v", t.N, t.Position, have)
		case t.N > have.N && t.S <= cursor.Seq:
			return fmt.Errorf("its record %d came from message %d, and up to message %d there are only %d records", t.N, t.S, cursor.Seq, have.N)
		}
		return cs.inLog(ctx, t)
	})
	if err != nil {
		return nil, err
	}
	cs.mu.Lock()
	cs.chains[name] = ch
	cs.mu.Unlock()
	cs.done.Go(func() {
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
		behind := false
		for name, c := range cursor.Chains {
			ch := cs.chains[name]
			behind = behind || ch != nil && ch.stored < c.Last.N
		}
		moved := cs.moved
		cs.mu.Unlock()
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

// run publishes what waits until ctx is done.
func (ch *chain) run(ctx context.Context) error {
	for {
		e, ok := ch.next()
		if !ok {
			select {
			case <-ch.wake:
				continue
			case <-ctx.Done():
				return nil
			}
		}
		if err := ch.put(ctx, e); err != nil {
			if ctx.Err() != nil {
				return nil // closed: what waits is for whoever opens the chains next
			}
			return err
		}
		ch.moved(e.Pos.N)
	}
}

func (ch *chain) next() (pipeline.Effect, bool) {
	ch.all.mu.Lock()
	defer ch.all.mu.Unlock()
	if len(ch.queue) == 0 {
		return pipeline.Effect{}, false
	}
	return ch.queue[0], true
}

// moved notes that record n is stored and no longer waits.
func (ch *chain) moved(n uint64) {
	cs := ch.all
	cs.mu.Lock()
	defer cs.mu.Unlock()
	ch.queue[0] = pipeline.Effect{}
	ch.queue = ch.queue[1:]
	ch.stored = n
	cs.known[ch.name] = max(cs.known[ch.name], ch.tail.N)
	cs.waiting--
	close(cs.moved)
	cs.moved = make(chan struct{})
}

// put returns when the record is on the chain, whoever wrote it.
func (ch *chain) put(ctx context.Context, e pipeline.Effect) error {
	for attempt := 0; ; attempt++ {
		if e.Pos.N <= ch.tail.N {
			if e.Pos.N == ch.tail.N && e.Pos != ch.tail.Position {
				return ch.differs(ctx, e.Pos)
			}
			return nil
		}
		if e.Pos.N != ch.tail.N+1 {
			return Loud(fmt.Errorf("chain %s ends at record %d, the state goes on at record %d", ch.subject, ch.tail.N, e.Pos.N))
		}
		err := ch.publish(ctx, e)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if err := ch.again(ctx, attempt, err); err != nil {
			return err
		}
	}
}

// publish sends the record, expecting that the tail is what is known of it.
func (ch *chain) publish(ctx context.Context, e pipeline.Effect) error {
	m, err := message(ch.subject, e)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, publishFor)
	defer cancel()
	ack, err := ch.all.conn.JS.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(ch.tail.seq), jetstream.WithRetryAttempts(0))
	if err != nil {
		return err
	}
	ch.tail = tail{e.Pos, ack.Sequence}
	return nil
}

// codeOneInFlight is the answer when another publish on the subject is under
// way on R3: trying at once makes no progress.
const codeOneInFlight = 10164

// again waits as long as the failure asks for and reads the tail.
func (ch *chain) again(ctx context.Context, attempt int, failure error) error {
	var api *jetstream.APIError
	wait := time.Duration(0)
	switch {
	case errors.As(failure, &api) && int(api.ErrorCode) == codeOneInFlight:
		wait = 3*time.Millisecond + rand.N(3*time.Millisecond)
	case attempt > 0:
		wait = min(10*time.Millisecond<<min(attempt, 10), 2*time.Second)
		wait += rand.N(wait / 2)
		ch.log.Warn("an offer is not stored yet: trying again", "error", failure, "attempt", attempt+1)
	}
	if err := pause(ctx, wait); err != nil {
		return err
	}
	acknowledged := ch.tail
	return ch.check(ctx, func(t tail) error {
		if t.N < acknowledged.N || t.N == acknowledged.N && t != acknowledged {
			return fmt.Errorf("it ends at record %d (message %d), record %d (message %d) was acknowledged", t.N, t.seq, acknowledged.N, acknowledged.seq)
		}
		return ch.all.inLog(ctx, t)
	})
}

// differs is reached when the tail has the record's number and nothing else
// of it. It is read again before that is believed.
func (ch *chain) differs(ctx context.Context, want pipeline.Position) error {
	return ch.check(ctx, func(t tail) error {
		if t.N == want.N && t.Position != want {
			return fmt.Errorf("its record %d is %+v, the log gives %+v", t.N, t.Position, want)
		}
		if t.N < want.N {
			return fmt.Errorf("it ends at record %d after record %d was seen", t.N, want.N)
		}
		return nil
	})
}

// check reads the tail until right accepts it, for at most the time that a
// stale answer may last; then what is wrong is Loud. A tail that cannot be
// read is tried again until ctx is done.
func (ch *chain) check(ctx context.Context, right func(tail) error) error {
	var first time.Time
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		t, err := ch.read(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case ch.all.conn.NC.IsClosed():
			return fmt.Errorf("chain %s: %w", ch.subject, jetstream.ErrConnectionClosed)
		case errors.Is(err, ErrLoud):
			return err
		case err != nil:
			ch.log.Warn("cannot read the chain's tail: trying again", "error", err)
		default:
			wrong := right(t)
			if wrong == nil {
				ch.tail = t
				return nil
			}
			if first.IsZero() {
				first = time.Now()
				ch.log.Warn("the chain's tail is not what it must be: reading it again", "error", wrong)
			}
			if time.Since(first) >= ch.all.confirm {
				return Loud(fmt.Errorf("chain %s: %w: the broker came back with less than it had acknowledged, or with another log", ch.subject, wrong))
			}
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

// read asks the stream's leader for the chain's last message.
func (ch *chain) read(ctx context.Context) (tail, error) {
	ctx, cancel := context.WithTimeout(ctx, publishFor)
	defer cancel()
	m, err := ch.stream.GetLastMsgForSubject(ctx, ch.subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return tail{}, nil
	}
	if err != nil {
		return tail{}, err
	}
	pos, err := ParsePosition(m.Header)
	if err != nil {
		return tail{}, Loud(fmt.Errorf("chain %s, message %d: %w", ch.subject, m.Sequence, err))
	}
	return tail{pos, m.Sequence}, nil
}

// inLog says what is wrong with a tail that came from beyond the log's end.
// Another owner may be ahead of this one, so the end is looked up anew.
func (cs *Chains) inLog(ctx context.Context, t tail) error {
	if t.S <= cs.end {
		return nil
	}
	_, end, err := cs.conn.Extent(ctx, cs.partition)
	if err == nil && t.S > end {
		err = fmt.Errorf("its record %d came from message %d, the log ends at message %d", t.N, t.S, end)
	}
	return err
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ErrLoud marks an error that must stop a partition until an operator has
// looked: going on could lose or double offers in silence.
var ErrLoud = errors.New("stopped for an operator to look at")

// Loud makes err such an error.
func Loud(err error) error { return &loud{err} }

type loud struct{ error }

func (l *loud) Unwrap() error        { return l.error }
func (l *loud) Is(target error) bool { return target == ErrLoud }
