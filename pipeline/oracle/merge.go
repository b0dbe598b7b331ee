package oracle

import (
	"slices"
	"strings"
	"unicode"
)

// junk are ids that name nobody.
var junk = []string{"undefined", "null", "NaN", "None", "0", "[object Object]", "00000000-0000-0000-0000-000000000000", "anonymousId", ""}

// claims returns the visitor whom an event claims for its user, "" for none.
func (ev *event) claims() string {
	field := map[string]string{"identify": "anonymousId", "alias": "previousId"}[ev.typ]
	if field == "" || ev.key[:2] != "u:" || ev.forwarded || ev.root.text("proof") == "none" {
		return ""
	}
	who, ok := id(ev.root.get(field))
	if !ok || len(who) > 512 || strings.ContainsFunc(who, unicode.IsControl) || slices.Contains(junk, who) || slices.Contains(junk, ev.bare()) {
		return ""
	}
	return "a:" + who
}

// claim asks a visitor for all that is known of them, unless they are the user's.
func (u *user) claim(visitor string) {
	if visitor == "" {
		return
	}
	if u.claimed == nil {
		u.claimed = map[string]bool{}
	}
	u.claimed[visitor] = true
	w, owner := u.w, u.key
	w.send(func() {
		w.steps++
		a := w.user(visitor)
		if a.owner != "" {
			w.out.meet("claim refused")
			w.deliver(owner, func(u *user) { delete(u.claimed, visitor) })
			return
		}
		w.out.tell(told{Type: "merged", Visitor: visitor[2:], User: owner[2:], Time: clock(w.now)}, visitor, owner, clock(w.now))
		record := *a
		*a = user{set: a.set, language: a.language, out: a.out, w: w, key: visitor, born: a.born, owner: owner, last: a.lastEvent()}
		w.deliver(owner, func(u *user) { u.join(&record) })
	})
}

// join is the step in which a user takes over what a visitor was. The log gets a mark,
// from which all that is computed from events goes on with what both had.
func (u *user) join(a *user) {
	now := u.w.now
	delete(u.claimed, a.key)
	u.out.meet("merge")
	mark := &event{typ: "merge", now: now, time: now, pos: u.w.pos, absorbed: a, entries: map[*feature][]entry{}, takes: map[*campaign][]bool{}}
	mine, theirs := u.lastActive(), a.lastActive()
	switch {
	case theirs != nil && (mine == nil || theirs.now >= mine.now):
		mark.closes, mark.closedAt = u, theirs.time
	case mine != nil:
		mark.closes, mark.closedAt = a, mine.time
	}
	if loser := mark.closes; loser != nil {
		for _, p := range loser.take(func(p *evaluation) bool { return p.kind == dwell }) {
			u.out.meet("merge cancels a dwell")
			u.out.count(p.campaign, "cancelled")
		}
	}
	u.log, u.derived = append(u.log, mark), derived{}
	u.added += a.added
	u.sent = append(u.sent, a.sent...)
	slices.SortStableFunc(u.sent, func(x, y sent) int { return compare(x.at, y.at) })
	u.joinVouchers(a, now)
	u.joinPending(a)
	u.evict(mark)
	for _, c := range u.set.running {
		for u.boundAbsences(c) {
		}
	}
	u.boundPending()
	u.renameAtItems(a)
}

func compare(a, b int64) int {
	if a == b {
		return 0
	}
	return sign(a < b)
}

// joinPending takes over what waits. Of two under one key the one whose event came
// later stays.
func (u *user) joinPending(a *user) {
	for _, p := range a.pending {
		i := slices.IndexFunc(u.pending, func(q *evaluation) bool {
			return q.campaign == p.campaign && q.key == p.key && (q.kind == dwell) == (p.kind == dwell)
		})
		switch {
		case i < 0:
			u.out.meet("merge moves: " + kindNames[p.kind])
			u.pending = append(u.pending, p)
		case p.at > u.pending[i].at:
			old := u.pending[i]
			u.supersede(func(q *evaluation) bool { return q == old })
			u.pending = append(u.pending, p)
		default:
			u.out.meet("merge supersedes: " + kindNames[p.kind])
			u.out.count(p.campaign, "superseded")
		}
	}
	a.pending = nil
	slices.SortStableFunc(u.pending, func(x, y *evaluation) int { return compare(x.began, y.began) })
}

// lastActive returns the last track, page or screen by log time; of a merge's two with
// one log time that of the visitor.
func (u *user) lastActive() *event {
	var last *event
	for _, ev := range u.log {
		if ev.absorbed != nil {
			if theirs := ev.absorbed.lastActive(); theirs != nil && (last == nil || theirs.now >= last.now) {
				last = theirs
			}
		} else if ev.active() {
			last = ev
		}
	}
	return last
}

// A ringed is the id of an event.
type ringed struct {
	id  string
	now int64
}

// ring returns the ids of all events, the newest last.
func (u *user) ring() (all []ringed) {
	for _, ev := range u.log {
		if ev.absorbed == nil {
			all = append(all, ringed{ev.id, ev.now})
			continue
		}
		all = append(all, ev.absorbed.ring()...)
		slices.SortStableFunc(all, func(a, b ringed) int { return compare(a.now, b.now) })
	}
	return all
}

// join returns the session of a user who takes over a visitor's.
func (s session) join(a session, now int64) session {
	alive := func(s session) bool { return s.count > 0 && minus(now, s.last) < sessionGap }
	switch {
	case !alive(a):
		return s
	case !alive(s):
		return a
	}
	early, late := s, a
	if a.started < s.started {
		early, late = a, s
	}
	joined := early
	joined.count += late.count
	joined.events = append(slices.Clone(s.events), a.events...)
	slices.SortStableFunc(joined.events, func(x, y seen) int { return compare(x.now, y.now) })
	joined.events = joined.events[max(0, len(joined.events)-64):]
	joined.last, joined.end = s.last, s.end
	if a.last > s.last {
		joined.last, joined.end = a.last, a.end
	}
	if joined.source == "" {
		joined.source = late.source
	}
	if joined.referrerHost == "" {
		joined.referrerHost = late.referrerHost
	}
	if first(joined.term, joined.searched) == "" {
		joined.term, joined.searched = late.term, late.searched
	}
	return joined
}
