package pipeline

import (
	"github.com/valyala/fastjson"
)

// A liveSet is the set in force on one partition, with the epoch in which
// each feature and trigger began there.
type liveSet struct {
	*Set
	featureSince  []uint32
	campaignSince []uint32
	counts        []*Counts // by campaign
	scratch       []byte    // memory to use within a call
	*tally
}

// A stepper runs steps on entities. It is the scratch of one fold.
type stepper struct {
	live       *liveSet
	candidates []candidate
	out        func(c *campaign, ev *Event, o *Offer)
	duplicates uint64

	scope  scope // of the event's step
	totals totals
	stored *storedEvent   // of the event's step, once something is pending
	unused []*storedEvent // that nothing waits on since this step
	spare  []*storedEvent
	stays  []stay // of dwellDue, as is points
	points []int64
}

// step applies one event at log time now; ev.Time is set. The order is
// LANGUAGE.md's, rule 3: duplicates, cancellations, features, triggers.
func (s *stepper) step(e *Entity, ev *Event, now int64) {
	e.bind(s.live)
	if e.forgotten(now) {
		e.forget()
	}
	if e.duplicate(ev.ID, now) {
		s.duplicates++
		return
	}
	e.seq++
	e.last = now
	s.scope = scope{set: s.live.Set, now: now, event: ev, ent: e}
	s.endStep() // of the step before, which may have panicked
	sc := &s.scope
	s.cancel(e, sc)
	s.learn(e, sc)
	sc.totals = s.totals.next(len(s.live.features))
	s.candidates = s.candidates[:0]
	s.live.match.campaigns.each(ev, func(i int) { s.trigger(s.live.campaigns[i], e, sc) })
	s.choose(e, now)
}

// views says whether the event is one that a visitor makes by moving on.
func (ev *Event) views() bool { return ev.Type == Track || ev.Type == Page || ev.Type == Screen }

// cancel removes what the event ends: waiting for a dwell, and absences that
// it is the other half of.
func (s *stepper) cancel(e *Entity, sc *scope) {
	if len(e.pending) == 0 {
		return
	}
	if sc.event.views() {
		s.drop(e, func(p *pending) bool { return p.kind == timerDwell }, (*Counts).cancelled)
	}
	s.live.match.cancels.each(sc.event, func(i int) {
		c := s.live.campaigns[i]
		waits := func(p *pending) bool { return p.c == c && p.kind == timerAbsence }
		if !e.waits(waits) || !all(c.unless, sc, nil) {
			return
		}
		if c.match.none() {
			s.drop(e, waits, (*Counts).cancelled)
			return
		}
		_ = c.match.each(sc, func(key string, _ int, _ *fastjson.Value) { // an error: it has no key and cancels nothing
			s.drop(e, func(p *pending) bool { return waits(p) && p.key == key }, (*Counts).cancelled)
		})
	})
}

// learn takes the event into profile, session and features.
func (s *stepper) learn(e *Entity, sc *scope) {
	ev := sc.event
	if ev.Type == Identify {
		if t := ev.get("traits"); t != nil && t.Type() == fastjson.TypeObject {
			e.learn(t, s.live.state)
		}
	}
	if ev.views() {
		e.session.extend(ev, sc.now)
		for _, i := range s.live.dwells {
			if st := e.feature(i); st != nil && st.open > 0 {
				s.live.features[i].close(st, ev.Time, e)
			}
		}
	}
	s.live.match.removes.each(ev, func(i int) {
		if st := e.feature(i); st != nil {
			s.live.features[i].removeRows(st, ev, e)
		}
	})
	full := e.full(sc.now)
	if full {
		s.live.state.Bounds++
	}
	s.live.match.features.each(ev, func(i int) {
		f := s.live.features[i]
		if !full && all(f.where, sc, nil) {
			f.update(e.ensure(i), sc, e, s.live.state)
		}
	})
}

// all says whether every condition holds. A condition that fails with an
// error is false and counted (in a where, silently: c is nil), unless another
// is simply false.
func all(conds []*expr, sc *scope, c *Counts) bool {
	var failed error
	for _, x := range conds {
		ok, err := x.holds(sc)
		if err != nil {
			failed = err
		} else if !ok {
			return false
		}
	}
	if failed != nil && c != nil {
		c.failed(failed)
	}
	return failed == nil
}

// trigger judges one campaign on the event that may trigger it.
func (s *stepper) trigger(c *campaign, e *Entity, sc *scope) {
	n := s.live.counts[c.index]
	if !all(c.where, sc, nil) {
		return
	}
	old := c.tooOld(sc.event, sc.now)
	if !all(c.cond, sc, n) {
		due, ok := s.onlyDwell(c, sc)
		switch {
		case !ok:
			n.Condition++
		case old:
			n.Age++
		default:
			s.drop(e, func(p *pending) bool { return p.c == c && p.kind == timerDwell }, (*Counts).superseded)
			s.pend(e, pending{kind: timerDwell, due: due, c: c, event: s.store(sc)})
		}
		n.Evaluated++
		return
	}
	switch {
	case old && c.def.Unless == nil && !c.inPeriod(sc.now): // the gate before age
		n.Period++
		n.Evaluated++
	case old:
		n.Age++
		n.Evaluated++
	case c.def.Unless == nil:
		n.Evaluated++
		s.candidates = append(s.candidates, candidate{c: c, event: sc.event})
	default:
		n.Evaluated += s.absence(c, e, sc, n, nil)
	}
}
