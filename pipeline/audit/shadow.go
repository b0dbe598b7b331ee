package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/checkpoint"
	"offerstream/pipeline/coupon"
)

// ShadowOptions configure a Shadow. The functions are called one at a time; each but
// List may be nil. An error that one returns ends the shadow.
type ShadowOptions struct {
	Set     *pipeline.Set                                // compiled for the log's clock
	Overdue pipeline.Overdue                             // what becomes of what is overdue when the set begins
	List    func(ShadowFrom) (*ShadowList, error)        // what a backfill would take from the log
	Users   int                                          // about how many are followed at most, a sample if there are more (all)
	Coupons *coupon.Keys                                 // (codes are placeholders)
	Dir     string                                       // directory for a snapshot's state while it is read (os.TempDir)
	Log     *slog.Logger                                 // (none)
	Joined  func()                                       // the set has begun in all partitions
	Folded  func(ShadowMessage) error                    // takes what came of a message since then, if anything
	Changed func(partition int, seq uint64, hash string) // another set is live since a message
}

// A ShadowFrom tells what the sets that were live have fed when all partitions have
// caught up.
type ShadowFrom struct {
	Live    *pipeline.Set // nil: none
	Retired []*pipeline.Set
	Fed     map[string]int64 // pipeline.Fold.Fed; of several partitions the latest
	Now     int64            // log time
	Reach   int64            // the log time of the latest of the snapshots with which partitions began; 0: all began with their logs
}

// A ShadowList names what comes from the second state (pipeline.Switch).
type ShadowList struct{ Features, Campaigns []string }

// A ShadowMessage is what came of one message of the log.
type ShadowMessage struct {
	Live, Shadow []*pipeline.Offer  // also those that are withheld
	Traces       []*pipeline.Trace  // of the shadow's evaluations; none if the message was measured
	Failures     []pipeline.Failure // errors of the shadow's expressions
}

// A Shadow follows the live log of a deployment with a set that is not live, in a
// state of its own, in memory, and writes nothing to NATS. It folds the log of each
// partition from its beginning, or from the oldest snapshot to which it reaches back,
// as a backfill does: with the sets that were live, and beside that a second time with
// the set (pipeline.BeginSecond). When all partitions have caught up it joins each
// second state with a copy of the live one, as a switch does, and folds further
// messages into both: the live fold and the shadow.
type Shadow struct {
	conn      *broker.Conn
	opt       ShadowOptions
	sets      checkpoint.Sets
	followers []*follower
	most      atomic.Uint64 // the highest hash of a user that is followed

	out sync.Mutex // held while a function of the options runs

	mu     sync.Mutex
	behind int // partitions that have not caught up
	from   ShadowFrom
	list   *ShadowList // nil: not all have caught up yet
	left   int         // partitions that have not joined
}

// NewShadow makes a shadow, which begins with Run.
func NewShadow(conn *broker.Conn, opt ShadowOptions) *Shadow {
	s := &Shadow{conn: conn, opt: opt, behind: conn.Partitions, left: conn.Partitions, from: ShadowFrom{Fed: map[string]int64{}}}
	s.most.Store(math.MaxUint64)
	s.sets.Add(opt.Set.Hash(), opt.Set)
	for p := range conn.Partitions {
		s.followers = append(s.followers, newFollower(s, p))
	}
	return s
}

