package oracle

import (
	"slices"
	"strings"

	"cel.dev/cel-go/common/types/ref"
)

// The kinds of what waits, in the order in which they fire at one moment.
const (
	dwell = iota
	absence
	delay // until the best hour
	hold  // until the quiet hours end

	// What no timer ends:
	ask      // until an item answers
	granting // until a ledger replies
)

var (
	kinds     = kindNames[:hold+1] // of timers
	kindNames = []string{"dwell", "absence", "delay", "hold", "ask", "grant"}
)

// An evaluation is what a trigger has begun in a campaign and what has not ended
// yet.
type evaluation struct {
	campaign *campaign
	entry    *trigger
	event    *event   // the trigger; nil at the end of a session
	id       string   // the messageId of the trigger, or of the session's last event
	at       int64    // log time of the trigger
	ended    *session // the session that is over, in the step of its end
	key      string   // match key

	waited bool
	timed  bool  // a timer brought it: a dwell, an absence or a session's end, due at:
	first  int64 // part of the offer's identity, which the best hour and quiet hours do not change
	isHeld bool
	held   int64 // when it was held first

	item           ref.Val            // that the evaluation is about
	frozen, before map[string]ref.Val // features of the item, as they were answered
	grants         []grant            // what ledgers have granted

	// While it waits:
	kind  int
	due   int64
	began int64 // log time at which it began to wait
}

// scope returns the names that expressions of the evaluation can use.
func (u *user) scope(e *evaluation, now int64) *scope {
	return &scope{user: u, campaign: e.campaign, event: e.event, now: now, pos: u.w.pos, ended: e.ended, item: e.item, frozen: e.frozen, frozenBefore: e.before}
}

// begin judges an evaluation at its trigger. It returns candidates, or makes it
// wait, or counts why there is neither.
func (u *user) begin(e *evaluation, now int64) []*evaluation {
	c := e.campaign
	u.out.begin(c, 1)
	if reason := u.early(e, now); reason != "" {
		u.out.count(c, reason)
		return nil
	}
	return u.judge(e, now)
}

// judge judges `if`, and goes on if it holds.
func (u *user) judge(e *evaluation, now int64) []*evaluation {
	c, sc := e.campaign, u.scope(e, now)
	missing := slices.DeleteFunc(slices.Clone(c.conditions), func(x *condition) bool { return x.holds(sc) })
	if len(missing) == 0 {
		return u.pass(e, now)
	}
	if due, ok := u.dwellDue(c, missing, sc); ok {
		u.wait(e, dwell, due)
	} else {
		u.out.count(c, "condition")
	}
	return nil
}

// pass goes on with an evaluation for which `if` holds.
func (u *user) pass(e *evaluation, now int64) []*evaluation {
	if e.entry.Unless != nil {
		return u.startAbsences(e, now)
	}
	return u.delay(e, now)
}

// startAbsences starts or restarts an absence for each key; the wait is counted
// from the trigger. If it is already over, because the dwell took longer, the
// absence is due at once.
func (u *user) startAbsences(e *evaluation, now int64) (ready []*evaluation) {
	c, un := e.campaign, e.entry.Unless
	within, ok := un.Within, true
	if un.within != nil {
		within, ok = un.within.length(u.scope(e, now), un.AtMost)
	}
	if !ok {
		u.out.count(c, "condition")
		return nil
	}
	keys := []string{e.key}
	if c.about == nil {
		keys = un.keys(u.scope(e, now))
	}
	seen, started, due := map[string]bool{}, 0, plus(e.at, within)
	for _, key := range keys {
		if len(key) > maxKey || seen[key] {
			continue
		}
		seen[key] = true
		if un.NoRestart && slices.ContainsFunc(u.pending, func(p *evaluation) bool { return p.rivals(c, key) }) {
			continue
		}
		if started++; started > 1 {
			u.out.begin(c, 1)
		}
		one := *e
		one.key = key
		if due > now {
			u.wait(&one, absence, due)
			u.boundAbsences(c)
			continue
		}
		u.out.meet("absence that is over at once")
		one.timed, one.first, one.waited = true, due, true
		u.supersede(func(p *evaluation) bool { return p.rivals(c, key) })
		ready = append(ready, u.delay(&one, now)...)
	}
	if started == 0 {
		u.out.count(c, "condition")
	}
	return ready
}

