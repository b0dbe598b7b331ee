package pipeline

import (
	"cmp"
	"slices"
	"strings"

	"github.com/valyala/fastjson"

	"offerstream/pipeline/event"
	"offerstream/pipeline/expr"
	"offerstream/pipeline/value"
	"offerstream/pipeline/window"
)

// An evaluation is one campaign judged for one entity. A trigger begins it;
// advance moves it through its stages, in some of which it waits in the entity,
// and is then called pending; end gives it its one outcome.
//
//	trigger   the event has come; `if` is judged
//	dwell     waits until the dwells that are missing are long enough; then `if`
//	          is judged again
//	absence   waits for the events of `unless` not to come
//	gates     rules that may stop an offer (gates.go)
//	choice    the offer's data are rendered
//	channel   the best offer of each channel goes out (choice.go)
//	out       the offer went out
type evaluation struct {
	stage    stage
	campaign string // the campaign's id
	trigger  uint64 // campaign.Campaign.TriggerID; if the campaign's differs, the evaluation is cancelled
	since    uint32 // the epoch in which the trigger began
	key      string // the match key
	firstDue int64  // the first due time, which is part of the offer's identity; 0: it has never waited
	due      int64  // when it continues, if it is pending
	order    uint64 // its rank among the entity's evaluations by when they began to wait
	stored   *storedEvent

	c     *liveCampaign // nil: the campaign or its trigger is no longer in the set in force
	event *event.Event  // the trigger; only set during a step
	trace *Trace        // nil: not traced
}

// A stage is the point that an evaluation has reached. Records store the stages
// in which it waits, so existing numbers never change.
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

// stages describes each stage.
var stages = [256]struct {
	name   string
	waits  bool // the evaluation waits in the entity until it is due
	viewed bool // the user's next view cancels it
	unless bool // the events of the campaign's `unless` cancel it (LANGUAGE.md, rule 4)
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

// A storedEvent is what pending evaluations keep of their trigger.
type storedEvent struct {
	raw  []byte // JSON (event.AppendKept)
	size int    // of the fields that it keeps (LANGUAGE.md, rule 18)
	time int64  // event time
	at   int64  // log time
	own  bool   // raw does not alias the entity's record, and can be reused
	uses int    // number of pending evaluations of this event; may be too high, which is harmless
}

// begin begins an evaluation of a campaign whose trigger has come.
func (s *step) begin(c *liveCampaign, ev *event.Event) evaluation {
	c.counts.Evaluated++
	e := evaluation{campaign: c.def.ID, trigger: c.trigger, since: c.since, c: c, event: ev}
	s.trace(&e)
	return e
}

// advance moves an evaluation on until it waits, ends, or becomes a candidate
// of this step.
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

// condition judges `if`, and reports whether it holds and the evaluation
// continues. Otherwise the evaluation has ended or waits for dwell.
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
	case old && holds && e.c.def.Unless == nil && !e.c.def.Runs(s.now):
		// Outside of its period a campaign ends as Period, even if the event is too old.
		s.end(e, Period)
	case old:
		s.end(e, Age)
	case waits:
		s.drop(func(o *evaluation) bool { return o.c == e.c && o.stage == stageDwell }, Superseded)
		e.stored = s.store(e.event, e.c.afterDwell, s.now)
		s.wait(*e, stageDwell, due)
	default:
		return true
	}
	return false
}

// absences makes the evaluation wait for `unless`, once for each match key of
// its event; for all keys after the first it begins further evaluations. The
// wait counts from the trigger, even if the evaluation has waited for dwell
// since then; if it is already over, the evaluation continues at once.
func (s *step) absences(e evaluation) {
	unless, began, started := e.c.def.Unless, s.now, false
	if e.stored != nil {
		began = e.stored.at
	}
	err := e.c.match.each(s.scopeOf(e.event), func(key string, _ int, _ *fastjson.Value) {
		if len(key) > window.MaxKey {
			e.c.counts.Bounds++
			return
		}
		sameKey := func(o *evaluation) bool { return o.c == e.c && o.stage == stageAbsence && o.key == key }
		if unless.NoRestart && s.entity.anyWaits(sameKey) {
			return
		}
		s.drop(sameKey, Superseded)
		one := e
		if started {
			one = s.begin(e.c, e.event)
		}
		one.stored = s.store(e.event, e.c.afterAbsence, began)
		started, one.key = true, strings.Clone(key)
		s.wait(one, stageAbsence, value.Plus(began, int64(unless.Within)))
	})
	if err != nil {
		e.c.counts.failed(err)
	}
	if !started {
		s.end(&e, Condition)
	}
}

