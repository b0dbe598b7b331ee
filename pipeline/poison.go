package pipeline

import (
	"fmt"
	"slices"
)

// A StepID names one step of a log: an event, or a due time (Due is not 0).
type StepID struct {
	Seq    uint64 // of its message
	Within int    // events of the message before it
	Due    int64
	Key    string // the entity's, of a due time
}

// StepID is the step that Next is making, or made last. Where it panics, what it
// left of its entity is of no use, so the fold is not either: make another
// from the last cursor and Guard the step there. The same log panics at the
// same step wherever it is folded, so what becomes of it is a function of the
// log.
func (f *Fold) StepID() StepID { return f.id }

// Guard makes a step that has panicked one that can be rolled back: alone, it
// changes nothing but log time and becomes a dead letter.
func (f *Fold) Guard(s StepID) {
	if f.guarded == nil {
		f.guarded = map[StepID]bool{}
	}
	f.guarded[s] = true
}

// run makes a step on an entity. raw is what its dead letter would hold.
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
			f.err = err // it was encoded a moment ago
			return
		}
		*e = *was
		e.scheduled, e.loaded = scheduled, loaded
		f.cur, f.effects = cur, f.effects[:effects]
		f.step.live.tally.restore(counts)
		if s.Due != 0 { // what is due would be for ever
			e.bind(f.step.live)
			e.keep(func(w *evaluation) bool {
				if w.due == s.Due {
					f.step.live.end(w, Failed)
				}
				return w.due != s.Due
			})
		}
		f.emit(Effect{Chain: "dead", Dead: &Dead{Reason: "panic", Detail: fmt.Sprint(cause), Raw: letter}})
	}()
	do()
}

// dueEvent is the event by which what is due was set waiting.
func (e *Entity) dueEvent(due int64) []byte {
	for _, w := range e.waiting {
		if w.due == due {
			return slices.Clone(w.stored.raw)
		}
	}
	return nil
}
