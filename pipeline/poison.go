package pipeline

import (
	"fmt"
	"slices"
)

// A StepID identifies one step of a log: an event, or a due time (Key is not
// empty).
type StepID struct {
	Seq    uint64 // of the message
	Within int    // number of events of the message before the step
	Due    int64  // nanoseconds since 1970
	Key    string // the entity's key; only of a due time
}

// StepID is the step that Next is making, or the last that it made. After a
// panic, the step's entity is damaged and the fold is of no use: make another
// fold from the last checkpoint, and Guard the step there. The same log panics
// at the same step wherever it is folded; hence the outcome of such a step is a
// function of the log.
func (f *Fold) StepID() StepID { return f.id }

// Guard makes a step that has panicked one that can be rolled back. When it
// panics again, it changes nothing but log time, and becomes a dead letter.
func (f *Fold) Guard(s StepID) {
	if f.guarded == nil {
		f.guarded = map[StepID]bool{}
	}
	f.guarded[s] = true
}

// run makes a step on an entity. raw returns the event for a dead letter.
func (f *Fold) run(s StepID, e *Entity, raw func() []byte, do func()) {
	f.id = s
	if !f.guarded[s] {
		do()
		return
	}
	before, cur, effects, counts := e.AppendBinary(nil), f.cur.clone(), len(f.effects), f.step.live.tally.copied()
	letter := raw()
	defer func() {
		cause := recover()
		if cause == nil {
			return
		}
		scheduled, loaded := e.scheduled, e.loaded
		was, err := DecodeEntity(e.Key, before)
		if err != nil {
			f.err = err // cannot happen: the record was encoded above
			return
		}
		*e = *was
		e.scheduled, e.loaded = scheduled, loaded
		f.cur, f.effects = cur, f.effects[:effects]
		f.step.outbox.mails, f.step.outbox.spends, f.step.emptied = nil, nil, nil
		f.step.live.tally.restore(counts)
		if s.Key != "" { // end what is due, or it would be due for ever
			e.bind(f.step.live)
			if r := e.remains; r != nil && r.due <= s.Due {
				e.remains = nil
			}
			if e.session.ends && e.session.due() == s.Due {
				e.session.ends = false
			}
			e.retain(func(w *pending) bool {
				if w.due == s.Due && !stages[w.stage].mail {
					f.step.live.end(w, Failed)
				}
				return w.due != s.Due || stages[w.stage].mail
			})
		}
		f.emit(Effect{Chain: deadChain, Dead: &Dead{Reason: "panic", Detail: fmt.Sprint(cause), Raw: letter}})
	}()
	do()
}

// dueEvent is the trigger of an evaluation that is due at that time.
func (e *Entity) dueEvent(due int64) []byte {
	for _, w := range e.waiting {
		if w.due == due {
			return slices.Clone(w.stored.event())
		}
	}
	return e.sessionEvent()
}
