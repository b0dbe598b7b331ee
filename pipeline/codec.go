package pipeline

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"unsafe"
)

// An entity's bytes: a version, then its parts in the order of the struct,
// integers as varints (times and signed ones zigzag), texts and lists after
// their length. Framing and checksum are the store's.
const entityVersion = 2

// errShort says that bytes end before the entity does.
var errShort = errors.New("the record ends too early")

// AppendBinary appends the entity's bytes to dst.
func (e *Entity) AppendBinary(dst []byte) []byte {
	w := writer{dst}
	w.byte(entityVersion)
	w.uint(e.seq)
	w.int(e.last)
	w.uint(e.order)
	w.bytes(e.ring)
	w.len(len(e.traits))
	for _, t := range e.traits {
		w.text(t.name)
		w.value(t.value)
	}
	w.session(&e.session)
	w.states(e.states)
	w.pending(e.pending)
	w.len(len(e.sent))
	for _, s := range e.sent {
		w.text(s.campaign)
		w.uint(s.ever)
		w.times(s.times)
	}
	w.len(len(e.channels))
	for _, c := range e.channels {
		w.text(c.channel)
		w.times(c.times)
	}
	w.len(len(e.offers))
	for _, id := range e.offers {
		w.text(id)
	}
	return w.b
}

// DecodeEntity reads what AppendBinary wrote. The entity keeps no part of b:
// it lives in a copy, whose pieces move out as they grow.
func DecodeEntity(key string, b []byte) (*Entity, error) {
	r := reader{b: slices.Clone(b), views: true}
	if v := r.byte(); v != entityVersion && r.err == nil {
		return nil, fmt.Errorf("entity %q: written in version %d, this is %d", key, v, entityVersion)
	}
	e := &Entity{Key: key, loaded: true}
	e.seq, e.last, e.order = r.uint(), r.int(), r.uint()
	e.ring = r.bytes()
	e.mark()
	for range r.len(2) {
		e.traits = append(e.traits, trait{r.text(), r.value()})
	}
	r.session(&e.session)
	e.states = r.states()
	e.pending = r.pending()
	for range r.len(3) {
		e.sent = append(e.sent, sent{r.text(), r.uint(), r.times()})
	}
	for range r.len(2) {
		e.channels = append(e.channels, channelSent{r.text(), r.times()})
	}
	for range r.len(1) {
		e.offers = append(e.offers, r.text())
	}
	if r.err == nil && len(r.b) > 0 {
		r.err = fmt.Errorf("%d bytes are left over", len(r.b))
	}
	if r.err != nil {
		return nil, fmt.Errorf("entity %q: %w", key, r.err)
	}
	e.scheduled = e.Due()
	return e, nil
}

type writer struct{ b []byte }

func (w *writer) byte(v byte)   { w.b = append(w.b, v) }
func (w *writer) uint(v uint64) { w.b = binary.AppendUvarint(w.b, v) }
func (w *writer) int(v int64)   { w.b = binary.AppendVarint(w.b, v) }
func (w *writer) len(n int)     { w.uint(uint64(n)) }

func (w *writer) text(s string) {
	w.len(len(s))
	w.b = append(w.b, s...)
}

func (w *writer) bytes(b []byte) {
	w.len(len(b))
	w.b = append(w.b, b...)
}

func (w *writer) times(ts []int64) {
	w.len(len(ts))
	at := int64(0)
	for _, t := range ts {
		w.int(t - at)
		at = t
	}
}

func (w *writer) value(v Value) {
	w.byte(byte(v.kind))
	switch v.kind {
	case kindNull:
	case kindString, kindJSON:
		w.text(v.str)
	case kindDouble:
		w.b = binary.LittleEndian.AppendUint64(w.b, v.bits)
	case kindInt, kindTimestamp, kindDuration:
		w.int(int64(v.bits))
	default:
		w.uint(v.bits)
	}
}

func (w *writer) session(s *session) {
	w.int(s.count)
	if s.count == 0 {
		return
	}
	w.int(s.started)
	w.int(s.last - s.started)
	w.len(s.named)
	w.bytes(s.events)
	for _, t := range [...]string{s.referrerHost, s.query, s.source, s.term} {
		w.text(t)
	}
}

func (w *writer) states(states []featureState) {
	w.len(len(states))
	for i := range states {
		st := &states[i]
		w.b = binary.LittleEndian.AppendUint64(w.b, st.id)
		w.uint(uint64(st.since))
		w.uint(uint64(st.open))
		w.uint(uint64(st.keys))
		w.uint(uint64(st.held))
		w.bytes(st.b)
	}
}

func (w *writer) entry(e entry, at int64) {
	w.int(e.t - at)
	w.holds(e)
}

// holds writes what an entry holds.
func (w *writer) holds(e entry) {
	w.value(e.v)
	if e.row == nil {
		w.len(0)
		return
	}
	w.len(len(e.row.fields) + 1)
	w.text(e.row.key)
	for i, v := range e.row.fields {
		if e.row.has[i] {
			w.byte(1)
			w.value(v)
		} else {
			w.byte(0)
		}
	}
}

