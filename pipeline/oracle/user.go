package oracle

import (
	"maps"
	"slices"
	"time"

	"cel.dev/cel-go/common/types/ref"
)

// A user holds everything about one user: the events that counted, the offers
// that went out, and the pending timers. All else is computed from the events.
type user struct {
	set      *definition
	language *language
	out      *outcome

	log     []*event
	added   int // number of entries ever added
	sent    []sent
	pending []*timer // the one started last at the end

	states map[*feature]*state // computed from the current log
}

// A sent is an offer that went out.
type sent struct {
	campaign, channel, kind, id string
	at                          int64
}

// state folds all the user's events into a feature.
func (u *user) state(f *feature) *state {
	if s := u.states[f]; s != nil {
		return s
	}
	s := &state{f: f, keys: map[string]*window{}}
	for _, ev := range u.log {
		s.apply(ev)
	}
	u.states[f] = s
	return s
}

// append adds an event to the log, with the entries that it adds to each
// feature. If the user already has as many entries as the bound allows, the
// event adds none, but still removes some.
func (u *user) append(ev *event) {
	for _, f := range u.set.Features {
		ev.entries[f] = f.collect(u, ev)
	}
	ev.full = true
	u.log, u.states = append(u.log, ev), map[*feature]*state{}
	if ev.full = u.added >= u.set.Bounds.UserEntries && u.held(ev.now) >= u.set.Bounds.UserEntries; ev.full {
		u.evict(ev)
		return
	}
	u.states = map[*feature]*state{}
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
	}
	return n
}

// profile merges the traits of all identify events.
func (u *user) profile() ref.Val {
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
	m := textMap{values: map[string]ref.Val{}}
	for name, v := range held {
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
// counts as new.
func (u *user) forgotten(key string, now int64) bool {
	after := u.set.Forget.Anonymous
	if key[:2] == "u:" {
		after = u.set.Forget.Known
	}
	return after > 0 && len(u.log) > 0 && len(u.pending) == 0 && minus(now, u.log[len(u.log)-1].now) >= after
}

// run applies one user's events in order, up to the end of the input.
func (u *user) run(events []*event, end int64) {
	for _, ev := range events {
		u.fire(ev.now)
		if u.forgotten(ev.key, ev.now) {
			u.log, u.added, u.sent, u.states = nil, 0, nil, map[*feature]*state{}
		}
		if u.duplicate(ev) {
			u.out.Duplicates++
			continue
		}
		u.step(ev)
	}
	u.fire(end)
	for _, t := range u.pending {
		u.out.count(t.campaign, "pending")
		u.out.Pending++
	}
}

// step applies one event: cancellations, then features, then triggers.
func (u *user) step(ev *event) {
	u.cancel(ev)
	u.append(ev)
	var candidates []candidate
	for _, c := range u.set.Campaigns {
		sc := &scope{user: u, event: ev, now: ev.now}
		if ev.matches(c.On) && c.where.holds(sc) {
			candidates = append(candidates, u.trigger(c, sc)...)
		}
	}
	u.boundPending()
	u.choose(ev.now, candidates, false)
}

// trigger evaluates a campaign that the event triggers. It starts a timer,
// returns a candidate, or counts why there is none.
func (u *user) trigger(c *campaign, sc *scope) []candidate {
	ev := sc.event
	stale := c.Fresh > 0 && minus(ev.now, ev.time) > c.Fresh
	missing := slices.DeleteFunc(slices.Clone(c.conditions), func(x *condition) bool { return x.holds(sc) })
	if len(missing) > 0 {
		due, ok := u.dwellDue(c, missing, sc)
		switch {
		case !ok:
			u.out.count(c, "condition")
		case stale:
			u.out.count(c, "age")
		default:
			u.supersede(func(t *timer) bool { return t.dwell && t.campaign == c })
			u.pending = append(u.pending, &timer{campaign: c, event: ev, due: due, dwell: true})
		}
		return nil
	}
	if stale {
		reason := "age"
		if c.Unless == nil && !c.runs(ev.now) {
			reason = "period"
		}
		u.out.count(c, reason)
		return nil
	}
	if c.Unless != nil {
		return u.startAbsences(c, sc)
	}
	return []candidate{{campaign: c, event: ev}}
}
