package backtest

import (
	"context"
	"fmt"
	"io"

	"offerstream/pipeline"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// mostJumps is how many jumps of log time a Result names.
const mostJumps = 10

// A stamper gives each event its log time, the running maximum over the whole
// input, and says which shard folds it. From the first claim on that is one shard for
// all users: what a visitor has done before belongs to a user who may be in another
// shard. The fields are those of Result.
type stamper struct {
	to     int64
	merges bool // a claim makes a visitor a user, and there is more than one shard
	joined bool // all users are in the first shard

	now, first int64
	begun      bool // there is a log time
	events     uint64
	lines      uint64
	rejected   map[string]uint64
	jumps      []pipeline.Jump
}

func newStamper(to int64, merges bool) *stamper {
	return &stamper{to: to, merges: merges, rejected: map[string]uint64{}}
}

// stampBatches stamps batches in the order of the input, and passes them on.
func (s *stamper) stampBatches(ctx context.Context, inOrder <-chan *batch, to []chan *batch) {
	for {
		b, ok := take(ctx, inOrder)
		if !ok {
			return
		}
		if _, ok := take(ctx, b.decoded); !ok {
			return
		}
		s.stamp(b)
		end := b.end
		for _, c := range to {
			c <- b
		}
		if end != nil {
			return
		}
	}
}

func (s *stamper) stamp(b *batch) {
	b.events, b.times, b.tables = b.events[:0], b.times[:0], false
	b.join = noJoin
	for i := range b.of {
		b.of[i] = b.of[i][:0]
	}
	for i := range b.lines {
		l := &b.lines[i]
		if l.empty() {
			continue
		}
		if l.err == nil && !l.has && !s.begun {
			l.err = event.Rejectf("timestamp", "the event has no timestamp, and none came before it")
		}
		if l.err == nil && s.to != 0 && l.has && l.own > s.to {
			s.endBefore(b, i)
			return
		}
		s.lines++
		if r, refused := l.err.(*event.Reject); refused {
			s.rejected[r.Reason]++
			continue
		}
		if l.err != nil { // cannot happen: a decoder gives no other errors
			b.lines, b.end = b.lines[:i], fmt.Errorf("line %d: %w", b.first+i+1, l.err)
			return
		}
		s.time(l, b, i)
		s.assign(l, int32(i), b)
	}
}

// endBefore ends the run at its last log time, before a line.
func (s *stamper) endBefore(b *batch, line int) {
	b.lines, b.end = b.lines[:line], io.EOF
	if s.begun {
		s.now = s.to
		b.events, b.times = append(b.events, stamped{-1, event.Clock}), append(b.times, s.to)
	}
}

// time moves log time.
func (s *stamper) time(l *line, b *batch, i int) {
	before := s.now
	switch {
	case !s.begun:
		s.now, s.first, s.begun, b.tables = l.own, l.own, true, true
		return
	case l.has:
		s.now = max(s.now, l.own)
	}
	if value.Minus(s.now, before) > int64(pipeline.LongJump) && len(s.jumps) < mostJumps {
		s.jumps = append(s.jumps, pipeline.Jump{Line: uint64(b.first + i + 1), From: before, To: s.now})
	}
}

// assign gives the event to the shard of its user, and a fact to all, as long as there
// is more than one.
func (s *stamper) assign(l *line, i int32, b *batch) {
	at := uint32(len(b.events))
	b.events, b.times = append(b.events, stamped{i, l.kind}), append(b.times, s.now)
	if l.claims && s.merges && !s.joined {
		s.joined, b.join = true, int(at)
	}
	switch {
	case l.kind == event.Clock: // it only moves log time
		return
	case s.joined:
		b.of[0] = append(b.of[0], at)
	case l.kind == event.Fact:
		for n := range b.of {
			b.of[n] = append(b.of[n], at)
		}
	default:
		b.of[l.shard] = append(b.of[l.shard], at)
	}
	s.events++
}
