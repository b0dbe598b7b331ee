package pipeline

import (
	"fmt"
	"math"
	"slices"
	"time"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/value"
	"offerstream/pipeline/window"
	"offerstream/pipeline/zone"
)

// budget.go is what all users share: the budget of a campaign, and pools of codes
// (LANGUAGE.md, rule 25). Each is an entity: "c:" + the unit's id, "p:" + the pool. The
// winner of a channel asks it, keeps the channel for that step, and goes out in the step
// of the grant. Mails to them have
//
//	n  requests, returns and withdrawals: which, the Ref, the value in millionths; of a
//	   return the time and the code of the grant; of a request to a budget its terms
//
// and those from them n times: the Ref, whether it is granted, time, value and code.

const (
	budgetPrefix = "c:"
	poolPrefix   = "p:"
)

// What a user wants of a budget or pool. Logs have these numbers.
const (
	spendRequest  = 0
	spendReturn   = 1
	spendWithdraw = 2
	spendKeep     = 3 // its offer has gone out, though the log of who asked does not give it any more: it is not returned (recount.go)
)

// A grant is what a budget or pool has granted.
type grant struct {
	of    string // the budget's or pool's entity
	ref   Ref
	at    int64 // the log time at which it was granted
	value int64 // in millionths
	code  string
}

func (g *grant) append(w *value.Writer) {
	w.Text(g.of)
	g.ref.append(w)
	w.Int(g.at)
	w.Int(g.value)
	w.Text(g.code)
}

func readGrant(r *value.Reader) grant { return grant{r.Text(), readRef(r), r.Int(), r.Int(), r.Text()} }

// asksBudget reports whether offers of the campaign need a grant.
func (c *compiled) asksBudget() bool { return c.def.Budget != nil || c.pool() != "" }

// pool is the pool of the campaign's codes, "" if it has none.
func (c *compiled) pool() string {
	if c.def.Offer.Coupon == nil {
		return ""
	}
	return c.def.Offer.Coupon.Pool
}

// budget compiles the campaign's budget.
func (c *compiler) budget(cp *compiled, w wording, path func(...string) []string) {
	b := cp.def.Budget
	if b == nil {
		return
	}
	switch {
	case (b.Offers > 0) == (b.Value > 0):
		c.problem(path("budget"), "a budget has `offers` or `value`, and a positive one", "{offers: 1000, within: 1d}")
	case b.Value > 0 && b.Of == "":
		c.problem(path("budget"), "a budget with `value` needs `of`: the value of one offer", "of: event.properties.price * 0.1")
	case b.Offers > 0 && b.Of != "":
		c.problem(path("budget", "of"), "a budget with `offers` takes no `of`: each offer counts as one", "")
	case b.Within > 0 && b.PerDay:
		c.problem(path("budget"), "a budget is `per: day` or `within` a time, not both", "")
	case b.Value >= maxBudget:
		c.problem(path("budget", "value"), fmt.Sprintf("a value below %g is wanted", float64(maxBudget)), "")
	}
	if b.Of != "" {
		cp.worth = w.state.Compile(b.Of, nil, c.reporter(path("budget", "of")))
	}
}

// maxBudget bounds the value of a budget, which is kept in millionths.
const maxBudget = 9e12

// wants is the entity whose grant the evaluation still needs, "" if it has all.
func (e *evaluation) wants() string {
	has := func(of string) bool {
		return e.ask != nil && slices.ContainsFunc(e.ask.got, func(g grant) bool { return g.of == of })
	}
	if e.c.def.Budget != nil && !has(budgetPrefix+e.campaign) {
		return budgetPrefix + e.campaign
	}
	if pool := e.c.pool(); pool != "" && !has(poolPrefix+pool) {
		return poolPrefix + pool
	}
	return ""
}

