package pipeline

import (
	"github.com/valyala/fastjson"

	"offerstream/pipeline/event"
	"offerstream/pipeline/window"
)

// A step is one event or one due time on one entity, at one log time. One of
// them serves a fold: what it is made of is used again.
type step struct {
	live       *liveSet
	out        func(o *Offer)
	tracing    func(*Trace) // nil: nobody asks
	duplicates uint64

	// Of the step that is being made:
	entity     *Entity
	now        int64
	scope      scope
	candidates []evaluation // that have come to the gates
	due        []evaluation // that went on
	stored     *storedEvent // the event, once something waits with it

	// Memory:
	totals  totals
	unused  []*storedEvent // that nothing waits with since this step
	spare   []*storedEvent
	stays   []window.Stay // of onlyDwell, as is points
	points  []int64
	scratch []byte // of a feature's update
}

// start makes it a step of an entity.
func (s *step) start(e *Entity, now int64) {
	e.bind(s.live)
	s.recycle() // the step before may have panicked
	s.entity, s.now, s.candidates = e, now, s.candidates[:0]
	s.scope = scope{set: s.live.Set, now: now, entity: e}
}

// scopeOf is what expressions about an event see.
func (s *step) scopeOf(ev *event.Event) *scope {
	s.scope.event = ev
	return &s.scope
}

// settled says that the entity's features change no more in this step.
func (s *step) settled() { s.scope.totals = s.totals.next(len(s.live.features)) }

// onEvent applies one event at log time now; ev.Time is set. The order is that
// of LANGUAGE.md, rule 3: duplicates, cancellations, features, triggers.
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
	s.choose()
}

// onDue lets go on what waited until now, all of it in one step.
func (s *step) onDue(e *Entity, now int64) {
	s.start(e, now)
	s.settled()
	s.due = s.due[:0]
	e.keep(func(w *evaluation) bool {
		if w.due == now {
			s.due = append(s.due, *w)
		}
		return w.due != now
	})
	for _, w := range s.due {
		var dec event.Decoder // an event each, since candidates outlive the loop
		ev, err := dec.Decode(w.stored.raw)
		s.trace(&w)
		if err != nil { // it was decoded before, so another engine wrote it
			s.end(&w, Failed)
			continue
		}
		ev.Time = w.stored.time
		w.event = ev
		s.advance(w)
	}
	s.choose()
	for _, w := range s.due {
		s.release(w.stored)
	}
}

// cancel ends what the event ends: waiting for dwell, and absences that it is
// the other half of.
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
		if !s.entity.waits(waits) || !all(c.unless, sc, nil) {
			return
		}
		if c.match.none() {
			s.drop(waits, Cancelled)
			return
		}
		_ = c.match.each(sc, func(key string, _ int, _ *fastjson.Value) { // an error: it has no key and cancels nothing
			s.drop(func(e *evaluation) bool { return waits(e) && e.key == key }, Cancelled)
		})
	})
}

// learn takes the event into profile, session and features.
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
				held := st.Held()
				s.live.features[i].shape.Close(st, ev.Time)
				e.entries += st.Held() - held
			}
		}
	}
	s.live.match.removes.each(ev, func(i int) {
		if st := e.feature(i); st != nil {
			held := st.Held()
			s.live.features[i].removeRows(st, ev)
			e.entries += st.Held() - held
		}
	})
	full := e.full(sc.now)
	if full {
		features.Bounds++
	}
	s.live.match.features.each(ev, func(i int) {
		if f := s.live.features[i]; !full && all(f.where, sc, nil) {
			st := e.ensure(i)
			held := st.Held()
			f.update(st, sc, features, &s.scratch)
			e.entries += st.Held() - held
		}
	})
}
