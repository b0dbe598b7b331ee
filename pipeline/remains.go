package pipeline

import (
	"slices"
	"strings"

	"offerstream/pipeline/value"
	"offerstream/pipeline/window"
)

// remains.go is what becomes of a visitor's second state (second.go) once the visitor
// has become a user (LANGUAGE.md, rule 17). The second fold sends no mails, so at the
// claim the visitor's part of it stays where it is:
//
//   - The second fold of the user's partition takes, from the record that the live visitor
//     sends, only what the switch will not list: what is listed will come from the
//     second state. So does a live user whose partition has switched before the
//     visitor's has.
//   - At the switch in the visitor's partition the live visitor gets what is listed of
//     its second state, the remains, and sends it to the user in a step that is due at
//     the switch's log time: in the order of keys, before all that comes later.
//   - The user takes the remains if it still holds the merge: into its second state
//     where its partition has not switched yet, else into its live one.

// A Switched is the last switch that counted in a partition.
type Switched struct {
	Set      string `json:"set"` // hash of the set that went live
	Revision uint64 `json:"revision"`
	Epoch    uint32 `json:"epoch"` // in which what it lists began
}

// last is the last switch; the zero Switched: there was none.
func (c *Cursor) last() (s Switched) {
	if c.Switched != nil {
		s = *c.Switched
	}
	return s
}

// A merged is a visitor who has become the user.
type merged struct {
	visitor string
	ref     Ref   // of the claim
	at      int64 // log time of the merge
	viewed  bool  // there is a view at which what the visitor's last view opened ends
	ends    int64 // the event time of that view
}

// holds remembers that a visitor has become the user, for as long as visitors are
// remembered: nothing of the visitor is on its way for longer.
func (s *step) holds(a *Entity, ref Ref) {
	e, forget := s.entity, int64(s.live.def.Forget.Anonymous)
	e.merged = slices.DeleteFunc(e.merged, func(m merged) bool { return forget > 0 && value.Minus(s.now, m.at) >= forget })
	is := merged{visitor: a.Key, ref: ref, at: s.now}
	if e.hasViewed && !a.viewedAfter(e) {
		is.viewed, is.ends = true, e.viewedTime
	}
	e.merged = keepNewest(append(e.merged, is), mostClaims)
}

// viewEnds remembers a view of the user as the one that ends what visitors have opened.
func (e *Entity) viewEnds(at int64) {
	for i := range e.merged {
		if m := &e.merged[i]; !m.viewed {
			m.viewed, m.ends = true, at
		}
	}
}

// A remains is what a switch has found of a claimed visitor in the second state.
type remains struct {
	due  int64 // log time of the switch
	set  string
	body []byte // the record of an entity that holds it
}

// leave gives a claimed visitor what is listed of its second state.
func (j *Join) leave(live, second *Entity) {
	if second == nil || second.owner != live.owner {
		return
	}
	second.bind(j.second.live)
	x := NewEntity(live.Key)
	x.bind(j.step.live)
	x.seq, x.last = 1, second.last
	x.hasViewed, x.viewedAt, x.viewedTime = second.hasViewed, second.viewedAt, second.viewedTime
	j.take(x, second)
	j.step.start(x, j.now)
	j.step.settled()
	second.retain(func(w *pending) bool { return !w.dormant() }) // the claim itself has begun the user's
	j.wait(x, second)
	if len(x.states)+len(x.sequences)+len(x.waiting) == 0 {
		return
	}
	for i := range x.waiting { // it is counted where it ends
		j.step.live.tally.counts(x.waiting[i].campaign).Evaluated--
	}
	live.remains = &remains{due: j.now, set: j.sw.Set, body: x.AppendBinary(nil)}
}

// sendRemains sends the user what a switch has found of its visitor.
func (s *step) sendRemains() {
	e := s.entity
	r := e.remains
	if r == nil || r.due > s.now {
		return
	}
	e.remains = nil
	var w value.Writer
	e.claimed.append(&w)
	w.Text(r.set)
	s.send(e.owner, mailRemains, append(w.B, r.body...))
}

