package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"

	"offerstream/pipeline"
	"offerstream/pipeline/backfill"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/checkpoint"
	"offerstream/pipeline/task"
	"offerstream/state"
)

// join makes the live state and the second one that a switch names one: all users, at
// the switch, before anything else. An owner does so, and so does whoever follows or
// catches up. If it is interrupted, the next attempt goes on where it ended.
func (a *attempt) join(ctx context.Context, m pipeline.Message) error {
	p, start := a.p, a.now()
	sw, from := a.fold.Switching()
	p.log.Info("a set goes live by a backfill: the two states become one", "set", sw.Set, "seq", m.Seq, "second_from", sw.From, "second_at", sw.Seq, "after_user", from)
	if err := a.stores(ctx); err != nil { // what the message's timers have changed, too
		return err
	}
	store, second, err := a.secondAt(ctx, sw, m.Seq-1)
	if err != nil {
		return err
	}
	ready := a.now()
	j := &backfill.Join{Fold: a.fold, Live: p.store, Second: second, Cores: 1, Shrink: p.shrink, Moment: func() error {
		if fn := p.w.opt.joining; fn != nil {
			if err := fn(); err != nil {
				return err
			}
		}
		return a.interrupted()
	}}
	if _, real := p.w.world.(task.Real); real {
		j.Cores = runtime.GOMAXPROCS(0)
	}
	users, err := j.Run(ctx)
	second.Close()
	if !p.closeSecond(store) && err == nil {
		p.log.Warn("the second state cannot be removed before the worker is restarted", "dir", p.secondDir())
	}
	var of backfill.SecondError
	var failed backfill.CommitError
	switch {
	case errors.As(err, &failed): // as of a checkpoint (committer.commit)
		return fmt.Errorf("join: %w: %w", errStore, err)
	case errors.As(err, &of) && errors.Is(err, state.ErrDamaged):
		p.log.Warn("the second state is damaged: it is taken from the object store", "error", err)
		p.discardSecond()
		return fmt.Errorf("join: %v", err) // the live state is sound
	case errors.Is(err, errEnded), errors.Is(err, broker.ErrClosed), errors.Is(err, state.ErrTooBig), errors.Is(err, broker.ErrLoud), errors.Is(err, state.ErrDamaged), ctx.Err() != nil && err != nil:
		return err
	case err != nil:
		return fmt.Errorf("join: %w", err)
	}
	a.cache.Clear()
	if err := a.stores(ctx); err != nil {
		return err
	}
	p.discardSecond()
	took := a.now().Sub(start)
	p.w.met.switches.Observe(took.Seconds())
	p.w.met.backfills.WithLabelValues("switched").Inc()
	p.log.Info("a set has gone live by a backfill", "set", sw.Set, "seq", m.Seq, "users", users, "took", took, "of_which_second_state", ready.Sub(start))
	return nil
}

// stores stores a checkpoint, and waits until it is stored.
func (a *attempt) stores(ctx context.Context) error {
	if err := a.checkpoint(ctx, true); err != nil {
		return err
	}
	return a.commit.wait(ctx)
}

// interrupted returns why the attempt has to end.
func (a *attempt) interrupted() error {
	switch {
	case a.p.ending():
		return errEnded
	case a.conn.Wire.IsClosed():
		return broker.ErrClosed
	}
	return a.chains.Err()
}

