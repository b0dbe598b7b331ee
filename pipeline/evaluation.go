package pipeline

import (
	"strings"

	"github.com/valyala/fastjson"

	"offerstream/pipeline/event"
	"offerstream/pipeline/expr"
)

// An evaluation is one campaign judged for one entity. A trigger begins it,
// advance moves it through its stages, in some of which it waits with the
// entity, and end gives it its one outcome:
//
//	trigger   the event, and `if`
//	dwell     waits until all that is missing, dwell, is long enough; then `if` again
//	absence   waits for `unless`
//	gates     what may stop an offer (gates.go)
//	choice    the offer's data
//	channel   one offer a channel and step: the best (choice.go)
//	out       it went out
type evaluation struct {
	stage    stage
	campaign string // its id
	trigger  uint64 // campaign.Campaign.TriggerID: a changed one cancels
	since    uint32 // epoch in which the trigger began
	key      string // match key
	firstDue int64  // when it was due first, which is part of the offer's identity; 0: it has not waited
	due      int64  // when it goes on, where it waits
	order    uint64 // of setting it waiting, within the entity
	stored   *storedEvent

	c     *liveCampaign // bound to the set that is live; nil: no longer in it
	event *event.Event  // the trigger, within a step
	trace *Trace        // nil: nobody asks
}

// A stage is where an evaluation stands. Those in which it waits are stored:
// append only.
type stage uint8

const (
	stageTrigger stage = 0
	stageDwell   stage = 1
	stageAbsence stage = 2

	stageGates   stage = 252
	stageChoice  stage = 253
	stageChannel stage = 254
	stageOut     stage = 255
)

// stages says of each what all that look at evaluations have to know.
var stages = [256]struct {
	name   string
	waits  bool // with the entity, until due
	viewed bool // the user's next view cancels it
	unless bool // the campaign's `unless` cancels it (LANGUAGE.md, rule 4)
}{
	stageTrigger: {name: "trigger"},
	stageDwell:   {name: "dwell", waits: true, viewed: true},
	stageAbsence: {name: "absence", waits: true, unless: true},
	stageGates:   {name: "gates"},
	stageChoice:  {name: "choice"},
	stageChannel: {name: "channel"},
	stageOut:     {name: "out"},
}

func (s stage) String() string { return stages[s].name }

func (s stage) waits() bool { return stages[s].waits }

// A storedEvent is an event by which evaluations were set waiting.
type storedEvent struct {
	raw  []byte
	time int64 // event time
	at   int64 // log time
	own  bool  // its memory is its own
	uses int   // how many evaluations wait with it; too high is harmless
}

// begin begins an evaluation of a campaign whose trigger has come.
func (s *step) begin(c *liveCampaign, ev *event.Event) evaluation {
	c.counts.Evaluated++
	e := evaluation{campaign: c.def.ID, trigger: c.trigger, since: c.since, c: c, event: ev}
	s.trace(&e)
	return e
}

// advance moves an evaluation on, until it waits, ends or is a candidate of
// this step's choice.
func (s *step) advance(e evaluation) {
	if e.stage == stageTrigger || e.stage == stageDwell {
		if !s.condition(&e) {
			return
		}
		if e.c.def.Unless != nil {
			s.absences(e)
			return
		}
	}
	e.stage = stageGates
	s.candidates = append(s.candidates, e)
}

// condition judges `if`. Where it does not hold the evaluation has ended, or
// waits for dwell.
func (s *step) condition(e *evaluation) bool {
	sc := s.scopeOf(e.event)
	holds := all(e.c.cond, sc, e.c.counts)
	e.trace.conditions(e.stage, e.c.cond, sc)
	old := e.stage == stageTrigger && e.c.tooOld(e.event, s.now)
	due, waits := int64(0), false
	if !holds && e.stage == stageTrigger {
		due, waits = s.onlyDwell(e.c.compiled, sc)
	}
	switch {
	case !holds && !waits:
		s.end(e, Condition)
	case old && holds && e.c.def.Unless == nil && !e.c.def.Runs(s.now): // the period is judged before age
		s.end(e, Period)
	case old:
		s.end(e, Age)
	case waits:
		s.drop(func(o *evaluation) bool { return o.c == e.c && o.stage == stageDwell }, Superseded)
		e.stored = s.store(e.event)
		s.wait(*e, stageDwell, due)
	default:
		return true
	}
	return false
}

