package pipeline

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/valyala/fastjson"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/value"
	"offerstream/pipeline/window"
)

// An Entity is the state of one user, or of an item, a budget or a pool. record.go has
// its stored form.
type Entity struct {
	Key string // "u:" + userId or "a:" + anonymousId, or that of an item (ItemKey), a budget or a pool

	seq      uint64 // number of events applied, without duplicates
	last     int64  // log time of the last event
	ring     []byte // the newest applied events, oldest first: hash of the id and log time, seenBytes each
	tags     []byte // the lowest byte of each hash in ring, so that a search reads little memory
	traits   []trait
	session  session
	states   []window.State
	waiting  []pending
	keeps    int    // bytes of what these keep of their events; not stored
	viewed   int    // how many of these the next view cancels; not stored
	open     int    // how many of these wait for a mail; not stored
	order    uint64 // the order of the evaluation that was made pending last
	sent     []sent
	channels []channelSent
	offers   []remembered // the newest rememberedOffers offers, oldest first

	consent   []consent // by channel
	sequences []sequence
	fact      *fact // nil: the entity is no fact

	hasViewed            bool       // there was a view since engine 5
	viewedAt, viewedTime int64      // of the last one: log time and event time
	owner                string     // of a visitor: the user that it has become
	claimed              *Ref       // of such a visitor: the claim
	remains              *remains   // of such a visitor: what a switch has found of it
	claims               []claim    // of a user: the visitors that it waits for
	merged               []merged   // of a user: the visitors that have become it
	watching             []watch    // of a user: the lists of items that hold it
	renamed              []renaming // of an item
	fan                  *fan       // of an item: what it is sending to users
	budget               *budget
	pool                 *pool
	codes                []string     // of a chunk of a pool
	coupons              []heldCoupon // those with which offers went out, the oldest first
	orphans              []grant      // of evaluations that a change of sets has cancelled: to be given back in the next step

	binding
	scheduled int64 // the due time that the fold's queue holds for the entity; NoDue: none
	loaded    bool  // not scheduled since it was decoded: the queue holds a due time at or before Due()
}

// A binding maps what an entity holds to the set in force. It is made anew when
// the set changes, and is not stored.
type binding struct {
	live    *liveSet    // nil: not bound yet
	place   []uint16    // by index of live.all: 1 + the index in states; 0: the entity holds nothing of it
	size    window.Size // of all features of the set in force
	retired window.Size // of all retired features
}

// IsUser reports whether an entity with a key is a user: others are facts, and what
// brakes have counted.
func IsUser(key string) bool { return strings.HasPrefix(key, "u:") || strings.HasPrefix(key, "a:") }

type trait struct {
	name  string
	value value.Value
}

// Limits, besides Bounds, of what is remembered of a user.
const (
	ringAlways       = 64               // messageIds that are remembered at any age
	ringMost         = 512              // messageIds that are remembered at most, as long as they are young
	ringYoung        = 15 * time.Minute // greatest age of a young messageId, in log time
	rememberedOffers = 64
	rememberedSent   = 8        // times of offers that are remembered per campaign or channel, or more if limits need more
	maxTraits        = 64 << 10 // bytes of the names and values of traits
	maxPending       = 64 << 10 // bytes of the fields that pending evaluations keep of their events
)

// NoDue is the due time of what is never due. It is no log time.
const NoDue = math.MinInt64

// NewEntity is the state of a user without any events.
func NewEntity(key string) *Entity { return &Entity{Key: key, scheduled: NoDue} }

// DueByMail is the due time of an entity that waits for nothing but mails. It is no log
// time.
const DueByMail = NoDue + 1

// Due is the earliest due time of the pending evaluations, of the session's end and of
// remains. If there are none, it is DueByMail where the entity waits for a mail, else NoDue.
func (e *Entity) Due() int64 {
	due := e.session.due()
	for i := range e.waiting {
		if w := &e.waiting[i]; !stages[w.stage].mail && (due == NoDue || w.due < due) {
			due = w.due
		}
	}
	if r := e.remains; r != nil && (due == NoDue || r.due < due) {
		due = r.due
	}
	if due == NoDue && (e.open > 0 || len(e.claims) > 0) {
		return DueByMail
	}
	return due
}

// Empty reports whether the entity equals a new one, so that it need not be
// stored.
func (e *Entity) Empty() bool { return e.seq == 0 }

// forgotten reports whether the user was away for so long that all is forgotten
// (LANGUAGE.md, rule 18). second: what is overdue in a second state keeps nothing.
func (e *Entity) forgotten(now int64, second bool) bool {
	return e.forgottenUnder(e.live.def, now, second)
}

