package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/backfill"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/checkpoint"
	"offerstream/pipeline/task"
	"offerstream/pipeline/value"
	"offerstream/state"
)

// A second is the task of a partition's second fold (pipeline/second.go), beside an
// attempt. It runs while this worker owns the partition and the bucket's record asks
// for a backfill, in a store of its own beside the partition's. It never folds further
// than the live fold, so that it stands right before a switch when the live fold comes
// to it. Whatever becomes of it, the live fold goes on.
type second struct {
	p    *partition
	conn *broker.Conn
	wish wish
	ctx  context.Context
	end  context.CancelFunc
	task task.Group
	wake task.Signal // set when the live fold has moved on, or something is wanted
	pace pace
	room *reservation

	// For the task, and once it has ended for whoever takes it over.
	store   checkpoint.Store
	state   *backfill.Second
	fromLog bool // it has begun with the log's beginning

	after atomic.Int32 // what to do when the task ends
	over  atomic.Bool  // it has ended
	wants atomic.Bool  // a state is to be stored for a switch

	mu     sync.Mutex
	stored *pipeline.Switch // the state that was stored last for a switch
	failed error            // why it has given up
	again  bool             // it may succeed later
}

// What becomes of the store when the task ends.
const (
	keepIt int32 = iota
	handIt       // it stays open
	dropIt
)

// A wish is what the bucket's record asks of second folds.
type wish struct {
	set      string
	features string // that the switch will list, each with a comma behind it
	revision uint64 // of the record that asks for it
}

// asked is the wish of a record. Once a partition's log has carried out the record
// by which the set is live, there is none. none.set is "".
func asked(live *broker.Live, carriedOut uint64) (none wish) {
	switch {
	case live == nil || live.Backfill == nil || live.Revision == 0, live.Go() && carriedOut >= live.Revision:
		return none
	}
	features := ""
	for _, name := range slices.Sorted(slices.Values(live.Backfill.Features)) {
		features += name + ","
	}
	return wish{live.Backfill.Set, features, live.Revision}
}

// listed are the features that the switch will list.
func (w wish) listed() []string {
	all := strings.Split(w.features, ",")
	return all[:len(all)-1]
}

// Sizes and times of second folds.
const (
	secondMemTable  = 16 << 20               // bytes
	secondCache     = 8                      // the part of a partition's cache that it has in addition
	secondLag       = 1000                   // how many messages behind the live fold still count as caught up
	storedFor       = 30 * time.Minute       // of log time, after which a state that was stored for a switch is stored anew: an hour makes it void
	overdueEvery    = 10 * time.Second       // least time between two counts of what is overdue
	againAfter      = time.Minute            // until a second fold that lacked something is tried again
	statusEvery     = 250 * time.Millisecond // least time between two updates of the status
	mostBegun       = 2                      // how often it begins for one wish, before it is given up
	secondSuffix    = ".second"              // of its directory
	secondStateSize = 1.5                    // room for a second state, as a multiple of the live one
)

func (p *partition) secondDir() string { return p.dir + secondSuffix }

func (p *partition) secondOptions() state.Options {
	return state.Options{Identity: p.id, MemTable: min(p.w.opt.memTable, secondMemTable), Log: p.log}
}

// backfillOptions are those of a second state of the partition.
func (p *partition) backfillOptions(ctx context.Context, conn *broker.Conn, rest func() error) backfill.Options {
	return backfill.Options{Conn: conn, Partition: p.number, Sets: p.w.sets.Get(ctx, conn), Confirm: p.w.opt.Confirm, Rest: rest,
		CacheBytes: p.w.opt.CacheBytes / int64(conn.Partitions) / secondCache}
}

// discardSecond removes the directory of the second state.
func (p *partition) discardSecond() {
	if p.secondless || p.secondStuck {
		return
	}
	if err := p.w.disk.Discard(p.secondDir()); err != nil {
		p.log.Warn("cannot remove the second state", "dir", p.secondDir(), "error", err)
		return
	}
	p.secondless = true
}

