package oracle

import "slices"

// afterAllOthers comes, in the order of entries, after all items of an event.
const afterAllOthers = 1 << 30

// absorb adds what a visitor had in a feature to what the user has: after all of the
// user's, in the visitor's order.
func (s *state) absorb(mark *event) {
	theirs := mark.absorbed.state(s.f)
	if mark.closes != nil && mark.closes != mark.absorbed {
		s.close(mark.closedAt)
	}
	if s.f.Agg == "top" {
		s.absorbTop(theirs, mark)
		return
	}
	place := theirs.places()
	take := func(e *entry) *entry {
		own := *e
		own.pos, own.item = mark.pos, afterAllOthers+place[e]
		if own.open && mark.closes == mark.absorbed {
			own.open, own.length = false, min(max(minus(mark.closedAt, own.at), 0), maxDwell)
		}
		return &own
	}
	for _, key := range theirs.touched {
		from := theirs.keys[key]
		if len(from.live(mark.now)) == 0 {
			continue
		}
		w := s.keys[key]
		if w == nil {
			w = &window{within: s.f.Within}
		}
		s.touch(mark.now, key, w)
		w.drop(mark.now)
		for _, b := range from.buckets {
			if w.in(b.at, mark.now) {
				for _, e := range b.entries {
					w.putInBucket(take(e), b.at)
				}
			}
		}
		for _, e := range from.exact {
			if w.in(e.at, mark.now) {
				s.replace(w, take(e))
			}
		}
		s.bound(w)
	}
}

// places numbers all entries of a feature in the order in which they came.
func (s *state) places() map[*entry]int {
	var all []*entry
	for _, w := range s.keys {
		all = append(all, w.all()...)
	}
	slices.SortFunc(all, func(a, b *entry) int {
		return (&entry{pos: a.pos, item: a.item}).before(&entry{pos: b.pos, item: b.item})
	})
	place := map[*entry]int{}
	for i, e := range all {
		place[e] = i
	}
	return place
}

// replace adds an entry; of two with one value of distinct, or one key of a list, the
// later one stays.
func (s *state) replace(w *window, e *entry) {
	same := func(o *entry) bool {
		return s.f.Agg == "distinct" && o.text == e.text || s.f.Agg == "list" && s.f.Key != "" && o.listKey == e.listKey
	}
	if i := slices.IndexFunc(w.exact, same); i >= 0 {
		if w.exact[i].before(e) > 0 {
			return
		}
		w.exact = slices.Delete(w.exact, i, i+1)
	}
	w.insert(e)
}

// absorbTop adds the weights as they are now.
func (s *state) absorbTop(theirs *state, mark *event) {
	step := s.f.stepOf(mark.now)
	touched := slices.Clone(theirs.top)
	slices.SortFunc(touched, func(a, b *ranked) int {
		return (&entry{pos: a.last.pos, item: a.last.item}).before(&entry{pos: b.last.pos, item: b.last.item})
	})
	for i, r := range touched {
		own := &ranked{r.key, r.decayed(step), step, entry{at: mark.now, pos: mark.pos, item: afterAllOthers + i}}
		if at := slices.IndexFunc(s.top, func(o *ranked) bool { return o.key == r.key }); at >= 0 {
			own.weight.Add(own.weight, s.top[at].decayed(step))
			s.top = slices.Delete(s.top, at, at+1)
		}
		s.top = append(s.top, own)
	}
	s.sortTop(step)
	s.top = s.top[:min(len(s.top), s.f.bounds.Keys)]
}
