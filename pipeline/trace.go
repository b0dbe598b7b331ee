package pipeline

import (
	"encoding/json"
	"slices"

	"cel.dev/cel-go/common/types/ref"

	"offerstream/pipeline/event"
	"offerstream/pipeline/expr"
)

// A Trace tells what one step did to one evaluation: the stages that it passed,
// and how it ended or until when it waits. Times are in nanoseconds since 1970.
type Trace struct {
	Campaign string // the id of its unit: the campaign's name, or name/row
	User     string // the entity's key
	Key      string // the match key
	Trigger  TraceEvent
	Began    int64       // the log time of the trigger
	Now      int64       // the log time of the step
	By       *TraceEvent // the event whose step this is; nil: a due time
	From     uint64      // the number under which it waited until this step, among those of the user; 0: it began in this step
	Of       string      // the visitor among whose numbers From is, where it became this user in this step; "": the user
	Wait     uint64      // the number under which it waits from now on; 0: it has ended
	Asks     string      // the key of the entity whose answer or grant it waits for; "": none
	Stages   []TraceStage
	Stage    string  // the stage in which it ended or waits
	Due      int64   // when it continues; NoDue: it has ended
	Outcome  Outcome // if it has ended
	Cause    Cause   // of Cancelled and Superseded
	Offer    *Offer  // that went out or was withheld
}

// A TraceEvent is an event in a trace.
type TraceEvent struct {
	ID   string // its messageId
	Type string
	Name string // of track, page, screen and system
	Time int64  // event time
}

// A Cause is why a pending evaluation was cancelled or superseded.
type Cause string

// The causes.
const (
	ByView   Cause = "view"   // the user's next view, during a dwell
	ByUnless Cause = "unless" // an event of `unless`
	ByNewer  Cause = "newer"  // a later evaluation takes its place
	ByBound  Cause = "bound"  // too many wait: the oldest leaves
	ByChange Cause = "change" // the campaign changed or is gone
	ByLoss   Cause = "loss"   // what it waited for is lost
	ByMerge  Cause = "merge"  // a visitor became the user: it waits on under another number, or the last view of the other of the two ended its dwell
)

// A TraceStage is a stage that the evaluation passed, with what was judged
// there.
type TraceStage struct {
	Stage string
	Parts []TracePart
}

// A TracePart is a condition, a gate, the offer's data or its channel.
type TracePart struct {
	Text      string // the condition's source, or the name of what else is judged, such as a gate's outcome
	Condition bool
	OK        bool
	Error     string
	Missing   bool             // the error is that a field is missing
	Values    []TraceValue     // what the condition reads; what a gate compares
	Compared  *TraceComparison // nil: the condition is no comparison
}

// A TraceValue is a value that was read, as JSON. Of one whose JSON has more than
// mostTraced bytes it is the beginning, as a text.
type TraceValue struct {
	Of string
	Is json.RawMessage
}

// A TraceComparison is a condition of the form left op right, with its values as
// JSON. Feature is the feature that one side is, or is a value of; "" if neither.
type TraceComparison struct {
	Left, Op, Right string // as written
	LeftIs, RightIs json.RawMessage
	Feature, Key    string // the feature's name, and the key under which it is read
	FeatureIsRight  bool
}

// A TriggerTrace tells whether an event met a trigger whose `on` names it.
type TriggerTrace struct {
	Campaign string // the id of the unit
	AllRows  bool   // it tells the same of all rows of the campaign
	User     string // the entity's key
	Entry    int    // which entry of `any`, or which step of the sequence
	Sequence bool
	Event    TraceEvent
	Now      int64
	Parts    []TracePart // the conjuncts of `where`
	Holds    bool        // of a step of a sequence: `where` holds, whether or not the step is the next one
}

// A Failure is an expression's error that was counted.
type Failure struct {
	Campaign string // the id of the unit; "": a feature's
	Feature  string
	Place    string // if, when_due, at, choose, score, unless.match, by, of, or that of a template, such as offer.data.title
	Text     string // the expression; of a template with its braces
	Err      error
}

// Trace makes the fold call fn for each evaluation in each step that touches
// it, when the evaluation ends or becomes pending. Tracing costs time:
// conditions are judged twice. The values in the Trace stay valid.
func (f *Fold) Trace(fn func(*Trace)) { f.step.tracing = fn }

// MostTriggersTraced is up to how many campaigns of a set the triggers of all are
// traced: each event takes a few microseconds for each.
const MostTriggersTraced = 500

