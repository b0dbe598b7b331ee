package pipeline

import (
	"strings"

	"github.com/valyala/fastjson"
)

// absence starts or restarts what fires unless something comes, and returns
// how many evaluations that is: one for each start, or one that found nothing
// to start. It begins at the trigger; where dwell was missing then, at the
// moment when it no longer is, and counts from the trigger all the same.
func (s *stepper) absence(c *campaign, e *Entity, sc *scope, n *Counts, stored *storedEvent) uint64 {
	started := uint64(0)
	err := c.match.each(sc, func(key string, _ int, _ *fastjson.Value) {
		same := func(p *pending) bool { return p.c == c && p.kind == timerAbsence && p.key == key }
		if c.def.Unless.NoRestart && e.waits(same) {
			return
		}
		s.drop(e, same, (*Counts).superseded)
		started++
		key = strings.Clone(key)
		ev := stored
		if ev == nil {
			ev = s.store(sc)
		}
		due := ev.at + int64(c.def.Unless.Within)
		if due <= sc.now { // dwell took longer than the absence
			s.candidates = append(s.candidates, candidate{c: c, key: key, event: sc.event, timer: true, due: due})
			return
		}
		s.pend(e, pending{kind: timerAbsence, due: due, c: c, key: key, event: ev})
		mine, oldest := 0, uint64(0)
		for i := range e.pending {
			if p := &e.pending[i]; p.c == c && p.kind == timerAbsence {
				if mine++; mine == 1 || p.order < oldest {
					oldest = p.order
				}
			}
		}
		if mine > s.live.def.Bounds.Absences {
			s.drop(e, func(p *pending) bool { return p.order == oldest }, (*Counts).superseded)
			n.Bounds++
		}
	})
	if err != nil {
		n.failed(err)
	}
	if started == 0 {
		n.Condition++
		return 1
	}
	return started
}

// store keeps the event of this step for what it sets pending: one copy for
// all, in the memory of one that nothing waits on any more.
func (s *stepper) store(sc *scope) *storedEvent {
	if s.stored == nil {
		ev := &storedEvent{}
		if n := len(s.spare); n > 0 {
			ev, s.spare = s.spare[n-1], s.spare[:n-1]
		}
		*ev = storedEvent{raw: append(ev.raw[:0], sc.event.Raw...), time: sc.event.Time, at: sc.now, own: true}
		s.stored = ev
	}
	return s.stored
}

// maxSpare bounds the events that are kept for their memory.
const maxSpare = 256

// endStep ends the use of what belongs to one step.
func (s *stepper) endStep() {
	for i, ev := range s.unused {
		if ev.uses == 0 && ev.own && len(s.spare) < maxSpare {
			s.spare = append(s.spare, ev)
			ev.own = false // should it stand there twice
		}
		s.unused[i] = nil
	}
	s.unused, s.stored = s.unused[:0], nil
}

func (s *stepper) pend(e *Entity, p pending) {
	e.order++
	p.order = e.order
	p.campaign, p.trigger, p.since = p.c.def.ID, p.c.trigger, s.live.campaignSince[p.c.index]
	p.event.uses++
	e.pending = append(e.pending, p)
}

// drop drops from what is pending, each with an outcome.
func (s *stepper) drop(e *Entity, which func(*pending) bool, outcome func(*Counts)) {
	if !e.waits(which) {
		return
	}
	e.keep(func(p *pending) bool {
		if !which(p) {
			return true
		}
		outcome(s.live.counts[p.c.index])
		s.release(p.event)
		return false
	})
}

// release says that one that was pending is no more.
func (s *stepper) release(ev *storedEvent) {
	if ev.uses--; ev.uses == 0 && ev.own {
		s.unused = append(s.unused, ev)
	}
}

// waits says whether something is pending for which which holds.
func (e *Entity) waits(which func(*pending) bool) bool {
	for i := range e.pending {
		if which(&e.pending[i]) {
			return true
		}
	}
	return false
}

// onlyDwell says when the campaign's `if` will hold without further events,
// where nothing but dwell is missing.
func (s *stepper) onlyDwell(c *campaign, sc *scope) (int64, bool) {
	if len(c.dwell) == 0 {
		return 0, false
	}
	t := 0
	for i, x := range c.cond {
		if t < len(c.dwell) && c.dwell[t].conjunct == i {
			t++
			continue
		}
		if ok, err := x.holds(sc); !ok || err != nil {
			return 0, false
		}
	}
	return s.dwellDue(c, sc)
}

// due fires what is due at now, all of it in one step.
func (s *stepper) due(e *Entity, now int64) {
	e.bind(s.live)
	s.candidates = s.candidates[:0]
	var fired []pending
	e.keep(func(p *pending) bool {
		if p.due == now {
			fired = append(fired, *p)
		}
		return p.due != now
	})
	for _, p := range fired {
		var dec Decoder // an event each, since candidates outlive the loop
		ev, err := dec.Decode(p.event.raw)
		if err != nil { // it was decoded before, so this is another engine's
			s.live.counts[p.c.index].Error++
			continue
		}
		ev.Time = p.event.time
		if p.kind == timerDwell {
			sc, n := &scope{set: s.live.Set, now: now, event: ev, ent: e}, s.live.counts[p.c.index]
			if !all(p.c.cond, sc, n) {
				n.Condition++
				continue
			}
			if p.c.def.Unless != nil {
				n.Evaluated += s.absence(p.c, e, sc, n, p.event) - 1 // its own was counted at the trigger
				continue
			}
		}
		s.candidates = append(s.candidates, candidate{c: p.c, key: p.key, event: ev, timer: true, due: p.due})
	}
	s.choose(e, now)
	for _, p := range fired {
		s.release(p.event)
	}
}
