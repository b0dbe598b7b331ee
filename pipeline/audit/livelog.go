package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"

	"github.com/cespare/xxhash/v2"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/checkpoint"
	"offerstream/pipeline/coupon"
	"offerstream/pipeline/event"
)

// ReplayOptions configure Replay. Zero values mean the defaults in parentheses.
//
// The functions are called for several partitions at once, and for one partition
// one after another. An error that they return ends the replay.
type ReplayOptions struct {
	Partitions []int         // (all)
	Set        *pipeline.Set // in force all the time (the sets that were live)
	Users      []string      // keys of entities, such as u:ada: only these are folded, and facts (all)
	From       int64         // the log time before whose first step Reached is called (the beginning)
	Until      int64         // the log time after which no step is made (the end of the log)
	Coupons    *coupon.Keys  // (codes are placeholders)
	Dir        string        // directory for temporary state (os.TempDir)
	Workers    int           // partitions that are folded at once (GOMAXPROCS)
	Log        *slog.Logger  // (none)

	// Begin is called with the fold before its first step, such as to set hooks. It is
	// called again if a step panics: then the partition is folded anew, that step
	// becomes a dead letter, and what came of the partition before must be forgotten.
	Begin    func(p int, f *pipeline.Fold) error
	Reached  func(p int, f *pipeline.Fold) error // the next step is the first at From or later, or there is none
	Effect   func(p int, now int64, e pipeline.Effect) error
	End      func(p int, f *pipeline.Fold, r Replayed) error
	Progress func(p int, seq, end uint64)
}

// Replayed tells what was folded of a partition.
type Replayed struct {
	From  uint64 // the last message in the snapshot with which it began; 0: it began with the log's first message
	First int64  // the log time of the first step
	Users uint64 // with a step
	Rows  uint64 // of facts' tables of another set, given at its first message with events
}

// Replay folds the partitions' logs anew, as they are when it begins, and writes
// nothing to NATS. Under the sets that were live it gives the offers that are stored,
// with their positions, from the last acceptance on (PROTOCOL.md, P9).
//
// It has the users of as many partitions in memory as it folds at once. If the
// beginning of a log has expired, it begins with the state of the oldest snapshot to
// which the log reaches back, on disk. With another set that state goes on under it as
// it does when campaigns change (LANGUAGE.md, rule 14). Campaigns that an operator
// has paused are paused under another set, too.
//
// With Users, positions on chains and the numbers of events and dead letters are not
// those of the log.
func Replay(ctx context.Context, conn *broker.Conn, opt ReplayOptions) (err error) {
	own, err := os.MkdirTemp(opt.Dir, "offerstream-replay-")
	if err != nil {
		return fmt.Errorf("make a directory for a snapshot's state: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(own)) }()
	var compiled checkpoint.Sets
	partitions := make(chan int)
	go func() {
		defer close(partitions)
		for _, p := range opt.partitions(conn) {
			select {
			case partitions <- p:
			case <-ctx.Done():
				return
			}
		}
	}()
	within, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	for range opt.workers() {
		all.Go(func() {
			for p := range partitions {
				if within.Err() != nil {
					continue
				}
				r := newLiveLog(newReplay(conn, p, filepath.Join(own, fmt.Sprint("state-", p)), opt.Log, &compiled, opt.Coupons), &opt)
				if err := r.past(func() error { return r.run(within) }); err != nil {
					cancel(fmt.Errorf("replay partition %d: %w", p, err))
				}
			}
		})
	}
	all.Wait()
	return context.Cause(within)
}

func (o *ReplayOptions) workers() int {
	if o.Workers > 0 {
		return o.Workers
	}
	return runtime.GOMAXPROCS(0)
}

// partitions are those to be folded.
func (o *ReplayOptions) partitions(conn *broker.Conn) (all []int) {
	for p := range conn.Partitions {
		if o.Partitions != nil && !slices.Contains(o.Partitions, p) {
			continue
		}
		if o.Users == nil || slices.ContainsFunc(o.Users, func(key string) bool { return event.Partition(key, conn.Partitions) == p }) {
			all = append(all, p)
		}
	}
	return all
}

// A liveLog replays one partition for Replay.
type liveLog struct {
	*reading
	opt     *ReplayOptions
	reached bool                // Reached has been called
	first   int64               // Replayed.First
	seen    map[uint64]struct{} // of the users in the store
}

func newLiveLog(r *replay, opt *ReplayOptions) *liveLog {
	r.set = opt.Set
	if opt.Users != nil {
		r.only = []string{}
		for _, key := range opt.Users {
			if event.Partition(key, r.conn.Partitions) == r.p {
				r.only = append(r.only, key)
			}
		}
	}
	l := &liveLog{reading: newReading(r), opt: opt}
	r.changed, r.counts = l.saw, true
	return l
}

func (l *liveLog) run(ctx context.Context) error {
	l.seen, l.first = map[uint64]struct{}{}, 0
	if err := l.origin(ctx, false); err != nil {
		return err
	}
	if err := l.call(l.opt.Begin); err != nil {
		return err
	}
	l.reached = l.opt.From == 0
	if l.reached {
		l.fold.PauseAt(l.until())
		if err := l.call(l.opt.Reached); err != nil {
			return err
		}
	} else {
		l.fold.PauseAt(min(l.opt.From-1, l.until()))
	}
	if err := l.read(ctx, l.opt.Progress, l.step); err != nil {
		return err
	}
	if !l.reached {
		if err := l.call(l.opt.Reached); err != nil {
			return err
		}
	}
	if l.opt.End == nil {
		return nil
	}
	return l.opt.End(l.p, l.fold, Replayed{l.from, l.first, l.count(), l.rows})
}

// until is the latest log time of a step.
func (l *liveLog) until() int64 {
	if l.opt.Until == 0 {
		return math.MaxInt64
	}
	return l.opt.Until
}

func (l *liveLog) call(fn func(p int, f *pipeline.Fold) error) error {
	if fn == nil {
		return nil
	}
	return fn(l.p, l.fold)
}

// step passes a step's effects on. If the fold has stopped before From, it goes on
// from there.
func (l *liveLog) step(uint64) error {
	_, _, now, _ := l.fold.At()
	if l.first == 0 {
		l.first = now
	}
	if l.opt.Effect != nil {
		for _, e := range l.fold.Effects() {
			if err := l.opt.Effect(l.p, now, e); err != nil {
				return err
			}
		}
	}
	if !l.fold.Stopped() || l.reached || l.opt.From > l.until() {
		return nil
	}
	l.reached = true
	l.fold.PauseAt(l.until())
	return l.call(l.opt.Reached)
}

// count is the number of users with a step.
func (l *liveLog) count() (n uint64) {
	if l.users == nil {
		return uint64(len(l.seen))
	}
	for key := range l.users {
		if pipeline.IsUser(key) {
			n++
		}
	}
	return n
}

// saw remembers the users in the store that have a step, by their hashes.
func (l *liveLog) saw(key string) {
	if pipeline.IsUser(key) {
		l.seen[xxhash.Sum64String(key)] = struct{}{}
	}
}
