package pipeline

import (
	"errors"
	"fmt"

	"offerstream/pipeline/value"
	"offerstream/pipeline/window"
)

// link.go is the part of an entity's record that came with items, budgets and merges:
// entities that have to do with other entities.

// appendLinks writes the sections from sectionViews on.
func (e *Entity) appendLinks(w *value.Writer) {
	w.Section(sectionViews, func() {
		if e.hasViewed || len(e.session.times) > 0 {
			w.Byte(truth(e.hasViewed))
			w.Int(e.viewedAt - e.session.last) // 0, but for some merges
			w.Int(e.viewedTime - e.viewedAt)
			before := e.session.started
			for _, t := range e.session.times {
				w.Int(t - before)
				before = t
			}
		}
	})
	w.Section(sectionAsked, func() { appendAsked(w, e.waiting, e.orphans) })
	w.Section(sectionMerge, func() { e.appendMerge(w) })
	w.Section(sectionItem, func() { e.appendItem(w) })
	w.Section(sectionBudget, func() {
		if b := e.budget; b != nil {
			w.Fixed(b.terms)
			w.Text(b.day)
			b.spent.Append(w)
			b.lent.append(w)
		}
	})
	w.Section(sectionPool, func() {
		if e.pool != nil {
			e.pool.append(w)
		}
	})
	w.Section(sectionCodes, func() {
		for _, c := range e.codes {
			w.Text(c)
		}
	})
	w.Section(sectionMerged, func() { e.appendMerged(w) })
	w.Section(sectionCoupons, func() { e.appendCoupons(w) })
}

// link decodes one of these sections.
func (e *Entity) link(number uint64, r *value.Reader) error {
	switch number {
	case sectionViews:
		e.hasViewed = r.Byte() != 0
		e.viewedAt = e.session.last + r.Int()
		e.viewedTime = e.viewedAt + r.Int()
		e.readViews(r)
	case sectionAsked:
		e.orphans = readAsked(r, e.waiting)
		e.open = 0
		for i := range e.waiting {
			if stages[e.waiting[i].stage].mail {
				e.open++
			}
		}
	case sectionMerge:
		e.readMerge(r)
	case sectionItem:
		e.readItem(r)
	case sectionBudget:
		e.budget = &budget{terms: r.Fixed(), day: r.Text(), spent: window.ReadState(r), lent: readLent(r)}
	case sectionPool:
		e.pool = readPool(r)
	case sectionCodes:
		for r.Err == nil && len(r.B) > 0 {
			e.codes = append(e.codes, r.Text())
		}
	case sectionMerged:
		e.readMerged(r)
	case sectionCoupons:
		e.readCoupons(r)
	default:
		return fmt.Errorf("section %d is unknown", number)
	}
	return done(number, r)
}

// readViews reads the log times of the session's views, up to the section's end.
func (e *Entity) readViews(r *value.Reader) {
	if len(r.B) == 0 {
		return
	}
	e.session.times = make([]int64, 0, min(len(r.B), sessionEvents))
	for at := e.session.started; r.Err == nil && len(r.B) > 0; {
		if len(e.session.times) == sessionEvents {
			r.Fail(errors.New("a session has too many times"))
			return
		}
		at += r.Int()
		e.session.times = append(e.session.times, at)
	}
}

// appendAsked writes what pending evaluations have asked for, each answer once, and the
// grants that are to be given back.
func appendAsked(w *value.Writer, all []pending, back []grant) {
	var answers []*answer
	n := 0
	for i := range all {
		if a := all[i].ask; a != nil {
			n++
			if a.items != nil && indexOf(answers, a.items) < 0 {
				answers = append(answers, a.items)
			}
		}
	}
	if n == 0 && len(back) == 0 {
		return
	}
	w.Len(len(answers))
	for _, a := range answers {
		a.append(w)
	}
	w.Len(n)
	for i := range all {
		a := all[i].ask
		if a == nil {
			continue
		}
		w.Len(i)
		w.Text(a.of)
		a.ref.append(w)
		w.Fixed(a.reads)
		w.Int(a.value)
		w.Int(a.at)
		w.Byte(truth(a.ended) | 2*truth(a.waited))
		w.Len(1 + indexOf(answers, a.items))
		appendGrants(w, a.got)
	}
	if len(back) > 0 {
		appendGrants(w, back)
	}
}

func indexOf(all []*answer, a *answer) int {
	for i := range all {
		if all[i] == a {
			return i
		}
	}
	return -1
}

