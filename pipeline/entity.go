package pipeline

import (
	"bytes"
	"slices"
	"sort"
	"time"

	"cel.dev/cel-go/common/types/ref"
	"github.com/cespare/xxhash/v2"
	"github.com/valyala/fastjson"
)

// An Entity is one user's state. Its bytes: codec.go.
type Entity struct {
	Key string // "u:" + userId or "a:" + anonymousId

	seq      uint64 // events applied: the user's own log position
	last     int64  // log time of the last
	ring     []byte // ids' hashes and log times of events that were applied, seenBytes each, the newest last
	marks    []byte // a byte of each of these hashes, so that a search reads little
	traits   []trait
	session  session
	states   []featureState
	place    []uint16 // by index of live's features: 1 + the place in states; 0: nothing held
	entries  int      // what is held of all features
	pending  []pending
	order    uint64 // of what was last set pending
	sent     []sent
	channels []channelSent
	offers   []string // ids of the newest rememberedOffers, newest last

	live      *liveSet // the set that place and pending are bound to
	scheduled int64    // due time that the fold's queue holds for it; 0: none
	loaded    bool     // read from bytes since: the queue holds it at Due() or before
}

type trait struct {
	name  string
	value Value
}

// pending is an offer that waits for its moment.
type pending struct {
	kind     timerKind
	due      int64
	campaign string
	trigger  uint64 // identity of the campaign's trigger: a changed one cancels
	since    uint32
	key      string // match key
	order    uint64 // of setting, within the user
	event    *storedEvent
	c        *campaign // once bound
}

type timerKind uint8

const (
	timerDwell timerKind = iota + 1
	timerAbsence
)

// storedEvent is an event that something pending was set by.
type storedEvent struct {
	raw  []byte
	time int64 // event time
	at   int64 // log time
	own  bool  // its memory is its own
	uses int   // how much that is pending was set by it; too high is harmless
}

// sent is what went out of one campaign: how often ever, and the newest times.
type sent struct {
	campaign string
	ever     uint64
	times    []int64
}

type channelSent struct {
	channel string
	times   []int64 // advertising only
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

// Due is when the earliest of what is pending is due, 0 when nothing is.
func (e *Entity) Due() int64 {
	var due int64
	for i := range e.pending {
		if d := e.pending[i].due; due == 0 || d < due {
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
	return e.seq > 0 && f > 0 && len(e.pending) == 0 && now >= e.last+int64(f)
}

func (e *Entity) forget() {
	*e = Entity{Key: e.Key, scheduled: e.scheduled, loaded: e.loaded, live: e.live, place: make([]uint16, len(e.live.features))}
}

// duplicate says whether the event was applied before, and remembers it if
// not. See LANGUAGE.md, rule 15.
func (e *Entity) duplicate(id string, now int64) bool {
	h, young := xxhash.Sum64String(id), now-int64(ringYoung)
	n := len(e.marks)
	at := func(i int) int64 { return word(e.ring[i*seenBytes:], 1) }
	for i := 0; i < n; i++ {
		next := bytes.IndexByte(e.marks[i:], byte(h))
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
	e.marks = append(slices.Delete(e.marks, 0, drop), byte(h))
	return false
}

// mark makes marks of a ring that was read.
func (e *Entity) mark() {
	e.marks = make([]byte, len(e.ring)/seenBytes)
	for i := range e.marks {
		e.marks[i] = e.ring[i*seenBytes]
	}
}

const seenBytes = 16

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
		i := sort.Search(len(e.traits), func(i int) bool { return e.traits[i].name >= string(k) })
		if i < len(e.traits) && e.traits[i].name == string(k) {
			e.traits[i].value = jsonValue(v)
			return
		}
		if len(e.traits) >= e.live.def.Bounds.Traits {
			c.Bounds++
			return
		}
		e.traits = slices.Insert(e.traits, i, trait{string(k), jsonValue(v)})
	})
}

// feature is the state of feature i, nil when there is none yet; valid until
// the next ensure.
func (e *Entity) feature(i int) *featureState {
	if at := e.place[i]; at > 0 {
		return &e.states[at-1]
	}
	return nil
}

// bind finds the places of what is held and pending in the set that is live.
// What belongs to a feature or a trigger that has changed since is dropped.
func (e *Entity) bind(l *liveSet) {
	if e.live == l {
		return
	}
	e.live = l
	e.place = make([]uint16, len(l.features))
	e.entries = 0
	e.states = slices.DeleteFunc(e.states, func(st featureState) bool {
		i, ok := l.featureByID[st.id]
		return !ok || l.featureSince[i] != st.since
	})
	for at := range e.states {
		st := &e.states[at]
		e.place[l.featureByID[st.id]] = uint16(at + 1)
		e.entries += int(st.held)
	}
	e.keep(func(p *pending) bool {
		i, ok := l.campaignIndex[p.campaign]
		if !ok || l.campaigns[i].trigger != p.trigger || l.campaignSince[i] != p.since {
			l.of(p.campaign).Cancelled++
			return false
		}
		p.c = l.campaigns[i]
		return true
	})
}

// keep keeps of what is pending that for which which says so.
func (e *Entity) keep(which func(*pending) bool) {
	n := 0
	for i := range e.pending {
		if which(&e.pending[i]) {
			if n < i {
				e.pending[n] = e.pending[i]
			}
			n++
		}
	}
	clear(e.pending[n:])
	e.pending = e.pending[:n]
}

// ensure returns the state of feature i, a new one where there is none.
func (e *Entity) ensure(i int) *featureState {
	if e.place[i] == 0 {
		e.states = append(e.states, featureState{id: e.live.features[i].id, since: e.live.featureSince[i]})
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
			f.drop(st, cut(now, f.def.Within))
			e.entries += int(st.held)
		}
	}
	return e.entries >= most
}

// profileSource is `profile` in an expression.
type profileSource struct{ e *Entity }

func (p profileSource) find(key string) (ref.Val, bool) {
	i := sort.Search(len(p.e.traits), func(i int) bool { return p.e.traits[i].name >= key })
	if i == len(p.e.traits) || p.e.traits[i].name != key {
		return nil, false
	}
	return p.e.traits[i].value.cel(), true
}

func (p profileSource) has(key string) bool {
	_, ok := p.find(key)
	return ok
}

func (p profileSource) keys() []string {
	ks := make([]string, len(p.e.traits))
	for i, t := range p.e.traits {
		ks[i] = t.name
	}
	return ks
}

func (p profileSource) size() int { return len(p.e.traits) }
