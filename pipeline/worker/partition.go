package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/checkpoint"
	"offerstream/pipeline/task"
	"offerstream/state"
)

// A partition is a partition that this worker owns or follows, or did. It
// outlives attempts and connections.
type partition struct {
	w      *Worker
	number int
	id     state.Identity
	log    *slog.Logger
	store  checkpoint.Store // nil: not open
	dir    string
	wake   task.Signal // set when there is something to do

	running   atomic.Bool
	restoring atomic.Bool // a snapshot is being restored
	muted     atomic.Bool // it follows: it publishes nothing
	ended     atomic.Bool // it is to end
	discards  atomic.Bool // when it has ended, its state is discarded: another member has it

	mu     sync.Mutex
	cancel func()

	known    broker.Known      // records seen stored, also by earlier attempts
	seen     place             // the newest message seen, also by earlier attempts
	shrink   int               // checkpoints are smaller than the store's limit by this factor
	shrunk   time.Time         // when shrink last changed
	guarded  []pipeline.StepID // steps that panicked and may come again
	queries  chan broker.Question
	coupons  chan broker.Question // those of gateways about coupons
	hopeless bool                 // messages between state and log have expired, and no snapshot has them
	restored uint64               // the last message in the snapshot that was last restored; 0: none
	damaging map[uint64]int       // for the last message of a restored snapshot: how often the state was found damaged afterwards

	secondless  bool   // there is no directory of a second state
	secondStuck bool   // a store of a second state could not be closed: there is none any more
	lack        lack   // why the last second fold was given up
	beyond      beyond // what the state cannot get past

	status status
}

// A place identifies a message of the log, by its sequence and the time at which
// it was stored.
type place struct {
	seq    uint64
	stored int64 // nanoseconds since 1970
}

// controlled is what control messages have set, beside the campaign set.
type controlled struct {
	revision, pauses         uint64
	paused, channels, braked []string
}

// status is the part of a partition that other tasks may read.
type status struct {
	seq, applied atomic.Uint64
	logTime      atomic.Int64
	pending      atomic.Uint64
	chains       atomic.Pointer[broker.Chains]
	set          atomic.Pointer[string]
	controlled   atomic.Pointer[controlled]
	second       atomic.Pointer[broker.SecondStatus]
	braked       atomic.Pointer[[]pipeline.Braked] // what brakes have paused here; nil: not known
	held         atomic.Pointer[holding]           // what budgets and pools hold; nil: there are none, or it is not known
	caughtUp     atomic.Bool
	stopped      atomic.Pointer[string] // why it stopped loudly
	ticked       atomic.Int64           // when the first tick after the last message was published, nanoseconds of World.Now since 1970; 0: none was
}

func newPartition(w *Worker, p int, id state.Identity) *partition {
	id.Partition = p
	w.met.stopped.WithLabelValues(fmt.Sprint(p)).Set(0)
	return &partition{w: w, number: p, id: id, log: w.opt.Log.With("partition", p), known: broker.Known{}, damaging: map[uint64]int{}, shrink: 1,
		dir: filepath.Join(w.opt.Dir, fmt.Sprintf("partition-%d", p)), wake: w.world.NewSignal(), queries: make(chan broker.Question, 64), coupons: make(chan broker.Question, mostCouponQueries)}
}

// begin prepares a run of the partition.
func (p *partition) begin(cancel func(), muted bool) {
	p.mu.Lock()
	p.cancel = cancel
	p.mu.Unlock()
	p.muted.Store(muted)
	p.ended.Store(false)
	p.discards.Store(false)
	p.running.Store(true)
}

// end ends the run, with a last checkpoint if possible. discard says whether to
// discard the state then.
func (p *partition) end(discard bool) {
	p.discards.Store(discard)
	p.ended.Store(true)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cancel()
}

func (p *partition) ending() bool { return p.ended.Load() }

// setMuted makes the partition's owner a follower, or the other way round.
func (p *partition) setMuted(muted bool) {
	p.muted.Store(muted)
	if c := p.status.chains.Load(); c != nil {
		c.SetMuted(muted)
	}
	p.wake.Set()
}

// open opens the partition's store, and makes a new one if it is damaged.
func (p *partition) open() (err error) {
	p.store, err = p.w.disk.Open(p.dir, p.options())
	if errors.Is(err, state.ErrDamaged) {
		return p.rebuild(err)
	}
	return err
}