// readAsked reads what appendAsked wrote.
func readAsked(r *value.Reader, all []pending) (back []grant) {
	answers := readList(r, 2, func() *answer { return readAnswer(r) })
	for range r.Len(14) {
		i := r.Uint()
		a := &asked{of: r.Text(), ref: readRef(r), reads: r.Fixed(), value: r.Int(), at: r.Int()}
		flags := r.Byte()
		a.ended, a.waited = flags&1 != 0, flags&2 != 0
		k := r.Uint()
		a.got = readGrants(r)
		if r.Err != nil {
			return nil
		}
		if i >= uint64(len(all)) || k > uint64(len(answers)) {
			r.Fail(fmt.Errorf("what evaluation %d has asked for, with answer %d: there are %d and %d", i, k, len(all), len(answers)))
			return nil
		}
		if k > 0 {
			a.items = answers[k-1]
		}
		all[i].ask = a
	}
	if len(r.B) == 0 {
		return nil
	}
	return readGrants(r)
}

func (e *Entity) appendMerge(w *value.Writer) {
	unproved := 0
	for _, c := range e.consent {
		if c.unproved {
			unproved++
		}
	}
	if e.owner == "" && len(e.claims)+len(e.watching)+unproved == 0 {
		return
	}
	w.Text(e.owner)
	w.Len(len(e.claims))
	for _, c := range e.claims {
		w.Text(c.visitor)
		c.ref.append(w)
	}
	w.Len(len(e.watching))
	for _, l := range e.watching {
		w.Text(l.item)
		w.Fixed(l.list)
		w.Int(l.at)
	}
	w.Len(unproved)
	for i, c := range e.consent {
		if c.unproved {
			w.Len(i)
		}
	}
}

func (e *Entity) readMerge(r *value.Reader) {
	e.owner = r.Text()
	e.claims = readList(r, 5, func() claim { return claim{r.Text(), readRef(r)} })
	e.watching = readList(r, 9, func() watch { return watch{r.Text(), r.Fixed(), r.Int()} })
	for range r.Len(1) {
		i := r.Uint()
		if i >= uint64(len(e.consent)) {
			r.Fail(fmt.Errorf("consent %d of %d", i, len(e.consent)))
			return
		}
		e.consent[i].unproved = true
	}
}

func (e *Entity) appendMerged(w *value.Writer) {
	if e.claimed == nil && len(e.merged) == 0 {
		return
	}
	w.Len(len(e.merged))
	for _, m := range e.merged {
		w.Text(m.visitor)
		m.ref.append(w)
		w.Int(m.at)
		if w.Byte(truth(m.viewed)); m.viewed {
			w.Int(m.ends)
		}
	}
	if e.claimed != nil {
		e.claimed.append(w)
		if w.Byte(truth(e.remains != nil)); e.remains != nil {
			e.remains.append(w)
		}
	}
}

func (e *Entity) readMerged(r *value.Reader) {
	e.merged = readList(r, 7, func() merged {
		m := merged{visitor: r.Text(), ref: readRef(r), at: r.Int(), viewed: r.Byte() != 0}
		if m.viewed {
			m.ends = r.Int()
		}
		return m
	})
	if len(r.B) == 0 {
		return
	}
	ref := readRef(r)
	if e.claimed = &ref; r.Byte() != 0 {
		e.remains = readRemains(r)
	}
}

func (e *Entity) appendItem(w *value.Writer) {
	if len(e.renamed) == 0 && e.fan == nil {
		return
	}
	w.Len(len(e.renamed))
	for _, n := range e.renamed {
		w.Text(n.visitor)
		w.Len(n.p)
		n.at.append(w)
	}
	if w.Byte(truth(e.fan != nil)); e.fan != nil {
		e.fan.append(w)
	}
}

func (e *Entity) readItem(r *value.Reader) {
	e.renamed = readList(r, 7, func() renaming { return renaming{r.Text(), int(r.Uint()), readPosition(r)} })
	if r.Byte() != 0 {
		e.fan = readFan(r)
	}
}

func (p Position) append(w *value.Writer) {
	w.Uint(p.N)
	w.Uint(p.S)
	w.Uint(uint64(p.K))
	w.Int(p.T)
	w.Int(p.G)
}

func readPosition(r *value.Reader) Position {
	return Position{N: r.Uint(), S: r.Uint(), K: uint32(r.Uint()), T: r.Int(), G: r.Int()}
}
