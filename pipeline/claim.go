package pipeline

import (
	"slices"
	"strings"

	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// claim.go is how a visitor and a user become one (LANGUAGE.md, rule 17): a user's
// event claims the visitor; the visitor sends its whole record, once, and forwards from
// then on all that comes for it; the user's step makes the two one (merge.go).

// mergeEngine is the first engine in which visitors become users.
const mergeEngine = 5

// A claim is a visitor whose answer a user waits for.
type claim struct {
	visitor string // the entity's key
	ref     Ref
}

// mostClaims bounds the visitors that a user waits for at a time.
const mostClaims = 64

// claim claims the visitor that the event names, if any.
func (s *step) claim(ev *event.Event) {
	if s.live.def.Engine < mergeEngine {
		return
	}
	anonymous, ok := ev.Claims()
	if !ok || s.entity.Key[0] != 'u' {
		return
	}
	e, visitor := s.entity, event.UserKey(strings.Clone(anonymous), true)
	switch {
	case slices.ContainsFunc(e.claims, func(c claim) bool { return c.visitor == visitor }):
		return // it will be answered
	case len(e.claims) >= mostClaims:
		s.live.tally.features.Bounds++
		return
	}
	c := claim{visitor, s.newRef(s.entity)}
	e.claims = append(e.claims, c)
	var w value.Writer
	c.ref.append(&w)
	s.send(visitor, mailClaim, w.B)
}

// onClaim answers a claim: a visitor that belongs to nobody yet gives its whole record,
// and remembers whose it is.
func (s *step) onClaim(m *mail, r *value.Reader) {
	claimed := readRef(r)
	if r.Err != nil {
		return
	}
	e := s.entity
	if e.forgotten(s.now, s.second) {
		e.forget()
	}
	if s.second {
		if e.owner == "" {
			now := s.now
			s.settle(e, now)
			s.start(e, now)
			e.owner, e.claimed = strings.Clone(m.from), &claimed
		}
		if e.seq == 0 { // else it would not be stored
			e.seq, e.last = 1, s.now
		}
		return
	}
	var w value.Writer
	claimed.append(&w)
	if e.owner != "" {
		s.refusedClaims++
		s.send(m.from, mailRefused, w.B)
		return
	}
	before := s.cur.last()
	w.Uint(before.Revision)
	w.Text(before.Set)
	s.send(m.from, mailRecord, e.AppendBinary(w.B))
	s.tellMerged(m.from)
	for i := range e.waiting { // it is counted where it ends
		s.live.tally.counts(e.waiting[i].campaign).Evaluated--
	}
	last := s.now
	if e.seq > 0 {
		last = e.last
	}
	e.forget()
	e.seq, e.last, e.owner, e.claimed = 1, last, strings.Clone(m.from), &claimed
}

// onRecord ends a claim. A record that no claim waits for is dropped: the user was
// erased since, or the claim is lost.
func (s *step) onRecord(m *mail, r *value.Reader) {
	ref := readRef(r)
	if r.Err != nil {
		return
	}
	i := slices.IndexFunc(s.entity.claims, func(c claim) bool {
		if s.second { // which has given out other numbers
			c.ref.O = ref.O
		}
		return c.ref == ref && c.visitor == m.from
	})
	if i >= 0 {
		s.entity.claims = slices.Delete(s.entity.claims, i, i+1)
	}
	if m.kind == mailRefused {
		return
	}
	before := Switched{Revision: r.Uint(), Set: r.Text()}
	a, err := DecodeEntity(m.from, r.B)
	if err != nil {
		r.Fail(err)
		return
	}
	for i := range a.waiting {
		s.live.tally.counts(a.waiting[i].campaign).Evaluated++
	}
	s.settled()
	if i < 0 {
		s.strays++
		s.dropRecord(a)
		return
	}
	s.holds(a, ref)
	s.unlisted(a, before)
	s.merge(a, m)
	s.endMail()
}

// dropRecord ends what is pending in a record that nobody takes, and takes its visitor
// out of the lists of items.
func (s *step) dropRecord(a *Entity) {
	for i := range a.waiting {
		w := &evaluation{pending: a.waiting[i]}
		w.c = s.unitOf(w.campaign, w.trigger)
		s.endOf(a.Key, w, Cancelled, ByLoss)
	}
	for item, lists := range a.lists() {
		var w value.Writer
		w.Text(a.Key)
		appendLists(&w, lists)
		s.send(item, mailRemove, w.B)
	}
}

func appendLists(w *value.Writer, lists []watch) {
	w.Len(len(lists))
	for _, l := range lists {
		w.Fixed(l.list)
		w.Int(l.at)
	}
}

// readLists reads the lists of an item.
func readLists(r *value.Reader) []watch {
	return readList(r, 9, func() watch { return watch{list: r.Fixed(), at: r.Int()} })
}

// forwardEvent sends a user what has come for its visitor.
func (s *step) forwardEvent(ev *event.Event) {
	e := s.entity
	if ev.Type != event.System {
		e.last = s.now
	}
	var w value.Writer
	w.Byte(forwardedEvent)
	w.Int(ev.Time)
	w.Bytes(ev.Raw)
	s.send(e.owner, mailForward, w.B)
}

// forwardMail sends a user a mail that has come for its visitor.
func (s *step) forwardMail(m *mail) {
	var w value.Writer
	w.Byte(forwardedMail)
	w.B = m.encode(w.B)
	s.send(s.entity.owner, mailForward, w.B)
}

// What is forwarded. Logs have these numbers.
const (
	forwardedEvent = 0
	forwardedMail  = 1
)

// onForward applies what has come for the visitor: an event is the user's here, though
// it proves nothing about the user.
func (s *step) onForward(r *value.Reader) {
	switch r.Byte() {
	case forwardedEvent:
		own, raw := r.Int(), r.Bytes()
		if r.Err != nil {
			return
		}
		dec := &event.Decoder{}
		ev, err := dec.Decode(raw)
		if err != nil {
			r.Fail(err)
			return
		}
		e, now := s.entity, s.now
		ev.As(e.Key)
		ev.Time = max(min(own, now), value.Minus(now, int64(s.live.def.Lateness)))
		s.forwarded = true
		defer func() { s.forwarded = false }()
		s.onEvent(e, ev, now)
	case forwardedMail:
		inner, err := decodeMail(Position{}, r.B)
		if err != nil {
			r.Fail(err)
			return
		}
		s.take(&inner)
		r.B = nil
	}
}

// Watching: the lists of items that hold a user, so that they can be told.

// A watch is a list of an item that holds the user.
type watch struct {
	item string // the entity's key
	list uint64 // the feature
	at   int64  // the event time of the user's latest on
}

// mostWatches bounds the lists that a user remembers.
const mostWatches = 1000

// watches remembers that a list of an item gets the user.
func (e *Entity) watches(is watch, counts *Counts) {
	e.unwatches(is.item, is.list)
	if len(e.watching) >= mostWatches {
		counts.Bounds++
		e.watching = slices.Delete(e.watching, 0, 1)
	}
	e.watching = append(e.watching, is)
}

// unwatches remembers that a list of an item loses the user.
func (e *Entity) unwatches(item string, list uint64) {
	if i := e.watch(item, list); i >= 0 {
		e.watching = slices.Delete(e.watching, i, i+1)
	}
}

// watch is the place of a list among those that the user remembers, -1 if it does not.
func (e *Entity) watch(item string, list uint64) int {
	return slices.IndexFunc(e.watching, func(w watch) bool { return w.item == item && w.list == list })
}

// lists calls yield with each item in whose lists the user is, in the order of the
// oldest, with these lists.
func (e *Entity) lists() func(yield func(item string, lists []watch) bool) {
	return func(yield func(string, []watch) bool) {
		for i, w := range e.watching {
			if slices.ContainsFunc(e.watching[:i], func(o watch) bool { return o.item == w.item }) {
				continue
			}
			var lists []watch
			for _, o := range e.watching[i:] {
				if o.item == w.item {
					lists = append(lists, o)
				}
			}
			if !yield(w.item, lists) {
				return
			}
		}
	}
}

// A renaming is what an item remembers of a visitor who has become a user, until all
// that the visitor has sent before that has come.
type renaming struct {
	visitor string
	p       int      // the visitor's partition
	at      Position // of the visitor's record
}

// onRename makes a visitor in the item's lists the user.
func (s *step) onRename(m *mail, r *value.Reader) {
	is := renaming{visitor: r.Text(), p: int(r.Uint())}
	is.at = readPosition(r)
	lists := readLists(r)
	if r.Err != nil {
		return
	}
	e := s.entity
	if e.forgottenItem(s.now) {
		e.forget()
	}
	for _, l := range lists {
		if i, ok := s.live.byID[l.list]; ok && s.live.all[i].shape.Entities {
			s.live.all[i].shape.RenameUser(e.ensure(i), is.visitor, m.from, min(l.at, s.now), s.now)
		}
	}
	if e.seq == 0 {
		e.seq, e.last = 1, s.now
	}
	if s.got != nil {
		e.renamed = append(e.renamed, is)
	}
}

// onRemove takes an entity out of the item's lists.
func (s *step) onRemove(r *value.Reader) {
	user := r.Text()
	for _, l := range readLists(r) {
		if i, ok := s.live.byID[l.list]; ok && r.Err == nil {
			if st := s.entity.feature(i); st != nil {
				s.live.all[i].shape.RemoveUser(st, user)
			}
		}
	}
}

// renamedAfter reports whether the mail of a visitor was sent before the visitor
// became a user whom the item knows already. It forgets those of whom no such mail can
// come any more.
func (s *step) renamedAfter(m *mail) bool {
	e := s.entity
	if len(e.renamed) == 0 {
		return false
	}
	stale := slices.ContainsFunc(e.renamed, func(r renaming) bool { return r.visitor == m.from && !after(m.at, r.at) })
	e.renamed = slices.DeleteFunc(e.renamed, func(r renaming) bool { return !after(r.at, s.got(r.p)) })
	return stale
}
