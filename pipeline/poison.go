package pipeline

import (
	"fmt"
	"slices"
)

// A Step names one step of a log: an event, or a timer (Due is not 0).
type Step struct {
	Seq    uint64 // of its message
	Within int    // events of the message before it
	Due    int64
	Key    string // the entity's, of a timer
}

// Step is the step that Next is making, or made last. Where it panics, what it
// left of its entity is of no use, so the fold is not either: make another
// from the last cursor and Guard the step there. The same log panics at the
// same step wherever it is folded, so what becomes of it is a function of the
// log.
func (f *Fold) Step() Step { return f.step }

// Guard makes a step that has panicked one that can be rolled back: alone, it
// changes nothing but log time and becomes a dead letter.
func (f *Fold) Guard(s Step) {
	if f.guarded == nil {
		f.guarded = map[Step]bool{}
	}
	f.guarded[s] = true
}

// run makes a step on an entity. raw is what its dead letter would hold.
func (f *Fold) run(s Step, e *Entity, raw func() []byte, do func()) {
	f.step = s
	if !f.guarded[s] {
		do()
		return
	}
	before, cur, effects := e.AppendBinary(nil), f.cur.clone(), len(f.effects)
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
		if s.Due != 0 { // it would be due for ever
			e.keep(func(p *pending) bool { return p.due != s.Due })
		}
		f.emit(Effect{Chain: "dead", Dead: &Dead{Reason: "panic", Detail: fmt.Sprint(cause), Raw: letter}})
	}()
	do()
}

// dueEvent is the event that the entity's earliest timer was set by.
func (e *Entity) dueEvent(due int64) []byte {
	for _, p := range e.pending {
		if p.due == due {
			return slices.Clone(p.event.raw)
		}
	}
	return nil
}
