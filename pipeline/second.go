package pipeline

import (
	"errors"
	"slices"

	"offerstream/pipeline/value"
)

// A backfill folds the log of a partition a second time, beside the live fold, under
// a set N that is to come. So new features, absences and sequences do not start
// empty when N goes live, and users who send no event are reached, too. This second
// fold begins at a state of the live fold, or at the log's beginning, and makes a
// second state, which a switch joins with the live one (switch.go).
//
//   - It has no effects: nothing goes out, no timer fires, nothing is counted. An
//     evaluation that does not wait ends before its gates. One that waits stays, also
//     when it is overdue, until its `unless` or a later trigger ends it: only the
//     switch decides what becomes of it.
//   - Of Control messages it takes log time alone. It does not know pauses. Of mails it
//     takes those alone by which visitors become users (remains.go).
//   - A dwell that is long enough, and the end of a session, are judged as the live
//     fold judges them when they are due, but only when the user's next event comes,
//     or at the switch: nothing of the user has changed since then.
//
// Its state is a function of N, the engine, where it began, and how far it has come.

// BeginSecond is the cursor of a second state that begins where a live state is,
// which must stand between two messages; the zero Cursor is the log's beginning. listed
// are the features that the switch will list; sets is that of NewFold.
func BeginSecond(from Cursor, n *Set, listed []string, sets func(hash string) (*Set, error)) (Cursor, error) {
	if from.Within != 0 || from.Partly != 0 || from.Joined != nil || from.Second {
		return Cursor{}, errors.New("a second state begins between two messages of a live one")
	}
	from.Second, from.Listed = true, slices.Sorted(slices.Values(listed))
	from.Paused, from.Channels, from.Braked, from.Chains = nil, nil, nil, nil
	f, err := NewFold(from, sets, Memory{})
	if err != nil {
		return Cursor{}, err
	}
	f.retired, f.cur.Retired = nil, nil // of these it has what N has, too
	f.Use(n)
	return f.Cursor(), nil
}

// A dormant is a trigger that any event meets, with an absence that does not depend
// on the event: it finds users who are away.
type dormant struct {
	unit, entry int
}

// dormants are the dormants of a set.
func (s *Set) dormants() (all []dormant) {
	for i := range s.units {
		c := s.units[i].compiled
		if c.sequence != nil || c.atSessionEnd() {
			continue
		}
		for k := range c.entries {
			on, where := c.def.On, c.def.Where
			if len(c.def.Any) > 0 {
				on, where = c.def.Any[k].On, c.def.Any[k].Where
			}
			if e := &c.entries[k]; e.unless != nil && e.match.none() && where == "" && slices.Contains(on, "*") {
				all = append(all, dormant{i, k})
				break // an event begins one evaluation of each unit
			}
		}
	}
	return all
}

// Dormancy reports whether Dormant has anything to do.
func (f *Fold) Dormancy() bool {
	if f.dormants == nil {
		f.dormants = f.step.live.dormants()
	}
	return len(f.dormants) > 0
}

// Dormant starts the absences of a user of the state with which a second state
// begins, as the user's last event would have: its time is known, the event is not.
// It must be called for each user of that state before the first message.
func (f *Fold) Dormant(key string) error {
	if !f.Dormancy() || !IsUser(key) {
		return f.err
	}
	e, err := f.ents.Entity(key)
	if err != nil || e.Empty() {
		return err
	}
	e.bind(f.step.live)
	for _, d := range f.dormants {
		c := &f.step.live.campaigns[d.unit]
		if e.anyWaits(func(o *pending) bool { return o.c == c }) {
			continue
		}
		e.order++
		due := value.Plus(e.last, int64(c.entries[d.entry].unless.Within))
		e.add(pending{stage: stageAbsence, entry: uint8(d.entry), since: c.since, c: c, campaign: c.id, trigger: c.trigger,
			firstDue: due, due: due, held: NoDue, order: e.order, stored: &storedEvent{time: e.last, at: e.last}})
	}
	return nil
}

// add makes an evaluation pending.
func (e *Entity) add(w pending) {
	w.stored.uses++
	e.waiting = append(e.waiting, w)
	e.waits(&w, 1)
}

// dormant reports whether the trigger is an event that is not known (Dormant).
func (e *pending) dormant() bool { return e.stored.json == 0 }

// Overdue calls count for each evaluation of a user in a second state that is due at
// log time now or before.
func (s *Set) Overdue(e *Entity, now int64, count func(campaign, channel string)) {
	for i := range e.waiting {
		w := &e.waiting[i]
		if u, ok := s.unitIndex[w.campaign]; ok && w.due <= now && w.stage != stageDwell && s.units[u].trigger == w.trigger {
			count(s.units[u].def.ID, s.units[u].def.Offer.Channel)
		}
	}
}

// settle judges what the live fold judges without an event, and what may wait after
// that: the end of the session, and dwells, which were due at log time now or before.
func (s *step) settle(e *Entity, now int64) {
	for {
		due := int64(NoDue)
		if d := e.session.due(); d != NoDue && d <= now {
			due = d
		}
		for i := range e.waiting {
			if w := &e.waiting[i]; w.stage == stageDwell && w.due <= now && (due == NoDue || w.due < due) {
				due = w.due
			}
		}
		if due == NoDue {
			return
		}
		s.start(e, due)
		s.settled()
		s.due = s.due[:0]
		if e.session.ends && e.session.due() == due {
			s.endSession()
		}
		s.fireDue(func(w *pending) bool { return w.stage == stageDwell })
		for _, w := range s.due {
			s.release(w.stored)
		}
	}
}

// overdue reports whether only a second state still has the evaluation.
func (s *step) overdue(w *pending) bool { return s.second && w.due <= s.now }

// waitsFor reports whether anything is pending that a live state would have, too.
func (e *Entity) waitsFor(now int64, second bool) bool {
	return e.anyWaits(func(w *pending) bool { return !second || w.due > now })
}