// wait makes an evaluation pending until due. If due has passed already (a
// dwell can take longer than the absence), the evaluation continues at once.
func (s *step) wait(e evaluation, in stage, due int64) {
	e.stage, e.due, e.firstDue = in, due, due
	if due <= s.now {
		s.advance(e)
		return
	}
	s.traced(&e, "")
	s.entity.order++
	e.order = s.entity.order
	e.event, e.trace = nil, nil // these are valid only in this step
	e.stored.uses++
	s.entity.waiting = append(s.entity.waiting, e)
	s.entity.keeps += e.stored.size
	if in == stageAbsence {
		s.boundAbsences(e.c)
	}
}

// boundAbsences supersedes a campaign's oldest absence if there are more than
// the bound allows.
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

// boundPending supersedes the oldest pending evaluations while all of them keep
// more bytes of events than the bound allows: by the log time of their triggers,
// then by campaign, stage and key. It is called when all evaluations of the step
// have begun to wait, since the order in which an event triggers campaigns must
// not matter.
func (s *step) boundPending() {
	for s.entity.keeps > maxPending {
		oldest := slices.MinFunc(s.entity.waiting, func(a, b evaluation) int {
			return cmp.Or(cmp.Compare(a.stored.at, b.stored.at), strings.Compare(a.campaign, b.campaign), cmp.Compare(a.stage, b.stage), strings.Compare(a.key, b.key))
		})
		oldest.c.counts.Bounds++
		order := oldest.order
		s.drop(func(o *evaluation) bool { return o.order == order }, Superseded)
	}
}

// drop ends the pending evaluations for which wanted is true.
func (s *step) drop(wanted func(*evaluation) bool, how Outcome) {
	if !s.entity.anyWaits(wanted) {
		return
	}
	s.entity.retain(func(e *evaluation) bool {
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

// end counts an outcome. No other function does so.
func (l *liveSet) end(e *evaluation, how Outcome) {
	if e.c != nil {
		e.c.counts.Ended[how]++
	} else {
		l.tally.counts(e.campaign).Ended[how]++
	}
}

// all reports whether all conditions hold. A condition that fails with an error
// does not hold. The error is counted, unless another condition is simply
// false; counts is nil for a `where`, whose errors are not counted.
func all(conds []*expr.Expr, sc *scope, counts *Counts) bool {
	var failed error
	for _, x := range conds {
		ok, err := x.Holds(sc)
		if err != nil {
			failed = err
		} else if !ok {
			return false
		}
	}
	if failed != nil && counts != nil {
		counts.failed(failed)
	}
	return failed == nil
}

// A keptEvent is a copy that this step has made of an event.
type keptEvent struct {
	event  *event.Event
	fields *event.Fields
	stored *storedEvent
}

// store copies what pending evaluations keep of an event, whose log time is at:
// one copy for all of them that keep the same fields, in the memory of a stored
// event that is no longer used.
func (s *step) store(ev *event.Event, fields *event.Fields, at int64) *storedEvent {
	for _, k := range s.kept {
		if k.event == ev && k.fields == fields {
			return k.stored
		}
	}
	stored := &storedEvent{}
	if n := len(s.spare); n > 0 {
		stored, s.spare = s.spare[n-1], s.spare[:n-1]
	}
	raw, size := ev.AppendKept(slices.Grow(stored.raw[:0], usualKept), fields)
	*stored = storedEvent{raw: raw, size: size, time: ev.Time, at: at, own: true}
	s.kept = append(s.kept, keptEvent{ev, fields, stored})
	return stored
}

// usualKept is the size of most copies, in bytes.
const usualKept = 256

// maxSpare bounds the number of stored events that are kept for reuse.
const maxSpare = 256

// release takes one from the number of evaluations that are pending with an
// event.
func (s *step) release(ev *storedEvent) {
	if ev.uses--; ev.uses == 0 && ev.own {
		s.unused = append(s.unused, ev)
	}
}

// recycle makes the memory of unused stored events available again. It is
// called between two steps.
func (s *step) recycle() {
	for i, ev := range s.unused {
		if ev.uses == 0 && ev.own && len(s.spare) < maxSpare {
			s.spare = append(s.spare, ev)
			ev.own = false // an event that is listed twice must be recycled once
		}
		s.unused[i] = nil
	}
	s.unused = s.unused[:0]
	clear(s.kept)
	s.kept = s.kept[:0]
}
