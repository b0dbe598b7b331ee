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
func (s *shard) foldBatches(ctx context.Context, stamped <-chan *batch) {
	for {
		b, ok := take(ctx, stamped)
		if !ok {
			return
		}
		b.offers[s.n] = b.offers[s.n][:0]
		b.errs[s.n] = s.fold(b)
		b.folded <- struct{}{}
	}
}

// fold makes the steps of the shard's events. In the end it lets fire what is due
// before the batch's last event, which may be another shard's: the next batch begins
// with nothing due.
func (s *shard) fold(b *batch) (err error) {
	if b.tables {
		if s.loaded, err = s.core.TakeTables(b.times[0]); err != nil {
			return fmt.Errorf("line %d: %w", b.line(0), err)
		}
	}
	done := -1 // the last event of the shard
	for _, i := range b.of[s.n] {
		at := int(i)
		if err := s.moveTo(b, at); err != nil {
			return err
		}
		ev, err := s.event(b, &b.lines[b.events[at].line])
		if err == nil {
			err = s.core.Apply(ev, b.times[at])
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", b.line(at), err)
		}
		s.take(b, place{event: at, own: true})
		done = at
	}
	if last := len(b.events) - 1; last > done {
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
		s.take(b, place{event: first, due: due, key: key})
	}
}

// take takes the offers of the last step.
func (s *shard) take(b *batch, at place) {
	if !s.counts {
		return
	}
	for _, e := range s.core.Fold().Effects() {
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
