package pipeline

import (
	"cmp"
	"slices"
	"strings"

	"cel.dev/cel-go/common/types/ref"
	"github.com/valyala/fastjson"

	"offerstream/pipeline/event"
	"offerstream/pipeline/expr"
	"offerstream/pipeline/value"
	"offerstream/pipeline/window"
)

// An asked is what a pending evaluation has asked for, and what it was given.
type asked struct {
	of     string  // the entity that was asked last
	ref    Ref     // of what it was asked
	reads  uint64  // itemReads.hash when it was asked
	items  *answer // what the item has answered; nil: nothing
	at     int64   // the log time of the step in which the answer came
	got    []grant // what a budget and a pool have granted
	value  int64   // that a budget is asked for, in millionths
	waited bool    // it has waited for more than mails
	ended  bool    // the end of a session has triggered it, and it has waited for nothing but mails since
}

// with is a copy of what was asked, which the evaluation may change.
func (e *pending) with() *asked {
	a := &asked{}
	if e.ask != nil {
		*a = *e.ask
		a.got = slices.Clone(a.got)
	}
	e.ask = a
	return a
}

// An answer holds the values of an item's features, as the item read them in the step
// in which it was asked. It is immutable, and evaluations share it.
type answer struct {
	now    int64 // the log time of that step
	values []known
}

// A known is the value of a feature of an item.
type known struct {
	id     uint64 // of the feature
	before bool   // read as before.x
	is     window.Frozen
}

func (a *answer) append(w *value.Writer) {
	w.Int(a.now)
	w.Len(len(a.values))
	for i := range a.values {
		w.Fixed(a.values[i].id)
		w.Byte(truth(a.values[i].before))
		a.values[i].is.Append(w)
	}
}

func readAnswer(r *value.Reader) *answer {
	return &answer{now: r.Int(), values: readList(r, 10, func() known { return known{r.Fixed(), r.Byte() != 0, window.ReadFrozen(r)} })}
}

// of is the value of a feature. One that the item's partition did not know reads as
// empty, as a young feature does.
func (a *answer) of(f *feature, before bool) window.Frozen {
	if a != nil {
		for i := range a.values {
			if k := &a.values[i]; k.id == f.id && k.before == before {
				return k.is
			}
		}
	}
	return f.shape.Freeze(nil, 0)
}

// frozen takes the values of features of the step's item.
func (s *step) frozen(a *answer, ids []uint64, before bool) *answer {
	for _, id := range ids {
		i, ok := s.live.byID[id]
		if !ok || slices.ContainsFunc(a.values, func(k known) bool { return k.id == id && k.before == before }) {
			continue
		}
		a.values = append(a.values, known{id, before, s.live.all[i].shape.Freeze(s.entity.feature(i), s.now)})
	}
	return a
}

// beforeItem takes what a question, and the campaigns of triggers, read as before.x.
func (s *step) beforeItem(q *question, triggers []triggered) *answer {
	a := s.frozen(&answer{now: s.now}, q.before, true)
	for i := range triggers {
		if c := s.unitOf(triggers[i].unit, triggers[i].trigger); c != nil && c.toUsers() {
			s.frozen(a, s.live.idsOf(c.items.before), true)
		}
	}
	return a
}

// idsOf are the identities of features of the set.
func (l *liveSet) idsOf(features []int) []uint64 {
	ids := make([]uint64, len(features))
	for k, i := range features {
		ids[k] = l.features[i].id
	}
	return ids
}

// unitOf is the unit of an id, nil if the set in force lacks it or has another trigger
// for it.
func (s *step) unitOf(id string, trigger uint64) *liveCampaign {
	i, ok := s.live.unitIndex[id]
	if !ok || s.live.campaigns[i].trigger != trigger {
		return nil
	}
	return &s.live.campaigns[i]
}

// answer sends a user what was asked.
func (s *step) answer(user string, q *question, was *answer) {
	a := s.frozen(&answer{now: s.now}, q.features, false)
	for _, k := range was.values {
		if slices.Contains(q.before, k.id) {
			a.values = append(a.values, k)
		}
	}
	size := 48
	for i := range a.values {
		size += 12 + a.values[i].is.Size()
	}
	w := value.Writer{B: make([]byte, 0, size)}
	q.ref.append(&w)
	a.append(&w)
	s.send(user, mailAnswer, w.B)
}