// worth evaluates what the offer takes of the budget, in millionths.
func (s *step) worth(e *evaluation) (int64, error) {
	if e.c.worth == nil {
		return million, nil
	}
	v, err := e.c.worth.Value(s.judge(e))
	if err != nil {
		return 0, err
	}
	if v, err = window.Micros(v); err == nil && int64(v.Bits) < 0 {
		err = fmt.Errorf("a value that is not negative is wanted, this is %g", float64(int64(v.Bits))/million)
	}
	return int64(v.Bits), err
}

const million = 1_000_000

// request asks a budget or pool for a grant. The evaluation waits for it.
func (s *step) request(e *evaluation, of string, worth int64) {
	a := e.with()
	a.of, a.ended, a.waited = of, e.ended, e.waited
	a.ref, a.value = s.newRef(s.entity), worth
	if e.stored == nil {
		e.stored = s.store(e, e.c.afterAbsence, e.before)
	}
	e.stage, e.due = stageGrant, s.now
	s.pend(*e)
	s.spend(of, spending{kind: spendRequest, grant: grant{ref: a.ref, value: worth}, terms: e.c.def.Budget})
}

// A spending is what one evaluation wants of a budget or pool.
type spending struct {
	to    string
	kind  byte
	grant grant
	terms *campaign.Budget
}

func (s *step) spend(to string, sp spending) {
	if s.second || s.spent[sp.grant.ref] {
		return
	}
	sp.to = to
	s.outbox.spends = append(s.outbox.spends, sp)
}

// sendSpendings makes one mail to each budget and pool of the step, before those to
// items.
func (s *step) sendSpendings() {
	var mails []mail
	for len(s.outbox.spends) > 0 {
		to := s.outbox.spends[0].to
		var of list
		s.outbox.spends = slices.DeleteFunc(s.outbox.spends, func(sp spending) bool {
			if sp.to != to {
				return false
			}
			of.add(sp.append)
			return true
		})
		var w value.Writer
		w.Len(of.n)
		mails = append(mails, mail{now: s.now, kind: mailSpend, from: s.entity.Key, to: to, body: append(w.B, of.w.B...)})
	}
	if len(mails) > 0 {
		first := slices.IndexFunc(s.outbox.mails, func(m mail) bool { return m.kind == mailFeed || m.kind == mailClaim })
		if first < 0 {
			first = len(s.outbox.mails)
		}
		s.outbox.mails = slices.Insert(s.outbox.mails, first, mails...)
	}
}

func (sp *spending) append(w *value.Writer) {
	w.Byte(sp.kind)
	sp.grant.append(w)
	w.Byte(truth(sp.terms != nil))
	if b := sp.terms; b != nil {
		w.Int(int64(b.Offers))
		w.Fixed(math.Float64bits(b.Value))
		w.Int(int64(b.Within))
		w.Byte(truth(b.PerDay))
	}
}

func readSpending(r *value.Reader) (sp spending) {
	sp.kind, sp.grant = r.Byte(), readGrant(r)
	if sp.to = sp.grant.of; r.Byte() != 0 {
		sp.terms = &campaign.Budget{}
		sp.terms.Offers, sp.terms.Value = int(r.Int()), math.Float64frombits(r.Fixed())
		sp.terms.Within, sp.terms.PerDay = time.Duration(r.Int()), r.Byte() != 0
	}
	return sp
}

// giveBack returns what was granted to an evaluation that does not go out.
func (s *step) giveBack(e *pending) {
	if e.ask == nil || len(e.ask.got) == 0 {
		return
	}
	for _, g := range e.ask.got {
		s.spend(g.of, spending{kind: spendReturn, grant: g})
	}
	e.with().got = nil
}

// withdraw takes back what an evaluation that is lost may have been granted.
func (s *step) withdraw(e *evaluation) {
	if e.stage == stageGrant {
		s.spend(e.ask.of, spending{kind: spendWithdraw, grant: grant{ref: e.ask.ref, value: e.ask.value}})
	}
}