// onRemains takes what a switch in a visitor's partition has found of the visitor.
func (s *step) onRemains(m *mail, r *value.Reader) {
	ref, set := readRef(r), r.Text()
	if r.Err != nil {
		return
	}
	x, err := DecodeEntity(m.from, r.B)
	if r.B = nil; err != nil {
		r.Fail(err)
		return
	}
	e := s.entity
	i := slices.IndexFunc(e.merged, func(o merged) bool { return o.visitor == m.from && o.ref == ref })
	switch {
	case i < 0:
		s.strays++
		return
	case s.second && s.live.hash != set: // of an earlier backfill
		s.leaveOut(x, s.listed)
	case !s.second && s.cur.last().Set != set:
		return // the second state takes it
	}
	s.settled()
	s.takeRemains(x, e.merged[i])
}

// takeRemains makes the remains of a visitor part of the step's user.
func (s *step) takeRemains(x *Entity, of merged) {
	e := s.entity
	if of.viewed {
		for i := range x.states {
			if at, ok := s.live.byID[x.states[i].ID]; ok && s.live.all[at].shape.Stays && x.states[i].Open() {
				s.live.all[at].shape.Close(&x.states[i], of.ends)
			}
		}
	}
	s.mergeFeatures(x)
	s.mergeSequences(x)
	if !s.second {
		for i := range x.waiting {
			s.live.tally.counts(x.waiting[i].campaign).Evaluated++
		}
	}
	x.retain(func(w *pending) bool {
		ended := &evaluation{pending: *w}
		ended.c = s.unitOf(w.campaign, w.trigger)
		switch {
		case of.viewed && stages[w.stage].viewed:
			s.endOf(x.Key, ended, Cancelled, ByMerge)
		case !s.second && e.sentSince(w.campaign, w.key, w.stored.at):
			s.endOf(x.Key, ended, Duplicate, "")
		default:
			return true
		}
		return false
	})
	s.mergePending(x)
	s.boundMerged()
}

// unlisted leaves out of a visitor's record what the user gets from the visitor's second
// state: what the switch lists, if the record was made before the switch in the
// visitor's partition.
func (s *step) unlisted(a *Entity, before Switched) {
	switch last := s.cur.last(); {
	case s.second:
		if before.Set != s.live.hash {
			s.leaveOut(a, s.listed)
			a.sequences = nil // of these, and of what is pending, the switch takes what is listed, and no more
			a.retain(func(*pending) bool { return false })
		}
	case before.Revision < last.Revision:
		s.leaveOut(a, func(i int) bool { return s.live.featureSince[i] == last.Epoch })
		listed := func(campaign string, trigger uint64) bool {
			c := s.unitOf(campaign, trigger)
			return c != nil && c.since == last.Epoch
		}
		a.sequences = slices.DeleteFunc(a.sequences, func(q sequence) bool { return listed(q.campaign, q.trigger) })
		a.retain(func(w *pending) bool {
			if !listed(w.campaign, w.trigger) {
				return true
			}
			ended := &evaluation{pending: *w}
			ended.c = s.unitOf(w.campaign, w.trigger)
			s.endOf(a.Key, ended, Cancelled, ByChange)
			return false
		})
	}
}

// listed reports whether a feature, an index of live.all, is to come from this second
// state.
func (s *step) listed(i int) bool { return slices.Contains(s.cur.Listed, s.live.all[i].def.Name) }

// leaveOut drops features of a record.
func (s *step) leaveOut(a *Entity, which func(i int) bool) {
	a.states = slices.DeleteFunc(a.states, func(st window.State) bool {
		i, ok := s.live.byID[st.ID]
		return ok && which(i)
	})
}

func (r *remains) append(w *value.Writer) {
	w.Int(r.due)
	w.Text(r.set)
	w.Bytes(r.body)
}

func readRemains(r *value.Reader) *remains {
	return &remains{due: r.Int(), set: strings.Clone(r.Text()), body: slices.Clone(r.Bytes())}
}
