package explain

import (
	"maps"
	"slices"
	"strings"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
)

// A Watched is what a Recorder can watch: a Fold, or a Backtest.
type Watched interface {
	Trace(fn func(*pipeline.Trace))
	TraceTriggers(fn func(*pipeline.TriggerTrace), campaigns ...string)
	Only(keys ...string)
	Definition() *campaign.Definition
}

// Limits of what a Recorder keeps. Counts have no limit.
const (
	mostEvaluations = 200 // of each campaign with its rows, the newest, unless Keep says otherwise
	mostSteps       = 32  // of each evaluation, the newest
)

// A Recorder collects the evaluations of some users while a fold runs. It must be
// used by one goroutine at a time.
type Recorder struct {
	users map[string]*record // by entity key
	all   bool               // any user
	keep  int                // evaluations of each campaign with its rows

	triggersOf []string // campaigns whose nearest events are collected; none: of all
	noTriggers bool
}

// Keep makes the recorder keep only the newest n evaluations of each campaign.
func (r *Recorder) Keep(n int) { r.keep = n }

// Triggers makes the recorder look only for the events that came nearest to these
// campaigns; without campaigns, for none. Otherwise it looks for those of all, unless
// the set has more than pipeline.MostTriggersTraced. It must come before Watch.
func (r *Recorder) Triggers(campaigns ...string) {
	r.triggersOf, r.noTriggers = campaigns, len(campaigns) == 0
}

// tries reports whether the recorder looks for events that came near to a campaign of
// the user's set.
func (r *Recorder) tries(id string, u *record) bool {
	switch {
	case r.noTriggers || u.def == nil:
		return false
	case len(r.triggersOf) > 0:
		return slices.Contains(r.triggersOf, id)
	}
	return len(u.def.Campaigns) <= pipeline.MostTriggersTraced
}

// A record is what is known of one user.
type record struct {
	campaigns map[string]*history // by campaign, with its rows
	waiting   map[uint64]*evaluation
	def       *campaign.Definition // the newest that was in force
	owner     string               // the key of the user whom the visitor has become, if the recorder was told
}

// A history is what is known of a user's evaluations of one campaign.
type history struct {
	counts      map[string]map[string]uint64 // by unit and outcome
	moved       map[string]uint64            // by unit: those of a visitor who has become a user, which count there
	evaluations []*evaluation                // in the order in which they began
	dropped     uint64                       // older ones that are not kept
	nears       map[nearKey]*near            // the newest of those that came nearest
	named       uint64                       // events that `on` names
	last        string                       // the messageId of the last of them
	tried       uint64                       // how often a trigger was tried
}

// An evaluation is one evaluation through all of its steps.
type evaluation struct {
	def   *campaign.Definition // that was in force at its last step
	steps []*pipeline.Trace
	done  bool

	movedTo string // the key of the user with whom it goes on; "": it has not moved
	movedAt int64  // 0: it is not known
}

func (e *evaluation) first() *pipeline.Trace { return e.steps[0] }
func (e *evaluation) last() *pipeline.Trace  { return e.steps[len(e.steps)-1] }

// A near is an event that a trigger's `on` names, with how many conjuncts of
// `where` held.
type near struct {
	trace  *pipeline.TriggerTrace
	held   int
	number uint64 // among the traces of the campaign's triggers, in order
}

// A nearKey says to what an event came near: to a trigger of a unit, or to a step of
// its sequence. With the campaign as the unit it is the same for all rows.
type nearKey struct {
	unit string
	step int // 0, if it is no sequence
}

// before reports whether another event came nearer, or as near and later.
func (n *near) before(o *near) bool {
	switch {
	case n == nil || o == nil:
		return n == nil
	case n.trace.Sequence && n.trace.Holds != o.trace.Holds:
		return o.trace.Holds
	case n.missing() != o.missing():
		return n.missing() > o.missing()
	}
	return n.number < o.number
}

// missing is how many conjuncts did not hold.
func (n *near) missing() int { return len(n.trace.Parts) - n.held }

// nearest is the event that came nearest to a step of a campaign's sequence, or to its
// trigger, or of one row if that is not empty.
func (h *history) nearest(campaign, row string, step int) (best *near) {
	if row != "" {
		best = h.nears[nearKey{campaign, step}]
		if n := h.nears[nearKey{campaign + "/" + row, step}]; best.before(n) {
			best = n
		}
		return best
	}
	for key, n := range h.nears {
		if key.step == step && best.before(n) {
			best = n
		}
	}
	return best
}

// New makes a recorder of the users with these entity keys; without keys, of all
// users.
func New(keys ...string) *Recorder {
	r := &Recorder{users: map[string]*record{}, all: len(keys) == 0, keep: mostEvaluations}
	for _, k := range keys {
		r.users[k] = newRecord()
	}
	return r
}

func newRecord() *record {
	return &record{campaigns: map[string]*history{}, waiting: map[uint64]*evaluation{}}
}

// user is the record of a user; nil: it is not recorded.
func (r *Recorder) user(key string, def *campaign.Definition) *record {
	u := r.users[key]
	if u == nil && r.all {
		u = newRecord()
		r.users[key] = u
	}
	if u != nil {
		u.def = def
	}
	return u
}

