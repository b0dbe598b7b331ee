package pipeline

import (
	"slices"
	"strings"

	"github.com/valyala/fastjson"

	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// fanout.go is `to`: an event about an item reaches the users in one of its lists
// (LANGUAGE.md, rule 24). At the item `if` is judged; where it holds, each user gets a
// mail, and goes on from there as after an answer:
//
//	n  the campaigns: the unit, its trigger, which entry, the event as kept, its event
//	   time, when it was judged, and the values of the item
//
// A list may have 100,000 users, so the mails are made in steps of fanStep users. In
// between, what is to be sent is in the item's record.

// noKind is the kind of no item.
const noKind = -1

// fanStep is how many users one step sends mails to.
const fanStep = 1000

// A triggered is a campaign with `to` whose trigger has come.
type triggered struct {
	unit    string
	trigger uint64
	entry   byte
	event   []byte // as kept
}

// A fan is what an item is sending to users.
type fan struct {
	parts []fanPart
	part  int // whose list is being gone through
	next  int // the next place in it
}

// A fanPart is one campaign of a fan.
type fanPart struct {
	list uint64 // the feature that is the list
	body []byte // what users get of it
}

func (f *fan) append(w *value.Writer) {
	w.Len(f.part)
	w.Len(f.next)
	w.Len(len(f.parts))
	for _, p := range f.parts {
		w.Fixed(p.list)
		w.Bytes(p.body)
	}
}

func readFan(r *value.Reader) *fan {
	return &fan{part: int(r.Uint()), next: int(r.Uint()), parts: readList(r, 9, func() fanPart { return fanPart{r.Fixed(), r.Bytes()} })}
}

// triggerTo adds the campaigns with `to` that the event triggers to what it has for
// the items of their kinds; kind is that of the item whose event it is, or -1.
func (s *step) triggerTo(ev *event.Event, kind int) {
	for _, m := range s.matches {
		c := &s.live.campaigns[m.unit]
		if !c.toUsers() || kind >= 0 && c.items.kind != kind {
			continue
		}
		var met []string
		s.eachItem(ev, c.items.kind, func(_ int, _ *fastjson.Value, key string) {
			if slices.Contains(met, key) {
				return
			}
			met = append(met, key)
			if f := s.feedingOf(ev, c.items.kind, key); f != nil {
				kept, _ := ev.AppendKept(nil, c.keepAsk)
				f.triggers.add(func(w *value.Writer) {
					w.Text(c.id)
					w.Fixed(c.trigger)
					w.Byte(m.entry)
					w.Bytes(kept)
				})
			}
		})
		if len(met) == 0 {
			s.toNobody(s.begin(c, m.entry, ev))
		}
	}
}

// toNobody ends an evaluation of an event that names no item.
func (s *step) toNobody(e evaluation) {
	if !s.halted(&e) {
		e.trace.told(stageTrigger, "items", false, toldText("key", e.c.keyName(s.live.Set)))
		s.end(&e, Condition)
	}
}

// early ends an evaluation before `if` is judged, and reports whether it did.
func (s *step) early(e *evaluation) bool {
	if s.halted(e) {
		return true
	}
	if !e.c.tooOld(e.event, s.now) {
		return false
	}
	s.tellAge(e)
	s.end(e, Age)
	return true
}

// halted ends an evaluation of a campaign that is paused, and reports whether it did.
func (s *step) halted(e *evaluation) bool {
	if e.c.paused == notPaused {
		return false
	}
	s.tellPause(e)
	s.end(e, Paused)
	return true
}

// toUsers judges campaigns with `to` at their item, and begins to send what holds.
func (s *step) toUsers(triggers []triggered, at int64, was *answer) {
	var parts []fanPart
	for i := range triggers {
		t := &triggers[i]
		c := s.unitOf(t.unit, t.trigger)
		if c == nil || !c.toUsers() {
			continue
		}
		ev, err := s.decoder().Decode(t.event)
		if err != nil {
			continue // cannot happen: it was decoded before it was kept
		}
		s.nameItem(ev, c)
		ev.Time = at
		if part, holds := s.judgeAtItem(c, t, ev, was); holds {
			parts = append(parts, part)
		}
	}
	if len(parts) > 0 {
		s.entity.fan = &fan{parts: parts}
		s.fanOut()
	}
}

// nameItem tells an event about an item by which property the set names it.
func (s *step) nameItem(ev *event.Event, c *liveCampaign) {
	if ev.Type == event.Item {
		ev.SetItem(c.keyName(s.live.Set))
	}
}

// judgeAtItem judges one campaign at its item. The evaluation ends here only where
// there is nobody to go on with.
func (s *step) judgeAtItem(c *liveCampaign, t *triggered, ev *event.Event, was *answer) (fanPart, bool) {
	a := s.frozen(&answer{now: s.now}, s.live.idsOf(c.items.features), false)
	a.values = append(a.values, was.values...)
	e := s.begin(c, t.entry, ev)
	_, key := splitItemKey(s.entity.Key)
	e.key = key
	e.with().items = a
	if s.halted(&e) {
		return fanPart{}, false
	}
	sc := s.judge(&e)
	holds := all(c.cond, sc, &counted{s, c, "if"})
	s.traceConditions(&e, stageTrigger, c.cond, sc)
	list := s.live.features[c.items.users]
	if !holds || list.shape.UserCount(s.entity.feature(c.items.users), s.now) == 0 {
		s.end(&e, Condition)
		return fanPart{}, false
	}
	s.live.count(c).Evaluated-- // each user has an evaluation
	var w value.Writer
	w.Text(c.id)
	w.Fixed(c.trigger)
	w.Byte(t.entry)
	w.Bytes(t.event)
	w.Int(ev.Time)
	w.Int(s.now)
	a.append(&w)
	return fanPart{list.id, w.B}, true
}

// fanOut sends mails to the next users of the lists.
func (s *step) fanOut() {
	e := s.entity
	for sent := 0; e.fan != nil && sent < fanStep; {
		f := e.fan
		if f.part == len(f.parts) {
			e.fan = nil
			return
		}
		i, known := s.live.byID[f.parts[f.part].list]
		more := false
		if known && e.feature(i) != nil {
			s.live.all[i].shape.Users(e.feature(i), s.now, f.next, func(at int, user string) bool {
				if sent >= fanStep {
					more = true
					return false
				}
				f.next = at + 1
				if s.sendRecipient(f, user) {
					sent++
				}
				return true
			})
		}
		if !more {
			f.part, f.next = f.part+1, 0
		}
	}
}

// sendRecipient sends a user all campaigns in whose list it is, unless it was in that
// of an earlier one.
func (s *step) sendRecipient(f *fan, user string) bool {
	var w value.Writer
	n := 0
	for k, p := range f.parts {
		i, known := s.live.byID[p.list]
		if k != f.part && (!known || !s.live.all[i].shape.HasUser(s.entity.feature(i), user, s.now)) {
			continue
		}
		if k < f.part {
			return false
		}
		n++
		w.B = append(w.B, p.body...)
	}
	var head value.Writer
	head.Len(n)
	s.send(strings.Clone(user), mailRecipient, append(head.B, w.B...))
	return true
}

// fanOut makes the next step of an item that is sending to users.
func (f *Fold) fanOut() {
	e, err := f.ents.Entity(f.cur.Fan)
	if err != nil {
		f.err = err
		return
	}
	f.step.start(e, f.cur.LogTime)
	f.step.settled()
	f.step.fanOut()
	if e.fan == nil {
		f.cur.Fan = ""
		if len(f.mails) > 0 {
			f.passed(&f.mails[0])
		}
	}
	f.stepped(e)
}

// onRecipient goes on at a user with the campaigns that have reached it.
func (s *step) onRecipient(m *mail, r *value.Reader) {
	if e := s.entity; e.forgotten(s.now, false) {
		e.forget()
	}
	s.settled()
	_, key := splitItemKey(m.from)
	for range r.Len(10) {
		t := triggered{r.Text(), r.Fixed(), r.Byte(), r.Bytes()}
		at, judged := r.Int(), r.Int()
		a := readAnswer(r)
		if r.Err != nil {
			return
		}
		c := s.unitOf(t.unit, t.trigger)
		if c == nil || !c.toUsers() {
			s.strays++
			continue
		}
		ev, err := s.decoder().Decode(t.event)
		if err != nil {
			continue // cannot happen
		}
		s.nameItem(ev, c)
		ev.Time = at
		e := s.begin(c, t.entry, ev)
		e.began, e.key = judged, key
		is := e.with()
		is.items, is.at = a, s.now
		s.traceRecipient(&e, m.from)
		s.fromItem(e)
	}
	s.finishMail(nil)
}

// fromItem goes on with an evaluation whose `if` an item has judged.
func (s *step) fromItem(e evaluation) {
	if !s.early(&e) {
		s.afterIf(e)
	}
}
