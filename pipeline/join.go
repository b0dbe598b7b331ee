package pipeline

import (
	"bytes"
	"slices"

	"offerstream/pipeline/event"
)

// A Join makes the two states of users one. Several may work at a time, on different
// users.
type Join struct {
	sw        *Switch
	now       int64
	step      step // under the set that goes live, with counts of its own
	second    step // under the set as the second fold has it
	features  []bool
	campaigns []bool // by index of units
	traces    []*Trace
}

// NewJoin makes a Join. read reads an entity of the live state for conditions about
// facts; it may be called at the same time as that of other Joins.
func (f *Fold) NewJoin(second Cursor, read func(key string) (*Entity, error)) (*Join, error) {
	sw := f.control.Switch
	f2, err := NewFold(second, f.sets, Memory{})
	if err != nil {
		return nil, err
	}
	l := *f.next.step.live
	l.tally, l.campaigns = newTally(), slices.Clone(l.campaigns)
	j := &Join{sw: sw, now: f.cur.LogTime, features: make([]bool, len(l.features)), campaigns: make([]bool, len(l.units))}
	campaigns, features := nameSet(sw.Campaigns), nameSet(sw.Features)
	for i := range l.campaigns {
		l.campaigns[i].counts = nil
		j.campaigns[i] = campaigns[l.campaigns[i].def.ID]
	}
	for i, ft := range l.features {
		j.features[i] = features[ft.def.Name]
	}
	if f.step.tracing != nil { // shown when the switch ends: several joins may work at a time
		j.step.tracing = func(t *Trace) { j.traces = append(j.traces, t) }
	}
	none := func(*Offer) {}
	j.step.live, j.step.read, j.step.out = &l, read, none
	j.second.live, j.second.read, j.second.out, j.second.second = f2.step.live, read, none, true
	return j, nil
}

// User joins the two states of a user: what the live state has becomes that of both.
// second may be nil. A user whom live does not know is not joined. A visitor who has become
// a user is not, either: what is listed of it goes to the user.
func (j *Join) User(live, second *Entity) {
	if !IsUser(live.Key) || live.Empty() {
		return
	}
	if live.owner != "" {
		j.leave(live, second)
		return
	}
	if second == nil {
		second = NewEntity(live.Key)
	}
	second.bind(j.second.live)
	j.second.settle(second, j.now)
	j.goOn(live, second)
	var waited []pending
	if j.step.tracing != nil {
		waited = slices.Clone(live.waiting)
	}
	if of, was := &live.session, &second.session; was.ends && was.last == of.last && j.step.live.def.Engine >= entityEngine {
		// It is under way: else its end would go unnoticed under the new set.
		of.ends, of.lastID = true, was.lastID
	}
	live.bind(j.step.live)
	j.take(live, second)
	j.step.start(live, j.now)
	j.step.traceChanges(waited)
	j.step.settled()
	if !live.forgotten(j.now, false) {
		j.wait(live, second)
	}
	j.dwells(live)
	counts := j.step.live.tally.features
	if most := live.live.def.Bounds.UserEntries; live.size.Entries > most && j.mixed(live) {
		for live.drop(j.now); live.size.Entries > most; counts.Bounds++ {
			live.removeOldest()
		}
	}
	live.fit(j.now, counts)
	live.fitRetired(j.now)
	j.step.boundPending()
	for _, sp := range j.step.outbox.spends { // a switch sends nothing: the user's next step does
		live.orphans = append(live.orphans, sp.grant)
	}
}

// mixed reports whether a user has entries of both states. Those of one alone are
// above the bound by no more than an event may take them.
func (j *Join) mixed(live *Entity) bool {
	var of [2]bool
	for i, listed := range j.features {
		of[truth(listed)] = of[truth(listed)] || live.feature(i).Size().Entries > 0
	}
	return of[0] && of[1]
}

