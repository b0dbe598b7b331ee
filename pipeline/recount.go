package pipeline

import (
	"cmp"
	"encoding/base64"
	"maps"
	"slices"
	"time"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
	"offerstream/pipeline/window"
)

// recount.go is what an acceptance does for budgets and pools (PROTOCOL.md, G5). A log
// that has lost messages no longer gives some of the grants with which offers have gone
// out. The records of offers name their grants, so that they can be found and counted
// again.

// Granted is the text by which a record names the grants that its offer went out with;
// "": it needed none.
func (o *Offer) Granted() string {
	if len(o.grants) == 0 {
		return ""
	}
	var w value.Writer
	appendGrants(&w, o.grants)
	return base64.RawStdEncoding.EncodeToString(w.B)
}

func readGranted(text string) ([]grant, error) {
	b, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil || len(b) == 0 {
		return nil, err
	}
	r := value.Reader{B: b}
	all := readGrants(&r)
	return all, r.Done()
}

// readRecounted reads Acceptance.Granted and Acceptance.Out.
func (a *Acceptance) readRecounted() error {
	r := value.Reader{B: a.Granted}
	for r.Err == nil && len(r.B) > 0 {
		a.granted = append(a.granted, readSpending(&r))
	}
	if r.Err != nil {
		return r.Err
	}
	r = value.Reader{B: a.Out}
	a.spent = map[Ref]bool{}
	for r.Err == nil && len(r.B) > 0 {
		g := readGrant(&r)
		a.out, a.spent[g.ref] = append(a.out, g), true
	}
	return r.Err
}

// recount makes the next step of what an acceptance does for budgets and pools. It
// returns false if all are made.
func (f *Fold) recount() bool {
	n := int(f.cur.Within) - 1
	if n < len(f.accept.out) {
		if f.only != nil || f.wanted != nil { // as in post
			return true
		}
		g := f.accept.out[n]
		var w value.Writer
		w.Len(1)
		(&spending{kind: spendKeep, grant: g}).append(&w)
		f.emitMail(event.Partition(g.of, max(f.partitions, 1)), &mail{now: f.cur.LogTime, kind: mailSpend, to: g.of, body: w.B}, false)
		return true
	}
	if n -= len(f.accept.out); n >= len(f.accept.granted) {
		return false
	}
	sp := &f.accept.granted[n]
	if f.cur.Second || f.only != nil && !f.only[sp.to] || f.wanted != nil && !f.wanted(sp.to) {
		return true
	}
	e, err := f.ents.Entity(sp.to)
	if err != nil {
		f.err = err
		return true
	}
	f.step.start(e, f.cur.LogTime)
	f.step.countAgain(sp)
	return true
}

// countAgain counts a grant that a lost log has given.
func (s *step) countAgain(sp *spending) {
	e, g := s.entity, sp.grant
	if e.Key[0] == poolPrefix[0] {
		s.countCode(g)
		return
	}
	terms := s.termsOf(e.Key[len(budgetPrefix):], sp.terms)
	if terms == nil {
		return
	}
	if e.budget == nil {
		e.budget = &budget{}
	}
	b, shape := e.budget, s.shapeOf(terms)
	now := max(s.budgetTime(), g.at) // else the day of the newest would not have begun
	today := zoneDate(now, s.live.def.Zone)
	b.begin(terms, today)
	if b.lent.find(g.ref) >= 0 || shape.Left(g.at, now) || terms.PerDay && zoneDate(g.at, s.live.def.Zone) != today {
		return
	}
	e.seq++
	e.last = now
	shape.Add(&b.spent, "", window.Entry{Time: g.at, Value: value.OfInt(g.value)}, now, &s.scratch)
	b.lent.add(g)
}

// countCode counts a code that a lost log has given out, and keeps the pool from giving
// it out once more: it may be among the codes that the pool has, or come again with
// their import, or be granted to somebody else now, whose ask has not been answered and
// ends.
func (s *step) countCode(g grant) {
	e := s.entity
	if e.pool == nil {
		e.pool = &pool{}
	}
	p := e.pool
	if p.lent.find(g.ref) >= 0 {
		return
	}
	e.seq++
	e.last = max(e.last, g.at)
	p.given++
	p.lent.add(g)
	p.out = append(p.out, g.code)
}

