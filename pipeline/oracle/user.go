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
	w        *world
	key      string
	born     int64 // log time at which the user came to be

	log     []*event
	added   int // number of entries ever added
	sent    []sent
	pending []*evaluation // what began to wait last at the end
	ended   *event        // the last event of the session that is over and that triggered

	vouchers []*voucher      // the coupons that went out to the user
	posts    []*post         // what the step tells ledgers
	claimed  map[string]bool // visitors whose answer is waited for
	listings []listing       // items that have the user among their users
	owner    string          // of a visitor: whose it is
	last     int64           // of such a one: log time of the last event that came

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
	ev.earlier = &user{set: u.set, language: u.language, out: u.out, w: u.w, key: u.key, log: u.log[:len(u.log):len(u.log)]}
	for _, f := range u.set.own() {
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
	for _, f := range u.set.own() {
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
		var traits map[string]any
		switch {
		case ev.absorbed != nil: // the user's own win
			traits = maps.Clone(ev.absorbed.traits())
			maps.DeleteFunc(traits, func(name string, _ any) bool { _, known := held[name]; return known })
		case ev.typ == "identify":
			traits = ev.root.object("traits").vals
		}
		for _, key := range slices.Sorted(maps.Keys(traits)) {
			old, known := held[key]
			held[key] = traits[key]
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
func (u *user) duplicate(ev *event) bool { return repeats(u.ring(), ev) }

func repeats(ring []ringed, ev *event) bool {
	for back, i := 1, len(ring)-1; i >= 0 && back <= 512; back, i = back+1, i-1 {
		if old := ring[i]; old.id == ev.id && (back <= 64 || old.now > minus(ev.now, int64(15*time.Minute))) {
			return true
		}
	}
	return false
}

// forgotten reports whether the user has been away for so long that the user
// counts as new.
func (u *user) forgotten(now int64) bool {
	after := u.set.Forget.Anonymous
	if u.key[:2] == "u:" {
		after = u.set.Forget.Known
	}
	if after == 0 || len(u.pending) > 0 || len(u.claimed) > 0 {
		return false
	}
	if u.owner == "" && len(u.log) == 0 && len(u.sent) == 0 {
		return false // as new already
	}
	return minus(now, u.lastEvent()) >= after
}

// lastEvent returns log time of the last event that was no system event, or when the
// user came to be.
func (u *user) lastEvent() int64 {
	if u.owner != "" {
		return u.last
	}
	last := u.born
	for _, ev := range u.log {
		if ev.typ != "system" && ev.absorbed == nil {
			last = ev.now
		}
	}
	return last
}

// receive applies an event of the user.
func (u *user) receive(ev *event) {
	u.redeem(ev)
	if u.duplicate(ev) {
		u.out.Duplicates++
		return
	}
	u.step(ev)
}

// step applies one event: cancellations, then features, then triggers. What it sends
// goes out in the end: to ledgers, to items, to a visitor.
func (u *user) step(ev *event) {
	u.cancel(ev)
	u.append(ev)
	feeds := u.w.feeds(u, ev)
	u.listFeeds(feeds)
	var candidates []*evaluation
	for _, c := range u.set.running {
		if entry := u.triggered(c, ev); entry != nil {
			e := &evaluation{campaign: c, entry: entry, event: ev, id: ev.id, at: ev.now}
			switch {
			case c.Users != "":
				u.tell(e, feeds, ev.now)
			case c.asks():
				u.ask(e, feeds, ev.now)
			default:
				candidates = append(candidates, u.begin(e, ev.now)...)
			}
		}
	}
	u.choose(ev.now, candidates)
	u.boundPending()
	u.sendPosts()
	for _, fd := range feeds {
		if fd.updates() || len(fd.questions) > 0 || len(fd.told) > 0 {
			u.w.send(func() {
				u.w.steps++
				u.w.item(fd.kind, fd.key).take(fd)
			})
		}
	}
	if u.set.Engine >= 5 {
		u.claim(ev.claims())
	}
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
