package pipeline

import (
	"encoding/json"

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
	Wait     uint64      // the number under which it waits from now on; 0: it has ended
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
	ByNewer  Cause = "newer"  // a later trigger, or the end of the quiet hours came anew
	ByBound  Cause = "bound"  // too many wait: the oldest leaves
	ByChange Cause = "change" // the campaign changed or is gone
	ByForget Cause = "forget" // the user was forgotten
)

// A TraceStage is a stage that the evaluation passed, with what was judged
// there.
type TraceStage struct {
	Stage string
	Parts []TracePart
}

// A TracePart is a condition, a gate, the offer's data or its channel.
type TracePart struct {
	Text     string // the condition's source, or the gate's outcome
	OK       bool
	Error    string
	Values   []TraceValue     // what the condition reads; what a gate compares
	Compared *TraceComparison // nil: the condition is no comparison
}

// A TraceValue is a value that was read, as JSON.
type TraceValue struct {
	Of string
	Is json.RawMessage
}

// A TraceComparison is a condition of the form left op right, with its values as
// JSON. Feature is the feature that one side is, or is a value of; "" if neither.
type TraceComparison struct {
	Left, Op, Right     string // as written
	LeftIs, RightIs     json.RawMessage
	Feature, Key        string // the feature's name, and the key under which it is read
	FeatureIsOnTheRight bool
}

// A TriggerTrace tells whether an event met a trigger whose `on` names it.
type TriggerTrace struct {
	Campaign string // the id of the unit
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

// TraceTriggers makes the fold call fn for each event and each unit whose `on`
// names the event.
func (f *Fold) TraceTriggers(fn func(*TriggerTrace)) { f.step.triggering = fn }

// Failures makes the fold call fn for each error of an expression that it counts.
func (f *Fold) Failures(fn func(Failure)) { f.step.failing = fn }

// Only makes the fold apply the events of these entities, and facts. Events of
// others move log time and do nothing else.
func (f *Fold) Only(keys ...string) {
	f.only = map[string]bool{}
	for _, k := range keys {
		f.only[k] = true
	}
}

// trace begins the trace of an evaluation in this step.
func (s *step) trace(e *evaluation) {
	if s.tracing != nil {
		e.trace = &Trace{}
	}
}

// traced shows the trace of an evaluation that has ended or is pending.
func (s *step) traced(e *evaluation, outcome Outcome, ended bool) {
	if s.tracing == nil {
		return
	}
	t := e.trace
	if t == nil { // it ended while it was pending
		t = &Trace{}
	}
	t.Campaign, t.User, t.Key, t.Now, t.Outcome, t.Stage, t.Due = e.campaign, s.entity.Key, e.key, s.now, outcome, e.stage.String(), NoDue
	if !ended {
		t.Due = e.due
	}
	s.tracing(t)
}

// add adds a part to the trace of a stage.
func (t *Trace) add(in stage, p TracePart) {
	if n := len(t.Stages); n == 0 || t.Stages[n-1].Stage != in.String() {
		t.Stages = append(t.Stages, TraceStage{Stage: in.String()})
	}
	last := &t.Stages[len(t.Stages)-1]
	last.Parts = append(last.Parts, p)
}

// conditions adds the result of each conjunct, and the features that it reads.
func (t *Trace) conditions(in stage, conds []*expr.Expr, sc *scope) {
	if t == nil {
		return
	}
	for _, x := range conds {
		p := TracePart{Text: x.Text}
		var err error
		if p.OK, err = x.Holds(sc); err != nil {
			p.Error = err.Error()
		}
		for _, name := range x.Reads {
			if i, ok := sc.set.featureIndex[name]; ok {
				p.Values = append(p.Values, TraceValue{name, shown(sc.set.features[i].read(sc.entity.feature(i), sc.now))})
			}
		}
		t.add(in, p)
	}
}

func (t *Trace) gate(g Outcome, stopped bool) {
	if t != nil && (stopped || g != Paused) {
		t.add(stageGates, TracePart{Text: g.String(), OK: !stopped})
	}
}

func (t *Trace) choice(err error) {
	if t == nil {
		return
	}
	p := TracePart{Text: "data", OK: err == nil}
	if err != nil {
		p.Error = err.Error()
	}
	t.add(stageChoice, p)
}

// channel adds whether the channel was free, or the campaign that has taken it.
func (t *Trace) channel(channel, by string) {
	if t == nil {
		return
	}
	p := TracePart{Text: channel, OK: by == ""}
	if by != "" {
		p.Error = "taken by " + by
	}
	t.add(stageChannel, p)
}
