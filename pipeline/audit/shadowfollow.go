package audit

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/checkpoint"
	"offerstream/pipeline/task"
	"offerstream/state"
)

// A follower follows the log of one partition for a Shadow.
type follower struct {
	*reading // its fold is the live one, with users in memory
	s        *Shadow
	wake     task.Signal
	told     bool  // caughtUp has been called
	reach    int64 // the log time of the snapshot with which it began; 0: none

	mu      sync.Mutex // held while a message is folded; of what follows, and of fold, users, end and from
	most    uint64     // Shadow.most, as the folds have it
	count   int        // users in memory, when last counted
	look    int        // the size of users at which to count again
	second  *pipeline.Fold
	seconds pipeline.Memory // of second
	shadow  *pipeline.Fold  // nil: not joined yet. Its messages have a number that is greater by that of the switch
	shadows pipeline.Memory // of shadow

	first, messages      int64 // log time of the join; messages since then
	applied              uint64
	given                bool // the facts' tables of the set
	overdue              map[string]int
	measured             uint64
	liveTime, shadowTime time.Duration
	came                 ShadowMessage // of the message under way
}

func newFollower(s *Shadow, p int) *follower {
	r := newReading(newReplay(s.conn, p, "", s.opt.Log, &s.sets, s.opt.Coupons))
	return &follower{reading: r, s: s, wake: s.conn.World.NewSignal(), overdue: map[string]int{}}
}

// run follows the log until ctx is done.
func (f *follower) run(ctx context.Context) error {
	return f.past(func() error {
		if err := f.begin(ctx); err != nil {
			return err
		}
		return f.follow(ctx)
	})
}

// begin makes the folds.
func (f *follower) begin(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.second, f.most, f.look = nil, f.s.most.Load(), 0
	err := f.origin(ctx, false)
	if err == nil && f.store != nil {
		err = f.load()
	}
	if err != nil {
		return err
	}
	cursor := f.fold.Cursor()
	if f.from > 0 {
		f.reach = cursor.LogTime
	}
	if f.fold, err = f.newFold(ctx, cursor, f.users); err != nil {
		return err
	}
	if err := f.bound(); err != nil {
		return err
	}
	return f.beginSecond(ctx)
}

// load reads the state of a snapshot into memory.
func (f *follower) load() error {
	f.users = pipeline.Memory{}
	err := f.store.Entities("", func(key string, b []byte, _ state.Pieces) (err error) {
		if f.follows(key) {
			if f.users[key], err = pipeline.DecodeEntity(key, b); err == nil {
				err = f.bound()
			}
		}
		return err
	})
	return errors.Join(err, f.remove())
}

// newFold makes a fold of entities that no fold has scheduled yet.
func (f *follower) newFold(ctx context.Context, cursor pipeline.Cursor, users pipeline.Memory) (*pipeline.Fold, error) {
	fold, err := pipeline.NewFold(cursor, f.sets.Get(ctx, f.conn), users)
	if err != nil {
		return nil, err
	}
	for _, s := range f.guarded {
		fold.Guard(s)
	}
	f.choose(fold)
	for key, e := range users {
		if due := e.Due(); due != pipeline.NoDue {
			fold.Schedule(due, key)
		}
		if err := fold.CountPending(key); err != nil {
			return nil, err
		}
	}
	return fold, fold.Coupons(f.coupons)
}

