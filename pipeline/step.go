package pipeline

import (
	"slices"
	"strings"

	"github.com/valyala/fastjson"

	"offerstream/pipeline/coupon"
	"offerstream/pipeline/event"
	"offerstream/pipeline/window"
)

// A step is one event or one due time on one entity, at one log time. A fold
// has one step value and reuses it.
type step struct {
	live       *liveSet
	read       func(key string) (*Entity, error) // of another entity, such as a fact
	out        func(o *Offer)                    // takes the offers that go out, and those that are withheld
	page       func(r *PageRecord)               // takes what gateways have to know
	tracing    func(*Trace)                      // nil: nothing is traced
	triggering func(*TriggerTrace)               // nil: triggers are not traced
	triggersOf []string                          // campaigns; none: of all, unless there are too many
	failing    func(Failure)                     // nil: failures are counted only
	inspector  *inspector                        // of the set in force; nil: not needed yet
	duplicates uint64
	second     bool // the state is a second one (second.go)

	cur           *Cursor              // of the fold; nil in a Join
	newRef        func(e *Entity) Ref  // gives a question its Ref
	got           func(p int) Position // the origin of the last mail of a partition; nil: there are no partitions
	fromPartition int                  // the sender of the mail whose step it is
	couponKeys    func() *coupon.Keys  // under which codes of coupons are made; nil: codes are placeholders
	unnumbered    bool                 // a backtest of a file, which has no codes
	strays        uint64               // mails that nothing waited for
	refusedClaims uint64               // claims of visitors that belong to a user already

	// The step in progress:
	entity     *Entity
	now        int64
	applying   bool // the step is that of an event
	forwarded  bool // the event came for a visitor who is the user now
	scope      scope
	candidates []evaluation // those that have reached the gates
	due        []pending    // those that continue because they are due
	matches    []match      // the triggers that the event meets
	outbox     outbox       // what the step sends
	feedings   []feeding    // what the event has for items
	fed        []int        // the features of items that the event feeds
	emptied    []string     // chunks of pools whose codes are all taken
	spent      map[Ref]bool // grants that are not given back, as their offers have gone out (recount.go)
	kept       []keptEvent  // the copies of events with which evaluations became pending

	// Memory that is reused:
	totals  totals
	unused  []*storedEvent // no longer used since this step
	spare   []*storedEvent // can be reused
	stays   []window.Stay  // of onlyDwell
	points  []int64        // of onlyDwell
	keys    []string       // of absences
	scratch []byte         // of feature.update

	decoders []*event.Decoder // of events that the step goes on with; those before decoding are in use
	decoding int
	again    []keptEvent // events that the step has decoded so
	unseen   Counts      // of retired features, which nobody asks for
}

// start begins a step on an entity.
func (s *step) start(e *Entity, now int64) {
	var waited []pending
	if s.tracing != nil {
		waited = slices.Clone(e.waiting)
	}
	e.bind(s.live)
	s.recycle() // here, because the previous step may have panicked
	s.entity, s.now, s.candidates, s.applying = e, now, s.candidates[:0], false
	s.scope.event = nil
	s.outbox.mails, s.outbox.spends, s.feedings = s.outbox.mails[:0], s.outbox.spends[:0], s.feedings[:0]
	s.traceChanges(waited)
	for _, g := range e.orphans {
		s.spend(g.of, spending{kind: spendReturn, grant: g})
	}
	e.orphans = nil
	s.scope = scope{set: s.live.Set, now: now, entity: e, read: s.read, lets: s.scope.lets[:0]}
}

// scopeOf is what expressions about an event see. There is one scope for each
// step.
func (s *step) scopeOf(ev *event.Event) *scope {
	s.scope.event, s.scope.before, s.scope.ended, s.scope.answer, s.scope.key = ev, nil, false, nil, ""
	s.scope.of(nil)
	return &s.scope
}

// judge is what expressions of an evaluation see.
func (s *step) judge(e *evaluation) *scope {
	sc := s.scopeOf(e.event)
	sc.of(e.c)
	sc.before, sc.began, sc.ended, sc.key = e.before, e.began, e.ended, e.key
	if e.ask != nil {
		sc.answer = e.ask.items
	}
	return sc
}

// settled is called when the entity's features do not change any more in this
// step.
func (s *step) settled() { s.scope.totals = s.totals.next(len(s.live.features)) }