// TraceTriggers makes the fold call fn for each event and each unit of these campaigns
// whose `on` names the event; without campaigns, of all in a set that has no more than
// MostTriggersTraced.
func (f *Fold) TraceTriggers(fn func(*TriggerTrace), campaigns ...string) {
	f.step.triggering, f.step.triggersOf = fn, campaigns
}

// Failures makes the fold call fn for each error of an expression that it counts.
func (f *Fold) Failures(fn func(Failure)) { f.step.failing = fn }

// trace begins the trace of an evaluation in this step.
func (s *step) trace(e *evaluation) {
	if s.tracing == nil {
		return
	}
	e.trace = &Trace{Campaign: e.campaign, User: s.entity.Key, Began: s.now, Now: s.now}
	if e.event != nil {
		e.trace.Trigger = eventTraced(e.event)
	}
	if e.stored != nil {
		e.trace.Began = e.stored.at
	}
	if s.scope.event != nil && s.applying {
		by := eventTraced(s.scope.event)
		e.trace.By = &by
	}
}

// split is the trace of an evaluation that begins where another one has come to.
func (s *step) split(e *evaluation, from *evaluation) {
	if from.trace != nil {
		e.trace.Began, e.trace.Stages = from.began, slices.Clone(from.trace.Stages)
	}
}

// pended shows the trace of an evaluation that is pending.
func (s *step) pended(e *evaluation) {
	if e.trace == nil {
		return
	}
	t := *e.trace // it may go on in this step
	t.Key, t.Stage, t.Due, t.Wait = e.key, e.stage.String(), e.due, e.order
	if stages[e.stage].mail {
		t.Asks = e.ask.of
	}
	s.tracing(&t)
}

// traced shows the trace of an evaluation that has ended.
func (s *step) traced(e *evaluation, how Outcome, cause Cause) {
	if s.tracing == nil {
		return
	}
	t := e.trace
	if t == nil { // it ended while it was pending
		s.traceWaiting(e)
		t = e.trace
	}
	t.Key, t.Stage, t.Due, t.Outcome, t.Cause = e.key, e.stage.String(), NoDue, how, cause
	if n := len(t.Stages); n > 0 && e.stage != stageOut { // gates are no stage of their own in the evaluation
		t.Stage = t.Stages[n-1].Stage
	}
	s.tracing(t)
}

// traceWaiting begins the trace of an evaluation that was pending.
func (s *step) traceWaiting(e *evaluation) {
	s.trace(e)
	e.trace.From = e.order
	if e.event != nil {
		return
	}
	var dec event.Decoder
	if ev, err := dec.Decode(e.stored.event()); err == nil {
		ev.Time = e.stored.time
		e.trace.Trigger = eventTraced(ev)
	}
}

// traceBegun shows the trace of an evaluation that begins at a switch, where it waits
// or is a duplicate.
func (s *step) traceBegun(w *pending, duplicate bool) {
	if s.tracing == nil {
		return
	}
	e := &evaluation{pending: *w}
	s.traceWaiting(e)
	if e.trace.From = 0; duplicate {
		s.traced(e, Duplicate, "")
	} else {
		s.pended(e)
	}
}

// traceAnswer adds what an item has answered: what the campaign reads of it.
func (s *step) traceAnswer(e *evaluation) {
	if e.trace == nil {
		return
	}
	sc := s.judge(e)
	p := TracePart{Text: "answer", OK: true, Values: traceValues([]detail{toldText("of", e.ask.of)})}
	add := func(features []int, before bool, prefix string) {
		for _, i := range features {
			f := s.live.features[i]
			p.Values = append(p.Values, TraceValue{prefix + f.def.Name, jsonOf(sc.readItem(f, before), nil)})
		}
	}
	add(e.c.items.features, false, "")
	add(e.c.items.before, true, "before.")
	e.trace.add(stageAsk, p)
}

// traceRecipient adds what has made the user a recipient: the item's values, and `if`,
// which the item has judged at a log time of its own.
func (s *step) traceRecipient(e *evaluation, item string) {
	if e.trace == nil {
		return
	}
	e.trace.told(stageTrigger, "to", true, toldText("list", e.c.def.Users), toldText("of", item))
	sc, now := s.judge(e), s.now
	sc.now = e.began
	s.traceConditions(e, stageTrigger, e.c.cond, sc)
	sc.now = now
}

// traceMoved shows the trace of an evaluation that waits on under another number since a
// visitor became the user; of is the visitor whose it was, "" if it is the user's.
func (s *step) traceMoved(w *pending, from uint64, of string) {
	if s.tracing == nil {
		return
	}
	e := &evaluation{pending: *w}
	s.traceWaiting(e)
	e.trace.From, e.trace.Of, e.trace.Cause = from, of, ByMerge
	s.pended(e)
}

