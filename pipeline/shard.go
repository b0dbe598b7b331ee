package pipeline

import (
	"container/heap"

	"offerstream/pipeline/event"
)

// A Shard is the part of a backtest that concerns some of the users. The caller
// knows the whole input: it gives each event the log time that it has there, and
// lets timers fire when log time moves, also by events of users elsewhere. All
// shards get all facts, and one of them counts what these do. Users in different
// shards cannot tell each other anything: what must, is in one shard (Set.Whole, and
// Join from the first claim on).
type Shard struct {
	b      *Backtest
	facts  bool              // it counts facts
	counts map[string]Counts // at CountFromHere
	before Counts            // of features, likewise
}

// Shard makes a shard that may count facts. The set must be compiled for clock:
// event. Many shards may share it and work at the same time.
func (s *Set) Shard(countsFacts bool) (*Shard, error) {
	b, err := s.Backtest()
	return &Shard{b: b, facts: countsFacts}, err
}

// Whole reports whether all users must be in one shard from the beginning: items,
// budgets and pools are shared by all of them.
func (s *Set) Whole() bool { return len(s.kinds) > 0 || s.spends }

// Merges reports whether an event with event.Claims makes a visitor a user, who may be
// in different shards.
func (s *Set) Merges() bool { return s.def.Engine >= mergeEngine }

// Join adds to the shard what another one of the same set has done until now. All
// shards must have come to the same log time, and from then on be told nothing but
// what they have counted themselves.
func (s *Shard) Join(o *Shard) {
	f, from := s.b.fold, o.b.fold
	for key, e := range o.b.Users {
		if s.b.Users[key] == nil { // facts are in all shards
			s.b.Users[key] = e
		}
	}
	f.timers = append(f.timers, from.timers...)
	heap.Init(&f.timers)
	f.step.live.tally.add(from.step.live.tally)
	for id, n := range o.counts {
		s.counts[id] = s.counts[id].Plus(n)
	}
	s.before = s.before.Plus(o.before)
	f.step.duplicates += from.step.duplicates
	o.counts, o.before, o.b.Users, from.timers, from.step.duplicates = nil, Counts{}, Memory{}, nil, 0
	for _, n := range from.step.live.tally.campaigns { // kept, since campaigns point to them
		*n = Counts{}
	}
	*from.step.live.tally.features = Counts{}
}

// Fold is the shard's fold, for its hooks, its coupon keys and the effects of the
// last step. The caller makes no steps with it.
func (s *Shard) Fold() *Fold { return s.b.fold }

// TakeTables gives the shard the rows of the facts' tables, at the log time of the
// first event. It returns how many there are.
func (s *Shard) TakeTables(at int64) (rows uint64, err error) {
	before := *s.features()
	err = s.b.takeTables(at, func(*Offer) {})
	if !s.facts {
		*s.features() = before
	}
	return s.b.Loaded, err
}

// Fire makes the step of the earliest due time, if that is now or earlier; otherwise
// ok is false. It returns the due time and the entity's key.
func (s *Shard) Fire(now int64) (due int64, key string, ok bool, err error) {
	f := s.b.fold
	f.effects = f.effects[:0]
	if !f.fire(now) {
		return 0, "", false, nil
	}
	return f.id.Due, f.id.Key, true, f.err
}

// Next makes the next step of what the last one has sent, at its log time; ok is false
// if there is none. The caller makes all of them before anything else.
func (s *Shard) Next() (ok bool, err error) {
	f := s.b.fold
	f.effects = f.effects[:0]
	return f.goOn(), f.err
}

// Apply makes the step of an event at log time now. Whatever is due until then must
// have fired.
func (s *Shard) Apply(ev *event.Event, now int64) error {
	f, before := s.b.fold, *s.features()
	f.effects = f.effects[:0]
	f.applyTimed(ev, now)
	if ev.Type == event.Fact && !s.facts {
		*s.features() = before
	}
	return f.err
}

func (s *Shard) features() *Counts { return s.b.fold.step.live.tally.features }

// Key is the key of the entity of the last step of a user.
func (s *Shard) Key() string { return s.b.fold.step.entity.Key }

// CountFromHere makes Counts begin anew. What is pending counts as evaluated then.
func (s *Shard) CountFromHere() { s.counts, s.before = s.b.Counts() }

// Counts are Fold.Counts since CountFromHere.
func (s *Shard) Counts() (campaigns map[string]Counts, features Counts) {
	campaigns, features = s.b.Counts()
	for id, n := range campaigns {
		campaigns[id] = n.Since(s.counts[id])
	}
	return campaigns, features.Since(s.before)
}

// Duplicates is Fold.Duplicates.
func (s *Shard) Duplicates() uint64 { return s.b.Duplicates() }

// Users is the number of users with any event.
func (s *Shard) Users() int { return s.b.UserCount() }

// Conserved is Backtest.Conserved.
func (s *Shard) Conserved() error { return s.b.Conserved() }
