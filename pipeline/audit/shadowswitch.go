package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/backfill"
	"offerstream/pipeline/value"
	"offerstream/state"
)

// join makes the shadow: a copy of the live fold, with a switch after the last
// message.
func (f *follower) join(ctx context.Context, list *ShadowList) (err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.prune()
	c := f.fold.Cursor()
	if f.users, err = copied(f.users); err != nil { // so that both folds count from here, and know the same timers
		return err
	}
	shadows, err := copied(f.users)
	if err != nil {
		return err
	}
	if f.fold, err = f.newFold(ctx, c, f.users); err != nil {
		return err
	}
	shadow, err := f.newFold(ctx, c, shadows)
	if err != nil {
		return err
	}
	for _, e := range f.seconds {
		f.s.opt.Set.Overdue(e, c.LogTime, func(campaign, channel string) {
			if slices.Contains(list.Campaigns, campaign) {
				f.overdue[campaign+" "+channel]++
			}
		})
	}
	control, err := json.Marshal(map[string]any{
		"set": f.s.opt.Set.Hash(), "engine": pipeline.Engine, "revision": c.Revision + 1, "at": value.FormatTime(c.LogTime),
		"switch": &pipeline.Switch{Seq: c.Seq, Stored: c.Stored, LogTime: c.LogTime, Accepted: c.Accepted, Features: list.Features, Campaigns: list.Campaigns, Overdue: f.s.opt.Overdue},
	})
	if err != nil {
		return err
	}
	if err := shadow.Begin(pipeline.Message{Seq: c.Seq + 1, Stored: c.Stored, Kind: pipeline.Control, Data: control}); err != nil {
		return err
	}
	for more := true; more; {
		if more, err = shadow.Next(); err != nil {
			return err
		}
	}
	if sw, _ := shadow.Switching(); sw == nil {
		return errors.New("the switch does not count: please report this")
	}
	if err := shadow.JoinMemory(f.second.Cursor(), shadows, f.seconds); err != nil {
		return err
	}
	shadow.Failures(func(one pipeline.Failure) { f.came.Failures = append(f.came.Failures, one) })
	f.shadow, f.shadows, f.second, f.seconds = shadow, shadows, nil, nil
	f.first, f.applied, f.given = c.LogTime, c.Applied, c.Set == f.s.opt.Set.Hash()
	return f.bound()
}

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