// pending writes each stored event once, however many wait on it.
func (w *writer) pending(ps []pending) {
	var few [8]*storedEvent
	events := few[:0]
	for i := range ps {
		if !slices.Contains(events, ps[i].event) {
			events = append(events, ps[i].event)
		}
	}
	w.len(len(events))
	for _, ev := range events {
		w.int(ev.time)
		w.int(ev.at)
		w.bytes(ev.raw)
	}
	w.len(len(ps))
	for i := range ps {
		p := &ps[i]
		w.byte(byte(p.kind))
		w.int(p.due)
		w.text(p.campaign)
		w.b = binary.LittleEndian.AppendUint64(w.b, p.trigger)
		w.uint(uint64(p.since))
		w.text(p.key)
		w.uint(p.order)
		w.len(slices.Index(events, p.event))
	}
}

// reader reads what writer wrote; after an error it gives zeros.
type reader struct {
	b     []byte
	views bool // texts are views into b, not copies
	err   error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail(errShort)
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail(errShort)
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail(errShort)
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) fixed() uint64 {
	if len(r.b) < 8 {
		r.fail(errShort)
		return 0
	}
	v := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

// len reads a length of things that take at least size bytes each, so that
// damaged bytes cannot ask for more memory than they are long.
func (r *reader) len(size int) int {
	n := r.uint()
	if n > math.MaxInt32 || int(n)*size > len(r.b) {
		r.fail(errShort)
		return 0
	}
	return int(n)
}

// bytes is a piece of b, which cannot grow over what follows it.
func (r *reader) bytes() []byte {
	n := r.len(1)
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) text() string {
	p := r.bytes()
	if r.views {
		return unsafe.String(unsafe.SliceData(p), len(p))
	}
	return string(p)
}

func (r *reader) times() []int64 {
	var ts []int64
	at := int64(0)
	for range r.len(1) {
		at += r.int()
		ts = append(ts, at)
	}
	return ts
}

func (r *reader) value() Value {
	v := Value{kind: valueKind(r.byte())}
	switch v.kind {
	case kindNull:
	case kindString, kindJSON:
		v.str = r.text()
	case kindDouble:
		v.bits = r.fixed()
	case kindInt, kindTimestamp, kindDuration:
		v.bits = uint64(r.int())
	case kindBool, kindUint:
		v.bits = r.uint()
	default:
		r.fail(fmt.Errorf("value of unknown kind %d", v.kind))
	}
	return v
}

func (r *reader) session(s *session) {
	if s.count = r.int(); s.count == 0 {
		return
	}
	s.started = r.int()
	s.last = s.started + r.int()
	if s.named = r.len(1); s.named > sessionEvents {
		r.fail(errors.New("a session has too many events"))
	}
	s.events = r.bytes()
	for _, t := range [...]*string{&s.referrerHost, &s.query, &s.source, &s.term} {
		*t = r.text()
	}
}

func (r *reader) states() []featureState {
	var states []featureState
	if n := r.len(13); n > 0 {
		states = make([]featureState, n)
	}
	for i := range states {
		states[i] = featureState{id: r.fixed(), since: uint32(r.uint()), open: uint32(r.uint()), keys: uint32(r.uint()), held: uint32(r.uint()), b: r.bytes()}
		if int(states[i].keys)*(indexBytes+headBytes) > len(states[i].b) {
			r.fail(errShort)
		}
	}
	return states
}

func (r *reader) entry(at int64) entry { return r.holds(at + r.int()) }

func (r *reader) holds(t int64) entry {
	e := entry{t: t, v: r.value()}
	if n := r.len(1); n > 0 {
		e.row = &row{key: r.text(), fields: make([]Value, n-1), has: make([]bool, n-1)}
		for i := range e.row.fields {
			if r.byte() != 0 {
				e.row.fields[i], e.row.has[i] = r.value(), true
			}
		}
	}
	return e
}

// rowKey is the key of the row that an entry holds, valid as long as holds.
func rowKey(holds []byte) string {
	r := reader{b: holds, views: true}
	r.value()
	if r.len(1) == 0 {
		return ""
	}
	return r.text()
}

func (r *reader) pending() []pending {
	var events []*storedEvent
	for range r.len(3) {
		ev := &storedEvent{time: r.int(), at: r.int()}
		ev.raw = r.bytes()
		events = append(events, ev)
	}
	n := r.len(15)
	ps := make([]pending, 0, n)
	for range n {
		p := pending{kind: timerKind(r.byte()), due: r.int(), campaign: r.text(), trigger: r.fixed(), since: uint32(r.uint()), key: r.text(), order: r.uint()}
		i := r.uint()
		if i >= uint64(len(events)) {
			r.fail(errors.New("something pending has no event"))
			return nil
		}
		p.event = events[i]
		p.event.uses++
		ps = append(ps, p)
	}
	return ps
}
