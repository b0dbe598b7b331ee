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

// An evaluation is one campaign, or row of one, judged for one entity. A trigger
// begins it; advance moves it through its stages, in some of which it waits in the
// entity, and is then called pending; end gives it its one outcome.
//
//	trigger   the event has come; `if` is judged
//	ask       waits for an answer of an item; then `if` is judged (ask.go)
//	dwell     waits until the dwells that are missing are long enough; then `if`
//	          is judged again
//	absence   waits for the events of `unless` not to come
//	delay     waits for the best hour (`at`)
//	gates     rules that may stop an offer (gates.go)
//	hold      waits for the end of the quiet hours, then passes the gates again
//	choice    `choose` is evaluated, and the offer's data are rendered
//	channel   the best offer of each channel goes out (choice.go)
//	grant     waits for a grant of a budget or pool, then passes the gates again (budget.go)
//	out       the offer went out, or was withheld
type evaluation struct {
	pending

	waited bool         // it has waited for more than mails
	ended  bool         // this step is the end of the session that triggered it
	event  *event.Event // the trigger
	before *Entity      // what before.x reads; nil: nothing
	began  int64        // the log time of the trigger
	score  float64      // its rank in the choice
	trace  *Trace       // nil: not traced
}

// A pending is what remains of an evaluation between two steps. An entity may hold
// many.
type pending struct {
	stage stage
	entry uint8         // which of the campaign's triggers came (compiled.entries)
	since uint32        // the epoch in which the trigger began
	c     *liveCampaign // nil: the campaign or its trigger is no longer in the set in force

	campaign string // the id of its unit
	trigger  uint64 // unit.trigger; if the unit's differs, the evaluation is cancelled
	key      string // the match key
	firstDue int64  // when its timer was due (dwell, absence or the session's end), which is part of the offer's identity; NoDue: an event triggered it
	due      int64  // when it continues
	held     int64  // when it was first held in quiet hours; NoDue: never
	order    uint64 // its rank among the entity's evaluations by when they began to wait
	stored   *storedEvent
	ask      *asked // what it has asked for, and what it was given; nil: nothing
}

// A stage is the point that an evaluation has reached. Records store the stages
// in which it waits, so existing numbers never change.
type stage uint8

const (
	stageTrigger stage = 0
	stageDwell   stage = 1
	stageAbsence stage = 2
	stageDelay   stage = 3
	stageHold    stage = 4
	stageAsk     stage = 5
	stageGrant   stage = 6

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
	single bool // one at a time for each campaign, user and match key (LANGUAGE.md, rule 9)
	ended  bool // the events of `unless` cancel it
	mail   bool // it waits for a mail
}{
	stageTrigger: {name: "trigger"},
	stageDwell:   {name: "dwell", waits: true, viewed: true},
	stageAbsence: {name: "absence", waits: true, single: true, ended: true},
	stageDelay:   {name: "delay", waits: true, single: true, ended: true},
	stageHold:    {name: "hold", waits: true, single: true, ended: true},
	stageAsk:     {name: "ask", waits: true, ended: true, mail: true},
	stageGrant:   {name: "grant", waits: true, ended: true, mail: true},
	stageGates:   {name: "gates"},
	stageChoice:  {name: "choice"},
	stageChannel: {name: "channel"},
	stageOut:     {name: "out"},
}

func (s stage) String() string { return stages[s].name }

func (s stage) waits() bool { return stages[s].waits }

// triggered is the trigger that has come.
func (e *pending) triggered() *entry { return &e.c.entries[e.entry] }

// byKind orders the evaluations of a user that are due at one time (LANGUAGE.md,
// rule 4).
func byKind(a, b pending) int {
	return cmp.Or(cmp.Compare(a.stage, b.stage), strings.Compare(a.campaign, b.campaign), strings.Compare(a.key, b.key), cmp.Compare(a.order, b.order))
}

// begin begins an evaluation of a campaign whose trigger has come.
func (s *step) begin(c *liveCampaign, entry uint8, ev *event.Event) evaluation {
	s.live.count(c).Evaluated++
	e := evaluation{pending: pending{campaign: c.id, trigger: c.trigger, since: c.since, entry: entry, firstDue: NoDue, held: NoDue, c: c}, event: ev, began: s.now}
	s.trace(&e)
	return e
}

// judgeAge begins the way of an evaluation: an event that is too old triggers
// nothing, unless the campaign is paused anyway.
func (s *step) judgeAge(e evaluation) {
	if e.c.paused == notPaused && !e.ended && e.c.tooOld(e.event, s.now) {
		s.tellAge(&e)
		s.end(&e, Age)
		return
	}
	s.advance(e)
}

