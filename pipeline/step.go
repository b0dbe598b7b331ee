package pipeline

import (
	"slices"
	"strings"

	"github.com/valyala/fastjson"
)

// Counts are the outcomes of one campaign's evaluations. Every evaluation
// has one: Evaluated is the sum of the others (CAMPAIGNS.md, rule 13), less
// what Missing and Errors say of how conditions came to be false.
type Counts struct {
	Evaluated  uint64 `json:"evaluated"`
	Fired      uint64 `json:"fired"`
	Condition  uint64 `json:"condition"`
	Period     uint64 `json:"period"`
	Age        uint64 `json:"age"`
	Limit      uint64 `json:"limit"`
	Cap        uint64 `json:"cap"`
	Pause      uint64 `json:"pause"`
	Outranked  uint64 `json:"outranked"`
	Duplicate  uint64 `json:"duplicate"`
	Error      uint64 `json:"error"`
	Cancelled  uint64 `json:"cancelled"`
	Superseded uint64 `json:"superseded"`

	Missing uint64 `json:"missing_fields"` // expressions that failed on a missing field
	Errors  uint64 `json:"errors"`         // expressions that failed otherwise
	Bounds  uint64 `json:"bounds"`         // how often a bound was met
}

// Pending is how many evaluations still wait for their outcome, where the
// counts are of a whole log.
func (c *Counts) Pending() uint64 {
	return c.Evaluated - c.Fired - c.Condition - c.Period - c.Age - c.Limit - c.Cap - c.Pause - c.Outranked - c.Duplicate - c.Error - c.Cancelled - c.Superseded
}

// A liveSet is the set in force on one partition, with the epoch in which
// each feature and trigger began there.
type liveSet struct {
	*Set
	featureSince  []uint32
	campaignSince []uint32
	counts        []*Counts // by campaign
	*tally
}

// A tally is what a fold has counted, whatever sets were in force.
type tally struct {
	outcomes map[string]*Counts // by campaign, those that are gone too
	state    *Counts            // of features: Missing, Errors, Bounds
}

func newTally() *tally { return &tally{map[string]*Counts{}, &Counts{}} }

func (t *tally) of(campaign string) *Counts {
	n := t.outcomes[campaign]
	if n == nil {
		n = &Counts{}
		t.outcomes[campaign] = n
	}
	return n
}

// A candidate is an offer that would go out.
type candidate struct {
	c     *campaign
	key   string
	event *Event
	timer bool
	due   int64
}

// A stepper runs steps on entities. It is the scratch of one fold.
type stepper struct {
	live       *liveSet
	candidates []candidate
	out        func(c *campaign, ev *Event, o *Offer)
	duplicates uint64
}

// step applies one event at log time now; ev.Time is set. The order is
// CAMPAIGNS.md's, rule 3: duplicates, cancellations, features, triggers.
func (s *stepper) step(e *Entity, ev *Event, now int64) {
	e.bind(s.live)
	if e.forgotten(now) {
		e.forget()
	}
	if e.duplicate(ev.ID, now) {
		s.duplicates++
		return
	}
	e.seq++
	e.last = now
	sc := &scope{set: s.live.Set, now: now, event: ev, ent: e}
	s.cancel(e, sc)
	s.learn(e, sc)
	s.candidates = s.candidates[:0]
	var stored *storedEvent // one copy for all that this event sets pending
	store := func() *storedEvent {
		if stored == nil {
			stored = &storedEvent{raw: slices.Clone(ev.Raw), time: ev.Time, at: now}
		}
		return stored
	}
	s.live.match.campaigns.each(ev, func(i int) { s.trigger(s.live.campaigns[i], e, sc, store) })
	s.choose(e, now)
}

// views says whether the event is one that a visitor makes by moving on.
func (ev *Event) views() bool { return ev.Type == Track || ev.Type == Page || ev.Type == Screen }

// cancel removes what the event ends: waiting for a dwell, and absences that
// it is the other half of.
func (s *stepper) cancel(e *Entity, sc *scope) {
	if len(e.pending) == 0 {
		return
	}
	if sc.event.views() {
		s.drop(e, func(p *pending) bool { return p.kind == timerDwell }, (*Counts).cancelled)
	}
	s.live.match.cancels.each(sc.event, func(i int) {
		c := s.live.campaigns[i]
		waits := func(p *pending) bool { return p.c == c && p.kind == timerAbsence }
		if !slices.ContainsFunc(e.pending, waits) || !all(c.unless, sc, nil) {
			return
		}
		if c.match.none() {
			s.drop(e, waits, (*Counts).cancelled)
			return
		}
		_ = c.match.each(sc, func(key string, _ int, _ *fastjson.Value) { // an error: it has no key and cancels nothing
			s.drop(e, func(p *pending) bool { return waits(p) && p.key == key }, (*Counts).cancelled)
		})
	})
}

