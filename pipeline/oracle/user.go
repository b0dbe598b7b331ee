package oracle

import (
	"maps"
	"slices"
	"time"

	"cel.dev/cel-go/common/types/ref"
)

// A user holds everything about one user: the events that counted, the offers
// that went out, and what waits. All else is computed from the events.
type user struct {
	set      *definition
	language *language
	out      *outcome
	facts    *facts
	in       *input
	trips    []trip
	times    []int64 // log time by position
	key      string
	pos      int   // where the step stands in the log
	timer    bool  // the step is that of a due time,
	now      int64 // which is this

	log     []*event
	added   int // number of entries ever added
	sent    []sent
	pending []*evaluation // what began to wait last at the end
	ended   *event        // the last event of the session that is over and that triggered

	derived
}

// A derived is computed from the current log.
type derived struct {
	states map[*feature]*state
	merged map[string]any // the traits
	atHome *time.Location
}

// A sent is an offer that went out, or was withheld.
type sent struct {
	campaign, channel, kind, id string
	withheld                    bool
	at                          int64
}

// counts reports whether caps and pauses count the offer.
func (s sent) counts() bool { return s.kind != "service" && !s.withheld }

// state folds all the user's events into a feature.
func (u *user) state(f *feature) *state {
	if s := u.states[f]; s != nil {
		return s
	}
	s := &state{f: f, keys: map[string]*window{}}
	for _, ev := range u.log {
		s.apply(ev)
	}
	if u.states == nil {
		u.states = map[*feature]*state{}
	}
	u.states[f] = s
	switch {
	case s.folds && f.Agg == "top":
		u.out.meet("keys of a top")
	case s.folds && f.Agg == "histogram":
		u.out.meet("entries of a histogram")
	}
	return s
}

// append adds an event to the log, with the entries that it adds to each
// feature. If the user already has as many entries as the bound allows, the
// event adds none, but still removes some.
func (u *user) append(ev *event) {
	ev.earlier = &user{set: u.set, language: u.language, out: u.out, facts: u.facts, times: u.times, key: u.key, log: u.log[:len(u.log):len(u.log)]}
	for _, f := range u.set.Features {
		ev.entries[f] = f.collect(u, ev)
	}
	u.fits(ev)
	ev.full = true
	u.log, u.derived = append(u.log, ev), derived{}
	if ev.full = u.added >= u.set.Bounds.UserEntries && u.held(ev.now) >= u.set.Bounds.UserEntries; ev.full {
		u.out.meet("bound on entries of a user")
		u.evict(ev)
		return
	}
	u.derived = derived{}
	for _, es := range ev.entries {
		u.added += len(es)
	}
	u.evict(ev)
}

// held counts the entries in all windows.
func (u *user) held(now int64) int {
	n := 0
	for _, f := range u.set.Features {
		for _, w := range u.state(f).keys {
			n += w.held(now)
		}
		n += len(u.state(f).top)
	}
	return n
}

// traits merges the traits of all identify events.
func (u *user) traits() map[string]any {
	if u.merged != nil {
		return u.merged
	}
	held := map[string]any{}
	for _, ev := range u.log {
		if ev.typ != "identify" {
			continue
		}
		traits := ev.root.object("traits")
		for _, key := range slices.Sorted(maps.Keys(traits.vals)) {
			old, known := held[key]
			held[key] = traits.vals[key]
			if traitsSize(held) > maxTraits {
				if held[key] = old; !known {
					delete(held, key)
				}
			}
		}
	}
	u.merged = held
	return held
}

// profile returns the traits as a value in expressions.
func (u *user) profile() ref.Val {
	m := textMap{values: map[string]ref.Val{}}
	for name, v := range u.traits() {
		m.values[name] = fromJSON(v)
	}
	return m
}

// duplicate reports whether the event's id is among the last 64, or among the
// last 512 and less than 15 minutes old.
func (u *user) duplicate(ev *event) bool {
	for back, i := 1, len(u.log)-1; i >= 0 && back <= 512; back, i = back+1, i-1 {
		if old := u.log[i]; old.id == ev.id && (back <= 64 || old.now > minus(ev.now, int64(15*time.Minute))) {
			return true
		}
	}
	return false
}

// forgotten reports whether the user has been away for so long that the user
// counts as new. Of a user of whom only system events are known, the first one
// counts.
func (u *user) forgotten(now int64) bool {
	after := u.set.Forget.Anonymous
	if u.key[:2] == "u:" {
		after = u.set.Forget.Known
	}
	if after == 0 || len(u.log) == 0 || len(u.pending) > 0 {
		return false
	}
	last := u.log[0].now
	for _, ev := range u.log {
		if ev.typ != "system" {
			last = ev.now
		}
	}
	return minus(now, last) >= after
}

// run applies one user's events in order, up to the end of the input.
func (u *user) run(events []*event, end int64) {
	for _, ev := range events {
		u.fire(ev.now)
		if u.forgotten(ev.now) {
			u.out.meet("forgotten")
			u.log, u.added, u.sent, u.derived = nil, 0, nil, derived{}
		}
		if u.duplicate(ev) {
			u.out.Duplicates++
			continue
		}
		u.step(ev)
	}
	u.fire(end)
	for _, p := range u.pending {
		u.out.count(p.campaign, "pending")
		u.out.Pending++
	}
}

// step applies one event: cancellations, then features, then triggers.
func (u *user) step(ev *event) {
	u.pos, u.timer, u.now = ev.pos, false, ev.now
	u.cancel(ev)
	u.append(ev)
	var candidates []*evaluation
	for _, c := range u.set.running {
		if entry := u.triggered(c, ev); entry != nil {
			candidates = append(candidates, u.begin(&evaluation{campaign: c, entry: entry, event: ev, id: ev.id, at: ev.now}, ev.now)...)
		}
	}
	u.choose(ev.now, candidates, false)
	u.boundPending()
}

// triggered returns the entry of the campaign that the event triggers, the first of
// several, or nil.
func (u *user) triggered(c *campaign, ev *event) *trigger {
	switch {
	case c.atSessionEnd():
		return nil
	case c.Sequence != nil && u.completes(c):
		return c.entries[0]
	case c.Sequence != nil:
		return nil
	}
	sc := &scope{user: u, campaign: c, event: ev, now: ev.now, pos: ev.pos}
	for _, entry := range c.entries {
		if ev.matches(entry.On) && entry.where.holds(sc) {
			return entry
		}
	}
	return nil
}