// A lack is why a second fold was given up, and until when.
type lack struct {
	wish  wish
	until time.Time // zero: until something else is asked for
}

// lookSecond begins and ends the second fold.
func (a *attempt) lookSecond(within context.Context) {
	p := a.p
	live := p.w.live.Load()
	revision, _ := a.fold.Revisions()
	want := asked(live, revision)
	if s := a.second; s != nil && s.over.Load() {
		a.second = nil
		if err, again := s.why(); err != nil {
			p.lack = lack{wish: s.wish}
			if again {
				p.lack.until = a.now().Add(againAfter)
			}
		}
	}
	switch s := a.second; {
	case live == nil || !p.status.caughtUp.Load(): // not known, or a switch may come
	case want.set == "" || p.muted.Load():
		if s != nil {
			s.stop(dropIt)
			return
		}
		p.discardSecond()
		p.status.second.Store(switched(live, revision))
	case s != nil && s.wish.set != want.set:
		s.stop(dropIt)
	case s != nil:
		s.pace.set(live.Backfill.Rate)
	case p.lack.wish == want && (p.lack.until.IsZero() || a.now().Before(p.lack.until)) || p.secondStuck:
	default:
		a.beginSecond(within, want, live.Backfill.Rate)
	}
}

// switched is the status after a switch that the record asks for, nil if it does not.
func switched(live *broker.Live, revision uint64) *broker.SecondStatus {
	if live.Go() && live.Revision > 0 && revision >= live.Revision {
		return &broker.SecondStatus{Set: live.Set, CaughtUp: true, Switched: true}
	}
	return nil
}

func (a *attempt) beginSecond(within context.Context, want wish, rate float64) {
	p := a.p
	ctx, cancel := context.WithCancel(within)
	s := &second{p: p, conn: a.conn, wish: want, ctx: ctx, end: cancel, task: task.Group{World: p.w.world}, wake: p.w.world.NewSignal(),
		pace: pace{w: p.w, since: a.now()}}
	s.pace.set(rate)
	p.secondless = false
	a.second = s
	p.w.folding.Add(1)
	s.task.Go(func() {
		defer s.over.Store(true)
		defer p.w.folding.Add(-1)
		s.run()
	})
}

// stop tells the task to end.
func (s *second) stop(then int32) {
	s.after.Store(then)
	s.end()
	s.wake.Set()
}

// takeOver ends the task, and returns its state, which is nil if it has none. The
// store is the caller's then.
func (s *second) takeOver() (*backfill.Second, checkpoint.Store) {
	s.stop(handIt)
	s.task.Wait()
	return s.state, s.store
}

// leaveSecond ends the task with the attempt. Its store stays on disk.
func (a *attempt) leaveSecond() {
	if s := a.second; s != nil {
		s.end()
		s.wake.Set()
		s.task.Wait()
		a.second = nil
	}
}

func (s *second) why() (err error, again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed, s.again
}

// run folds until the task is to end, or gives up.
func (s *second) run() {
	defer func() {
		if s.room != nil {
			s.room.release()
		}
		if s.after.Load() == handIt {
			return
		}
		s.close()
		if s.after.Load() == dropIt {
			s.p.discardSecond()
		}
	}()
	for begun := 1; ; begun++ {
		err := s.begin(begun > 1)
		if err == nil {
			err = s.fold()
		}
		if s.ctx.Err() != nil || s.conn.Wire.IsClosed() {
			if err != nil && !errors.Is(err, s.ctx.Err()) {
				s.close() // it is of no use to whoever takes it over
			}
			return
		}
		anew := errors.Is(err, backfill.ErrLog) || errors.Is(err, state.ErrDamaged) || errors.Is(err, backfill.ErrNone)
		if anew && begun < mostBegun && s.close() {
			s.p.log.Warn("the second fold begins anew", "set", s.wish.set, "because", err)
			s.p.discardSecond()
			s.p.secondless = false
			continue
		}
		s.fail(err, !anew)
		return
	}
}