// onGrant goes on with the evaluations that were granted something, and ends those
// that were refused. A grant that nothing waits for is returned.
func (s *step) onGrant(m *mail, r *value.Reader) {
	s.settled()
	var took []pending
	for range r.Len(6) {
		granted := r.Byte() != 0
		g := readGrant(r)
		if r.Err != nil {
			return
		}
		g.of = m.from
		all := s.taken(func(w *pending) bool { return w.stage == stageGrant && w.ask.ref == g.ref && w.ask.of == g.of })
		if len(all) == 0 {
			if s.strays++; granted {
				s.spend(g.of, spending{kind: spendReturn, grant: g})
			}
			continue
		}
		took = append(took, all...)
		w, ok := s.awake(all[0])
		if !ok {
			continue
		}
		w.trace.told(stageGrant, "grant", granted, toldText("of", g.of))
		if !granted {
			s.end(&w, OverBudget)
			continue
		}
		a := w.with()
		a.got = append(a.got, g)
		s.candidate(w)
	}
	s.finishMail(took)
}

// A budget is what a budget's entity holds.
type budget struct {
	terms uint64       // of what the sum is: when it changes, the sum begins anew
	spent window.State // the grants
	day   string       // of a budget per day: the day of these
	lent  lent
}

// mostLent is how many of its newest grants a budget or pool can find by their Ref.
const mostLent = 1024

// A lent is what was granted and not given back.
type lent struct {
	newest []grant
	gone   int64 // when the last of those was granted that are no longer among the newest; 0: there are none
	kept   []Ref // of the newest, those that are not given back (spendKeep)
}

func (l *lent) add(g grant) {
	i := len(l.newest)
	for i > 0 && l.newest[i-1].at > g.at { // it is counted again
		i--
	}
	l.newest = slices.Insert(l.newest, i, g)
	if len(l.newest) > mostLent {
		l.gone = max(l.gone, l.newest[0].at)
		l.newest = keepNewest(l.newest, mostLent)
		l.kept = slices.DeleteFunc(l.kept, func(ref Ref) bool { return l.find(ref) < 0 })
	}
}

// keep keeps a grant from being given back.
func (l *lent) keep(ref Ref) {
	if l.find(ref) >= 0 && !slices.Contains(l.kept, ref) {
		l.kept = append(l.kept, ref)
	}
}

func (l *lent) find(ref Ref) int {
	return slices.IndexFunc(l.newest, func(o grant) bool { return o.ref == ref })
}

// has reports whether it has a grant, as far as it knows.
func (l *lent) has(g grant) bool { return l.find(g.ref) >= 0 || g.at <= l.gone }

// take ends a grant that is returned or withdrawn. It returns false if there is none, as
// it was ended already or its budget does not have it any more, or if it stays granted.
// Of those that are no longer among the newest, each can be returned, but not withdrawn.
func (l *lent) take(g grant) (grant, bool) {
	i := l.find(g.ref)
	if i < 0 {
		return g, 0 < g.at && g.at <= l.gone
	}
	if slices.Contains(l.kept, g.ref) {
		return g, false
	}
	g = l.newest[i]
	l.newest = slices.Delete(l.newest, i, i+1)
	return g, true
}

func (l *lent) append(w *value.Writer) {
	appendGrants(w, l.newest)
	if l.gone != 0 || len(l.kept) > 0 {
		w.Int(l.gone)
	}
	if len(l.kept) > 0 {
		w.Len(len(l.kept))
		for _, ref := range l.kept {
			ref.append(w)
		}
	}
}

func readLent(r *value.Reader) (l lent) {
	l.newest = readGrants(r)
	if len(r.B) > 0 {
		l.gone = r.Int()
	}
	if len(r.B) > 0 {
		l.kept = readList(r, 12, func() Ref { return readRef(r) })
	}
	return l
}