// onEvent applies an event, whose event time is set, at log time now. It
// follows LANGUAGE.md, rule 3: duplicates, cancellations, features, triggers.
// Which triggers the event meets does not depend on state, and is found first,
// because it tells what before.x must remember.
func (s *step) onEvent(e *Entity, ev *event.Event, now int64) {
	if s.second {
		if e.bind(s.live); e.owner == "" {
			s.settle(e, now)
		}
	}
	if s.second || !s.forwarded { // else its mail has begun the step
		s.start(e, now)
	}
	if e.forgotten(now, s.second) {
		e.forget()
	}
	if e.owner != "" {
		s.forwardEvent(ev) // of a second state: it sends nothing, but the visitor is not forgotten earlier than by the live fold
		return
	}
	s.redeem(ev)
	if e.duplicate(ev.ID, now) {
		s.duplicates++
		return
	}
	if e.seq++; ev.Type != event.System || e.seq == 1 {
		e.last = now
	}
	s.applying = true
	sc := s.scopeOf(ev)
	s.meet(sc)
	s.traceTriggers(sc)
	before := s.before()
	s.cancel(sc)
	s.learn(sc)
	s.settled()
	sc.before, sc.began = before, now
	s.feed(sc)
	for _, m := range s.matches {
		c := &s.live.campaigns[m.unit]
		if c.items != nil && (s.second || c.toUsers()) {
			continue
		}
		one := s.begin(c, m.entry, ev)
		if one.c.readsBefore {
			one.before = before
		}
		if c.asks() {
			s.ask(one)
		} else {
			s.judgeAge(one)
		}
	}
	if !s.second {
		s.triggerTo(ev, noKind)
	}
	s.choose()
	s.boundPending()
	s.sendFeedings(ev)
	s.claim(ev)
}

// onDue fires the entity's timers that are due at now, kind by kind (LANGUAGE.md,
// rule 4): the end of its session, dwells, then all others. What an earlier kind
// begins supersedes what a later one would continue.
func (s *step) onDue(e *Entity, now int64) {
	s.start(e, now)
	s.settled()
	s.sendRemains()
	s.due = s.due[:0]
	if e.session.ends && e.session.due() == now {
		s.endSession()
	}
	s.fireDue(func(w *pending) bool { return w.stage == stageDwell })
	s.fireDue(func(*pending) bool { return true })
	s.choose()
	s.boundPending()
	for _, w := range s.due {
		s.release(w.stored)
	}
}

// fireDue continues the wanted evaluations that are due at now, and adds them to
// s.due. Of absences, delays and holds no one supersedes another: they have
// different keys.
func (s *step) fireDue(wanted func(*pending) bool) {
	e, first := s.entity, len(s.due)
	e.retain(func(w *pending) bool {
		fires := w.due == s.now && !stages[w.stage].mail && wanted(w)
		if fires {
			s.due = append(s.due, *w)
		}
		return !fires
	})
	slices.SortFunc(s.due[first:], byKind)
	for _, p := range s.due[first:] {
		w, err := s.resume(p)
		s.trace(&w)
		if w.trace != nil {
			w.trace.From = w.order
		}
		if err != nil { // it could be decoded when it was stored, so another engine stored it
			s.end(&w, Failed)
			continue
		}
		s.advance(w)
	}
}

// resumed is the event that an evaluation has kept: one for all evaluations of the step
// that have kept the same, as when the event came.
func (s *step) resumed(from *storedEvent) (*event.Event, error) {
	for i := range s.again {
		if a := &s.again[i]; a.stored == from && a.event.Type != event.Item { // nameItem changes those for each campaign
			return a.event, nil
		}
	}
	ev, err := s.decoder().Decode(from.event())
	if err == nil {
		s.again = append(s.again, keptEvent{event: ev, stored: from})
	}
	return ev, err
}

// decoder is one that nothing else in this step uses: what waited for different events
// meets in one choice.
func (s *step) decoder() *event.Decoder {
	if s.decoding == mostDecoders {
		return &event.Decoder{}
	}
	if s.decoding == len(s.decoders) {
		s.decoders = append(s.decoders, &event.Decoder{})
	}
	s.decoding++
	return s.decoders[s.decoding-1]
}

// mostDecoders bounds the decoders that are kept, which keep the memory of the largest
// event that they have read.
const mostDecoders = 64