// mostRecounted bounds how many grants a Recount holds: the newest.
const mostRecounted = 1 << 17

// A Recount finds the grants that a lost log has given, while the rest of the log is
// folded: among those with which offers are stored, and those that are stored in the
// logs of who asked, it looks for the ones that the fold does not give.
type Recount struct {
	fold    *Fold
	live    *Set // nil: it is not known
	from    uint64
	began   int64
	granted map[Ref]grant // of budgets and pools in the fold's partition
	out     map[Ref]grant // with which offers of the partition have gone out
	Left    int           // how many grants were too many to be looked at
}

// Recount begins a recount. The fold stands where it begins; live is the set that is
// live by the record, nil if that is not known.
func (f *Fold) Recount(live *Set) *Recount {
	return &Recount{fold: f, live: live, from: f.cur.Seq, began: f.cur.LogTime, granted: map[Ref]grant{}, out: map[Ref]grant{}}
}

// Needed reports whether any campaign may have a budget or a pool.
func (r *Recount) Needed() bool {
	asks := func(l []unit) bool {
		return slices.ContainsFunc(l, func(u unit) bool { return u.asksBudget() })
	}
	return r.live == nil || asks(r.live.units) || asks(r.fold.step.live.units)
}

// Since is a time of NATS before which nothing was stored that still counts; 0: there is
// none, as a pool's codes are given for ever.
func (r *Recount) Since() int64 {
	if r.from == 0 || r.live == nil || r.fold.Clock() == campaign.ClockEvent {
		return 0
	}
	longest := time.Duration(0)
	for _, set := range []*Set{r.fold.step.live.Set, r.live} {
		for i := range set.units {
			u := &set.units[i]
			switch b := u.def.Budget; {
			case u.pool() != "", b != nil && b.Within == 0 && !b.PerDay:
				return 0
			case b != nil && b.PerDay:
				longest = max(longest, 48*time.Hour)
			case b != nil:
				longest = max(longest, b.Within)
			}
		}
	}
	return max(0, value.Minus(r.began, int64(longest+time.Hour))) // the clock may have been set back a little
}

// Unset reports whether neither the record nor the log tells the campaigns whose grants
// were found.
func (r *Recount) Unset() bool { return r.live == nil && r.fold.cur.Set == "" && len(r.granted) > 0 }

// Stored takes the grants of a stored record of an offer, Offer.Granted. own is whether
// it is of the fold's partition, and at its position.
func (r *Recount) Stored(granted string, own bool, at Position) error {
	all, err := readGranted(granted)
	for _, g := range all {
		r.take(g)
		if own && at.S > r.from {
			r.out[g.ref] = g
			r.Left += bound(r.out)
		}
	}
	return err
}

// Sent takes a mail of the fold's partition that another partition's log has.
func (r *Recount) Sent(b []byte) error {
	m, err := decodeMail(Position{}, b)
	if err != nil {
		return err
	}
	return eachGranted(&m, r.take)
}

// eachGranted calls fn with what a mail grants.
func eachGranted(m *mail, fn func(grant)) error {
	if m.kind != mailGrant {
		return nil
	}
	r := value.Reader{B: m.body}
	for range r.Len(6) {
		granted := r.Byte() != 0
		if g := readGrant(&r); granted && r.Err == nil {
			g.of = m.from
			fn(g)
		}
	}
	return r.Err
}

// take takes a grant, unless it is of another partition, does not count any more, or is
// known to the fold: what a log gives later is not older.
func (r *Recount) take(g grant) {
	if !r.fold.here(g.of) || r.from > 0 && g.at < r.began {
		return
	}
	if terms, _ := r.terms(g.of); left(g, terms, r.began) {
		return
	}
	e, err := r.fold.ents.Look(g.of)
	if err != nil {
		r.fold.err = err
		return
	}
	if e.budget != nil && e.budget.lent.has(g) || e.pool != nil && e.pool.lent.has(g) {
		return
	}
	r.granted[g.ref] = g
	r.Left += bound(r.granted)
}