// copied is a copy of entities, as if they were read from a store.
func copied(users pipeline.Memory) (pipeline.Memory, error) {
	c := make(pipeline.Memory, len(users))
	var b []byte
	for key, e := range users {
		b = e.AppendBinary(b[:0])
		var err error
		if c[key], err = pipeline.DecodeEntity(key, b); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// beginSecond begins the second fold, if the live one stands between two messages.
func (f *follower) beginSecond(ctx context.Context) error {
	from := f.fold.Cursor()
	if f.second != nil || f.shadow != nil || from.Within != 0 || from.Partly != 0 || from.Joined != nil {
		return nil
	}
	cursor, err := pipeline.BeginSecond(from, f.s.opt.Set, nil, f.sets.Get(ctx, f.conn))
	if err != nil {
		return err
	}
	if f.seconds, err = copied(f.users); err != nil {
		return err
	}
	if f.second, err = f.newFold(ctx, cursor, f.seconds); err != nil || !f.second.Dormancy() {
		return err
	}
	for key := range f.seconds {
		if err := f.second.Dormant(key); err != nil {
			return err
		}
	}
	return nil
}

// follow folds messages as they come.
func (f *follower) follow(ctx context.Context) error {
	defer f.conn.Wire.OnClose(f.wake)()
	for {
		seq, _, _, _ := f.fold.At()
		reader, err := f.conn.OpenReader(ctx, f.p, seq+1)
		if err != nil {
			return err
		}
		err = f.take(ctx, reader)
		reader.Close()
		if !errors.Is(err, errLookAgain) {
			return err
		}
	}
}

// take folds the messages of a reader.
func (f *follower) take(ctx context.Context, reader *broker.Reader) error {
	for {
		if seq, _, _, _ := f.fold.At(); seq >= f.end && reader.CaughtUp() {
			if err := f.atEnd(ctx); err != nil {
				return err
			}
		}
		m, ok, err := reader.Take()
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case ok:
			if err := f.message(ctx, m); err != nil {
				return err
			}
		case f.conn.Wire.IsClosed():
			return broker.ErrClosed
		case reader.Silent():
			return errLookAgain
		default:
			reader.Wait(ctx, f.wake, time.Second)
		}
	}
}

// atEnd is called when the log has no further message. When all partitions have come
// to their ends, the set begins.
func (f *follower) atEnd(ctx context.Context) error {
	if !f.told {
		f.told = true
		if err := f.s.caughtUp(ctx, f); err != nil {
			return err
		}
	}
	list := f.s.decided()
	if f.shadow != nil || f.second == nil || list == nil {
		return nil
	}
	if err := f.join(ctx, list); err != nil {
		return fmt.Errorf("join the second state with the live one: %w", err)
	}
	f.s.joined()
	return nil
}

// measuredOf is of how many messages one is measured. The others are traced, which
// takes time. The first ones are not measured: what is compiled when it is first used
// costs once.
const (
	measuredOf = 4
	unmeasured = 16
)

// message folds a message.
func (f *follower) message(ctx context.Context, m pipeline.Message) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.prune()
	if f.shadow == nil {
		if err := f.into(ctx, f.fold, m, nil); err != nil {
			return err
		}
		if f.second != nil {
			if err := f.into(ctx, f.second, m, nil); err != nil {
				return err
			}
		}
		if err := f.beginSecond(ctx); err != nil {
			return err
		}
		return f.bound()
	}
	if err := f.both(ctx, m); err != nil {
		var bad *checkpoint.Poison
		if errors.As(err, &bad) { // all that was counted would have to be forgotten, too
			err = fmt.Errorf("%v: start this command again, which leaves the step out", err)
		}
		return err
	}
	return f.bound()
}

// both folds a message into the live fold and the shadow.
func (f *follower) both(ctx context.Context, m pipeline.Message) error {
	measured := f.messages >= unmeasured && f.messages%measuredOf == measuredOf-1
	f.messages++
	f.came = ShadowMessage{}
	f.shadow.Trace(nil)
	if !measured {
		f.shadow.Trace(func(t *pipeline.Trace) { f.came.Traces = append(f.came.Traces, t) })
	}
	_, applied, _, was := f.fold.At()
	live := func() error { return f.into(ctx, f.fold, m, &f.came.Live) }
	shadow := func() error { return f.into(ctx, f.shadow, f.shadowed(m), &f.came.Shadow) }
	steps := [2]func() error{live, shadow}
	swapped := f.messages/measuredOf%2 == 1
	if swapped {
		steps = [2]func() error{shadow, live}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begun := threadTime()
	if err := steps[0](); err != nil {
		return err
	}
	between := threadTime()
	if err := steps[1](); err != nil {
		return err
	}
	ended := threadTime()
	seq, after, now, is := f.fold.At()
	if f.first == 0 {
		f.first = now
	}
	if measured {
		times := [2]time.Duration{between - begun, ended - between}
		if swapped {
			times[0], times[1] = times[1], times[0]
		}
		f.measured, f.liveTime, f.shadowTime = f.measured+after-applied, f.liveTime+times[0], f.shadowTime+times[1]
	}
	f.s.out.Lock()
	defer f.s.out.Unlock()
	if is != was && f.s.opt.Changed != nil {
		f.s.opt.Changed(f.p, seq, is)
	}
	if f.s.opt.Folded == nil || len(f.came.Live)+len(f.came.Shadow)+len(f.came.Traces)+len(f.came.Failures) == 0 {
		return nil
	}
	return f.s.opt.Folded(f.came)
}

// shadowed is a message as the shadow takes it: after the switch, which the log does
// not have, and without the sets that the log puts in force.
func (f *follower) shadowed(m pipeline.Message) pipeline.Message {
	m.Seq++
	if m.Kind == pipeline.Control && pipeline.ControlSet(m.Data) != "" {
		m.Kind = pipeline.Tick // it moves log time
	}
	return m
}

// into folds a message, and adds the offers that come of it to out.
func (f *follower) into(ctx context.Context, fold *pipeline.Fold, m pipeline.Message, out *[]*pipeline.Offer) error {
	if err := fold.Begin(m); err != nil {
		return err
	}
	if fold == f.shadow && !f.given && m.Kind == pipeline.In { // apply loads the tables when the set is in force
		if _, err := fold.GiveTables(); err != nil {
			return err
		}
		f.given = true
	}
	for more := true; more; {
		var err error
		if more, err = f.next(fold); err != nil {
			return err
		}
		for _, e := range fold.Effects() {
			if e.Offer != nil && out != nil {
				*out = append(*out, e.Offer)
			}
		}
	}
	if sw, _ := fold.Switching(); sw != nil { // the others take no sets from the log
		return f.pass(ctx, sw, m.Seq)
	}
	return nil
}
