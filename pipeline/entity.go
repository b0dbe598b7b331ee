package pipeline

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/valyala/fastjson"

	"offerstream/pipeline/value"
	"offerstream/pipeline/window"
)

// An Entity is one user's state. Its bytes: record.go.
type Entity struct {
	Key string // "u:" + userId or "a:" + anonymousId

	seq      uint64 // events applied: the user's own log position
	last     int64  // log time of the last
	ring     []byte // ids' hashes and log times of events that were applied, seenBytes each, the newest last
	tags     []byte // the lowest byte of each of these hashes, so that a search reads little
	traits   []trait
	session  session
	states   []window.State
	waiting  []evaluation
	order    uint64 // of the evaluation that was last set waiting
	sent     []sent
	channels []channelSent
	offers   []string // ids of the newest rememberedOffers, newest last

	binding
	scheduled int64 // due time that the fold's queue holds for it; 0: none
	loaded    bool  // read from bytes since: the queue holds it at Due() or before
}

// A binding says where what an entity holds belongs in the set that is live.
// It is made anew where another set is, and stored nowhere.
type binding struct {
	live    *liveSet // nil: not bound
	place   []uint16 // by index of live's features: 1 + the place in states; 0: nothing held
	entries int      // what is held of all features
}

type trait struct {
	name  string
	value value.Value
}

// Limits of what is remembered of a user, beside Bounds.
const (
	ringAlways        = 64               // messageIds that are remembered whatever their age
	ringMost          = 512              // and at most, while they are young
	ringYoung         = 15 * time.Minute // by log time
	rememberedOffers  = 64
	rememberedSent    = 8    // times of a campaign or channel that are kept beyond what limits ask for
	rememberedSenders = 1024 // campaigns whose sending is remembered
)

// NewEntity returns the state of a user who has done nothing yet.
func NewEntity(key string) *Entity { return &Entity{Key: key} }

// Due is when the earliest of what waits is due, 0 where nothing does.
func (e *Entity) Due() int64 {
	var due int64
	for i := range e.waiting {
		if d := e.waiting[i].due; due == 0 || d < due {
			due = d
		}
	}
	return due
}

// Empty says that the entity reads as a new one and need not be kept.
func (e *Entity) Empty() bool { return e.seq == 0 }

// forgotten says whether the user was away so long that all is forgotten.
func (e *Entity) forgotten(now int64) bool {
	f := e.live.def.Forget.Known
	if e.Key[0] == 'a' {
		f = e.live.def.Forget.Anonymous
	}
	return e.seq > 0 && f > 0 && len(e.waiting) == 0 && now >= e.last+int64(f)
}

func (e *Entity) forget() {
	*e = Entity{Key: e.Key, scheduled: e.scheduled, loaded: e.loaded, binding: binding{live: e.live, place: make([]uint16, len(e.live.features))}}
}

// duplicate says whether the event was applied before, and remembers it if
// not. See LANGUAGE.md, rule 15.
func (e *Entity) duplicate(id string, now int64) bool {
	h, young := xxhash.Sum64String(id), now-int64(ringYoung)
	n := len(e.tags)
	at := func(i int) int64 { return int64(le.Uint64(e.ring[i*seenBytes+8:])) }
	for i := 0; i < n; i++ {
		next := bytes.IndexByte(e.tags[i:], byte(h))
		if next < 0 {
			break
		}
		if i += next; le.Uint64(e.ring[i*seenBytes:]) == h && (i >= n-ringAlways || at(i) > young) {
			return true
		}
	}
	drop := max(n+1-ringMost, 0)
	for drop < n+1-ringAlways && at(drop) <= young {
		drop++
	}
	e.ring = slices.Delete(e.ring, 0, drop*seenBytes)
	e.ring = le.AppendUint64(le.AppendUint64(e.ring, h), uint64(now))
	e.tags = append(slices.Delete(e.tags, 0, drop), byte(h))
	return false
}

// tag makes the tags of a ring that was read.
func (e *Entity) tag() {
	e.tags = make([]byte, len(e.ring)/seenBytes)
	for i := range e.tags {
		e.tags[i] = e.ring[i*seenBytes]
	}
}

// seenBytes is an event in the ring: 8 bytes of its id's hash, 8 of its log
// time, little-endian.
const seenBytes = 16

var le = binary.LittleEndian

// learn takes the traits of an identify event.
func (e *Entity) learn(traits *fastjson.Value, c *Counts) {
	obj := traits.GetObject()
	if obj == nil {
		return
	}
	obj.Visit(func(k []byte, v *fastjson.Value) {
		if obj.Get(string(k)) != v {
			return // of a key that stands there twice the first counts
		}
		i, found := e.trait(string(k))
		if found {
			e.traits[i].value = value.OfJSON(v)
			return
		}
		if len(e.traits) >= e.live.def.Bounds.Traits {
			c.Bounds++
			return
		}
		e.traits = slices.Insert(e.traits, i, trait{string(k), value.OfJSON(v)})
	})
}

// feature is the state of feature i, nil when there is none yet; valid until
// the next ensure.
func (e *Entity) feature(i int) *window.State {
	if at := e.place[i]; at > 0 {
		return &e.states[at-1]
	}
	return nil
}

// bind finds the places of what is held and waits in the set that is live.
// What belongs to a feature or a trigger that has changed since is dropped.
func (e *Entity) bind(l *liveSet) {
	if e.live == l {
		return
	}
	e.binding = binding{live: l, place: make([]uint16, len(l.features))}
	e.states = slices.DeleteFunc(e.states, func(st window.State) bool {
		i, ok := l.featureByID[st.ID]
		return !ok || l.featureSince[i] != st.Since
	})
	for at := range e.states {
		st := &e.states[at]
		e.place[l.featureByID[st.ID]] = uint16(at + 1)
		e.entries += st.Held()
	}
	e.keep(func(ev *evaluation) bool {
		if ev.c = l.triggered(ev); ev.c == nil {
			l.end(ev, Cancelled)
		}
		return ev.c != nil
	})
}

// keep drops every waiting evaluation for which wanted is false.
func (e *Entity) keep(wanted func(*evaluation) bool) {
	n := 0
	for i := range e.waiting {
		if wanted(&e.waiting[i]) {
			if n < i {
				e.waiting[n] = e.waiting[i]
			}
			n++
		}
	}
	clear(e.waiting[n:])
	e.waiting = e.waiting[:n]
}

// waits says whether an evaluation waits that is wanted.
func (e *Entity) waits(wanted func(*evaluation) bool) bool {
	for i := range e.waiting {
		if wanted(&e.waiting[i]) {
			return true
		}
	}
	return false
}

// ensure returns the state of feature i, a new one where there is none.
func (e *Entity) ensure(i int) *window.State {
	if e.place[i] == 0 {
		e.states = append(e.states, window.State{ID: e.live.features[i].id, Since: e.live.featureSince[i]})
		e.place[i] = uint16(len(e.states))
	}
	return e.feature(i)
}

// full says whether the user holds all that a user may; what has left its
// window does not count.
func (e *Entity) full(now int64) bool {
	most := e.live.def.Bounds.UserEntries
	if e.entries < most {
		return false
	}
	e.entries = 0
	for i, f := range e.live.features {
		if st := e.feature(i); st != nil {
			f.shape.Drop(st, now)
			e.entries += st.Held()
		}
	}
	return e.entries >= most
}
