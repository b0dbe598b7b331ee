package pipeline

import (
	"slices"

	"offerstream/pipeline/event"
)

// A storedEvent is what pending evaluations keep of their trigger.
type storedEvent struct {
	raw  []byte // JSON (event.AppendKept), and after it the record of what before.x reads in `if` after a dwell
	json int32  // length of the JSON
	size int32  // of the fields that it keeps (LANGUAGE.md, rule 18)
	uses int32  // number of pending evaluations of this event; may be too high, which is harmless
	own  bool   // raw does not alias the entity's record, and can be reused
	time int64  // event time
	at   int64  // log time
}

// event is the event's JSON.
func (ev *storedEvent) event() []byte { return ev.raw[:ev.json] }

// before is the record of what before.x reads; empty: nothing.
func (ev *storedEvent) before() []byte { return ev.raw[ev.json:] }

// A keptEvent is a copy that this step has made of an event.
type keptEvent struct {
	event  *event.Event
	fields *event.Fields
	before *Entity
	stored *storedEvent
}

// store copies what a pending evaluation keeps of its event, and of the user's
// state before it: one copy for all evaluations that keep the same, in the memory
// of a stored event that is no longer used.
func (s *step) store(e *evaluation, fields *event.Fields, before *Entity) *storedEvent {
	for _, k := range s.kept {
		if k.event == e.event && k.fields == fields && k.before == before {
			return k.stored
		}
	}
	stored := &storedEvent{}
	if n := len(s.spare); n > 0 {
		stored, s.spare = s.spare[n-1], s.spare[:n-1]
	}
	raw, size := e.event.AppendKept(slices.Grow(stored.raw[:0], usualKept), fields)
	*stored = storedEvent{raw: raw, json: int32(len(raw)), size: int32(size), time: e.event.Time, at: e.began, own: true}
	if before != nil {
		stored.raw = before.AppendBinary(raw)
	}
	s.kept = append(s.kept, keptEvent{e.event, fields, before, stored})
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

// recycle makes the memory of unused stored events, and the decoders, available again.
// It is called between two steps.
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
	clear(s.again)
	s.kept, s.again, s.decoding = s.kept[:0], s.again[:0], 0
}
