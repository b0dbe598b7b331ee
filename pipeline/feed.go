package pipeline

import (
	"cmp"
	"slices"

	"github.com/valyala/fastjson"

	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
	"offerstream/pipeline/window"
)

// feed.go is how a user's event reaches items: entries for their features, questions
// of campaigns that read these, and triggers of campaigns with `to` (LANGUAGE.md,
// rules 21, 23, 24). All that one event has for one item is one mail:
//
//	event time
//	n  entries: the feature, the key of `by`, the value or the row
//	n  removals: the feature, the key of the row, or nothing for the event's user
//	n  triggers: the unit, its trigger, which entry, the event as kept
//	the question: n features, n features read as before.x, and its Ref; n, n = 0: none

// A feeding is what one event has for one item.
type feeding struct {
	kind     int
	key      string
	to       string // the item's entity
	first    int    // the place of its first item in the event
	entries  list
	removals list
	triggers list
	features []int // asked for
	before   []int
	ref      Ref
	partners []uint64 // features of the other items that have taken the event
}

// met reports whether the feature of the other items has taken the event already, and
// remembers that it has.
func (f *feeding) met(id uint64) bool {
	if slices.Contains(f.partners, id) {
		return true
	}
	f.partners = append(f.partners, id)
	return false
}

// A list is a number of elements and their bytes.
type list struct {
	n int
	w value.Writer
}

func (l *list) add(write func(w *value.Writer)) {
	l.n++
	write(&l.w)
}

// feedingOf finds or makes the feeding for an item that the event names. It returns nil
// for a key that is too long, which is counted.
func (s *step) feedingOf(ev *event.Event, kind int, key string) *feeding {
	for i := range s.feedings {
		if f := &s.feedings[i]; f.kind == kind && f.key == key {
			return f
		}
	}
	if len(key) > window.MaxKey {
		s.live.tally.features.Bounds++
		return nil
	}
	to := ItemKey(s.live.def.Items[kind].Kind, key)
	s.feedings = append(s.feedings, feeding{kind: kind, key: to[len(to)-len(key):], to: to, first: s.firstOf(ev, kind, key)})
	return &s.feedings[len(s.feedings)-1]
}

// firstOf is the place of the first of the event's items with a key.
func (s *step) firstOf(ev *event.Event, kind int, key string) (first int) {
	first = -1
	s.eachItem(ev, kind, func(index int, _ *fastjson.Value, of string) {
		if first < 0 && of == key {
			first = index
		}
	})
	return first
}

// eachItem calls fn with each item of the event that has the key of its kind.
func (s *step) eachItem(ev *event.Event, kind int, fn func(index int, it *fastjson.Value, key string)) {
	name := s.live.def.Items[kind].Key
	for i, it := range ev.Items() {
		if key, ok := value.AliasJSONKey(it.Get(name)); ok {
			fn(i, it, key)
		}
	}
}

// feed makes the entries and removals that the event has for items. It is called when
// the user's own features have taken the event.
func (s *step) feed(sc *scope) {
	if len(s.live.kinds) == 0 || s.second {
		return
	}
	// As at the item: an event may take a user out of a list, and put it in again.
	s.live.match.removes.each(sc.event, func(i int) {
		f := s.live.features[i]
		if f.per == 0 {
			return
		}
		s.eachItem(sc.event, f.per-1, func(_ int, it *fastjson.Value, key string) { s.feedRemoval(sc, i, it, key) })
	})
	for _, i := range s.fed {
		f := s.live.features[i]
		s.eachItem(sc.event, f.per-1, func(_ int, it *fastjson.Value, key string) { s.feedOne(sc, i, it, key) })
	}
}

// feedOne makes the entries that a feature gets of one item of the event.
func (s *step) feedOne(sc *scope, i int, it *fastjson.Value, key string) {
	f, counts := s.live.features[i], s.live.tally.features
	if sc.nobody {
		f = f.ofNobody()
	}
	sc.item = it
	defer func() { sc.item = nil }()
	if !all(f.where, sc, nil) {
		return
	}
	to := s.feedingOf(sc.event, f.per-1, key)
	if to == nil {
		return
	}
	entry := func(by string, content func(w *value.Writer)) {
		to.entries.add(func(w *value.Writer) {
			w.Fixed(f.id)
			w.Text(by)
			content(w)
		})
	}
	switch {
	case f.shape.Entities && sc.event.Type == event.Item: // of no person
	case f.shape.Entities:
		if len(sc.event.Key) > window.MaxKey {
			counts.Bounds++
			return
		}
		entry(sc.event.Key, func(w *value.Writer) { w.Byte(entryNothing) })
		s.entity.watches(watch{ItemKey(s.live.def.Items[f.per-1].Kind, key), f.id, sc.event.Time}, counts)
	case f.shape.Others && to.met(f.id): // of the same item twice in an event, each other counts once
	case f.shape.Others:
		s.eachPartner(sc, f, key, func(other string) { entry(other, func(w *value.Writer) { w.Byte(entryNothing) }) })
	default:
		s.feedValue(sc, f, it, entry)
	}
}