// tellAge adds to the trace that the event is too old.
func (s *step) tellAge(e *evaluation) {
	e.trace.told(stageTrigger, "fresh", false, toldSpan("age", value.Minus(s.now, e.event.Time)), toldSpan("fresh", e.c.fresh))
}

// advance moves an evaluation on until it waits, ends, or becomes a candidate
// of this step.
func (s *step) advance(e evaluation) {
	switch e.stage {
	case stageTrigger, stageDwell, stageAsk:
		if s.halted(&e) || !s.condition(&e) {
			return
		}
		s.afterIf(e)
	case stageAbsence:
		s.delay(e)
	default:
		s.candidate(e)
	}
}

// afterIf goes on with an evaluation whose `if` holds.
func (s *step) afterIf(e evaluation) {
	if e.triggered().unless != nil {
		s.absences(e)
		return
	}
	s.delay(e)
}

func (s *step) candidate(e evaluation) { s.candidates = append(s.candidates, e) }

// condition judges `if`, and reports whether it holds and the evaluation
// continues. Otherwise the evaluation has ended or waits for dwell.
func (s *step) condition(e *evaluation) bool {
	sc := s.judge(e)
	holds := all(e.c.cond, sc, &counted{s, e.c, "if"})
	s.traceConditions(e, e.stage, e.c.cond, sc)
	if holds {
		e.stored = nil // what waits from here on keeps other fields
		return true
	}
	if e.stage != stageDwell {
		if due, waits := s.onlyDwell(e.c.compiled, sc); waits {
			s.drop(func(o *pending) bool { return o.c == e.c && o.stage == stageDwell && o.key == e.key }, Superseded, ByNewer)
			e.stored = s.store(e, e.triggered().keepDwell, e.before)
			s.wait(*e, stageDwell, due)
			return false
		}
	}
	s.end(e, Condition)
	return false
}

// absences makes the evaluation wait for `unless`, once for each match key of
// its event; for all keys after the first it begins further evaluations. The
// wait counts from the trigger, even if the evaluation has waited for dwell
// since then; if it is already over, the evaluation continues at once.
func (s *step) absences(e evaluation) {
	unless, started := e.triggered().unless, 0
	within, ok := s.within(&e)
	if !ok {
		s.end(&e, Condition)
		return
	}
	s.keys = s.keys[:0]
	err := e.eachMatch(s.judge(&e), func(key string, _ int, _ *fastjson.Value) {
		if slices.Contains(s.keys, key) {
			return
		}
		if s.keys = append(s.keys, key); len(key) > window.MaxKey {
			s.live.count(e.c).Bounds++
			return
		}
		if same := sameWait(&e, key); unless.NoRestart && s.entity.anyWaits(func(w *pending) bool { return same(w) && !s.overdue(w) }) {
			return
		}
		one := e
		if started++; started > 1 {
			one = s.begin(e.c, e.entry, e.event)
			one.began, one.before, one.ended, one.ask = e.began, e.before, e.ended, e.ask
			s.split(&one, &e)
		}
		one.stored = s.store(&one, e.c.afterAbsence, nil)
		one.key = strings.Clone(key)
		due := value.Plus(e.began, within)
		if e.c.items != nil {
			due = max(due, e.ask.at) // the answer may have come later than that
		}
		s.wait(one, stageAbsence, due)
	})
	if err != nil {
		s.failed(e.c, "unless.match", e.triggered().unless.Match, err)
	}
	if started == 0 {
		e.trace.failed(stageAbsence, "match", err, toldText("match", unless.Match), toldNumber("keys", int64(len(s.keys))))
		if err == nil {
			e.trace.refuse()
		}
		s.end(&e, Condition)
	}
}

// within is how long an absence lasts. ok is false where the expression for it gives no
// span of time.
func (s *step) within(e *evaluation) (within int64, ok bool) {
	t := e.triggered()
	if t.within == nil {
		return int64(t.unless.Within), true
	}
	within, ok, err := spanOf(t.within, s.judge(e), int64(t.unless.AtMost))
	e.trace.failed(stageAbsence, "within", err, toldSpan("within", within))
	if err != nil {
		s.failed(e.c, "unless.within", t.unless.WithinIs, err)
	} else if !ok {
		e.trace.refuse()
	}
	return within, ok
}

// eachMatch calls fn with each match key of an absence: that of the item, where the
// campaign is judged for one.
func (e *evaluation) eachMatch(sc *scope, fn func(key string, index int, it *fastjson.Value)) error {
	if e.c.items != nil {
		fn(e.key, 0, nil)
		return nil
	}
	return e.triggered().match.each(sc, fn)
}

