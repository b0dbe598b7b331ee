package pipeline

import (
	"cmp"
	"slices"
	"strings"

	"offerstream/pipeline/value"
)

// merge makes a visitor's record part of the step's user (LANGUAGE.md, rule 17). It
// triggers nothing.
func (s *step) merge(a *Entity, m *mail) {
	e := s.entity
	s.closeStays(a)
	s.mergeFeatures(a)
	if a.seq > 0 && (e.seq == 0 || a.last > e.last) {
		e.last = a.last
	}
	e.seq += a.seq
	e.mergeRing(a, s.now)
	e.mergeTraits(a, s.live.tally.features)
	e.mergeSession(a, s.now)
	e.mergeSent(a)
	e.mergeCoupons(a, s.now)
	e.mergeConsent(a)
	s.mergeSequences(a)
	s.mergePending(a)
	if a.viewedAfter(e) {
		e.hasViewed, e.viewedAt, e.viewedTime = true, a.viewedAt, a.viewedTime
	}
	s.tellItems(a, m)
	s.boundMerged()
}

// mergeFeatures joins the features that the set in force has.
func (s *step) mergeFeatures(a *Entity) {
	e := s.entity
	for i := range a.states {
		if at, ok := s.live.byID[a.states[i].ID]; ok && s.live.all[at].per == 0 {
			st := e.ensure(at)
			before := st.Size()
			s.live.tally.features.Bounds += s.live.all[at].shape.Union(st, &a.states[i], s.now)
			*e.sizeOf(at) = e.sizeOf(at).Plus(st.Size().Minus(before))
		}
	}
}

// boundMerged applies the bounds on bytes to what has come together. That on entries
// bounds what events add; so what has come together is taken whole.
func (s *step) boundMerged() {
	e, counts := s.entity, s.live.tally.features
	e.fit(s.now, counts)
	e.fitRetired(s.now)
	s.boundPending()
}

// closeStays closes what is open of the one whose last view is the earlier, where the
// other's came.
func (s *step) closeStays(a *Entity) {
	e := s.entity
	if !a.hasViewed && !e.hasViewed {
		return
	}
	if a.viewedAfter(e) {
		for _, i := range s.live.dwells {
			if st := e.feature(i); st != nil && st.Open() {
				before := st.Size()
				s.live.features[i].shape.Close(st, a.viewedTime)
				e.resized(st, before)
			}
		}
		s.drop(func(w *pending) bool { return stages[w.stage].viewed }, Cancelled, ByMerge)
		return
	}
	for i := range a.states {
		st := &a.states[i]
		if at, ok := s.live.byID[st.ID]; ok && s.live.all[at].shape.Stays && st.Open() {
			s.live.all[at].shape.Close(st, e.viewedTime)
		}
	}
	a.retain(func(w *pending) bool {
		if !stages[w.stage].viewed {
			return true
		}
		w.c = s.unitOf(w.campaign, w.trigger)
		s.endOf(a.Key, &evaluation{pending: *w}, Cancelled, ByMerge)
		return false
	})
}

// viewedAfter reports whether the visitor's last view came after the user's, or with it.
func (a *Entity) viewedAfter(e *Entity) bool {
	return a.hasViewed && (!e.hasViewed || a.viewedAt >= e.viewedAt)
}

// mergeRing keeps the newest ids of both, by log time, those of the user first.
func (e *Entity) mergeRing(a *Entity, now int64) {
	type seen struct{ id, at uint64 }
	var all []seen
	for _, ring := range [][]byte{e.ring, a.ring} {
		for ; len(ring) > 0; ring = ring[seenBytes:] {
			all = append(all, seen{le.Uint64(ring), le.Uint64(ring[8:])})
		}
	}
	slices.SortStableFunc(all, func(x, y seen) int { return cmp.Compare(int64(x.at), int64(y.at)) })
	drop, young := max(len(all)-ringMost, 0), value.Minus(now, int64(ringYoung))
	for drop < len(all)-ringAlways && int64(all[drop].at) <= young {
		drop++
	}
	e.ring = nil
	for _, one := range all[drop:] {
		e.ring = le.AppendUint64(le.AppendUint64(e.ring, one.id), one.at)
	}
	e.tag()
}

// mergeTraits adds the traits that the user lacks, by name, while there is room.
func (e *Entity) mergeTraits(a *Entity, counts *Counts) {
	size := e.traitBytes()
	for _, t := range a.traits {
		i, known := e.trait(t.name)
		if known {
			continue
		}
		if size+t.size() > maxTraits {
			counts.Bounds++
			continue
		}
		size += t.size()
		e.traits = slices.Insert(e.traits, i, t)
	}
}

// mergeSession makes two open sessions one; of one open session, and one that is over,
// it keeps the open one.
func (e *Entity) mergeSession(a *Entity, now int64) {
	u, v := &e.session, &a.session
	switch {
	case v.over(now):
		return
	case u.over(now):
		ends := u.ends || v.ends
		*u = *v
		u.ends = ends && v.lastID != ""
		return
	}
	first, other := u, v
	if v.started < u.started {
		first, other = v, u
	}
	one := session{started: first.started, last: max(u.last, v.last), count: u.count + v.count, lastID: u.lastID, ends: u.ends}
	if v.last > u.last {
		one.lastID, one.ends = v.lastID, v.ends
	}
	one.referrerHost, one.query = first.referrerHost, first.query
	if one.referrerHost == "" {
		one.referrerHost, one.query = other.referrerHost, other.query
	}
	one.source = cmp.Or(first.source, other.source)
	one.term = cmp.Or(first.term, other.term)
	type view struct {
		name string
		at   int64
	}
	var views []view
	for _, of := range []*session{u, v} {
		for i, name := range of.names() {
			views = append(views, view{name, of.timeOf(i)})
		}
	}
	slices.SortStableFunc(views, func(x, y view) int { return cmp.Compare(x.at, y.at) })
	for _, w := range views[max(len(views)-sessionEvents, 0):] {
		one.name(w.name, w.at, true)
	}
	*u = one
}