// fail gives the second fold up.
func (s *second) fail(err error, again bool) {
	switch {
	case errors.Is(err, broker.ErrNoSet), errors.Is(err, state.ErrTooBig), errors.Is(err, pipeline.ErrNewer), !errors.Is(err, checkpoint.ErrFetch) && errors.Is(err, errSet):
		again = false
	}
	what := "it is tried again in a minute, while it is asked for"
	if !again {
		what = "`offerctl apply --abort`, then resolve this, and apply the set again; or restart the worker, which begins it anew"
	}
	s.p.log.Error("the second fold of a backfill is given up; the partition goes on without it", "set", s.wish.set, "error", err, "then", what)
	s.p.status.second.Store(&broker.SecondStatus{Set: s.wish.set, Failed: clip(err.Error() + ": " + what)})
	s.p.w.met.backfills.WithLabelValues("given_up").Inc()
	s.after.Store(dropIt)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed, s.again = err, again
}

// errSet means that the set to come cannot be used.
var errSet = errors.New("the set of the backfill cannot be used")

// close closes the store. ok is false if it can never be used again.
func (s *second) close() (ok bool) {
	if s.state != nil {
		s.state.Close()
		s.state = nil
	}
	store := s.store
	s.store = nil
	return s.p.closeSecond(store)
}

func (p *partition) closeSecond(store checkpoint.Store) (ok bool) {
	if store == nil {
		return true
	}
	if err := store.Close(); err != nil {
		p.log.Warn("cannot close the second state", "error", err)
		p.secondStuck = errors.Is(err, state.ErrFailed)
	}
	return !p.secondStuck
}

// fold brings the second state on.
func (s *second) fold() error {
	world, opt := s.p.w.world, s.p.w.opt
	s.p.log.Info("second fold under way", "set", s.wish.set, "from", s.state.From, "at", s.state.Seq())
	committed, told := world.Now(), time.Time{}
	snapshot := world.Now().Add(opt.Snapshot * time.Duration(s.p.number+1) / time.Duration(s.conn.Partitions))
	archived, counted, caughtUp := s.state.Seq(), time.Time{}, false
	var took time.Duration // how long the last count of what is overdue took
	var overdue map[string]int
	for {
		live := s.p.status.seq.Load()
		more, err := s.state.Fold(s.ctx, live)
		if err != nil {
			return err
		}
		switch {
		case s.ctx.Err() != nil:
			return s.state.Commit()
		case s.conn.Wire.IsClosed():
			return broker.ErrClosed
		}
		now := world.Now()
		if now.Sub(committed) >= opt.Checkpoint {
			if err := s.state.Commit(); err != nil {
				return err
			}
			committed = now
		}
		if !caughtUp && s.state.Fits() && s.state.Seq() >= live && live > 0 {
			caughtUp = true
			s.p.log.Info("second fold caught up", "set", s.wish.set, "seq", s.state.Seq())
		}
		if caughtUp && now.Sub(counted) >= max(overdueEvery, 20*took) {
			if overdue, err = s.overdue(); err != nil {
				return err
			}
			counted = world.Now()
			took = counted.Sub(now)
		}
		if now.Sub(told) >= statusEvery || told.IsZero() {
			told = now
			s.p.status.second.Store(&broker.SecondStatus{Set: s.wish.set, From: s.state.From, Seq: s.state.Seq(), End: live, CaughtUp: caughtUp, Overdue: overdue})
			if err := s.room.grown(onDisk(s.p.secondDir())); err != nil {
				return err
			}
		}
		switch {
		case caughtUp && s.wants.Load():
			if err := s.put(true); err != nil {
				return err
			}
		case !now.Before(snapshot):
			snapshot = now.Add(opt.Snapshot)
			if s.state.Seq() > archived {
				archived = s.state.Seq()
				if err := s.put(false); err != nil {
					return err
				}
			}
		}
		if more {
			continue
		}
		if s.state.Seq() >= live {
			s.wake.Wait(s.ctx, statusEvery)
		} else {
			s.state.Wait(s.ctx, s.wake, statusEvery)
		}
		s.pace.since = world.Now()
	}
}

