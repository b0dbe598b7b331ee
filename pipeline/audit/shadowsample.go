package audit

import (
	"fmt"
	"math"

	"github.com/cespare/xxhash/v2"

	"offerstream/pipeline"
)

// follows reports whether a user is followed; all else is.
func (f *follower) follows(key string) bool {
	return f.most == math.MaxUint64 || !pipeline.IsUser(key) || xxhash.Sum64String(key)*0x9e3779b97f4a7c15 <= f.most
}

// choose makes a fold take the events of the users who are followed.
func (f *follower) choose(fold *pipeline.Fold) {
	fold.Partition(f.p, f.conn.Partitions)
	if f.most < math.MaxUint64 {
		fold.OnlyIf(f.follows)
	}
}

// prune drops the users who are not followed any more.
func (f *follower) prune() {
	most := f.s.most.Load()
	if most == f.most {
		return
	}
	f.most, f.look = most, 0
	for _, users := range []pipeline.Memory{f.users, f.seconds} {
		for key := range users {
			if !f.follows(key) {
				delete(users, key)
			}
		}
	}
	f.choose(f.fold)
	if f.second != nil {
		f.choose(f.second)
	}
}

// bound halves the part of the users that is followed while there are too many. When
// the set has begun it is too late for that.
func (f *follower) bound() error {
	if len(f.users) < f.look {
		return nil
	}
	f.count = 0
	for key := range f.users {
		if pipeline.IsUser(key) {
			f.count++
		}
	}
	f.look = len(f.users) + len(f.users)/20 + 1
	most := f.s.opt.Users/f.conn.Partitions + 1
	if f.s.opt.Users == 0 || f.count <= most {
		return nil
	}
	if f.s.halve(f.most) {
		f.prune()
		return f.bound()
	}
	if f.count > 2*most {
		return fmt.Errorf("since the set began, so many users have come that partition %d has %d, and about %d fit: follow fewer of them (--users), or for a shorter time", f.p, f.count, most)
	}
	return nil
}

// halve halves the part of the users that is followed, unless the set has begun.
func (s *Shadow) halve(most uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.list != nil {
		return false
	}
	s.most.CompareAndSwap(most, most/2)
	return true
}