// ask asks the items of the event that triggers a campaign, and makes an evaluation
// pending for each. The conjuncts of `if` that need no item are judged before that.
func (s *step) ask(e evaluation) {
	if s.early(&e) {
		return
	}
	if !s.withoutItem(&e) {
		s.end(&e, Condition)
		return
	}
	asked := 0
	s.keys = s.keys[:0]
	s.eachItem(e.event, e.c.items.kind, func(_ int, _ *fastjson.Value, key string) {
		if slices.Contains(s.keys, key) {
			return
		}
		s.keys = append(s.keys, key)
		f := s.feedingOf(e.event, e.c.items.kind, key)
		if f == nil {
			return
		}
		one := e
		if asked++; asked > 1 {
			one = s.begin(e.c, e.entry, e.event)
			one.before = e.before
			s.split(&one, &e)
		}
		one.key = f.key
		s.question(one, f)
	})
	if asked == 0 {
		e.trace.told(stageTrigger, "items", false, toldText("key", s.live.def.Items[e.c.items.kind].Key))
		s.end(&e, Condition)
	}
}

// tellPause traces that the campaign, or its channel, is paused.
func (s *step) tellPause(e *evaluation) {
	if e.trace != nil {
		e.trace.told(e.stage, Paused.String(), false, tellPaused(s, e)...)
	}
}

// withoutItem judges the conjuncts of `if` that need no item.
func (s *step) withoutItem(e *evaluation) bool {
	var now []*expr.Expr
	for i, x := range e.c.cond {
		if !e.c.items.needs[i] {
			now = append(now, x)
		}
	}
	sc := s.judge(e)
	holds := all(now, sc, &counted{s, e.c, "if"})
	s.traceConditions(e, stageTrigger, now, sc)
	return holds
}

// question adds what the campaign reads of the item to the feeding, and lets the
// evaluation wait for the answer.
func (s *step) question(e evaluation, f *feeding) {
	if f.ref == (Ref{}) {
		f.ref = s.newRef(s.entity)
	}
	for _, i := range e.c.items.features {
		if !slices.Contains(f.features, i) {
			f.features = append(f.features, i)
		}
	}
	for _, i := range e.c.items.before {
		if !slices.Contains(f.before, i) {
			f.before = append(f.before, i)
		}
	}
	s.drop(func(o *pending) bool { return o.c == e.c && o.key == e.key && o.stage == stageAsk }, Superseded, ByNewer)
	e.stored = s.store(&e, e.c.keepAsk, e.before)
	*e.with() = asked{of: f.to, ref: f.ref, reads: e.c.items.hash}
	e.stage, e.due = stageAsk, s.now
	s.pend(e)
}

// asksOtherwise reports whether an evaluation waits for an answer to what is not what
// the campaign reads now.
func (c *liveCampaign) asksOtherwise(e *pending) bool {
	return e.stage == stageAsk && (!c.asks() || c.items.hash != e.ask.reads)
}

// pend makes an evaluation pending.
func (s *step) pend(e evaluation) {
	s.entity.order++
	e.order = s.entity.order
	s.pended(&e)
	e.stored.uses++
	s.entity.waiting = append(s.entity.waiting, e.pending)
	s.entity.waits(&e.pending, 1)
}

// onAnswer goes on with all evaluations that have asked the item with one event: in
// one step, with its own choice.
func (s *step) onAnswer(m *mail, r *value.Reader) {
	asked := readRef(r)
	a := readAnswer(r)
	if r.Err != nil {
		return
	}
	_, key := splitItemKey(m.from)
	all := s.taken(func(w *pending) bool { return w.stage == stageAsk && w.ask.ref == asked && w.key == key })
	if len(all) == 0 {
		s.strays++
		return
	}
	s.settled()
	for _, p := range all {
		w, ok := s.awake(p)
		if !ok {
			continue
		}
		is := w.with()
		is.items, is.at = a, s.now
		s.traceAnswer(&w)
		s.judgeAge(w)
	}
	s.finishMail(all)
}