// put stores the state: for a switch, or so that another owner need not begin anew.
func (s *second) put(kept bool) error {
	start := s.p.w.world.Now()
	name, err := s.state.Put(s.ctx, s.p.w.opt.archive(s.conn), kept)
	if err != nil {
		s.p.log.Warn("cannot store the second state: trying again", "error", err)
		return task.Sleep(s.ctx, s.p.w.world, time.Second)
	}
	s.p.log.Info("second state stored", "set", name.Set, "from", name.From, "seq", name.Seq, "for_switch", kept, "took", s.p.w.world.Now().Sub(start))
	if kept {
		at := s.state.Cursor()
		s.mu.Lock()
		s.stored = &pipeline.Switch{From: name.From, Object: name.Object(s.p.number), Seq: at.Seq, Stored: at.Stored, LogTime: at.LogTime, Accepted: at.Accepted}
		s.mu.Unlock()
		s.wants.Store(false)
	}
	return nil
}

// overdue counts what is overdue of the campaigns that the record lists, as the status
// has it: that of others stays behind at the switch.
func (s *second) overdue() (map[string]int, error) {
	counts, err := s.state.Overdue()
	if err != nil {
		return nil, err
	}
	return listed(counts, s.p.w.live.Load()), nil
}

// listed are the counts of the campaigns that a record lists.
func listed(counts map[[2]string]int, live *broker.Live) map[string]int {
	all := map[string]int{}
	for of, n := range counts {
		if live != nil && live.Backfill != nil && slices.Contains(live.Backfill.Campaigns, of[0]) {
			all[of[0]+" "+of[1]] = n
		}
	}
	return all
}

// switchTo returns the switch that carries out a record whose set is live by
// backfill; nil: the partition's second state is not ready, or not stored.
func (a *attempt) switchTo(ctx context.Context, live broker.Live) json.RawMessage {
	s := a.second
	if s == nil || s.wish.set != live.Set || s.over.Load() {
		return nil
	}
	cursor := a.fold.Cursor()
	s.mu.Lock()
	stored := s.stored
	s.mu.Unlock()
	if stored == nil || cursor.Accepted != stored.Accepted || value.Minus(cursor.LogTime, stored.LogTime) > int64(storedFor) {
		s.wants.Store(true)
		s.wake.Set()
		return nil
	}
	if at := a.p.status.second.Load(); at == nil || at.Seq+secondLag < cursor.Seq || a.reader.Pending() > secondLag {
		return nil // it has what came while the state was stored to fold
	}
	sw := *stored
	sw.Features, sw.Campaigns = live.Backfill.Features, live.Backfill.Campaigns
	var err error
	if sw.Overdue, err = pipeline.ParseOverdue(live.Backfill.Overdue); err == nil {
		err = a.lists(ctx, live)
	}
	if err != nil {
		a.p.log.Error("the switch of a backfill cannot be made: apply again", "set", live.Set, "error", err)
		return nil
	}
	b, err := json.Marshal(sw)
	if err != nil {
		a.p.log.Error("the switch of a backfill cannot be encoded", "error", err)
		return nil
	}
	return b
}

// lists returns an error if a backfill lists what its set does not have, or if the
// switch would not count for another reason that lasts (pipeline.Switch).
func (a *attempt) lists(ctx context.Context, live broker.Live) error {
	set, err := a.p.w.sets.Get(ctx, a.conn)(live.Set)
	if err != nil {
		return err
	}
	def, now := set.Definition(), a.fold.Definition()
	switch _, _, _, in := a.fold.At(); {
	case def.Engine < now.Engine:
		return fmt.Errorf("the set is of engine %d, and the one in force of engine %d", def.Engine, now.Engine)
	case in != "" && def.Clock != now.Clock:
		return fmt.Errorf("the set is under clock: %s, and the one in force under clock: %s: no backfill changes the clock", def.Clock, now.Clock)
	}
	for _, name := range live.Backfill.Features {
		if i := slices.IndexFunc(def.Features, func(f campaign.Feature) bool { return f.Name == name }); i < 0 {
			return fmt.Errorf("the record lists feature %q, which the set does not have", name)
		}
	}
	return nil
}
