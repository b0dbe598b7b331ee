package backtest

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"offerstream/pipeline"
	"offerstream/pipeline/event"
)

// A shard folds the events of some users.
type shard struct {
	n       int
	core    *pipeline.Shard
	dec     event.Decoder
	from    int64
	counts  bool                       // log time has reached from
	reached map[string]map[string]bool // by campaign: the keys of the entities that an offer went out to
	failed  failures
	loaded  uint64
	gone    bool // its users are in the first shard
}

// A place is where a step belongs in the order of a run without shards: in a batch,
// before the event with an index come the steps of what is due, in the order of
// (due time, entity's key), then its own.
type place struct {
	event int
	own   bool // the step is the event's
	due   int64
	key   string
}

func (p place) compare(o place) int {
	switch {
	case p.event != o.event:
		return cmp.Compare(p.event, o.event)
	case p.own != o.own:
		return cmp.Compare(b2i(p.own), b2i(o.own))
	case p.due != o.due:
		return cmp.Compare(p.due, o.due)
	}
	return strings.Compare(p.key, o.key)
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// A placed is an offer of a step.
type placed struct {
	place
	offer *pipeline.Offer
}

func newShard(set *pipeline.Set, n int, opt Options) (*shard, error) {
	core, err := set.Shard(n == 0)
	if err != nil {
		return nil, err
	}
	s := &shard{n: n, core: core, from: opt.From, counts: opt.From == 0, reached: map[string]map[string]bool{}, failed: failures{}}
	core.Fold().Failures(func(f pipeline.Failure) {
		if s.counts {
			s.failed.add(f)
		}
	})
	return s, core.Fold().Coupons(opt.Coupons)
}

// foldBatches folds batches until ctx ends.
func (s *shard) foldBatches(ctx context.Context, stamped <-chan *batch, all []*shard) {
	for {
		b, ok := take(ctx, stamped)
		if !ok {
			return
		}
		b.offers[s.n] = b.offers[s.n][:0]
		if b.errs[s.n] = nil; !s.gone {
			b.errs[s.n] = s.fold(ctx, b, all)
		}
		b.folded <- struct{}{}
	}
}

// fold makes the steps of the shard's events. In the end it lets fire what is due
// before the batch's last event, which may be another shard's: the next batch begins
// with nothing due.
func (s *shard) fold(ctx context.Context, b *batch, all []*shard) (err error) {
	if b.tables {
		if s.loaded, err = s.core.TakeTables(b.times[0]); err != nil {
			return fmt.Errorf("line %d: %w", b.line(0), err)
		}
	}
	own := b.of[s.n]
	if b.join != noJoin {
		n, _ := slices.BinarySearch(own, uint32(b.join))
		if err := s.foldTo(b, own[:n], b.join); s.n > 0 {
			s.gone = true
			b.parted <- struct{}{}
			return err
		} else if err != nil || !s.gather(ctx, b, all) {
			return err
		}
		own = own[n:]
	}
	return s.foldTo(b, own, len(b.events)-1)
}

// gather takes all users into the shard, which is the first one. It returns false if
// ctx ends before.
func (s *shard) gather(ctx context.Context, b *batch, all []*shard) bool {
	for range len(all) - 1 {
		if _, ok := take(ctx, b.parted); !ok {
			return false
		}
	}
	for _, o := range all[1:] {
		s.core.Join(o.core)
	}
	return true
}

// foldTo makes the steps of some events, and of what is due before the event last,
// which need not be among them.
func (s *shard) foldTo(b *batch, events []uint32, last int) error {
	done := -1 // the last event of the shard
	for _, i := range events {
		at := int(i)
		if err := s.moveTo(b, at); err != nil {
			return err
		}
		ev, err := s.event(b, &b.lines[b.events[at].line])
		if err == nil {
			err = s.core.Apply(ev, b.times[at])
		}
		if err == nil {
			err = s.take(b, place{event: at, own: true})
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", b.line(at), err)
		}
		done = at
	}
	if last > done {
		return s.moveTo(b, last)
	}
	return nil
}

// event is the event of a line.
func (s *shard) event(b *batch, l *line) (*event.Event, error) {
	raw := b.text[l.from:l.to:l.to]
	if l.resumes {
		return s.dec.Resume(raw, &l.scanned), nil
	}
	return s.dec.Decode(raw)
}

// moveTo moves log time to that of an event, before its own step.
func (s *shard) moveTo(b *batch, at int) error {
	now := b.times[at]
	if !s.counts && now >= s.from {
		if s.from > math.MinInt64 {
			if err := s.fire(b, s.from-1); err != nil {
				return err
			}
		}
		s.core.CountFromHere()
		s.counts = true
	}
	return s.fire(b, now)
}

// fire makes the steps of what is due. Such a step belongs before the first event at
// or past its due time. As nothing is due before the log time at which that was
// decided, the shard's steps come in the order of their places.
func (s *shard) fire(b *batch, until int64) error {
	for {
		due, key, ok, err := s.core.Fire(until)
		if err != nil || !ok {
			return err
		}
		first, _ := slices.BinarySearch(b.times, due)
		if err := s.take(b, place{event: first, due: due, key: key}); err != nil {
			return err
		}
	}
}

// take takes the offers of the last step, and of the steps of what it has sent.
func (s *shard) take(b *batch, at place) error {
	for ok := true; ok; {
		if s.counts {
			s.takeStep(b, at)
		}
		var err error
		if ok, err = s.core.Next(); err != nil {
			return err
		}
	}
	return nil
}

// takeStep takes the offers of the last step.
func (s *shard) takeStep(b *batch, at place) {
	for _, e := range s.core.Fold().Effects() {
		if e.Offer == nil { // a page record
			continue
		}
		b.offers[s.n] = append(b.offers[s.n], placed{at, e.Offer})
		if !e.Offer.Withheld {
			s.reach(e.Offer.Campaign)
		}
	}
}

// reach notes that an offer of a campaign, or a row of it, went out to the step's
// user.
func (s *shard) reach(id string) {
	campaign, _, _ := strings.Cut(id, "/")
	users := s.reached[campaign]
	if users == nil {
		users = map[string]bool{}
		s.reached[campaign] = users
	}
	if key := s.core.Key(); !users[key] {
		users[key] = true
	}
}

// line is the number of an event's line in the input.
func (b *batch) line(event int) int { return b.first + int(b.events[event].line) + 1 }