// mergeSent adds what went out to the visitor.
func (e *Entity) mergeSent(a *Entity) {
	for _, s := range a.sent {
		keep := rememberedSent
		if i, ok := e.live.unitIndex[s.campaign]; ok {
			keep = e.live.units[i].keepSent
		}
		if own := e.sentOf(s.campaign); own != nil {
			own.ever += s.ever
			own.times = together(own.times, s.times, keep)
		} else {
			e.sent = append(e.sent, s)
		}
	}
	for _, c := range a.channels {
		if i := slices.IndexFunc(e.channels, func(o channelSent) bool { return o.channel == c.channel }); i >= 0 {
			e.channels[i].times = together(e.channels[i].times, c.times, e.live.keepSent)
		} else {
			e.channels = append(e.channels, c)
		}
	}
	e.offers = append(e.offers, a.offers...)
	slices.SortStableFunc(e.offers, func(x, y remembered) int { return cmp.Compare(x.at, y.at) })
	e.offers = keepNewest(e.offers, rememberedOffers)
}

// together are the newest of two lists of times, in order.
func together(a, b []int64, keep int) []int64 {
	all := append(slices.Clone(a), b...)
	slices.Sort(all)
	return keepNewest(all, keep)
}

// mergeConsent keeps, for each channel, the newest that either has said: a refusal
// where they differ at one time. What a browser sent without proof does not count for
// the user.
func (e *Entity) mergeConsent(a *Entity) {
	for _, c := range a.consent {
		if c.unproved {
			continue
		}
		i, found := slices.BinarySearchFunc(e.consent, c.channel, func(o consent, name string) int { return strings.Compare(o.channel, name) })
		switch {
		case !found && len(e.consent) < mostConsents:
			e.consent = slices.Insert(e.consent, i, c)
		case !found:
		case c.time > e.consent[i].time:
			e.consent[i] = c
		case c.time == e.consent[i].time:
			e.consent[i].granted = e.consent[i].granted && c.granted
		}
	}
}

// mergeSequences keeps, for each prefix, the later start.
func (s *step) mergeSequences(a *Entity) {
	e := s.entity
	for _, q := range a.sequences {
		c := s.unitOf(q.campaign, q.trigger)
		if c == nil || len(q.starts) != len(c.sequence)-1 {
			continue
		}
		i := e.sequenceOf(c)
		if i < 0 {
			q.since = c.since
			s.boundSequences(c, 0)
			e.sequences = append(e.sequences, q)
			continue
		}
		for k, start := range q.starts {
			if own := &e.sequences[i].starts[k]; *own == noStart || start != noStart && start > *own {
				*own = start
			}
		}
	}
}

// mergePending moves what is pending of the visitor to the user. Of two for one
// campaign and match key that one stays whose event came later.
func (s *step) mergePending(a *Entity) {
	e := s.entity
	var moved []pending
	for _, w := range a.waiting {
		one := &evaluation{pending: w}
		if one.c = s.unitOf(w.campaign, w.trigger); one.c == nil || one.c.asksOtherwise(&w) {
			s.endOf(a.Key, one, Cancelled, ByChange)
			continue
		}
		one.since = one.c.since
		if stages[w.stage].viewed {
			moved = append(moved, one.pending)
			continue
		}
		same := func(o *pending) bool { return o.c == one.c && o.key == w.key && !stages[o.stage].viewed }
		newer := !e.anyWaits(func(o *pending) bool { return same(o) && o.stored.at >= w.stored.at })
		if !newer {
			s.endOf(a.Key, one, Superseded, ByNewer)
			continue
		}
		s.drop(same, Superseded, ByNewer)
		moved = append(moved, one.pending)
	}
	s.moveIn(moved, a.Key)
}

// moveIn adds what was pending of the visitor, and numbers all that is pending by when
// it was triggered.
func (s *step) moveIn(moved []pending, visitor string) {
	if len(moved) == 0 {
		return
	}
	e := s.entity
	of := map[uint64]uint64{} // what is the visitor's: its number there, by that here
	next := e.order
	for _, w := range moved {
		next++
		of[next], w.order = w.order, next
		e.add(w)
		w.stored.uses-- // it was counted where it was decoded
	}
	slices.SortStableFunc(e.waiting, func(x, y pending) int {
		return cmp.Or(cmp.Compare(x.stored.at, y.stored.at), cmp.Compare(truth(of[x.order] > 0), truth(of[y.order] > 0)), cmp.Compare(x.order, y.order))
	})
	for i := range e.waiting {
		next++
		w := &e.waiting[i]
		was, theirs := of[w.order]
		from := ""
		if theirs {
			from = visitor
		} else {
			was = w.order
		}
		w.order = next
		s.traceMoved(w, was, from)
	}
	e.order = next
	for _, w := range moved {
		if w.stage == stageAbsence {
			s.boundAbsences(w.c)
		}
	}
}

// tellItems tells the items in whose lists the visitor is that it is the user.
func (s *step) tellItems(a *Entity, m *mail) {
	for item, lists := range a.lists() {
		var w value.Writer
		w.Text(a.Key)
		w.Len(s.fromPartition)
		m.at.append(&w)
		appendLists(&w, lists)
		s.send(item, mailRename, w.B)
	}
	for _, w := range a.watching {
		if s.entity.watch(w.item, w.list) < 0 {
			s.entity.watches(w, s.live.tally.features)
		}
	}
}
