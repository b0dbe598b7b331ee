package worker

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/checkpoint"
	"offerstream/pipeline/task"
)

// An attempt folds a partition's log over one connection. It begins at the last
// checkpoint and ends with the connection or an error.
type attempt struct {
	p      *partition
	conn   *broker.Conn
	cache  *checkpoint.Cache
	fold   *pipeline.Fold
	chains *broker.Chains
	reader *broker.Reader
	commit *committer
	tasks  task.Group // tasks that run beside the fold

	from    pipeline.Cursor // the cursor at which the attempt began
	last    time.Time       // when the last checkpoint began
	moved   bool            // whether anything was applied since then
	at      place           // the last message that is applied completely: reading begins there
	partly  place           // the message that the state had applied in part; zero: none
	doubt   doubt
	tickAt  time.Time // when a tick was last published, or was not needed
	control controller
	second  *second // the second fold; nil: there is none
	brakes  braking

	surveying atomic.Bool // what is pending is being counted
	asked     []couponAsked

	held heldStatus

	snapshotAt time.Time // when the next snapshot is due
	archived   uint64    // the last message in the last snapshot

	counting        time.Time // when outcomes were last added to the metrics
	counted         map[string]pipeline.Counts
	countedFeatures pipeline.Counts
	countedEvents   eventCounts
}

// errEnded ends an attempt because the partition is to end.
var errEnded = errors.New("ended")

// live makes an attempt, until ctx is done (then it stores a last checkpoint),
// the connection is lost, or an error occurs.
func (p *partition) live(ctx context.Context, conn *broker.Conn) (err error) {
	if err := p.restore(ctx, conn); err != nil {
		return err
	}
	a := &attempt{p: p, conn: conn, tasks: task.Group{World: p.w.world}, counted: map[string]pipeline.Counts{},
		cache: checkpoint.NewCache(p.store, p.w.opt.CacheBytes/int64(conn.Partitions), checkpoint.Lookups{Cached: p.w.met.cacheLookup, Stored: p.w.met.storeLookup})}
	within, cancel := context.WithCancel(context.Background())
	defer a.tasks.Wait()
	defer cancel()
	defer conn.Wire.OnClose(p.wake)()
	defer a.bound(ctx, within, cancel)()
	if err := a.open(ctx, within); err != nil {
		return err
	}
	defer func() {
		cancel()
		a.leaveSecond()
		a.chains.Close()
		a.reader.Close()
		a.commit.end() // the next attempt reads from the store whether it succeeded
	}()
	err = a.loop(ctx, within)
	if errors.Is(err, errEnded) {
		return a.leave(within)
	}
	return err
}

// bound cancels within a while after ctx is done: opening may take long, and so
// may the last checkpoint.
func (a *attempt) bound(ctx, within context.Context, cancel func()) (ended func()) {
	e := a.p.w.world.NewSignal()
	a.p.w.world.Go(func() {
		for ctx.Err() == nil && within.Err() == nil {
			e.Wait(ctx, task.Forever)
		}
		task.Sleep(within, a.p.w.world, leaveFor)
		cancel()
	})
	return func() { cancel(); e.Set() }
}

// leaveFor is the time for the last checkpoint: container runtimes kill a process
// ten seconds after they have asked it to stop.
const leaveFor = 7 * time.Second

// open reads the cursor, compares it with the log and the chains, and makes the
// fold.
func (a *attempt) open(ctx, within context.Context) error {
	var err error
	if a.from, err = checkpoint.LoadCursor(a.p.store); err != nil {
		return err
	}
	a.at = place{a.from.Seq, a.from.Stored}
	if a.from.Partly != 0 {
		a.partly = place{a.from.Seq + 1, a.from.Partly}
	}
	end, from, err := a.sameLog(ctx)
	if err != nil {
		return err
	}
	if a.fold, err = pipeline.NewFold(a.from, a.p.w.sets.Get(within, a.conn), a.cache); err != nil {
		return setError(fmt.Errorf("campaign set in force: %w", err))
	}
	a.fold.Partition(a.p.number, a.conn.Partitions)
	if err := a.fold.Coupons(a.p.w.opt.Coupons); err != nil {
		return setError(err)
	}
	a.guard()
	if err := a.p.store.Timers(func(due int64, key string) error { a.fold.Schedule(due, key); return nil }); err != nil {
		return err
	}
	a.chains, err = a.conn.OpenChains(ctx, a.p.number, broker.ChainOptions{Cursor: a.from, Known: a.p.known, End: end, Confirm: a.p.w.opt.Confirm, Muted: a.p.muted.Load(), Failed: a.p.wake})
	if err != nil {
		return err
	}
	if a.reader, err = a.conn.OpenReader(ctx, a.p.number, from); err != nil {
		a.chains.Close()
		return err
	}
	a.commit = newCommitter(a)
	a.last = a.now().Add(-a.p.w.opt.Checkpoint * time.Duration(a.p.number) / time.Duration(a.conn.Partitions))      // so that partitions do not make their checkpoints at the same moment
	a.snapshotAt = a.now().Add(a.p.w.opt.Snapshot * time.Duration(a.p.number+1) / time.Duration(a.conn.Partitions)) // so that partitions do not make their snapshots at the same time
	a.progress()
	a.chains.SetMuted(a.p.muted.Load()) // it may have changed before setMuted could see the chains
	a.p.log.Info("partition catching up", "from", a.from.Seq, "to", end, "applied", a.from.Applied)
	return nil
}

