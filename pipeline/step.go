package pipeline

import (
	"github.com/valyala/fastjson"

	"offerstream/pipeline/event"
	"offerstream/pipeline/window"
)

// A step is one event or one due time on one entity, at one log time. A fold
// has one step value and reuses it.
type step struct {
	live       *liveSet
	out        func(o *Offer) // takes the offers that go out
	tracing    func(*Trace)   // nil: nothing is traced
	duplicates uint64

	// The step in progress:
	entity     *Entity
	now        int64
	scope      scope
	candidates []evaluation // those that have reached the gates
	due        []evaluation // those that continue because they are due
	kept       []keptEvent  // the copies of events with which evaluations became pending

	// Memory that is reused:
	totals  totals
	unused  []*storedEvent // no longer used since this step
	spare   []*storedEvent // can be reused
	stays   []window.Stay  // of onlyDwell
	points  []int64        // of onlyDwell
	scratch []byte         // of feature.update
}

// start begins a step on an entity.
func (s *step) start(e *Entity, now int64) {
	e.bind(s.live)
	s.recycle() // here, because the previous step may have panicked
	s.entity, s.now, s.candidates = e, now, s.candidates[:0]
	s.scope = scope{set: s.live.Set, now: now, entity: e}
}

// scopeOf is what expressions about an event see. There is one scope for each
// step.
func (s *step) scopeOf(ev *event.Event) *scope {
	s.scope.event = ev
	return &s.scope
}

// settled is called when the entity's features do not change any more in this
// step.
func (s *step) settled() { s.scope.totals = s.totals.next(len(s.live.features)) }

// onEvent applies an event, whose event time is set, at log time now. It
// follows LANGUAGE.md, rule 3: duplicates, cancellations, features, triggers.
func (s *step) onEvent(e *Entity, ev *event.Event, now int64) {
	s.start(e, now)
	if e.forgotten(now) {
		e.forget()
	}
	if e.duplicate(ev.ID, now) {
		s.duplicates++
		return
	}
	e.seq++
	e.last = now
	sc := s.scopeOf(ev)
	s.cancel(sc)
	s.learn(sc)
	s.settled()
	s.live.match.campaigns.each(ev, func(i int) {
		if c := &s.live.campaigns[i]; all(c.where, sc, nil) {
			s.advance(s.begin(c, ev))
		}
	})
	s.boundPending()
	s.choose()
}

// onDue continues all evaluations of an entity that are due at now.
func (s *step) onDue(e *Entity, now int64) {
	s.start(e, now)
	s.settled()
	s.due = s.due[:0]
	e.retain(func(w *evaluation) bool {
		if w.due == now {
			s.due = append(s.due, *w)
		}
		return w.due != now
	})
	for _, w := range s.due {
		var dec event.Decoder // one for each event, because candidates outlive the loop
		ev, err := dec.Decode(w.stored.raw)
		s.trace(&w)
		if err != nil { // it could be decoded when it was stored, so another engine stored it
			s.end(&w, Failed)
			continue
		}
		ev.Time = w.stored.time
		w.event = ev
		s.advance(w)
	}
	s.boundPending()
	s.choose()
	for _, w := range s.due {
		s.release(w.stored)
	}
}

// cancel ends what the event cancels: evaluations that wait for dwell, and
// absences whose `unless` it meets.
func (s *step) cancel(sc *scope) {
	if len(s.entity.waiting) == 0 {
		return
	}
	if sc.event.Type.View() {
		s.drop(func(e *evaluation) bool { return stages[e.stage].viewed }, Cancelled)
	}
	s.live.match.cancels.each(sc.event, func(i int) {
		c := &s.live.campaigns[i]
		waits := func(e *evaluation) bool { return e.c == c && stages[e.stage].unless }
		if !s.entity.anyWaits(waits) || !all(c.unless, sc, nil) {
			return
		}
		if c.match.none() {
			s.drop(waits, Cancelled)
			return
		}
		_ = c.match.each(sc, func(key string, _ int, _ *fastjson.Value) { // an event whose key cannot be computed cancels nothing
			s.drop(func(e *evaluation) bool { return waits(e) && e.key == key }, Cancelled)
		})
	})
}

// learn adds the event to profile, session and features.
func (s *step) learn(sc *scope) {
	e, ev, features := s.entity, sc.event, s.live.tally.features
	if ev.Type == event.Identify {
		if t := ev.Get("traits"); t != nil && t.Type() == fastjson.TypeObject {
			e.learn(t, features)
		}
	}
	if ev.Type.View() {
		e.session.extend(ev, sc.now)
		for _, i := range s.live.dwells {
			if st := e.feature(i); st != nil && st.Open() {
				before := st.Size()
				s.live.features[i].shape.Close(st, ev.Time)
				e.resized(st, before)
			}
		}
	}
	s.live.match.removes.each(ev, func(i int) {
		if st := e.feature(i); st != nil {
			before := st.Size()
			s.live.features[i].removeRows(st, ev)
			e.resized(st, before)
		}
	})
	full := e.full(sc.now)
	if full {
		features.Bounds++
	}
	s.live.match.features.each(ev, func(i int) {
		if f := s.live.features[i]; !full && all(f.where, sc, nil) {
			st := e.ensure(i)
			before := st.Size()
			f.update(st, sc, features, &s.scratch)
			e.resized(st, before)
		}
	})
	e.fit(sc.now, features)
}