// Watch makes the recorder collect what w does from now on, and w apply the events
// of the recorder's users alone.
func (r *Recorder) Watch(w Watched) {
	if !r.all {
		keys := slices.Sorted(maps.Keys(r.users))
		for _, k := range keys {
			r.users[k].def = w.Definition()
		}
		w.Only(keys...)
	}
	w.Trace(func(t *pipeline.Trace) {
		u, was := r.user(t.User, w.Definition()), (*record)(nil)
		if t.Of != "" {
			was = r.user(t.Of, w.Definition())
		}
		if u != nil || was != nil {
			u.take(t, r.keep, was)
		}
	})
	if r.noTriggers {
		return
	}
	w.TraceTriggers(func(t *pipeline.TriggerTrace) {
		if u := r.user(t.User, w.Definition()); u != nil {
			u.tried(t)
		}
	}, r.triggersOf...)
}

// of is the history of a unit's campaign.
func (u *record) of(unit string) *history {
	name, _, _ := strings.Cut(unit, "/")
	h := u.campaigns[name]
	if h == nil {
		h = &history{counts: map[string]map[string]uint64{}, nears: map[nearKey]*near{}}
		u.campaigns[name] = h
	}
	return h
}

// take adds a trace to its evaluation. was is the record of the visitor whose evaluation
// it was, if that is recorded; the user's own need not be.
func (u *record) take(t *pipeline.Trace, keep int, was *record) {
	var e *evaluation
	switch {
	case was != nil:
		e = was.leave(t)
	case t.Of == "":
		if e = u.waiting[t.From]; t.From == 0 {
			e = nil
		}
		delete(u.waiting, t.From)
	}
	if u == nil {
		return
	}
	if t.Cause == pipeline.ByMerge && t.Wait > 0 && t.Of == "" && e != nil { // it waits as before
		u.waiting[t.Wait] = e
		return
	}
	h := u.of(t.Campaign)
	if e == nil || t.Of != "" {
		one := &evaluation{}
		if e != nil {
			one.steps = slices.Clone(e.steps)
		}
		e = one
		h.count(t.Campaign, evaluated)
		h.keep(e, keep)
	}
	if n := len(e.steps); n > 0 && e.last().Trigger.Name != "" && t.Trigger.Name == "" {
		t.Trigger.Name = e.last().Trigger.Name
	}
	if e.steps = append(e.steps, t); len(e.steps) > mostSteps {
		e.steps = slices.Delete(e.steps, 1, 2)
	}
	e.def = u.def
	if t.Wait > 0 {
		u.waiting[t.Wait] = e
		return
	}
	e.done = true
	h.count(t.Campaign, t.Outcome.String())
}

// leave takes an evaluation out of the record of a visitor who has become a user, where
// it goes on and is counted; nil: it is not known.
func (u *record) leave(t *pipeline.Trace) *evaluation {
	e := u.waiting[t.From]
	if delete(u.waiting, t.From); e != nil {
		u.moves(e, t.User, t.Now)
	}
	return e
}

// moves makes an evaluation one that goes on with another user.
func (u *record) moves(e *evaluation, to string, at int64) {
	unit := e.first().Campaign
	e.movedTo, e.movedAt = to, at
	h := u.of(unit)
	if h.moved == nil {
		h.moved = map[string]uint64{}
	}
	h.moved[unit]++
	if h.counts[unit][evaluated]--; h.counts[unit][evaluated] == 0 {
		delete(h.counts[unit], evaluated)
	}
}

// Owned tells the recorder that at the end a visitor has become a user. It needs to know
// where the user is in another partition, since what moved shows only there.
func (r *Recorder) Owned(visitor, user string) {
	u := r.users[visitor]
	if u == nil {
		return
	}
	u.owner = user
	for _, e := range u.waiting {
		u.moves(e, user, 0)
	}
	clear(u.waiting)
}

func (h *history) keep(e *evaluation, most int) {
	if len(h.evaluations) >= most { // the oldest that has ended: one that waits is still of use
		i := max(slices.IndexFunc(h.evaluations, func(e *evaluation) bool { return !e.pending() }), 0)
		h.evaluations = slices.Delete(h.evaluations, i, i+1)
		h.dropped++
	}
	h.evaluations = append(h.evaluations, e)
}

const evaluated = "evaluated"

func (h *history) count(unit, what string) {
	if h.counts[unit] == nil {
		h.counts[unit] = map[string]uint64{}
	}
	h.counts[unit][what]++
}

// tried remembers an event that a trigger's `on` names, if it came nearer than those
// before it.
func (u *record) tried(t *pipeline.TriggerTrace) {
	h := u.of(t.Campaign)
	n := &near{trace: t}
	for _, p := range t.Parts {
		if p.OK {
			n.held++
		}
	}
	if h.named == 0 || h.last != t.Event.ID {
		h.named, h.last = h.named+1, t.Event.ID
	}
	h.tried++
	n.number = h.tried
	key := nearKey{t.Campaign, 0}
	if t.AllRows {
		key.unit, _, _ = strings.Cut(t.Campaign, "/")
	}
	if t.Sequence {
		key.step = t.Entry
	}
	if h.nears[key].before(n) {
		h.nears[key] = n
	}
}