// forgottenUnder is forgotten under a set.
func (e *Entity) forgottenUnder(def *campaign.Definition, now int64, second bool) bool {
	f := def.Forget.Known
	if e.Key[0] == 'a' {
		f = def.Forget.Anonymous
	}
	return e.seq > 0 && f > 0 && value.Minus(now, e.last) >= int64(f) && !e.waitsFor(now, second) && len(e.claims) == 0
}

func (e *Entity) forget() {
	*e = Entity{Key: e.Key, scheduled: e.scheduled, loaded: e.loaded, binding: binding{live: e.live, place: make([]uint16, len(e.live.all))}}
}

// duplicate reports whether the event was applied before, and if not, remembers
// its id (LANGUAGE.md, rule 15).
func (e *Entity) duplicate(id string, now int64) bool {
	h, young := xxhash.Sum64String(id), value.Minus(now, int64(ringYoung))
	n := len(e.tags)
	seenAt := func(i int) int64 { return int64(le.Uint64(e.ring[i*seenBytes+8:])) }
	for i := 0; i < n; i++ {
		next := bytes.IndexByte(e.tags[i:], byte(h))
		if next < 0 {
			break
		}
		if i += next; le.Uint64(e.ring[i*seenBytes:]) == h && (i >= n-ringAlways || seenAt(i) > young) {
			return true
		}
	}
	drop := max(n+1-ringMost, 0)
	for drop < n+1-ringAlways && seenAt(drop) <= young {
		drop++
	}
	// What is dropped stays in memory until append makes room: moving the rest of a long
	// ring at each event would cost more.
	e.ring = le.AppendUint64(le.AppendUint64(e.ring[drop*seenBytes:], h), uint64(now))
	e.tags = append(e.tags[drop:], byte(h))
	return false
}

// tag makes the tags of a ring that was decoded.
func (e *Entity) tag() {
	e.tags = make([]byte, len(e.ring)/seenBytes)
	for i := range e.tags {
		e.tags[i] = e.ring[i*seenBytes]
	}
}

// seenBytes is the size of an event in the ring: 8 bytes hash of its id, 8
// bytes log time, little-endian.
const seenBytes = 16

var le = binary.LittleEndian

// learn takes over the traits of an identify event, in the order of their
// names. A trait that would make the profile too large is not taken; a trait of
// that name which the user has stays.
func (e *Entity) learn(traits *fastjson.Value, counts *Counts) {
	var all []trait
	value.VisitFirst(traits.GetObject(), func(name string, v *fastjson.Value) {
		all = append(all, trait{strings.Clone(name), value.OfJSON(v)})
	})
	slices.SortFunc(all, func(a, b trait) int { return strings.Compare(a.name, b.name) })
	size := e.traitBytes()
	old, merged := e.traits, make([]trait, 0, len(e.traits)+len(all))
	for _, t := range all {
		for len(old) > 0 && old[0].name < t.name {
			merged, old = append(merged, old[0]), old[1:]
		}
		before, known := 0, len(old) > 0 && old[0].name == t.name
		if known {
			before = old[0].size()
		}
		if size-before+t.size() > maxTraits {
			counts.Bounds++
			continue
		}
		size += t.size() - before
		merged = append(merged, t)
		if known {
			old = old[1:]
		}
	}
	e.traits = append(merged, old...)
}

// size is the number of bytes that count for a trait.
func (t trait) size() int { return len(t.name) + t.value.Size() }

func (e *Entity) traitBytes() (n int) {
	for _, t := range e.traits {
		n += t.size()
	}
	return n
}

// feature is the state of feature i, nil if there is none yet. It is valid
// until the next call to ensure.
func (e *Entity) feature(i int) *window.State {
	if place := e.place[i]; place > 0 {
		return &e.states[place-1]
	}
	return nil
}

// bind maps the entity's features and pending evaluations to the set in force.
// It drops state of features, and cancels evaluations of triggers, that are no
// longer in the set or have changed.
func (e *Entity) bind(l *liveSet) {
	if e.live == l {
		return
	}
	e.binding = binding{live: l, place: make([]uint16, len(l.all))}
	e.states = slices.DeleteFunc(e.states, func(st window.State) bool {
		i, ok := l.byID[st.ID]
		return !ok || l.featureSince[i] != st.Since
	})
	for i := range e.states {
		st := &e.states[i]
		at := l.byID[st.ID]
		e.place[at] = uint16(i + 1)
		*e.sizeOf(at) = e.sizeOf(at).Plus(st.Size())
	}
	e.retain(func(ev *pending) bool {
		ev.c = l.unitOf(ev.campaign, ev.trigger, ev.since)
		if ev.c != nil && ev.c.asksOtherwise(ev) {
			ev.c = nil
		}
		if ev.c == nil {
			if l.end(ev, Cancelled); ev.ask != nil {
				e.orphans = append(e.orphans, ev.ask.got...)
			}
		}
		return ev.c != nil
	})
	e.sequences = slices.DeleteFunc(e.sequences, func(q sequence) bool { return l.unitOf(q.campaign, q.trigger, q.since) == nil })
}