// absences lets the evaluation wait for `unless`, once for each match key of
// its event: from the second key on with evaluations of their own. The time
// counts from the trigger, also where dwell was missing then; what is over
// already goes on at once.
func (s *step) absences(e evaluation) {
	unless, started := e.c.def.Unless, false
	err := e.c.match.each(s.scopeOf(e.event), func(key string, _ int, _ *fastjson.Value) {
		same := func(o *evaluation) bool { return o.c == e.c && o.stage == stageAbsence && o.key == key }
		if unless.NoRestart && s.entity.waits(same) {
			return
		}
		s.drop(same, Superseded)
		if e.stored == nil {
			e.stored = s.store(e.event)
		}
		one := e
		if started {
			one = s.begin(e.c, e.event)
			one.stored = e.stored
		}
		started, one.key = true, strings.Clone(key)
		s.wait(one, stageAbsence, e.stored.at+int64(unless.Within))
	})
	if err != nil {
		e.c.counts.failed(err)
	}
	if !started {
		s.end(&e, Condition)
	}
}

// wait sets an evaluation waiting with its entity until due. Where that has
// passed, as where dwell took longer than the absence, it goes on at once.
func (s *step) wait(e evaluation, in stage, due int64) {
	e.stage, e.due, e.firstDue = in, due, due
	if due <= s.now {
		s.advance(e)
		return
	}
	s.traced(&e, "")
	s.entity.order++
	e.order = s.entity.order
	e.event, e.trace = nil, nil // they are of this step
	e.stored.uses++
	s.entity.waiting = append(s.entity.waiting, e)
	if in == stageAbsence {
		s.boundAbsences(e.c)
	}
}

// boundAbsences supersedes the oldest absence of a campaign beyond its bound.
func (s *step) boundAbsences(c *liveCampaign) {
	n, oldest := 0, uint64(0)
	for i := range s.entity.waiting {
		if o := &s.entity.waiting[i]; o.c == c && o.stage == stageAbsence {
			if n++; n == 1 || o.order < oldest {
				oldest = o.order
			}
		}
	}
	if n > s.live.def.Bounds.Absences {
		s.drop(func(o *evaluation) bool { return o.order == oldest }, Superseded)
		c.counts.Bounds++
	}
}

// drop ends what waits and is wanted.
func (s *step) drop(wanted func(*evaluation) bool, how Outcome) {
	if !s.entity.waits(wanted) {
		return
	}
	s.entity.keep(func(e *evaluation) bool {
		if !wanted(e) {
			return true
		}
		s.end(e, how)
		s.release(e.stored)
		return false
	})
}

// end gives an evaluation its outcome.
func (s *step) end(e *evaluation, how Outcome) {
	s.live.end(e, how)
	s.traced(e, how.String())
}

// end counts an outcome: no other function does.
func (l *liveSet) end(e *evaluation, how Outcome) {
	if e.c != nil {
		e.c.counts.Ended[how]++
	} else {
		l.tally.of(e.campaign).Ended[how]++
	}
}

// all says whether every condition holds. One that fails with an error is
// false and counted in c (in a `where` silently: c is nil), unless another is
// simply false.
func all(conds []*expr.Expr, sc *scope, c *Counts) bool {
	var failed error
	for _, x := range conds {
		ok, err := x.Holds(sc)
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

// store keeps the event of this step for what it sets waiting: one copy for
// all, in the memory of one that nothing waits with any more.
func (s *step) store(ev *event.Event) *storedEvent {
	if s.stored == nil {
		kept := &storedEvent{}
		if n := len(s.spare); n > 0 {
			kept, s.spare = s.spare[n-1], s.spare[:n-1]
		}
		*kept = storedEvent{raw: append(kept.raw[:0], ev.Raw...), time: ev.Time, at: s.now, own: true}
		s.stored = kept
	}
	return s.stored
}

// maxSpare bounds the events that are kept for their memory.
const maxSpare = 256

// release says that one evaluation less waits with an event.
func (s *step) release(ev *storedEvent) {
	if ev.uses--; ev.uses == 0 && ev.own {
		s.unused = append(s.unused, ev)
	}
}

// recycle ends the use of what belongs to one step.
func (s *step) recycle() {
	for i, ev := range s.unused {
		if ev.uses == 0 && ev.own && len(s.spare) < maxSpare {
			s.spare = append(s.spare, ev)
			ev.own = false // should it stand there twice
		}
		s.unused[i] = nil
	}
	s.unused, s.stored = s.unused[:0], nil
}