func (c *Counts) cancelled()  { c.Cancelled++ }
func (c *Counts) superseded() { c.Superseded++ }

func (s *stepper) drop(e *Entity, which func(*pending) bool, outcome func(*Counts)) {
	e.pending = slices.DeleteFunc(e.pending, func(p *pending) bool {
		if which(p) {
			outcome(s.live.counts[p.c.index])
			return true
		}
		return false
	})
}

// learn takes the event into profile, session and features.
func (s *stepper) learn(e *Entity, sc *scope) {
	ev := sc.event
	if ev.Type == Identify {
		if t := ev.Root.Get("traits"); t != nil && t.Type() == fastjson.TypeObject {
			e.learn(t, s.live.state)
		}
	}
	if ev.views() {
		e.session.extend(ev, sc.now)
		for _, i := range s.live.dwells {
			if st := e.feature(i); st != nil && st.open > 0 {
				s.live.features[i].close(st, ev.Time, e)
			}
		}
	}
	s.live.match.removes.each(ev, func(i int) {
		if st := e.feature(i); st != nil {
			s.live.features[i].removeRows(st, ev, e)
		}
	})
	full := e.full(sc.now)
	if full {
		s.live.state.Bounds++
	}
	s.live.match.features.each(ev, func(i int) {
		f := s.live.features[i]
		if !full && all(f.where, sc, nil) {
			f.update(e.ensure(i), sc, e, s.live.state)
		}
	})
}

// all says whether every condition holds. A condition that fails with an
// error is false and counted (in a where, silently: c is nil), unless another
// is simply false.
func all(conds []*expr, sc *scope, c *Counts) bool {
	var failed error
	for _, x := range conds {
		ok, err := x.holds(sc)
		if err != nil {
			failed = err
		} else if !ok {
			return false
		}
	}
	if failed != nil && c != nil {
		c.failed(failed)
	}
	return failed == nil
}

func (c *Counts) failed(err error) {
	if isMissing(err) {
		c.Missing++
	} else {
		c.Errors++
	}
}

// trigger judges one campaign on the event that may trigger it.
func (s *stepper) trigger(c *campaign, e *Entity, sc *scope, store func() *storedEvent) {
	n := s.live.counts[c.index]
	if !all(c.where, sc, nil) {
		return
	}
	old := c.tooOld(sc.event, sc.now)
	if !all(c.cond, sc, n) {
		due, ok := s.onlyDwell(c, sc)
		switch {
		case !ok:
			n.Condition++
		case old:
			n.Age++
		default:
			s.drop(e, func(p *pending) bool { return p.c == c && p.kind == timerDwell }, (*Counts).superseded)
			s.pend(e, &pending{kind: timerDwell, due: due, c: c, event: store()})
		}
		n.Evaluated++
		return
	}
	switch {
	case old && c.def.Unless == nil && !c.inPeriod(sc.now): // the gate before age
		n.Period++
		n.Evaluated++
	case old:
		n.Age++
		n.Evaluated++
	case c.def.Unless == nil:
		n.Evaluated++
		s.candidates = append(s.candidates, candidate{c: c, event: sc.event})
	default:
		n.Evaluated += s.absence(c, e, sc, n, store)
	}
}

// absence starts or restarts what fires unless something comes, and returns
// how many evaluations that is: one for each start, or one that found nothing
// to start. It begins at the trigger; where dwell was missing then, at the
// moment when it no longer is, and counts from the trigger all the same.
func (s *stepper) absence(c *campaign, e *Entity, sc *scope, n *Counts, store func() *storedEvent) uint64 {
	started := uint64(0)
	err := c.match.each(sc, func(key string, _ int, _ *fastjson.Value) {
		same := func(p *pending) bool { return p.c == c && p.kind == timerAbsence && p.key == key }
		if c.def.Unless.NoRestart && slices.ContainsFunc(e.pending, same) {
			return
		}
		s.drop(e, same, (*Counts).superseded)
		started++
		ev := store()
		due := ev.at + int64(c.def.Unless.Within)
		if due <= sc.now { // dwell took longer than the absence
			s.candidates = append(s.candidates, candidate{c: c, key: key, event: sc.event, timer: true, due: due})
			return
		}
		s.pend(e, &pending{kind: timerAbsence, due: due, c: c, key: key, event: ev})
		mine := 0
		var oldest *pending
		for _, p := range e.pending {
			if p.c == c && p.kind == timerAbsence {
				if mine++; oldest == nil || p.order < oldest.order {
					oldest = p
				}
			}
		}
		if mine > s.live.def.Bounds.Absences {
			s.drop(e, func(p *pending) bool { return p == oldest }, (*Counts).superseded)
			n.Bounds++
		}
	})
	if err != nil {
		n.failed(err)
	}
	if started == 0 {
		n.Condition++
		return 1
	}
	return started
}

