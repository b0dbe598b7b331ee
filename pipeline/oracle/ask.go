package oracle

import (
	"slices"

	"cel.dev/cel-go/common/types"
)

// ask begins evaluations of a campaign that reads features of items: one for each
// item that the event names.
func (u *user) ask(e *evaluation, feeds []*feed, now int64) {
	c := e.campaign
	u.out.begin(c, 1)
	if reason := u.early(e, now); reason != "" {
		u.out.count(c, reason)
		return
	}
	sc := u.scope(e, now)
	for _, x := range c.conditions {
		if !x.needsItem && !x.holds(sc) {
			u.out.count(c, "condition")
			return
		}
	}
	asked := 0
	for _, fd := range feeds {
		if fd.kind != c.about {
			continue
		}
		if asked++; asked > 1 {
			u.out.begin(c, 1)
		}
		one := *e
		one.key, one.item, one.kind, one.began = fd.key, fd.item, ask, now
		u.supersede(func(p *evaluation) bool { return p.kind == ask && p.campaign == c && p.key == fd.key })
		u.pending = append(u.pending, &one)
		fd.questions = append(fd.questions, &one)
	}
	if asked == 0 {
		u.out.count(c, "condition")
	}
}

// early returns why an evaluation ends before `if` is judged, or "".
func (u *user) early(e *evaluation, now int64) string {
	switch {
	case u.w.isPaused(e.campaign):
		return "paused"
	case e.stale(now):
		return "age"
	}
	return ""
}

// stale reports whether the event is older than `fresh` allows.
func (e *evaluation) stale(now int64) bool {
	return e.event != nil && e.campaign.Fresh > 0 && minus(now, e.event.time) > e.campaign.Fresh
}

// tell begins evaluations of a campaign with `to`: the items go on with them.
func (u *user) tell(e *evaluation, feeds []*feed, now int64) {
	told := 0
	for _, fd := range feeds {
		if fd.kind == e.campaign.about {
			one := *e
			one.key, one.item = fd.key, fd.item
			fd.told = append(fd.told, &one)
			told++
		}
	}
	if told > 0 {
		return
	}
	u.out.begin(e.campaign, 1)
	reason := "condition"
	if u.w.isPaused(e.campaign) {
		reason = "paused"
	}
	u.out.count(e.campaign, reason)
}

// answered is the step in which the answers of one item to one event come.
func (u *user) answered(questions []*evaluation) {
	now := u.w.now
	var candidates []*evaluation
	for _, e := range questions {
		if len(u.take(func(p *evaluation) bool { return p == e })) == 0 {
			u.out.meet("answer that nothing waits for")
			continue
		}
		u.out.meet("answer")
		if e.stale(now) {
			u.out.count(e.campaign, "age")
			continue
		}
		candidates = append(candidates, u.judge(e, now)...)
	}
	u.choose(now, candidates)
	u.boundPending()
}

// recipients is what an item does for campaigns with `to`.
func (it *item) recipients(fd *feed) {
	w := it.w
	var order []string
	lists := map[string][]*evaluation{}
	for _, e := range fd.told {
		c := e.campaign
		reason := ""
		if w.isPaused(c) {
			reason = "paused"
		}
		sc := &scope{world: w, campaign: c, event: e.event, now: w.now, pos: w.pos, item: e.item, frozen: e.frozen, frozenBefore: e.before}
		users := it.state(w.language.features[c.Users]).liveUsers(w.now)
		if reason == "" && (len(users) == 0 || slices.ContainsFunc(c.conditions, func(x *condition) bool { return !x.holds(sc) })) {
			reason = "condition"
		}
		if reason != "" {
			w.out.begin(c, 1)
			w.out.count(c, reason)
			continue
		}
		for _, member := range users {
			one := *e
			w.out.begin(c, 1)
			if lists[member.key] == nil {
				order = append(order, member.key)
			}
			lists[member.key] = append(lists[member.key], &one)
		}
	}
	for _, key := range order {
		w.deliver(key, func(u *user) { u.received(lists[key]) })
	}
}

// received is the step of a recipient.
func (u *user) received(list []*evaluation) {
	now := u.w.now
	var candidates []*evaluation
	for _, e := range list {
		u.out.meet("recipient")
		if e.stale(now) {
			u.out.count(e.campaign, "age")
			continue
		}
		candidates = append(candidates, u.pass(e, now)...)
	}
	u.choose(now, candidates)
	u.boundPending()
}

// length returns the value of an expression for a length of time, at most so long. It
// returns false for what is none, or not above 0.
func (x *expression) length(sc *scope, atMost int64) (int64, bool) {
	v, err := x.eval(sc)
	d, ok := v.(types.Duration)
	if err != nil || !ok || d.Duration <= 0 {
		return 0, false
	}
	if atMost > 0 {
		return min(int64(d.Duration), atMost), true
	}
	return int64(d.Duration), true
}