// goOn keeps those evaluations of listed campaigns that are pending in both states:
// the live one may be further, for example held in quiet hours. The second one gives
// them up.
func (j *Join) goOn(live, second *Entity) {
	l := j.step.live
	for i := range live.waiting {
		w := &live.waiting[i]
		u, ok := l.unitIndex[w.campaign]
		if !ok || !j.campaigns[u] || l.campaigns[u].trigger != w.trigger {
			continue
		}
		n := len(second.waiting)
		second.retain(func(o *pending) bool {
			return o.campaign != w.campaign || o.key != w.key || o.stored.at != w.stored.at || o.dormant() || !sameEvent(o.stored, w.stored)
		})
		if len(second.waiting) < n {
			w.since = l.campaigns[u].since
		}
	}
}

// sameEvent reports whether two triggers are the same event, of which they may keep
// other fields.
func sameEvent(a, b *storedEvent) bool {
	if bytes.Equal(a.event(), b.event()) {
		return true
	}
	id, _ := event.Whose(a.event())
	other, _ := event.Whose(b.event())
	return id == other
}

// take takes the listed features and sequences of the second state.
func (j *Join) take(live, second *Entity) {
	l := j.step.live
	for i := range second.states {
		st := &second.states[i]
		if k, ok := l.featureByID[st.ID]; ok && j.features[k] {
			st.Since = l.featureSince[k]
			live.states = append(live.states, *st)
		}
	}
	for _, q := range second.sequences {
		if u, ok := l.unitIndex[q.campaign]; ok && j.campaigns[u] && l.campaigns[u].trigger == q.trigger {
			q.since = l.campaigns[u].since
			live.sequences = append(live.sequences, q)
		}
	}
	live.live = nil
	live.bind(l)
}

// wait begins what is pending in the second state of listed campaigns.
func (j *Join) wait(live, second *Entity) {
	l := j.step.live
	var stored map[*storedEvent]*storedEvent // what live has of them
	for _, w := range second.waiting {
		u, ok := l.unitIndex[w.campaign]
		if !ok || !j.campaigns[u] || l.campaigns[u].trigger != w.trigger {
			continue
		}
		c := &l.campaigns[u]
		if stages[w.stage].mail || c.items != nil { // the second state gets no answers: what asks begins at the switch
			continue
		}
		w.c, w.since = c, c.since
		late := w.due <= j.now
		if late && j.sw.Overdue.Drop || w.dormant() && !j.away(&w) || live.anyWaits(func(o *pending) bool {
			return o.c == c && o.key == w.key && stages[o.stage].single && stages[w.stage].single
		}) {
			continue
		}
		l.count(c).Evaluated++
		if live.sentSince(w.campaign, w.key, w.stored.at) {
			l.end(&w, Duplicate)
			j.step.traceBegun(&w, true)
			continue
		}
		if late {
			w.due = j.sw.Overdue.due(j.now, live.Key)
		}
		live.order++
		w.order = live.order
		if stored[w.stored] == nil {
			if stored == nil {
				stored = map[*storedEvent]*storedEvent{}
			}
			own := *w.stored
			own.uses, own.own = 0, false
			stored[w.stored] = &own
		}
		w.stored = stored[w.stored]
		live.add(w)
		j.step.traceBegun(&w, false)
		j.step.boundAbsences(c)
	}
}

// away judges `if` of an absence that began with an event that is not known.
func (j *Join) away(w *pending) bool {
	e, err := j.step.resume(*w)
	if err != nil {
		return false
	}
	return all(w.c.cond, j.step.judge(&e), nil)
}

// dwells computes anew when the dwells will be long enough that are waited for, where
// they do not come from the state that has what is pending.
func (j *Join) dwells(live *Entity) {
	for i := range live.waiting {
		w := &live.waiting[i]
		if w.stage != stageDwell || !slices.ContainsFunc(w.c.dwell, func(d *dwellTerm) bool {
			return j.features[d.feature] != j.campaigns[j.step.live.unitIndex[w.campaign]]
		}) {
			continue
		}
		e, err := j.step.resume(*w)
		if err != nil {
			continue // it ends when it is due
		}
		if due, waits := j.step.onlyDwell(w.c.compiled, j.step.judge(&e)); waits {
			w.due = max(due, j.now)
		}
	}
}