func (s *stepper) pend(e *Entity, p *pending) {
	e.order++
	p.order = e.order
	p.campaign, p.trigger, p.since = p.c.def.ID, p.c.trigger, s.live.campaignSince[p.c.index]
	e.pending = append(e.pending, p)
}

// onlyDwell says when the campaign's `if` will hold without further events,
// where nothing but dwell is missing.
func (s *stepper) onlyDwell(c *campaign, sc *scope) (int64, bool) {
	if len(c.dwell) == 0 {
		return 0, false
	}
	t := 0
	for i, x := range c.cond {
		if t < len(c.dwell) && c.dwell[t].conjunct == i {
			t++
			continue
		}
		if ok, err := x.holds(sc); !ok || err != nil {
			return 0, false
		}
	}
	return c.dwellDue(sc)
}

// due fires what is due at now, all of it in one step.
func (s *stepper) due(e *Entity, now int64) {
	e.bind(s.live)
	s.candidates = s.candidates[:0]
	var fired []*pending
	e.pending = slices.DeleteFunc(e.pending, func(p *pending) bool {
		if p.due == now {
			fired = append(fired, p)
		}
		return p.due == now
	})
	for _, p := range fired {
		var dec Decoder // an event each, since candidates outlive the loop
		ev, err := dec.Decode(p.event.raw)
		if err != nil { // it was decoded before, so this is another engine's
			s.live.counts[p.c.index].Error++
			continue
		}
		ev.Time = p.event.time
		if p.kind == timerDwell {
			sc, n := &scope{set: s.live.Set, now: now, event: ev, ent: e}, s.live.counts[p.c.index]
			if !all(p.c.cond, sc, n) {
				n.Condition++
				continue
			}
			if p.c.def.Unless != nil {
				n.Evaluated += s.absence(p.c, e, sc, n, func() *storedEvent { return p.event }) - 1 // its own was counted at the trigger
				continue
			}
		}
		s.candidates = append(s.candidates, candidate{c: p.c, key: p.key, event: ev, timer: true, due: p.due})
	}
	s.choose(e, now)
}

// choose lets the best candidates out, one a channel. Who is stopped
// outranks nobody.
func (s *stepper) choose(e *Entity, now int64) {
	slices.SortFunc(s.candidates, func(a, b candidate) int {
		switch {
		case a.c.def.Priority > b.c.def.Priority:
			return -1
		case a.c.def.Priority < b.c.def.Priority:
			return 1
		case a.c != b.c:
			return strings.Compare(a.c.def.ID, b.c.def.ID)
		}
		return strings.Compare(a.key, b.key)
	})
	var taken []string
	for _, cd := range s.candidates {
		ch := cd.c.def.Offer.Channel
		outcome, o := s.judge(cd, e, now, slices.Contains(taken, ch))
		*outcome++
		if o != nil {
			taken = append(taken, ch)
			e.wentOut(cd.c, o.ID, now)
			s.out(cd.c, cd.event, o)
		}
	}
}

// judge takes one candidate through the gates; the offer is nil where one
// stops it.
func (s *stepper) judge(cd candidate, e *Entity, now int64, taken bool) (outcome *uint64, o *Offer) {
	c, n := cd.c, s.live.counts[cd.c.index]
	spec := &c.def.Offer
	id := OfferID(c.def.ID, e.Key, cd.key, cd.event.ID, cd.timer, cd.due)
	switch {
	case slices.Contains(e.offers, id):
		return &n.Duplicate, nil
	case !c.inPeriod(now):
		return &n.Period, nil
	case c.limited(e, now):
		return &n.Limit, nil
	case spec.Kind == Advertising && s.live.capped(e, spec.Channel, now):
		return &n.Cap, nil
	case spec.Kind == Advertising && s.live.paused(e, spec.Channel, now):
		return &n.Pause, nil
	}
	o = &Offer{
		ID: id, Campaign: c.def.ID, Channel: spec.Channel, Kind: spec.Kind,
		User: e.Key[2:], Anon: e.Key[0] == 'a', Event: cd.event.ID, Key: cd.key, Time: FormatTime(now),
	}
	if spec.Expires > 0 {
		o.Expires = FormatTime(now + int64(spec.Expires))
	}
	if c.data != nil {
		data, err := c.data.render(nil, &scope{set: s.live.Set, now: now, event: cd.event, ent: e})
		if err != nil {
			n.failed(err)
			return &n.Error, nil
		}
		o.Data = data
	}
	if taken {
		return &n.Outranked, nil
	}
	return &n.Fired, o
}