// What an entry holds besides its key. Logs have these numbers.
const (
	entryNothing = 0
	entryValue   = 1
	entryRow     = 2
)

// eachPartner calls fn with each different other item in the event, once.
func (s *step) eachPartner(sc *scope, f *feature, key string, fn func(other string)) {
	var met []string
	s.eachItem(sc.event, f.per-1, func(_ int, _ *fastjson.Value, other string) {
		if other == key || slices.Contains(met, other) {
			return
		}
		met = append(met, other)
		if len(other) > window.MaxKey {
			s.live.tally.features.Bounds++
			return
		}
		fn(other)
	})
}

// feedValue makes the entry of a feature that takes a value or a row.
func (s *step) feedValue(sc *scope, f *feature, it *fastjson.Value, entry func(by string, content func(w *value.Writer))) {
	counts := s.live.tally.features
	by, err := f.by.of(sc, it)
	switch {
	case err == errNoKey:
		return
	case err != nil:
		f.failed(counts, s.failing, "by", f.def.By, err)
		return
	case len(by) > window.MaxKey:
		counts.Bounds++
		return
	}
	if f.shape.Rows {
		if r := f.row(it, counts); r != nil {
			entry(by, func(w *value.Writer) { w.Byte(entryRow); appendRow(w, r) })
		}
		return
	}
	v, err := f.value(sc, it, counts)
	if err != nil {
		if err != window.ErrSkip {
			f.failed(counts, s.failing, "of", f.def.Of, err)
		}
		return
	}
	entry(by, func(w *value.Writer) { w.Byte(entryValue); w.Value(v) })
}

// feedRemoval makes what an event of `remove_on` takes out of a list of an item: the
// row with the item's key, or the event's user.
func (s *step) feedRemoval(sc *scope, i int, it *fastjson.Value, key string) {
	f, row := s.live.features[i], ""
	if !f.shape.Entities {
		k, ok := value.AliasJSONKey(it.Get(f.def.Key))
		if !ok {
			return
		}
		row = k
	}
	if to := s.feedingOf(sc.event, f.per-1, key); to != nil {
		to.removals.add(func(w *value.Writer) {
			w.Fixed(f.id)
			w.Text(row)
		})
	}
	if f.shape.Entities {
		s.entity.unwatches(ItemKey(s.live.def.Items[f.per-1].Kind, key), f.id)
	}
}

// sendFeedings sends what the event has for items: kind by kind, and within a kind in
// the order in which the event names them first.
func (s *step) sendFeedings(ev *event.Event) {
	if len(s.feedings) == 0 {
		return
	}
	slices.SortStableFunc(s.feedings, func(a, b feeding) int { return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.first, b.first)) })
	for i := range s.feedings {
		f := &s.feedings[i]
		s.send(f.to, mailFeed, f.encode(s.live, ev))
	}
	clear(s.feedings)
	s.feedings = s.feedings[:0]
}

func (f *feeding) encode(l *liveSet, ev *event.Event) []byte {
	w := value.Writer{B: make([]byte, 0, 64+len(f.entries.w.B)+len(f.removals.w.B)+len(f.triggers.w.B))}
	w.Int(ev.Time)
	for _, part := range []*list{&f.entries, &f.removals, &f.triggers} {
		w.Len(part.n)
		w.B = append(w.B, part.w.B...)
	}
	for _, of := range [][]int{f.features, f.before} {
		w.Len(len(of))
		for _, i := range of {
			w.Fixed(l.features[i].id)
		}
	}
	if len(f.features)+len(f.before) > 0 {
		f.ref.append(&w)
	}
	return w.B
}

// A question is what a user asks of an item.
type question struct {
	features, before []uint64
	ref              Ref
}

func (q *question) empty() bool { return len(q.features)+len(q.before) == 0 }

func readQuestion(r *value.Reader) (q question) {
	ids := func() []uint64 { return readList(r, 8, r.Fixed) }
	q = question{features: ids(), before: ids()}
	if !q.empty() {
		q.ref = readRef(r)
	}
	return q
}

// onFeed applies a mail at an item: first what it takes out and adds, then its
// questions and triggers.
func (s *step) onFeed(m *mail, r *value.Reader) {
	own := r.Int()
	entries := r.B
	skipEntries(r)
	removals := r.B
	for range r.Len(9) {
		r.Fixed()
		r.Text()
	}
	triggers := readList(r, 4, func() triggered { return triggered{r.Text(), r.Fixed(), r.Byte(), r.Bytes()} })
	q := readQuestion(r)
	if r.Err != nil {
		return
	}
	e := s.entity
	if e.forgottenItem(s.now) {
		e.forget()
	}
	was := s.beforeItem(&q, triggers)
	stale := s.renamedAfter(m)
	changed := s.removeAtItem(&value.Reader{B: removals, Alias: true}, m.from, stale)
	at := max(min(own, s.now), value.Minus(s.now, int64(s.live.def.Lateness)))
	changed = s.addAtItem(&value.Reader{B: entries, Alias: true}, at, stale) || changed
	s.updated(changed)
	s.settled()
	if !q.empty() {
		s.answer(m.from, &q, was)
	}
	s.toUsers(triggers, at, was)
}