// secondAt brings the second state that a switch names to a message: the partition's
// own, if it is that one, else the stored one.
func (a *attempt) secondAt(ctx context.Context, sw *pipeline.Switch, seq uint64) (store checkpoint.Store, second *backfill.Second, err error) {
	p := a.p
	p.secondless = false
	set, err := p.w.sets.Get(ctx, a.conn)(sw.Set)
	if err != nil {
		return nil, nil, setError(err)
	}
	name := backfill.Name{Set: sw.Set, Engine: set.Definition().Engine, From: sw.From}
	opt := p.backfillOptions(ctx, a.conn, a.interrupted)
	if s := a.second; s != nil {
		a.second = nil
		if second, store = s.takeOver(); second != nil {
			second.Rest = a.interrupted
		}
	} else if store, second, err = p.openSecond(opt); err != nil {
		return nil, nil, err
	}
	for own := true; ; own = false {
		if second != nil && second.Name == name && second.Seq() <= seq && second.Lists(sw.Features) && second.Cursor().Accepted == sw.Accepted {
			err = second.To(ctx, seq)
			if err == nil {
				return store, second, nil
			}
		} else if err == nil {
			err = errAnother
		}
		if second != nil {
			second.Close()
		}
		if !p.closeSecond(store) {
			return nil, nil, broker.Loud(fmt.Errorf("the second state of a backfill cannot be used: %w: repair the disk and start the worker again", err))
		}
		store, second = nil, nil
		useless := errors.Is(err, errAnother) || errors.Is(err, backfill.ErrLog) || errors.Is(err, state.ErrDamaged)
		switch {
		case !useless:
			return nil, nil, err
		case !own:
			return nil, nil, a.lacks(sw, seq, err)
		}
		if err := p.w.disk.Discard(p.secondDir()); err != nil {
			return nil, nil, err
		}
		if store, second, err = a.named(ctx, sw, seq, opt); err != nil {
			return nil, nil, err
		}
	}
}

// errAnother means that a second state is not the one that a switch names.
var errAnother = errors.New("it is another second state, or beyond the switch")

// named makes the second state of the object that a switch names.
func (a *attempt) named(ctx context.Context, sw *pipeline.Switch, seq uint64, opt backfill.Options) (checkpoint.Store, *backfill.Second, error) {
	p := a.p
	arch := p.w.opt.archive(a.conn)
	start := a.now()
	for {
		m, err := backfill.Find(ctx, arch, p.number, sw)
		if err == nil {
			err = a.restoreSecond(ctx, arch, m)
		}
		if err == nil {
			store, second, err := p.openSecond(opt)
			return store, second, err
		}
		if !errors.Is(err, backfill.ErrNone) && !backfill.Unusable(err) {
			return nil, nil, err
		}
		if a.now().Sub(start) >= p.w.opt.Confirm {
			return nil, nil, a.lacks(sw, seq, err)
		}
		p.log.Warn("the second state that a switch names is not there, or damaged: looking again", "object", sw.Object, "error", err)
		if err := task.Sleep(ctx, p.w.world, p.w.opt.Confirm/8); err != nil {
			return nil, nil, err
		}
		if err := a.interrupted(); err != nil {
			return nil, nil, err
		}
	}
}

func (a *attempt) restoreSecond(ctx context.Context, arch checkpoint.Archive, m broker.SecondMeta) error {
	p := a.p
	done, err := p.w.take(m.Bytes, p.id.Partitions)
	if err != nil {
		return err
	}
	defer done()
	start := a.now()
	err = backfill.Restore(ctx, p.w.disk, p.secondDir(), p.secondOptions(), arch, m, func(r io.Reader) io.Reader {
		return reading(func(b []byte) (int, error) {
			if why := p.w.short.Load(); why != nil {
				return 0, errors.New(*why)
			}
			if err := a.interrupted(); err != nil {
				return 0, err
			}
			return r.Read(b)
		})
	})
	if err == nil {
		p.log.Info("second state restored from its object", "seq", m.Seq, "bytes", m.Bytes, "took", a.now().Sub(start))
	}
	return err
}

// lacks is the error of a state that cannot get past a switch, as the second state is
// lost that the switch names. Only a newer snapshot helps (partition.restore).
func (a *attempt) lacks(sw *pipeline.Switch, seq uint64, why error) error {
	a.p.beyond = beyond{seq + 1, broker.Loud(fmt.Errorf("message %d is a switch to a set by a backfill, and the second state that it names cannot be had any more (%s): %w: no state from before that message can go on: restore a copy of the worker's directory, or a snapshot, from after it; if there is none, %s",
		seq+1, sw.Object, why, a.conn.Accept(a.p.number)))}
	return fmt.Errorf("the state cannot get past the switch in message %d: looking for a newer snapshot", seq+1)
}

// beyond is a message that only a snapshot with it gets past; zero: there is none.
type beyond struct {
	seq uint64
	why error // loud
}