// terms are those of a budget, nil of a pool. ok is false if no campaign has it.
func (r *Recount) terms(of string) (terms *campaign.Budget, ok bool) {
	for _, set := range []*Set{r.fold.step.live.Set, r.live} {
		if set == nil {
			continue
		}
		if of[0] == poolPrefix[0] {
			if slices.Contains(Pools(set.def), of[len(poolPrefix):]) {
				return nil, true
			}
		} else if i, ok := set.unitIndex[of[len(budgetPrefix):]]; ok && set.units[i].def.Budget != nil {
			return set.units[i].def.Budget, true
		}
	}
	return nil, false
}

// left reports whether a grant has left its budget's window.
func left(g grant, terms *campaign.Budget, now int64) bool {
	return terms != nil && terms.Within > 0 && g.at <= value.Minus(now, int64(terms.Within))
}

// bound drops the oldest grants if there are far too many, and returns how many.
func bound(all map[Ref]grant) int {
	if len(all) < 2*mostRecounted {
		return 0
	}
	for _, g := range inOrder(all)[:mostRecounted] {
		delete(all, g.ref)
	}
	return mostRecounted
}

// inOrder are grants by their budget or pool, each in the order in which it gave them.
func inOrder(all map[Ref]grant) []grant {
	return slices.SortedFunc(maps.Values(all), func(a, b grant) int {
		return cmp.Or(cmp.Compare(a.of, b.of), cmp.Compare(a.at, b.at), cmp.Compare(a.ref.P, b.ref.P), cmp.Compare(a.ref.G, b.ref.G), cmp.Compare(a.ref.S, b.ref.S), cmp.Compare(a.ref.H, b.ref.H), cmp.Compare(a.ref.O, b.ref.O))
	})
}

// Folds takes a message that the fold applies: what it returns is not out, and what an
// acceptance counts again is known.
func (r *Recount) Folds(m Message) error {
	switch m.Kind {
	case Accept:
		a, err := readAcceptance(m.Data)
		if err != nil {
			return err
		}
		for i := range a.granted {
			delete(r.granted, a.granted[i].grant.ref)
		}
	case From:
		return EachPacked(m.Data, func(at Position, b []byte) error {
			one, err := decodeMail(at, b)
			if err != nil || one.kind != mailSpend {
				return err
			}
			body := value.Reader{B: one.body}
			for range body.Len(8) {
				if sp := readSpending(&body); sp.kind == spendReturn || sp.kind == spendWithdraw {
					delete(r.granted, sp.grant.ref)
				}
			}
			return body.Err
		})
	}
	return nil
}

// Gives takes an effect of the fold: the grants that it gives are known, and so are
// those of its offers.
func (r *Recount) Gives(e Effect) error {
	switch {
	case e.Offer != nil:
		for _, g := range e.Offer.grants {
			delete(r.out, g.ref)
		}
	case e.Mail != nil:
		m, err := decodeMail(e.Pos, e.Mail)
		if err != nil {
			return err
		}
		return eachGranted(&m, func(g grant) { delete(r.granted, g.ref) })
	}
	return nil
}

// Acceptances are the acceptances that the log needs: one, or more if what they name
// needs more than about size bytes. counted is how many grants they count again, by
// budget ("c:" + the campaign) and pool ("p:" + its name). The grants of campaigns that are
// gone are not counted.
func (r *Recount) Acceptances(a Acceptance, size int) (all []Acceptance, counted map[string]int) {
	counted = map[string]int{}
	all = []Acceptance{a}
	add := func(to func(*Acceptance) *[]byte, write func(*value.Writer)) {
		var w value.Writer
		write(&w)
		last := &all[len(all)-1]
		if is := len(last.Granted) + len(last.Out); is > 0 && is+len(w.B) > size {
			all = append(all, a)
			last = &all[len(all)-1]
		}
		*to(last) = append(*to(last), w.B...)
	}
	for _, g := range inOrder(r.out) {
		add(func(a *Acceptance) *[]byte { return &a.Out }, g.append)
	}
	for _, g := range inOrder(r.granted) {
		terms, ok := r.terms(g.of)
		if !ok || left(g, terms, r.fold.cur.LogTime) {
			continue
		}
		add(func(a *Acceptance) *[]byte { return &a.Granted }, (&spending{kind: spendRequest, grant: g, terms: terms}).append)
		counted[g.of]++
	}
	return all, counted
}