// terms are what a request says of the budget: where the set in force at the budget
// has the campaign, these are its own.
func (s *step) termsOf(unit string, asked *campaign.Budget) *campaign.Budget {
	if i, ok := s.live.unitIndex[unit]; ok && s.live.campaigns[i].def.Budget != nil {
		return s.live.campaigns[i].def.Budget
	}
	return asked
}

// shapeOf says how the grants of a budget are kept.
func (s *step) shapeOf(b *campaign.Budget) *window.Shape {
	return &window.Shape{Aggregate: window.Named("sum"), Within: b.Within, Entries: s.live.def.Bounds.Entries, Keys: 1}
}

// onSpend applies requests, returns and withdrawals at a budget or pool, in their
// order, and answers the requests.
func (s *step) onSpend(m *mail, r *value.Reader) {
	var answers list
	for range r.Len(8) {
		sp := readSpending(r)
		if r.Err != nil {
			return
		}
		if s.entity.Key[0] == poolPrefix[0] {
			s.atPool(sp.kind, sp.grant, &answers)
		} else {
			s.atBudget(sp.kind, sp.grant, sp.terms, &answers)
		}
	}
	if answers.n > 0 {
		var w value.Writer
		w.Len(answers.n)
		s.send(m.from, mailGrant, append(w.B, answers.w.B...))
	}
}

// atBudget applies one request, return or withdrawal.
func (s *step) atBudget(kind byte, g grant, asked *campaign.Budget, answers *list) {
	e := s.entity
	terms := s.termsOf(e.Key[len(budgetPrefix):], asked)
	if terms == nil { // of a return, where the campaign is gone
		return
	}
	if e.budget == nil {
		e.budget = &budget{}
	}
	now := s.budgetTime()
	b, shape := e.budget, s.shapeOf(terms)
	b.begin(terms, zoneDate(now, s.live.def.Zone))
	switch kind {
	case spendRequest:
		granted := shape.SumAtMost(&b.spent, now, g.value, terms.Most())
		if granted {
			e.seq++
			e.last = now
			g.at = now
			shape.Add(&b.spent, "", window.Entry{Time: now, Value: value.OfInt(g.value)}, now, &s.scratch)
			b.lent.add(g)
		}
		answers.add(func(w *value.Writer) { w.Byte(truth(granted)); g.append(w) })
	case spendReturn, spendWithdraw:
		g, ok := b.lent.take(g)
		if !ok {
			return
		}
		if !terms.PerDay || zoneDate(g.at, s.live.def.Zone) == b.day {
			window.TakeBack(shape, &b.spent, g.at, g.value, now)
		}
	case spendKeep:
		b.lent.keep(g.ref)
	}
}

// budgetTime is the time at a budget. It never goes back: under clock: event a partition
// without log time takes that of its mails, which may be later than what it has then.
func (s *step) budgetTime() int64 {
	if s.entity.seq == 0 {
		return s.now
	}
	return max(s.now, s.entity.last)
}

// begin makes the budget one with these terms: on a new day, and where it counts
// otherwise than before, it begins anew.
func (b *budget) begin(terms *campaign.Budget, today string) {
	if is := countedBy(terms); is != b.terms {
		*b = budget{terms: is}
	}
	if terms.PerDay && b.day != today {
		b.day, b.spent = today, window.State{}
	}
}

// counts reports whether what the budget has granted counts under these terms.
func (b *budget) counts(terms *campaign.Budget, today string) bool {
	return b.terms == countedBy(terms) && (!terms.PerDay || b.day == today)
}

// countedBy identifies of what the sum of a budget is.
func countedBy(terms *campaign.Budget) uint64 {
	return campaign.Identity(struct {
		Within int64
		PerDay bool
		Value  bool
	}{int64(terms.Within), terms.PerDay, terms.Value > 0})
}

// zoneDate is the date of a time in a zone.
func zoneDate(at int64, name string) string {
	_, _, _, date := zone.Local(at, zone.OrUTC(name))
	return date
}
