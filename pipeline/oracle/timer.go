package oracle

import (
	"slices"
)

// due returns when the user's next timer is due.
func (u *user) due() (due int64, any bool) {
	due, any = u.sessionEnd()
	for _, p := range u.pending {
		if p.kind <= hold && (!any || p.due < due) {
			due, any = p.due, true
		}
	}
	return due, any
}

// fireStep is the step of one due time. It stands in the log before the first
// event of that time or later. The kinds of timers fire one after the other, so
// that what one begins takes the place of what a later one would continue.
func (u *user) fireStep(now int64) {
	u.w.steps++
	var candidates []*evaluation
	if end, any := u.sessionEnd(); any && end == now {
		candidates = u.endSession(now)
	}
	for kind := range kinds {
		taken := u.take(func(p *evaluation) bool { return p.due == now && p.kind == kind })
		slices.SortStableFunc(taken, (*evaluation).order)
		for _, e := range taken {
			switch {
			case e.kind == dwell && u.w.isPaused(e.campaign):
				u.out.count(e.campaign, "paused")
			case e.kind == dwell && !u.holds(e, now):
				u.out.count(e.campaign, "condition")
			case e.kind == dwell: // `if` holds only now, so an absence starts now
				candidates = append(candidates, u.pass(e, now)...)
			case e.kind == absence:
				candidates = append(candidates, u.delay(e, now)...)
			default:
				candidates = append(candidates, e)
			}
		}
	}
	u.choose(now, candidates)
	u.boundPending()
	u.sendPosts()
}

// holds judges all of `if` again.
func (u *user) holds(e *evaluation, now int64) bool {
	sc := u.scope(e, now)
	return !slices.ContainsFunc(e.campaign.conditions, func(x *condition) bool { return !x.holds(sc) })
}

// sessionEnd returns when the user's session will be over, if it is not yet and if
// a campaign waits for that.
func (u *user) sessionEnd() (int64, bool) {
	if !slices.ContainsFunc(u.set.running, (*campaign).atSessionEnd) {
		return 0, false
	}
	s := u.latest()
	return plus(s.last, sessionGap), s.count > 0 && s.end != u.ended
}

// endSession triggers the campaigns that are for the ends of sessions. The session
// reads as it was.
func (u *user) endSession(now int64) (candidates []*evaluation) {
	s := u.latest()
	u.ended = s.end
	u.out.meet("session ends")
	for _, c := range u.set.running {
		if c.atSessionEnd() {
			e := &evaluation{campaign: c, entry: c.entries[0], id: s.end.id, at: now, ended: &s, timed: true, first: now}
			candidates = append(candidates, u.begin(e, now)...)
		}
	}
	return candidates
}
