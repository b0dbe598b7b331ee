package audit

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/backfill"
	"offerstream/pipeline/checkpoint"
	"offerstream/pipeline/task"
	"offerstream/state"
)

// secondConfirm is how long a contradiction in the log is looked at again, as a
// second state is brought to a switch.
const secondConfirm = 5 * time.Second

// atSwitch joins the two states if the fold stands at a switch, in message seq. users
// are those in memory, nil if they are in the store.
func (r *replay) atSwitch(ctx context.Context, seq uint64, users pipeline.Memory) (err error) {
	sw, _ := r.fold.Switching()
	if sw == nil {
		return nil
	}
	dir := r.dir + ".second"
	store, second, err := r.second(ctx, dir, sw, seq-1)
	if err == nil {
		err = r.join(ctx, users, second)
		second.Close()
	}
	if store != nil {
		err = errors.Join(err, store.Close())
	}
	if err = errors.Join(err, r.disk.Discard(dir)); err != nil && !errors.Is(err, state.ErrTooBig) {
		return fmt.Errorf("message %d, at which campaigns went live by a backfill: %w", seq, err)
	}
	return err
}

func (r *replay) join(ctx context.Context, users pipeline.Memory, second *backfill.Second) error {
	if users != nil {
		return backfill.JoinMemory(r.fold, users, second)
	}
	if err := r.commit(); err != nil {
		return err
	}
	j := &backfill.Join{Fold: r.fold, Live: r.store, Second: second, Only: r.only, Cores: 1, Shrink: r.shrink}
	if _, real := r.conn.World.(task.Real); real {
		j.Cores = runtime.GOMAXPROCS(0)
	}
	if _, err := j.Run(ctx); err != nil {
		return err
	}
	r.cache.Clear()
	return r.commit()
}

// second makes the second state that a switch names, as it is at a message: of its
// object, else of the log, if that has all messages. An acceptance of losses goes on
// with an empty one if both are lost.
func (r *replay) second(ctx context.Context, dir string, sw *pipeline.Switch, seq uint64) (store checkpoint.Store, second *backfill.Second, err error) {
	in := state.Options{Identity: r.identity(), MemTable: secondMemTable, Log: r.log}
	o := backfill.Options{Conn: r.conn, Partition: r.p, Sets: r.sets.Get(ctx, r.conn), CacheBytes: 64 << 20, Confirm: secondConfirm, Listed: sw.Features, Only: r.only, PassGaps: r.lossy, Rest: ctx.Err}
	open := func(make func(checkpoint.Store) (*backfill.Second, error)) error {
		if store, err = r.disk.Open(dir, in); err != nil {
			return err
		}
		if second, err = make(store); err == nil {
			err = second.To(ctx, seq)
		}
		if err != nil {
			err = errors.Join(err, store.Close(), r.disk.Discard(dir))
			store, second = nil, nil
		}
		return err
	}
	begin := func(s checkpoint.Store) (*backfill.Second, error) { return backfill.Begin(s, sw.Set, o) }
	nothing := func(s checkpoint.Store) (*backfill.Second, error) { return backfill.Nothing(s, sw.Set, seq, o) }
	if err := r.disk.Discard(dir); err != nil {
		return nil, nil, err
	}
	if r.only != nil && len(r.only) == 0 { // nobody is joined
		return store, second, open(nothing)
	}
	m, errObject := backfill.Find(ctx, r.archive, r.p, sw)
	if errObject == nil {
		errObject = backfill.Restore(ctx, r.disk, dir, in, r.archive, m, nil)
	}
	if errObject == nil {
		errObject = open(func(s checkpoint.Store) (*backfill.Second, error) { return backfill.Open(s, o) })
	}
	if errObject == nil || ctx.Err() != nil {
		return store, second, errObject
	}
	first, _, err := r.conn.Extent(ctx, r.p)
	if err != nil {
		return nil, nil, err
	}
	if sw.From == 0 && first == 1 {
		r.log.Warn("the second state that a switch names is not there: it is folded from the log's beginning", "object", sw.Object, "error", errObject)
		err = open(begin)
		if err == nil || ctx.Err() != nil {
			return store, second, err
		}
		errObject = errors.Join(errObject, err)
	}
	if r.lossy && (errors.Is(errObject, backfill.ErrNone) || errors.Is(errObject, backfill.ErrLog) || backfill.Unusable(errObject)) {
		r.log.Warn("the second state that a switch names is lost: what it lists begins empty", "object", sw.Object, "error", errObject)
		r.emptied = append(r.emptied, strings.Join(slices.Concat(sw.Features, sw.Campaigns), ", "))
		return store, second, open(nothing)
	}
	return nil, nil, fmt.Errorf("the second state that it names, %s, cannot be had: %w: the log can be folded only from a snapshot from after that message", sw.Object, errObject)
}

// secondMemTable is the size in bytes of the memtables of second states.
const secondMemTable = 16 << 20

func (r *replay) identity() state.Identity {
	return state.Identity{Prefix: r.conn.Names.Prefix, Partitions: r.conn.Partitions, Partition: r.p}
}
