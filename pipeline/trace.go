package pipeline

import (
	"offerstream/pipeline/expr"
	"offerstream/pipeline/value"
)

// A Trace tells what one step did to one evaluation: the stages that it passed,
// and how it ended or until when it waits.
type Trace struct {
	Campaign string       `json:"campaign"`
	User     string       `json:"user"`  // the entity's key
	Event    string       `json:"event"` // messageId of the trigger
	Key      string       `json:"key,omitempty"`
	Time     string       `json:"time"` // log time
	Stages   []TraceStage `json:"stages"`
	Outcome  string       `json:"outcome,omitempty"` // empty: the evaluation is pending
	Stage    string       `json:"stage"`             // the stage in which it ended or waits
	Due      string       `json:"due,omitempty"`     // when it continues, if it is pending
}

// A TraceStage is a stage that the evaluation passed, with what was judged
// there.
type TraceStage struct {
	Stage string      `json:"stage"`
	Parts []TracePart `json:"parts"`
}

// A TracePart is a condition, a gate, the offer's data or its channel.
type TracePart struct {
	Text   string            `json:"text"`
	OK     bool              `json:"ok"`
	Error  string            `json:"error,omitempty"`
	Values map[string]string `json:"values,omitempty"` // the features that the condition reads, as JSON
}

// Trace makes the fold call fn for each evaluation in each step that touches
// it, when the evaluation ends or becomes pending. Tracing costs time:
// conditions are judged twice.
func (f *Fold) Trace(fn func(*Trace)) { f.step.tracing = fn }

// trace begins the trace of an evaluation in this step.
func (s *step) trace(e *evaluation) {
	if s.tracing != nil {
		e.trace = &Trace{}
	}
}

// traced shows the trace of an evaluation that has ended or is pending.
func (s *step) traced(e *evaluation, outcome string) {
	if s.tracing == nil {
		return
	}
	t := e.trace
	if t == nil { // it ended while it was pending
		t = &Trace{}
	}
	t.Campaign, t.User, t.Key, t.Time, t.Outcome, t.Stage = e.campaign, s.entity.Key, e.key, value.FormatTime(s.now), outcome, e.stage.String()
	if e.event != nil {
		t.Event = e.event.ID
	}
	if outcome == "" {
		t.Due = value.FormatTime(e.due)
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
		p := TracePart{Text: x.Text, Values: map[string]string{}}
		var err error
		if p.OK, err = x.Holds(sc); err != nil {
			p.Error = err.Error()
		}
		for _, name := range x.Reads {
			if i, ok := sc.set.featureIndex[name]; ok {
				p.Values[name] = string(shown(sc.set.features[i].read(sc.entity.feature(i), sc.now)))
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