// loop handles messages, timers and queries as they come, one at a time, and
// waits when there is nothing to do.
func (a *attempt) loop(ctx, within context.Context) error {
	beat := a.now()
	for {
		took, err := a.takeMany(within)
		if err != nil {
			return err
		}
		if a.untilTick() <= 0 {
			a.tick()
		}
		if !a.now().Before(beat) {
			beat = a.now().Add(a.p.w.opt.Checkpoint / 4)
			if err := a.beat(within); err != nil {
				return err
			}
		}
		if err := a.commit.poll(); err != nil {
			return err
		}
		select {
		case q := <-a.p.queries:
			a.answer(within, q)
			took = true
		default:
		}
		a.answerCoupons()
		switch {
		case a.chains.Err() != nil:
			return a.chains.Err()
		case a.conn.Wire.IsClosed():
			return broker.ErrClosed
		case ctx.Err() != nil:
			return errEnded
		}
		if err := a.checkpoint(within, false); err != nil {
			return err
		}
		if a.commit.more(within, a.p.w.opt.encode) {
			continue
		}
		if !took {
			a.reader.Wait(ctx, a.p.wake, min(a.untilTick(), beat.Sub(a.now())))
		}
	}
}

// beat does the periodic work.
func (a *attempt) beat(ctx context.Context) error {
	if a.reader.Silent() {
		if err := a.reopen(ctx, errors.New("nothing has come from the server for a while")); err != nil {
			return err
		}
	}
	a.brakes.look(ctx, a)
	a.control.look(ctx, a)
	a.lookSecond(ctx)
	a.snapshot(ctx)
	a.progress()
	a.count(false)
	a.holdings()
	return nil
}

func (a *attempt) now() time.Time { return a.p.w.world.Now() }

// apply folds a message. If the message is large, it makes checkpoints in
// between.
func (a *attempt) apply(ctx context.Context, m pipeline.Message) error {
	start := a.now()
	a.cache.Expect(m.Data)
	if err := a.fold.Begin(m); err != nil {
		return setError(err)
	}
	a.received(m)
	steps := 0
	for {
		more, err := checkpoint.Next(a.fold)
		if errors.Is(err, pipeline.ErrOtherOrigin) {
			return broker.Loud(fmt.Errorf("%w: %s", err, a.conn.WayOut(m.From)))
		}
		if err != nil {
			return err
		}
		for _, e := range a.fold.Effects() {
			switch {
			case e.Dead != nil:
				a.p.w.met.letters.Inc()
			case e.Mail != nil:
				a.p.w.met.sent.Inc()
			}
			if err := a.chains.Append(ctx, e); err != nil {
				return err
			}
		}
		a.moved = true
		if !more {
			if sw, _ := a.fold.Switching(); sw != nil {
				if err := a.join(ctx, m); err != nil {
					return err
				}
			}
			break
		}
		if steps++; a.cache.Full(a.p.shrink) {
			if err := a.checkpoint(ctx, true); err != nil {
				return err
			}
		}
	}
	if steps > 0 {
		a.p.w.met.step.Observe(a.now().Sub(start).Seconds() / float64(steps))
	}
	return nil
}

// received counts the mails of a message.
func (a *attempt) received(m pipeline.Message) {
	if m.Kind != pipeline.From {
		return
	}
	n := 0
	pipeline.EachPacked(m.Data, func(pipeline.Position, []byte) error { n++; return nil }) // the fold has read it without an error
	a.p.w.met.received.Add(float64(n))
}

// checkpoint begins a checkpoint if it is time for one. If now is true it begins
// one in any case, after waiting for the one under way.
func (a *attempt) checkpoint(ctx context.Context, now bool) error {
	if !now {
		if !a.moved || a.commit.busy && !a.cache.Full(a.p.shrink) {
			return nil
		}
		if a.now().Sub(a.last) < a.p.w.opt.Checkpoint && !a.cache.Full(a.p.shrink) {
			return nil
		}
	}
	if err := a.commit.wait(ctx); err != nil {
		return err
	}
	a.last, a.moved = a.now(), false
	a.p.grow(a.last)
	return a.commit.begin(a.fold.Cursor())
}

// leave makes a last checkpoint, so that the next attempt need not fold the same
// messages again.
func (a *attempt) leave(ctx context.Context) error {
	if err := a.commit.wait(ctx); err != nil {
		return err
	}
	a.count(true)
	if err := a.commit.begin(a.fold.Cursor()); err != nil {
		return err
	}
	return a.commit.wait(ctx)
}

// setError makes an error loud if only another campaign set or another binary can
// resolve it.
func setError(err error) error {
	if errors.Is(err, broker.ErrNoSet) || !errors.Is(err, checkpoint.ErrFetch) {
		return broker.Loud(fmt.Errorf("%w: the worker never skips a set or a message of the log: resolve this and start the worker again; if that is impossible, begin anew under another --prefix", err))
	}
	return err
}