// sameWait recognises the pending evaluations whose place one of e with that key
// takes: there is one for each campaign, user and match key.
func sameWait(e *evaluation, key string) func(*pending) bool {
	c := e.c
	return func(o *pending) bool { return o.c == c && o.key == key && stages[o.stage].single }
}

// delay makes the evaluation wait for the best hour of `at`, or a candidate of
// this step.
func (s *step) delay(e evaluation) {
	if e.c.at != nil {
		due, waits, err := s.bestHour(&e)
		e.trace.failed(stageDelay, "best_hour", err, toldTime("best", max(due, s.now)), toldText("histogram", e.c.def.At.BestHour), toldSpan("ahead", int64(e.c.def.At.Ahead)))
		if err != nil {
			s.failed(e.c, "at", e.c.def.At.BestHour, err)
			s.end(&e, Failed)
			return
		}
		if waits {
			s.later(e, stageDelay, due)
			return
		}
	}
	s.candidate(e)
}

// later makes an evaluation pending in a stage after its trigger.
func (s *step) later(e evaluation, in stage, due int64) {
	if e.stored == nil {
		e.stored = s.store(&e, e.c.afterAbsence, nil)
	}
	s.wait(e, in, due)
}

// wait makes an evaluation pending until due, in the place of one with the same
// key. If due has passed already (a dwell can take longer than the absence), the
// evaluation continues at once.
func (s *step) wait(e evaluation, in stage, due int64) {
	if stages[in].single {
		s.drop(sameWait(&e, e.key), Superseded, ByNewer)
	}
	if in == stageDwell || in == stageAbsence { // `at` and a hold do not change an offer's identity
		e.firstDue = due
	}
	e.stage, e.due = in, due
	if due <= s.now {
		s.advance(e)
		return
	}
	s.pend(e)
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
		s.drop(func(o *pending) bool { return o.order == oldest }, Superseded, ByBound)
		s.live.count(c).Bounds++
	}
}

// boundPending supersedes the oldest pending evaluations while all of them keep
// more bytes of events than the bound allows: by the log time of their triggers,
// then by campaign, stage and key. It is called when all evaluations of the step
// have begun to wait, since the order in which an event triggers campaigns must
// not matter.
func (s *step) boundPending() {
	for s.entity.keeps > maxPending {
		oldest := slices.MinFunc(s.entity.waiting, func(a, b pending) int {
			return cmp.Or(cmp.Compare(truth(!s.overdue(&a)), truth(!s.overdue(&b))), cmp.Compare(a.stored.at, b.stored.at), strings.Compare(a.campaign, b.campaign), cmp.Compare(a.stage, b.stage), strings.Compare(a.key, b.key))
		})
		s.live.count(oldest.c).Bounds++
		order := oldest.order
		s.drop(func(o *pending) bool { return o.order == order }, Superseded, ByBound)
	}
}

// drop ends the pending evaluations for which wanted is true.
func (s *step) drop(wanted func(*pending) bool, how Outcome, cause Cause) {
	if !s.entity.anyWaits(wanted) {
		return
	}
	s.entity.retain(func(w *pending) bool {
		if !wanted(w) {
			return true
		}
		e := &evaluation{pending: *w}
		if cause == ByView {
			s.traceDwell(e)
		}
		s.endBy(e, how, cause)
		s.release(w.stored)
		return false
	})
}

// end gives an evaluation its outcome.
func (s *step) end(e *evaluation, how Outcome) { s.endBy(e, how, "") }

// endBy is end, with what has cancelled or superseded the evaluation.
func (s *step) endBy(e *evaluation, how Outcome, cause Cause) {
	if how != Fired {
		s.giveBack(&e.pending)
	}
	s.live.end(&e.pending, how)
	s.traced(e, how, cause)
}

// end counts an outcome. No other function does so.
func (l *liveSet) end(e *pending, how Outcome) {
	if e.c != nil {
		l.count(e.c).Ended[how]++
	} else {
		l.tally.counts(e.campaign).Ended[how]++
	}
}

// all reports whether all conditions hold. A condition that fails with an error
// does not hold. The error is counted, unless another condition is simply
// false; of is nil for a `where`, whose errors are not counted.
func all(conds []*expr.Expr, sc *scope, of *counted) bool {
	var failed *expr.Expr
	var why error
	for _, x := range conds {
		ok, err := x.Holds(sc)
		if err != nil {
			failed, why = x, err
		} else if !ok {
			return false
		}
	}
	if failed != nil && of != nil {
		of.s.failed(of.c, of.place, failed.Text, why)
	}
	return failed == nil
}