// Run follows the log until ctx is done. Then its error is nil if all partitions had
// caught up, so that State has something to compare.
func (s *Shadow) Run(ctx context.Context) (err error) {
	own, err := os.MkdirTemp(s.opt.Dir, "offerstream-shadow-")
	if err != nil {
		return fmt.Errorf("make a directory for a snapshot's state: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(own)) }()
	within, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	errs := make([]error, len(s.followers))
	for p, f := range s.followers {
		f.dir = filepath.Join(own, fmt.Sprint("state-", p))
		all.Go(func() {
			if err := f.run(within); within.Err() == nil {
				errs[p] = fmt.Errorf("partition %d: %w", p, err)
				cancel()
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	if s.begun() {
		return nil
	}
	return ctx.Err()
}

// begun reports whether the set has begun in all partitions.
func (s *Shadow) begun() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.left == 0
}

// caughtUp takes the state of a live fold that has come to the end of its log. When
// the last one has, it decides what comes from the second states.
func (s *Shadow) caughtUp(ctx context.Context, f *follower) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := f.fold.Cursor()
	if s.from.Live == nil && c.Set != "" {
		find := s.sets.Get(ctx, s.conn)
		var err error
		if s.from.Live, err = find(c.Set); err != nil {
			return err
		}
		for _, r := range c.Retired {
			set, err := find(r.Set)
			if err != nil {
				return err
			}
			s.from.Retired = append(s.from.Retired, set)
		}
	}
	for name, at := range f.fold.Fed() {
		s.from.Fed[name] = max(s.from.Fed[name], at)
	}
	s.from.Now, s.from.Reach = max(s.from.Now, c.LogTime), max(s.from.Reach, f.reach)
	if s.behind--; s.behind > 0 {
		return nil
	}
	s.out.Lock()
	list, err := s.opt.List(s.from)
	s.out.Unlock()
	if err != nil {
		return err
	}
	s.list = list
	for _, f := range s.followers {
		f.wake.Set()
	}
	return nil
}

// decided is the list, nil if not all partitions have caught up.
func (s *Shadow) decided() *ShadowList {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.list
}

// joined counts a partition in which the set has begun.
func (s *Shadow) joined() {
	s.mu.Lock()
	s.left--
	last := s.left == 0
	s.mu.Unlock()
	if last && s.opt.Joined != nil {
		s.out.Lock()
		defer s.out.Unlock()
		s.opt.Joined()
	}
}

// A ShadowState is how far a shadow is, and what it has counted since the set began.
type ShadowState struct {
	Begun     bool   // in all partitions
	Read, End uint64 // messages read, of how many there were
	Users     int    // that are followed
	Share     float64
	Snapshots []int // partitions that began with a snapshot

	Set, LiveSet           string // hashes
	First, Last            int64  // log time
	Events                 uint64
	Live, Shadow           map[string]pipeline.Counts
	LiveParts, ShadowParts pipeline.Counts // of features
	Overdue                map[string]int  // "campaign channel": evaluations that were overdue when the set began

	Measured             uint64        // events whose folds were measured, alternately
	LiveTime, ShadowTime time.Duration // CPU time that these took
}

// State is how far it is. It may be called while Run runs. counts: also Live, Shadow
// and what goes with them.
func (s *Shadow) State(counts bool) ShadowState {
	st := ShadowState{Begun: s.begun(), Set: s.opt.Set.Hash(), Share: float64(s.most.Load()) / math.MaxUint64, Overdue: map[string]int{},
		Live: map[string]pipeline.Counts{}, Shadow: map[string]pipeline.Counts{}}
	for _, f := range s.followers {
		f.tell(&st, counts)
	}
	slices.Sort(st.Snapshots)
	return st
}

// tell adds the state of a partition.
func (f *follower) tell(st *ShadowState, counts bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fold == nil {
		return
	}
	seq, applied, now, set := f.fold.At()
	st.End += max(f.end, seq) - min(f.from, f.end)
	st.Read += seq - min(f.from, seq)
	st.Users += f.count
	if f.from > 0 {
		st.Snapshots = append(st.Snapshots, f.p)
	}
	if set != "" {
		st.LiveSet = set
	}
	if f.shadow == nil {
		return
	}
	if f.first != 0 && (st.First == 0 || f.first < st.First) {
		st.First = f.first
	}
	st.Last = max(st.Last, now)
	st.Events += applied - f.applied
	st.Measured += f.measured
	st.LiveTime += f.liveTime
	st.ShadowTime += f.shadowTime
	for name, n := range f.overdue {
		st.Overdue[name] += n
	}
	if !counts {
		return
	}
	for _, side := range []struct {
		of       *pipeline.Fold
		to       map[string]pipeline.Counts
		features *pipeline.Counts
	}{{f.fold, st.Live, &st.LiveParts}, {f.shadow, st.Shadow, &st.ShadowParts}} {
		campaigns, features := side.of.Counts()
		*side.features = side.features.Plus(features)
		for id, n := range maps.All(campaigns) {
			side.to[id] = side.to[id].Plus(n)
		}
	}
}
