package pipeline

import (
	"cmp"
	"math"
	"slices"

	"offerstream/pipeline/value"
)

// A sequence holds how far a user has come in the sequence of a unit. There is one
// for each unit of which any step but the last has come within its time.
type sequence struct {
	campaign string // the unit's id
	trigger  uint64 // unit.trigger
	since    uint32
	starts   []int64 // by length of the prefix - 1: the log time of its first event; noStart: there is none
}

// mostSequences bounds the sequences of a user. Beyond it, the one that was begun
// first is forgotten, and its campaign counts that.
const mostSequences = 1024

// noStart means that no prefix of a length is there.
const noStart = math.MinInt64

// sequences moves sequences on by an event (LANGUAGE.md, rule 5), and adds those
// that it completes to the matches. An event is tried on the steps from the last to
// the first, and stops at the first that takes it.
func (s *step) sequences(sc *scope) {
	x := &s.live.match
	var steps []match
	x.steps.each(sc.event, func(i int) { steps = append(steps, x.taken[i]) })
	if len(steps) == 0 {
		return
	}
	slices.SortFunc(steps, func(a, b match) int { return cmp.Or(cmp.Compare(a.unit, b.unit), cmp.Compare(b.entry, a.entry)) })
	took := int32(-1)
	for _, m := range steps {
		c := &s.live.campaigns[m.unit]
		sc.of(c)
		if m.unit == took || m.entry > 0 && s.entity.prefix(c, int(m.entry), s.now) == noStart || !all(c.sequence[m.entry], sc, nil) {
			continue
		}
		took = m.unit
		if s.boundSequences(c, int(m.entry)); s.entity.move(c, int(m.entry), s.now) {
			s.matches = append(s.matches, match{unit: m.unit})
		}
	}
	sc.of(nil)
}

// boundSequences makes room for a sequence that the user begins.
func (s *step) boundSequences(c *liveCampaign, step int) {
	e := s.entity
	if step > 0 || len(e.sequences) < mostSequences || e.sequenceOf(c) >= 0 {
		return
	}
	e.sequences = slices.DeleteFunc(e.sequences, func(q sequence) bool {
		of := s.live.unitOf(q.campaign, q.trigger, q.since)
		return !slices.ContainsFunc(q.starts, func(start int64) bool { return of.alive(start, s.now) })
	})
	if len(e.sequences) >= mostSequences {
		q := e.sequences[0]
		s.live.count(s.live.unitOf(q.campaign, q.trigger, q.since)).Bounds++
		e.sequences = slices.Delete(e.sequences, 0, 1)
	}
}

func (e *Entity) sequenceOf(c *liveCampaign) int {
	return slices.IndexFunc(e.sequences, func(q sequence) bool { return q.trigger == c.trigger && q.campaign == c.id })
}

// prefix is the start of the prefix of a length, noStart if there is none within
// the sequence's time.
func (e *Entity) prefix(c *liveCampaign, length int, now int64) int64 {
	i := e.sequenceOf(c)
	if i < 0 {
		return noStart
	}
	start := e.sequences[i].starts[length-1]
	if !c.alive(start, now) {
		return noStart
	}
	return start
}

// alive reports whether a prefix with that start is within the sequence's time.
func (c *compiled) alive(start, now int64) bool {
	return start > value.Minus(now, int64(c.def.Sequence.Within))
}

// move lets an event take a step. It reports whether that completes the sequence,
// which clears all of it.
func (e *Entity) move(c *liveCampaign, step int, now int64) (complete bool) {
	i := e.sequenceOf(c)
	if step == len(c.sequence)-1 {
		e.sequences = slices.Delete(e.sequences, i, i+1)
		return true
	}
	if i < 0 {
		i = len(e.sequences)
		q := sequence{campaign: c.id, trigger: c.trigger, since: c.since, starts: make([]int64, len(c.sequence)-1)}
		for k := range q.starts {
			q.starts[k] = noStart
		}
		e.sequences = append(e.sequences, q)
	}
	starts := e.sequences[i].starts
	if step == 0 {
		starts[0] = now
		return false
	}
	starts[step], starts[step-1] = starts[step-1], noStart
	return false
}