// rivals reports whether what waits has to give way to what begins to wait under
// this key.
func (p *evaluation) rivals(c *campaign, key string) bool {
	return p.kind != dwell && p.kind != ask && p.campaign == c && p.key == key
}

// boundAbsences supersedes the absence of a campaign that was started first, where
// there are too many, and reports whether there were.
func (u *user) boundAbsences(c *campaign) bool {
	var all []*evaluation
	for _, p := range u.pending {
		if p.kind == absence && p.campaign == c {
			all = append(all, p)
		}
	}
	if len(all) <= u.set.Bounds.Absences {
		return false
	}
	u.out.meet("bound on absences")
	u.supersede(func(p *evaluation) bool { return p == all[0] })
	return true
}

// delay makes an evaluation wait until the best hour, unless that is now.
func (u *user) delay(e *evaluation, now int64) []*evaluation {
	at := e.campaign.At
	if at == nil {
		return []*evaluation{e}
	}
	best, err := u.bestHour(e, now)
	switch {
	case err != nil:
		u.out.count(e.campaign, "error")
		return nil
	case best == now:
		u.out.meet("best hour is now")
		return []*evaluation{e}
	}
	u.wait(e, delay, best)
	return nil
}

// wait makes an evaluation wait. It takes the place of what waits under the same
// key; one that waits for dwell takes that of another that does so.
func (u *user) wait(e *evaluation, kind int, due int64) {
	u.supersede(func(p *evaluation) bool {
		if kind == dwell {
			return p.kind == dwell && p.campaign == e.campaign && p.key == e.key
		}
		return p.rivals(e.campaign, e.key)
	})
	if kind == dwell || kind == absence {
		e.timed, e.first = true, due
	}
	u.out.meet(kinds[kind] + " begins")
	e.kind, e.due, e.ended, e.waited, e.began = kind, due, nil, true, u.w.now
	u.pending = append(u.pending, e)
}

// take removes what is wanted of what waits, and returns it.
func (u *user) take(wanted func(*evaluation) bool) []*evaluation {
	var taken, rest []*evaluation
	for _, p := range u.pending {
		if wanted(p) {
			taken = append(taken, p)
		} else {
			rest = append(rest, p)
		}
	}
	u.pending = rest
	return taken
}

// supersede ends what waits with the outcome superseded.
func (u *user) supersede(old func(*evaluation) bool) {
	for _, p := range u.take(old) {
		u.out.meet(kindNames[p.kind] + " superseded")
		u.giveBack(p)
		u.out.count(p.campaign, "superseded")
	}
}

// cancel ends what an event cancels: what waits for dwell, and what began in an
// entry with `unless`, whether it waits for the absence, the best hour or the end
// of the quiet hours.
func (u *user) cancel(ev *event) {
	gone := u.take(func(p *evaluation) bool {
		un := p.entry.Unless
		if p.kind == dwell || un == nil {
			return p.kind == dwell && ev.active()
		}
		sc := &scope{user: u, campaign: p.campaign, event: ev, now: ev.now, pos: ev.pos}
		if !ev.matches(un.On) || !un.where.holds(sc) {
			return false
		}
		return p.campaign.about != nil && un.Match == "" || slices.Contains(un.keys(sc), p.key)
	})
	for _, p := range gone {
		u.out.meet(kindNames[p.kind] + " cancelled")
		u.giveBack(p)
		u.out.count(p.campaign, "cancelled")
	}
}

// keys returns the keys of an event under `match`, in order. Without `match` there
// is one key, the empty one.
func (un *unless) keys(sc *scope) []string {
	if un.Match == "" {
		return []string{""}
	}
	var keys []string
	if un.match != nil {
		v, err := un.match.eval(sc)
		if err != nil {
			return nil
		}
		if key, ok := keyText(v); ok {
			keys = append(keys, key)
		}
		return keys
	}
	for _, item := range sc.event.items() {
		fields, _ := item.(*object)
		if key, ok := property(fields, un.Match); ok {
			keys = append(keys, key)
		}
	}
	return keys
}

// order is that in which evaluations are judged that are due at one moment.
func (p *evaluation) order(o *evaluation) int {
	switch {
	case p.kind != o.kind:
		return sign(p.kind < o.kind)
	case p.campaign != o.campaign:
		return strings.Compare(p.campaign.ID, o.campaign.ID)
	}
	return strings.Compare(p.key, o.key)
}
