package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/backfill"
	"offerstream/state"
)

// pass takes the live fold past a switch, message seq, with the second state that the
// switch names.
func (f *follower) pass(ctx context.Context, sw *pipeline.Switch, seq uint64) (err error) {
	if _, joined := f.fold.Switching(); joined != "" {
		return fmt.Errorf("the oldest snapshot stands within the switch of message %d: start this command again when there is a later one", seq)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("message %d makes set %s live by a backfill: %w", seq, sw.Set, err)
		}
	}()
	m, err := backfill.Find(ctx, f.archive, f.p, sw)
	if err != nil {
		return fmt.Errorf("%w: a fold can only begin after that message, with a snapshot", err)
	}
	dir := f.dir + ".second"
	defer func() { err = errors.Join(err, f.disk.Discard(dir)) }()
	opt := state.Options{Identity: state.Identity{Prefix: f.conn.Names.Prefix, Partitions: f.conn.Partitions, Partition: f.p}, Log: f.log}
	if err := backfill.Restore(ctx, f.disk, dir, opt, f.archive, m, nil); err != nil {
		return err
	}
	store, err := f.disk.Open(dir, opt)
	if err != nil {
		return err
	}
	defer store.Close()
	second, err := backfill.Open(store, backfill.Options{Conn: f.conn, Partition: f.p, Sets: f.sets.Get(ctx, f.conn), CacheBytes: 64 << 20, Confirm: 5 * time.Second})
	if err != nil {
		return err
	}
	defer second.Close()
	if err := second.To(ctx, seq-1); err != nil {
		return err
	}
	return backfill.JoinMemory(f.fold, f.users, second)
}