// rebuild discards the store and makes a new, empty one: its content can be
// computed from the log.
func (p *partition) rebuild(why error) (err error) {
	if p.close(); p.status.stopped.Load() != nil { // the store could not be closed
		return why
	}
	p.log.Error("the state is damaged: it is discarded and made anew from the log", "error", why)
	p.w.met.damaged.Inc()
	if err := p.w.disk.Discard(p.dir); err != nil {
		return err
	}
	p.store, err = p.w.disk.Open(p.dir, p.options())
	return err
}

func (p *partition) options() state.Options {
	return state.Options{Identity: p.id, MemTable: p.w.opt.memTable, Log: p.log}
}

// run opens the store and makes one attempt after another, until the partition is
// to end or the connection is lost. It returns an error if the worker can never
// work. A partition that has stopped loudly stays stopped until the process ends.
func (p *partition) run(ctx context.Context, conn *broker.Conn) error {
	if p.status.stopped.Load() != nil {
		return nil
	}
	if p.store == nil {
		if err := p.open(); err != nil {
			return err
		}
	}
	unlisten, err := p.listen(conn)
	if err != nil {
		p.log.Warn("queries about users are not answered", "error", err)
	}
	deafen, err := p.listenCoupons(conn)
	if err != nil {
		p.log.Warn("gateways' questions about coupons are not answered", "error", err)
	}
	p.attempts(ctx, conn)
	unlisten()
	deafen()
	if !p.ended.Load() {
		return nil // the worker connects again
	}
	p.status.forget()
	if !p.discards.Load() || p.store == nil {
		p.close()
		return nil
	}
	p.leaveSnapshot(conn)
	p.close()
	if p.status.stopped.Load() != nil { // the store could not be closed
		return nil
	}
	p.log.Info("partition given up: another worker has it now")
	p.secondless = false
	p.discardSecond()
	return p.w.disk.Discard(p.dir)
}

// mostDamaging is how often the state may be found damaged after a snapshot was
// restored before that snapshot is no longer used. Once may be the disk's fault.
const mostDamaging = 2

// leaveSnapshot stores a snapshot of a partition that is given up.
func (p *partition) leaveSnapshot(conn *broker.Conn) {
	cursor, err := checkpoint.LoadCursor(p.store)
	if err != nil || cursor.Seq == 0 || p.status.stopped.Load() != nil || conn.Wire.IsClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	metas, err := p.w.opt.archive(conn).List(ctx, p.number)
	if err == nil && (len(metas) == 0 || metas[0].Seq < cursor.Seq) { // the new owner may have been faster
		err = p.archive(ctx, conn, cursor.Seq)
	}
	if err != nil {
		p.log.Warn("cannot make a snapshot of the partition that is given up: the one before stays", "error", err)
	}
}

func (p *partition) close() {
	if p.store == nil {
		return
	}
	switch err := p.store.Close(); {
	case errors.Is(err, state.ErrFailed) && p.status.stopped.Load() == nil: // the store stays open: this process can never use it again
		p.stop(fmt.Errorf("%w: %w", errStore, err))
	case err != nil:
		p.log.Warn("cannot close the state", "error", err)
	}
	p.store = nil
}

// attempts makes one attempt to live after another, until ctx is done, the
// connection is lost or the partition has stopped.
func (p *partition) attempts(ctx context.Context, conn *broker.Conn) {
	for tries := 0; ; tries++ {
		p.status.caughtUp.Store(false)
		p.status.ticked.Store(0)
		start := p.w.world.Now()
		err := p.live(ctx, conn)
		switch {
		case ctx.Err() != nil:
			if err != nil {
				p.log.Warn("partition left without a last checkpoint: the next start replays a little more", "error", err)
			}
			return
		case errors.Is(err, errStore): // the outcome of the commit is unknown
			p.stop(err)
			return
		case err == nil, errors.Is(err, broker.ErrClosed), conn.Wire.IsClosed():
			return
		case errors.Is(err, broker.ErrLoud):
			p.stop(err)
			return
		case errors.Is(err, pipeline.ErrNewer):
			p.stop(fmt.Errorf("%w, or stop the worker and remove %s: the state is then made anew from the log", err, p.dir))
			return
		case errors.Is(err, state.ErrDamaged):
			p.damaging[p.restored]++
			if err := p.rebuild(err); err != nil {
				p.stop(err)
				return
			}
		case p.poisoned(err): // no wait: the next attempt gets past that step
			p.w.met.interrupted.Inc()
			continue
		case errors.Is(err, state.ErrTooBig) && p.shrink < checkpoint.MaxShrink: // no wait: a smaller checkpoint can be made at once
			p.shrink, p.shrunk = 2*p.shrink, p.w.world.Now()
			p.log.Warn("a checkpoint was too big: making smaller ones", "error", err)
			p.w.met.interrupted.Inc()
			continue
		}
		if p.w.world.Now().Sub(start) > time.Minute {
			tries = 0
		}
		wait := min(100*time.Millisecond<<min(tries, 6), 5*time.Second)
		p.log.Warn("partition interrupted: going on from the last checkpoint", "error", err, "in", wait)
		p.w.met.interrupted.Inc()
		if task.Sleep(ctx, p.w.world, wait) != nil {
			return
		}
	}
}