// resume is an evaluation that was pending.
func (s *step) resume(p pending) (w evaluation, err error) {
	w = evaluation{pending: p, began: p.stored.at}
	ev := &event.Event{Type: event.Track, Root: event.NoObject, Key: s.entity.Key} // not known
	if !p.dormant() {
		if ev, err = s.resumed(p.stored); err != nil {
			return w, err
		}
	}
	ev.Time = p.stored.time
	switch w.event = ev; {
	case ev.Type != event.Item: // its Key stays that of the visitor, if one has become the user
	case w.c != nil && w.c.items != nil:
		s.nameItem(ev, w.c)
	default:
		ev.Key = s.entity.Key
	}
	ev.Bare = s.live.bareUser()
	if len(p.stored.before()) > 0 {
		if w.before, err = DecodeEntity(s.entity.Key, p.stored.before()); err == nil {
			w.before.bind(s.live)
		}
	}
	return w, err
}

// endSession evaluates the campaigns that a session's end triggers.
func (s *step) endSession() {
	e := s.entity
	e.session.ends = false
	if len(s.live.sessionEnds) == 0 {
		return
	}
	ev, err := s.decoder().Decode(e.sessionEvent())
	if err != nil {
		return // cannot happen: it is made of what an event had
	}
	ev.Time, ev.Bare = s.now, s.live.bareUser()
	for _, i := range s.live.sessionEnds {
		one := s.begin(&s.live.campaigns[i], 0, ev)
		one.ended, one.firstDue = true, s.now
		s.judgeAge(one)
	}
}

// cancel ends what the event cancels: evaluations that wait for dwell, and those
// whose `unless` it meets, until their offers are out.
func (s *step) cancel(sc *scope) {
	ev := sc.event
	if len(s.entity.waiting) == 0 {
		return
	}
	if ev.Type.View() && s.entity.viewed > 0 {
		s.drop(func(e *pending) bool { return stages[e.stage].viewed }, Cancelled, ByView)
	}
	if !s.live.ends.have(ev) {
		return
	}
	var last endOf
	s.drop(func(e *pending) bool {
		if !stages[e.stage].ended {
			return false
		}
		t := e.triggered()
		if t.unless == nil || !t.endsOn.have(ev) {
			return false
		}
		if last.c != e.c || last.entry != e.entry {
			sc.of(e.c)
			last = endOf{c: e.c, entry: e.entry, holds: all(t.ends, sc, nil)}
			if last.holds && !t.match.none() {
				// An event whose key cannot be computed cancels nothing.
				_ = t.match.each(sc, func(key string, _ int, _ *fastjson.Value) { last.keys = append(last.keys, key) })
			}
			sc.of(nil)
		}
		return last.holds && (t.match.none() || slices.Contains(last.keys, e.key))
	}, Cancelled, ByUnless)
}

// An endOf is what an event means for a campaign's `unless`.
type endOf struct {
	c     *liveCampaign
	entry uint8
	holds bool
	keys  []string
}

// learn adds the event to consent, profile, session and features.
func (s *step) learn(sc *scope) {
	e, ev, features := s.entity, sc.event, s.live.tally.features
	switch {
	case ev.Type == event.Identify:
		if t := ev.Get("traits"); t != nil && t.Type() == fastjson.TypeObject {
			e.learn(t, features)
		}
	case ev.Type == event.Track || ev.Type == event.System:
		if !s.forwarded || !ev.NoProof {
			e.consents(ev, features)
		}
	}
	if ev.Type.View() {
		merges := s.live.def.Engine >= mergeEngine
		if e.session.extend(ev, sc.now, merges); merges {
			e.hasViewed, e.viewedAt, e.viewedTime = true, sc.now, ev.Time
			e.viewEnds(ev.Time)
		}
		if e.session.ends = len(s.live.sessionEnds) > 0; e.session.ends {
			e.session.lastID = strings.Clone(ev.ID)
		}
		for _, i := range s.live.dwells {
			if st := e.feature(i); st != nil && st.Open() {
				before := st.Size()
				s.live.features[i].shape.Close(st, ev.Time)
				e.resized(st, before)
			}
		}
	}
	s.live.match.removes.each(ev, func(i int) {
		if st := e.feature(i); st != nil && s.live.features[i].per == 0 {
			before := st.Size()
			s.live.features[i].removeRows(st, ev)
			e.resized(st, before)
		}
	})
	full := e.full(sc.now)
	if full {
		features.Bounds++
	}
	s.fed = s.fed[:0]
	s.live.match.features.each(ev, func(i int) {
		f := s.live.features[i]
		if f.per > 0 {
			s.fed = append(s.fed, i)
			return
		}
		if !full && all(f.where, sc, nil) {
			st := e.ensure(i)
			before := st.Size()
			f.update(st, sc, features, s.failing, &s.scratch)
			e.resized(st, before)
		}
	})
	e.fit(sc.now, features)
	if len(s.live.retired) > 0 {
		s.learnRetired(sc, full)
	}
}