// updated ends the entries and removals of a step at an item.
func (s *step) updated(changed bool) {
	if !changed {
		return
	}
	e := s.entity
	e.seq++
	e.last = s.now
	e.fit(s.now, s.live.tally.features)
}

// onlyAsks reports whether a mail to an item has no entries, removals and triggers.
func onlyAsks(body []byte) bool {
	r := value.Reader{B: body, Alias: true}
	r.Int()
	return r.Len(10) == 0 && r.Len(9) == 0 && r.Len(4) == 0 && r.Err == nil
}

// skipEntries passes over the entries of a feed.
func skipEntries(r *value.Reader) {
	for range r.Len(10) {
		r.Fixed()
		r.Text()
		skipContent(r)
	}
}

func skipContent(r *value.Reader) {
	switch r.Byte() {
	case entryValue:
		r.Value()
	case entryRow:
		readRow(r)
	}
}

// removeAtItem takes rows and users out of lists. It reports whether there was
// anything to do.
func (s *step) removeAtItem(r *value.Reader, user string, stale bool) (any bool) {
	for range r.Len(9) {
		id, row := r.Fixed(), r.Text()
		i, ok := s.live.byID[id]
		if !ok {
			continue
		}
		any = true
		st := s.entity.feature(i)
		if st == nil {
			continue
		}
		f, before := s.live.all[i], st.Size()
		if f.shape.Entities {
			if !stale {
				f.shape.RemoveUser(st, user)
			}
		} else {
			f.shape.RemoveRow(st, row)
		}
		s.entity.resized(st, before)
	}
	return any
}

// addAtItem adds entries of an event time. It reports whether there were any.
func (s *step) addAtItem(r *value.Reader, at int64, stale bool) (any bool) {
	e, counts := s.entity, s.live.tally.features
	n := r.Len(10)
	full := n > 0 && e.full(s.now)
	if full {
		counts.Bounds++
	}
	for range n {
		id, by := r.Fixed(), r.Text()
		i, known := s.live.byID[id]
		entry := window.Entry{Time: at}
		switch r.Byte() {
		case entryValue:
			entry.Value = r.Value()
		case entryRow:
			entry.Row = readRow(r)
		}
		if !known {
			continue
		}
		any = true
		if f := s.live.all[i]; f.shape.Left(at, s.now) {
			continue
		} else if f.shape.Entities {
			if !stale {
				counts.Bounds += f.shape.AddUser(e.ensure(i), by, at, s.now)
			}
		} else if !full {
			st := e.ensure(i)
			before := st.Size()
			counts.Bounds += f.shape.Add(st, by, entry, s.now, &s.scratch)
			e.resized(st, before)
		}
	}
	return any
}

// forgottenItem reports whether the item has had no update for so long that all is
// forgotten.
func (e *Entity) forgottenItem(now int64) bool {
	kind, _ := splitItemKey(e.Key)
	i, ok := e.live.kinds[kind]
	return ok && e.seq > 0 && e.fan == nil && value.Minus(now, e.last) >= int64(e.live.def.Items[i].ForgetAfter())
}

// onItem applies an event about an item, of no person, at log time now. own is its
// event time.
func (s *step) onItem(e *Entity, ev *event.Event, now int64) {
	s.start(e, now)
	if e.forgottenItem(now) {
		e.forget()
	}
	if e.duplicate(ev.ID, now) {
		s.duplicates++
		return
	}
	e.seq++
	e.last = now
	s.applying = true
	kindName, key := splitItemKey(e.Key)
	kind := s.live.kinds[kindName]
	nobody := NewEntity(noUser)
	nobody.bind(s.live)
	s.entity = nobody
	s.scope.entity = nobody
	sc := s.scopeOf(ev)
	s.meet(sc)
	s.traceTriggers(sc)
	sc.nobody = true
	s.fed = s.fed[:0]
	s.live.match.features.each(ev, func(i int) {
		if s.live.features[i].per == kind+1 {
			s.fed = append(s.fed, i)
		}
	})
	s.feed(sc)
	s.feedingOf(ev, kind, key)
	s.triggerTo(ev, kind)
	var body []byte
	for i := range s.feedings {
		if f := &s.feedings[i]; f.kind == kind && f.key == key {
			body = f.encode(s.live, ev)
		}
	}
	clear(s.feedings)
	s.feedings = s.feedings[:0]
	s.entity, s.scope.entity, s.scope.event, s.scope.nobody = e, e, nil, false
	s.onFeed(&mail{from: "", body: body}, &value.Reader{B: body, Alias: true})
}

// noUser is the key of the user of an event that is of no person.
const noUser = "a:"

func appendRow(w *value.Writer, row *window.Row) {
	w.Text(row.Key)
	w.Len(len(row.Fields))
	for i, v := range row.Fields {
		w.Byte(truth(row.Has[i]))
		w.Value(v)
	}
}

func readRow(r *value.Reader) *window.Row {
	row := &window.Row{Key: r.Text()}
	for range r.Len(2) {
		row.Has = append(row.Has, r.Byte() != 0)
		row.Fields = append(row.Fields, r.Value())
	}
	return row
}