// growAfter is how long checkpoints stay smaller after one that was too big.
const growAfter = time.Minute

// grow lets checkpoints be larger again some time after one was too big: smaller
// ones make all users of the partition wait longer.
func (p *partition) grow(now time.Time) {
	if p.shrink > 1 && now.Sub(p.shrunk) >= growAfter {
		p.shrink, p.shrunk = p.shrink/2, now
	}
}

// stop records that the partition has stopped loudly: an operator must act.
func (p *partition) stop(err error) {
	why := err.Error()
	p.status.stopped.Store(&why)
	p.w.met.stopped.WithLabelValues(fmt.Sprint(p.number)).Set(1)
	p.log.Error("PARTITION STOPPED: it sends no offers until an operator has resolved this; other partitions go on", "error", err)
}

// forget resets the status to that of a partition that does not run.
func (s *status) forget() {
	s.caughtUp.Store(false)
	s.chains.Store(nil)
	s.second.Store(nil)
	s.held.Store(nil)
	s.seq.Store(0)
	s.ticked.Store(0)
}

// refused returns why NATS does not store what the partition publishes as its owner,
// nil if it does, as far as is known.
func (p *partition) refused() error {
	if !p.running.Load() || p.muted.Load() {
		return nil
	}
	if c := p.status.chains.Load(); c != nil {
		if err := c.Refused(); err != nil {
			return err
		}
	}
	if ticked := p.status.ticked.Load(); ticked != 0 {
		if d := p.w.world.Now().Sub(time.Unix(0, ticked)); d >= broker.RefusedFor {
			return fmt.Errorf("timers are due, and the log has taken no tick for %s", d.Round(time.Second))
		}
	}
	return nil
}

// waiting returns how many records are not known stored yet, and how many of them
// are mails.
func (s *status) waiting() (records, mails int) {
	if c := s.chains.Load(); c != nil {
		return c.Waiting()
	}
	return 0, 0
}

// controlled updates what the status says of control messages and brakes, if that has
// changed: it is called for each message.
func (a *attempt) controlled() {
	st, braked := &a.p.status, a.fold.Braked()
	now := controlled{}
	now.revision, now.pauses = a.fold.Revisions()
	now.paused, now.channels = a.fold.Paused()
	if was := st.controlled.Load(); was != nil && was.revision == now.revision && was.pauses == now.pauses &&
		len(was.braked) == len(braked) && slices.Equal(was.paused, now.paused) && slices.Equal(was.channels, now.channels) {
		return
	}
	for _, b := range braked {
		now.braked = append(now.braked, broker.PauseName(b.Channel, b.Campaign))
	}
	st.controlled.Store(&now)
}

// progress updates the status.
func (a *attempt) progress() {
	seq, applied, logTime, set := a.fold.At()
	st := &a.p.status
	st.chains.Store(a.chains) // before seq: whoever reads this seq also sees its waiting records
	st.seq.Store(seq)
	st.applied.Store(applied)
	st.logTime.Store(logTime)
	if p := st.set.Load(); p == nil || *p != set {
		st.set.Store(&set)
	}
	a.controlled()
	if a.second != nil {
		a.second.wake.Set()
	}
	pending := a.reader.Pending()
	st.pending.Store(pending)
	a.chains.SetBehind(pending >= a.p.w.opt.behind)
	if pending == 0 && !st.caughtUp.Load() {
		st.caughtUp.Store(true)
		a.p.w.changed()
		a.p.log.Info("partition live", "seq", seq, "applied", applied)
	}
}