// taken takes pending evaluations of the step's entity out of it, in the order of
// campaigns and keys.
func (s *step) taken(wanted func(*pending) bool) (all []pending) {
	if !s.entity.anyWaits(wanted) {
		return nil
	}
	s.entity.retain(func(w *pending) bool {
		if wanted(w) {
			all = append(all, *w)
			return false
		}
		return true
	})
	slices.SortFunc(all, func(a, b pending) int {
		return cmp.Or(strings.Compare(a.campaign, b.campaign), strings.Compare(a.key, b.key), cmp.Compare(a.order, b.order))
	})
	return all
}

// awake is an evaluation that was pending until this step.
func (s *step) awake(p pending) (evaluation, bool) {
	w, err := s.resume(p)
	s.trace(&w)
	if w.trace != nil {
		w.trace.From = w.order
	}
	if err != nil {
		s.end(&w, Failed)
		return w, false
	}
	w.waited = w.ask.waited
	session := &s.entity.session
	w.ended = w.ask.ended && session.over(s.now) && session.lastID == w.event.ID
	return w, true
}

// finishMail ends the step of a mail in which evaluations went on.
func (s *step) finishMail(all []pending) {
	s.choose()
	s.boundPending()
	s.endMail()
	for i := range all {
		s.release(all[i].stored)
	}
}

// endMail makes a user whom only mails have reached one that is stored.
func (s *step) endMail() {
	if e := s.entity; e.seq == 0 && (len(e.sent) > 0 || len(e.waiting) > 0) {
		e.seq, e.last = 1, s.now
	}
}

// given is what expressions read of a feature of an item.
func (s *scope) given(f *feature, before bool) window.Frozen { return s.answer.of(f, before) }

// readItem is a feature of an item as an expression sees it.
func (s *scope) readItem(f *feature, before bool) ref.Val {
	z := s.given(f, before)
	if f.grouped() {
		return f.shape.FrozenBy(z)
	}
	return f.shape.FrozenRead(z, "")
}

// itemOf is the first of the event's items with the evaluation's key, nil if the
// campaign reads no items.
func (s *scope) itemOf() *fastjson.Value {
	if s.c == nil || s.c.items == nil || s.event == nil {
		return nil
	}
	if i := s.itemAt(s.c.keyName(s.set), s.key); i >= 0 {
		return s.event.Items()[i]
	}
	return nil
}

// lost ends the questions, requests and claims that wait for entities of partitions that
// a function wants: these have lost a part of their logs, and may never answer. So it does
// with what a visitor of theirs had asked before it became the user, as its answer comes
// by way of the visitor.
func (s *step) lost(e *Entity, now int64, waits func(w *pending) bool, claims func(claim) bool) {
	s.start(e, now)
	s.settled()
	all := s.taken(waits)
	for _, p := range all {
		w := evaluation{pending: p, began: p.stored.at}
		s.withdraw(&w)
		s.endBy(&w, Lost, ByLoss)
		s.release(p.stored)
	}
	e.claims = slices.DeleteFunc(e.claims, claims)
}

// lose ends what waits for entities of the partitions that a function wants, one
// entity in a step, the first by key. It reports whether there was one.
func (f *Fold) lose(wanted func(p int) bool) bool {
	of := func(key string) bool { return wanted(event.Partition(key, max(f.partitions, 1))) }
	waits := func(w *pending) bool { return stages[w.stage].mail && (of(w.ask.of) || wanted(w.ask.ref.P)) }
	claims := func(c claim) bool { return of(c.visitor) }
	if f.losing == nil {
		f.losing = f.waiters()
	}
	for len(f.losing) > 0 {
		key := f.losing[0]
		f.losing = f.losing[1:]
		e, err := f.ents.Look(key)
		if err != nil {
			f.err = err
			return false
		}
		if !e.anyWaits(waits) && !slices.ContainsFunc(e.claims, claims) {
			continue
		}
		if e, err = f.ents.Entity(key); err != nil {
			f.err = err
			return false
		}
		f.step.lost(e, f.cur.LogTime, waits, claims)
		f.stepped(e)
		return true
	}
	f.losing = nil
	return false
}

// waiters are the keys of the entities that may wait for a mail.
func (f *Fold) waiters() []string {
	keys := make([]string, 0, len(f.asking)+len(f.timers))
	for key := range f.asking {
		keys = append(keys, key)
	}
	for _, t := range f.timers {
		keys = append(keys, t.key)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
