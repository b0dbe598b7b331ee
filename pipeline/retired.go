package pipeline

import (
	"fmt"
	"slices"
	"time"

	"offerstream/pipeline/value"
)

// Features that a change of sets has taken away are retired: they are fed on for a
// day of log time, so that a rollback finds them as if they had never been gone
// (LANGUAGE.md, rule 14). No expression reads them, and under every bound they
// leave first.
const (
	retiredFor  = 24 * time.Hour
	mostRetired = 8 // sets
)

// A retiredSet is a set that was in force, with those of its features that neither
// the set in force nor one that was retired later has.
type retiredSet struct {
	*Set
	at    int64
	place []int // by feature: its index in liveSet.all; -1: it is not retired here
}

// retiredOf finds the sets of Cursor.Retired.
func (f *Fold) retiredOf(list []Retired) (all []retiredSet, err error) {
	for _, r := range list {
		set, err := f.set(r.Set)
		if err != nil {
			return nil, fmt.Errorf("an earlier set, in force until %s, whose features are fed on for %s of log time: %w: then apply the live set again", value.FormatTime(r.At), retiredFor, err)
		}
		all = append(all, retiredSet{Set: set, at: r.At})
	}
	return all, nil
}

// retire retires the set in force, which another follows.
func (f *Fold) retire(next *Set) {
	if f.cur.Second {
		return // it feeds what N has
	}
	f.expire()
	if before := f.step.live; before.Set != emptySet() {
		f.retired = append(slices.Clone(f.retired), retiredSet{Set: before.Set, at: f.cur.LogTime})
	}
	f.keepRetired(next)
}

// keepRetired drops the retired sets of which the set in force, and those that were
// retired later, have all features.
func (f *Fold) keepRetired(live *Set) {
	known := map[uint64]bool{}
	for id := range live.featureByID {
		known[id] = true
	}
	var kept []retiredSet
	for _, r := range slices.Backward(f.retired) {
		news := false
		for id := range r.featureByID {
			news = news || !known[id]
			known[id] = true
		}
		if news && len(kept) < mostRetired {
			kept = append(kept, r)
		}
	}
	slices.Reverse(kept)
	f.retired, f.cur.Retired = kept, nil
	for _, r := range kept {
		f.cur.Retired = append(f.cur.Retired, Retired{r.hash, r.at})
	}
}

// expire ends the feeding of what was retired more than a day ago.
func (f *Fold) expire() {
	old := func(r retiredSet) bool { return value.Minus(f.cur.LogTime, r.at) > int64(retiredFor) }
	if len(f.retired) == 0 || !old(f.retired[0]) {
		return
	}
	f.retired = slices.DeleteFunc(slices.Clone(f.retired), old)
	f.keepRetired(f.step.live.Set)
	f.cur.Epoch++ // the parts that are known change
	f.enforce(f.step.live.Set)
}

// addRetired adds the retired features to those of the set in force.
func (l *liveSet) addRetired() {
	if len(l.retired) == 0 {
		return
	}
	l.all, l.byID, l.retired = slices.Clone(l.features), map[uint64]int{}, slices.Clone(l.retired)
	for i, ft := range l.all {
		l.byID[ft.id] = i
	}
	for i, r := range slices.Backward(l.retired) {
		place := make([]int, len(r.features))
		for k, ft := range r.features {
			if _, have := l.byID[ft.id]; have || ft.per > 0 { // those of items begin anew: only the set in force feeds items
				place[k] = -1
				continue
			}
			place[k] = len(l.all)
			l.byID[ft.id] = len(l.all)
			l.all = append(l.all, ft)
		}
		l.retired[i].place = place
	}
}

// learnRetired adds the event to the retired features.
func (s *step) learnRetired(sc *scope, full bool) {
	e, ev := s.entity, sc.event
	for i := range s.live.retired {
		r := &s.live.retired[i]
		if ev.Type.View() {
			for _, k := range r.dwells {
				s.retired(r, k, func(i int) {
					if st := e.feature(i); st != nil && st.Open() {
						r.features[k].shape.Close(st, ev.Time)
					}
				})
			}
		}
		r.match.removes.each(ev, func(k int) {
			s.retired(r, k, func(i int) {
				if st := e.feature(i); st != nil {
					r.features[k].removeRows(st, ev)
				}
			})
		})
		r.match.features.each(ev, func(k int) {
			s.retired(r, k, func(i int) {
				if f := r.features[k]; !full && all(f.where, sc, nil) {
					f.update(e.ensure(i), sc, &s.unseen, nil, &s.scratch)
				}
			})
		})
	}
	e.fitRetired(sc.now)
}

// retired calls fn with the index in liveSet.all of a feature of a retired set, if it
// is retired there, and keeps the entity's size up to date.
func (s *step) retired(r *retiredSet, k int, fn func(i int)) {
	i := r.place[k]
	if i < 0 {
		return
	}
	before := s.entity.feature(i).Size()
	fn(i)
	s.entity.retired = s.entity.retired.Plus(s.entity.feature(i).Size().Minus(before))
}

// fitRetired removes entries of retired features, the oldest of the largest first,
// until what the user holds is within its bounds.
func (e *Entity) fitRetired(now int64) {
	b := e.live.def.Bounds
	over := func() bool {
		all := e.size.Plus(e.retired)
		return e.retired.Entries > 0 && (all.Entries > b.UserEntries || all.Bytes > b.UserBytes)
	}
	if !over() {
		return
	}
	for e.drop(now); over(); {
		largest := -1
		for i := len(e.live.features); i < len(e.live.all); i++ {
			if st := e.feature(i); st != nil && st.Size().Entries > 0 && (largest < 0 || st.Size().Bytes > e.feature(largest).Size().Bytes) {
				largest = i
			}
		}
		st := e.feature(largest)
		before := st.Size()
		e.live.all[largest].shape.RemoveOldest(st)
		e.retired = e.retired.Plus(st.Size().Minus(before))
	}
}