// endOf ends an evaluation that was pending of a visitor.
func (s *step) endOf(visitor string, e *evaluation, how Outcome, cause Cause) {
	if s.tracing != nil {
		s.traceWaiting(e)
		e.trace.Of = visitor
	}
	s.endBy(e, how, cause)
}

// traceDwell begins the trace of an evaluation whose wait for dwell a view ends, with
// its conditions as they are now.
func (s *step) traceDwell(e *evaluation) {
	if s.tracing == nil {
		return
	}
	s.traceWaiting(e)
	var dec event.Decoder
	ev, err := dec.Decode(e.stored.event())
	if err != nil {
		return
	}
	ev.Time, ev.Bare = e.stored.time, s.live.bareUser()
	if len(e.stored.before()) > 0 {
		if e.before, err = DecodeEntity(s.entity.Key, e.stored.before()); err != nil {
			return
		}
		e.before.bind(s.live)
	}
	around := s.scope
	e.event, e.began = ev, e.stored.at
	s.traceConditions(e, e.stage, e.c.cond, s.judge(e))
	s.scope = around
}

// traceChanges shows the traces of the evaluations that a change of sets cancels,
// which are those of before that the entity no longer has.
func (s *step) traceChanges(before []pending) {
	for _, w := range before {
		if !s.entity.anyWaits(func(o *pending) bool { return o.order == w.order }) {
			s.traced(&evaluation{pending: w}, Cancelled, ByChange)
		}
	}
}

// add adds a part to the trace of a stage.
func (t *Trace) add(in stage, p TracePart) {
	if n := len(t.Stages); n == 0 || t.Stages[n-1].Stage != in.String() {
		t.Stages = append(t.Stages, TraceStage{Stage: in.String()})
	}
	last := &t.Stages[len(t.Stages)-1]
	last.Parts = append(last.Parts, p)
}

// traceConditions adds to a stage what each conjunct reads, and whether it holds.
func (s *step) traceConditions(e *evaluation, in stage, conds []*expr.Expr, sc *scope) {
	if e.trace == nil {
		return
	}
	is := s.inspected(e.c)
	for _, x := range conds {
		e.trace.add(in, is.part(is.words.cond, x, sc))
	}
}

// gate adds a gate, with what it compares.
func (t *Trace) gate(g *ownGate, stopped bool, s *step, e *evaluation) {
	if t == nil || !stopped && g.outcome == Paused {
		return
	}
	p := TracePart{Text: g.outcome.String(), OK: !stopped}
	if g.tell != nil {
		p.Values = traceValues(g.tell(s, e))
	}
	t.add(stageGates, p)
}

// told adds a part of a stage with what it is judged by.
func (t *Trace) told(in stage, text string, ok bool, by ...detail) {
	if t != nil {
		t.add(in, TracePart{Text: text, OK: ok, Values: traceValues(by)})
	}
}

// failed adds a part of a stage that may have failed with an error.
func (t *Trace) failed(in stage, text string, err error, by ...detail) {
	if t == nil {
		return
	}
	p := TracePart{Text: text, OK: err == nil, Values: traceValues(by)}
	if err != nil {
		p.Error, p.Missing = err.Error(), expr.IsMissing(err)
	}
	t.add(in, p)
}

// chose adds what `choose` has given.
func (t *Trace) chose(choose string, item ref.Val, err error) {
	if t == nil {
		return
	}
	p := TracePart{Text: choose, OK: err == nil}
	if err != nil {
		p.Error, p.Missing = err.Error(), expr.IsMissing(err)
	} else {
		p.Values = []TraceValue{{"item", shortened(shown(item))}}
	}
	t.add(stageChoice, p)
}

// traceHoldout adds whose holdout the user belongs to, and its share.
func (s *step) traceHoldout(e *evaluation) {
	if e.trace == nil {
		return
	}
	of, share := "set", s.live.def.Holdout
	if inHoldout(e.c.id, s.entity.Key, e.c.def.Holdout) {
		of, share = "campaign", e.c.def.Holdout
	}
	e.trace.told(stageOut, "holdout", false, toldText("of", of), toldNumber("share", int64(share)))
}

// went adds the offer that went out or was withheld.
func (t *Trace) went(o *Offer) {
	if t != nil {
		t.Offer = o
	}
}

// refuse makes the last part one that has stopped the evaluation.
func (t *Trace) refuse() {
	if t != nil {
		parts := t.Stages[len(t.Stages)-1].Parts
		parts[len(parts)-1].OK = false
	}
}
