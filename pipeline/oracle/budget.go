package oracle

import (
	"math"
	"math/big"
	"slices"
	"time"
)

// A ledger is the budget of a campaign, with its row, or a pool of codes, of which
// there are always enough.
type ledger struct {
	budget *budget // nil: a pool
	bound  int
	zone   *time.Location
	window window
	made   int
}

// A grant is what a ledger has granted.
type grant struct {
	entity string
	at     int64
	micro  int64
}

// A post is what one step of a user tells one ledger, in order.
type post struct {
	entity string
	acts   []act
}

// An act asks for a grant, or returns one.
type act struct {
	asks    *evaluation // nil: it returns
	micro   int64
	returns grant
}

// A reply answers what was asked.
type reply struct {
	to      *evaluation
	granted bool
	grant   grant
}

// asksFor returns the next ledger that an evaluation has to ask, "" if it has asked
// all, and for how much. It returns false if `of` fails.
func (e *evaluation) asksFor(sc *scope) (entity string, micro int64, ok bool) {
	c := e.campaign
	if b := c.Budget; b != nil && !e.hasGrant("c:"+c.ID) {
		if b.of == nil {
			return "c:" + c.ID, 1e6, true
		}
		v, err := b.of.eval(sc)
		if err != nil {
			return "", 0, false
		}
		n, ok := double(v)
		if !ok || !(n >= 0 && n < 9.2e12) {
			return "", 0, false
		}
		return "c:" + c.ID, int64(math.RoundToEven(n * 1e6)), true
	}
	if spec := c.Offer.Coupon; spec != nil && spec.Pool != "" && !e.hasGrant("p:"+spec.Pool) {
		return "p:" + spec.Pool, 1e6, true
	}
	return "", 0, true
}

func (e *evaluation) hasGrant(entity string) bool {
	return slices.ContainsFunc(e.grants, func(g grant) bool { return g.entity == entity })
}

// askFor makes an evaluation wait for a grant.
func (u *user) askFor(e *evaluation, entity string, micro int64) {
	e.kind, e.began = granting, u.w.now
	u.pending = append(u.pending, e)
	u.post(entity, act{asks: e, micro: micro})
}

// giveBack returns all grants of an evaluation that does not go out.
func (u *user) giveBack(e *evaluation) {
	for _, g := range e.grants {
		u.out.meet("grant returned")
		u.post(g.entity, act{returns: g})
	}
	e.grants = nil
}

func (u *user) post(entity string, a act) {
	for _, p := range u.posts {
		if p.entity == entity {
			p.acts = append(p.acts, a)
			return
		}
	}
	u.posts = append(u.posts, &post{entity, []act{a}})
}

// sendPosts sends what the step tells ledgers.
func (u *user) sendPosts() {
	for _, p := range u.posts {
		u.w.send(func() { u.w.ledgerStep(u.key, p) })
	}
	u.posts = nil
}

// ledgerStep is the step of a ledger.
func (w *world) ledgerStep(who string, p *post) {
	w.steps++
	l := w.ledgers[p.entity]
	if l == nil {
		l = &ledger{bound: w.set.Bounds.Entries, zone: time.UTC}
		if zone := loadZone(w.set.Zone); zone != nil {
			l.zone = zone
		}
		for _, c := range w.set.running {
			if p.entity == "c:"+c.ID {
				l.budget, l.window.within = c.Budget, c.Budget.Within
			}
		}
		w.ledgers[p.entity] = l
	}
	var replies []reply
	for _, a := range p.acts {
		if a.asks == nil {
			l.takeBack(a.returns)
			continue
		}
		r := reply{to: a.asks, granted: l.grant(w.now, a.micro), grant: grant{p.entity, w.now, a.micro}}
		replies = append(replies, r)
	}
	if len(replies) > 0 {
		w.deliver(who, func(u *user) { u.replied(replies) })
	}
}

// grant grants a value if the budget has room for it.
func (l *ledger) grant(now, micro int64) bool {
	if l.budget == nil {
		return true
	}
	most := big.NewInt(int64(l.budget.Offers))
	most.Mul(most, big.NewInt(1e6))
	if l.budget.Offers == 0 {
		most = exactMicros(l.budget.Value)
	}
	sum := big.NewInt(micro)
	for _, e := range l.window.live(now) {
		if !l.budget.PerDay || l.dayOf(e.at) == l.dayOf(now) {
			sum.Add(sum, e.micro)
		}
	}
	if sum.Cmp(most) > 0 {
		return false
	}
	l.window.drop(now)
	l.made++
	l.window.insert(&entry{at: now, pos: l.made, micro: big.NewInt(micro)})
	if !l.budget.PerDay {
		l.window.foldTo(l.bound)
	}
	return true
}

// exactMicros returns the millionths of a double, to the nearest.
func exactMicros(f float64) *big.Int {
	n, _ := new(big.Float).SetFloat64(math.RoundToEven(f * 1e6)).Int(nil)
	return n
}

func (l *ledger) dayOf(at int64) string { return time.Unix(0, at).In(l.zone).Format("2006-01-02") }

// takeBack takes a grant out of the sum: one that is still exact if there is one,
// else one of those that are folded.
func (l *ledger) takeBack(g grant) {
	is := func(e *entry) bool { return e.at == g.at && e.micro.Cmp(big.NewInt(g.micro)) == 0 }
	if l.budget == nil {
		return
	}
	if i := slices.IndexFunc(l.window.exact, is); i >= 0 {
		l.window.exact = slices.Delete(l.window.exact, i, i+1)
		return
	}
	for _, b := range l.window.buckets {
		if i := slices.IndexFunc(b.entries, is); i >= 0 {
			b.entries = slices.Delete(b.entries, i, i+1)
			return
		}
	}
}

// replied is the step in which the replies of a ledger come.
func (u *user) replied(replies []reply) {
	now := u.w.now
	var candidates []*evaluation
	for _, r := range replies {
		e := r.to
		switch waits := len(u.take(func(p *evaluation) bool { return p == e && p.kind == granting })) > 0; {
		case !waits && r.granted:
			u.out.meet("grant that nothing waits for")
			u.post(r.grant.entity, act{returns: r.grant})
		case !waits:
		case !r.granted:
			u.giveBack(e)
			u.out.count(e.campaign, "budget")
		default:
			e.grants = append(e.grants, r.grant)
			candidates = append(candidates, e)
		}
	}
	u.choose(now, candidates)
	u.boundPending()
}

// expiry returns when an offer expires that goes out now, 0 if it does not. It returns
// false if that cannot be told.
func (c *campaign) expiry(sc *scope) (int64, bool) {
	spec := c.Offer
	if spec.expires != nil {
		d, ok := spec.expires.length(sc, spec.AtMost)
		return plus(sc.now, d), ok
	}
	if spec.Expires > 0 {
		return plus(sc.now, spec.Expires), true
	}
	return 0, true
}