// retain removes the pending evaluations for which wanted is false.
func (e *Entity) retain(wanted func(*pending) bool) {
	n := 0
	for i := range e.waiting {
		if !wanted(&e.waiting[i]) {
			e.waits(&e.waiting[i], -1)
			continue
		}
		if n < i {
			e.waiting[n] = e.waiting[i]
		}
		n++
	}
	clear(e.waiting[n:])
	e.waiting = e.waiting[:n]
}

// waits adds an evaluation to the sums of those that are pending; n is -1 to take it
// away.
func (e *Entity) waits(w *pending, n int) {
	e.keeps += n * int(w.stored.size)
	if stages[w.stage].viewed {
		e.viewed += n
	}
	if stages[w.stage].mail {
		e.open += n
	}
}

// anyWaits reports whether wanted is true for any pending evaluation.
func (e *Entity) anyWaits(wanted func(*pending) bool) bool {
	for i := range e.waiting {
		if wanted(&e.waiting[i]) {
			return true
		}
	}
	return false
}

// ensure returns the state of feature i; if there is none, it makes one.
func (e *Entity) ensure(i int) *window.State {
	if e.place[i] == 0 {
		e.states = append(e.states, window.State{ID: e.live.all[i].id, Since: e.live.featureSince[i]})
		e.place[i] = uint16(len(e.states))
	}
	return e.feature(i)
}

// resized keeps size up to date: before is what a feature's state held before
// it changed.
func (e *Entity) resized(st *window.State, before window.Size) {
	e.size = e.size.Plus(st.Size().Minus(before))
}

// full reports whether the user holds the greatest allowed number of entries.
// Before it returns true, it drops entries that have left their window.
func (e *Entity) full(now int64) bool {
	most := e.mostEntries()
	if e.size.Entries < most {
		return false
	}
	e.drop(now)
	return e.size.Entries >= most
}

// mostEntries is the greatest allowed number of entries.
func (e *Entity) mostEntries() int {
	if IsItem(e.Key) {
		return campaign.DefaultBounds.UserEntries
	}
	return e.live.def.Bounds.UserEntries
}

// mostBytes is the greatest allowed number of bytes of the entries.
func (e *Entity) mostBytes() int {
	switch {
	case !IsItem(e.Key):
		return e.live.def.Bounds.UserBytes
	case e.live.def.Bounds.ItemBytes == 0:
		return campaign.DefaultItemBytes
	}
	return e.live.def.Bounds.ItemBytes
}

// drop drops the entries that have left their window.
func (e *Entity) drop(now int64) {
	e.size, e.retired = window.Size{}, window.Size{}
	for i, f := range e.live.all {
		if st := e.feature(i); st != nil {
			f.shape.Drop(st, now)
			*e.sizeOf(i) = e.sizeOf(i).Plus(st.Size())
		}
	}
}

// sizeOf is the sum to which the size of feature i belongs.
func (e *Entity) sizeOf(i int) *window.Size {
	if i >= len(e.live.features) {
		return &e.retired
	}
	return &e.size
}

// fit removes entries until those of the user have no more bytes than allowed:
// each time the oldest of the feature that holds most, of equals the first by
// name, which is the order of the features (LANGUAGE.md, rule 18).
func (e *Entity) fit(now int64, counts *Counts) {
	most := e.mostBytes()
	if e.size.Bytes <= most {
		return
	}
	for e.drop(now); e.size.Bytes > most; counts.Bounds++ {
		e.removeOldest()
	}
}

// removeOldest removes the oldest entry of the feature that holds most bytes.
func (e *Entity) removeOldest() {
	largest := -1
	for i := range e.live.features {
		if st := e.feature(i); st != nil && (largest < 0 || st.Size().Bytes > e.feature(largest).Size().Bytes) {
			largest = i
		}
	}
	st := e.feature(largest)
	before := st.Size()
	e.live.features[largest].shape.RemoveOldest(st)
	e.resized(st, before)
}
