package pipeline

import (
	"maps"
	"strconv"

	"offerstream/pipeline/coupon"
)

// A liveSet is the set in force on one partition, with the epochs in which its
// features and triggers began there.
type liveSet struct {
	*Set
	all          []*feature     // Set.features, and after these the retired ones
	featureSince []uint32       // by index of all
	byID         map[uint64]int // the index in all
	retired      []retiredSet
	campaigns    []liveCampaign // in the order of Set.units
	tally        *tally
	couponKey    *coupon.Key // that codes are made under; nil: they are placeholders
}

// A liveCampaign is a unit of the set in force.
type liveCampaign struct {
	*unit
	since  uint32 // the epoch in which its trigger began
	paused pausing
	counts *Counts // nil: it has counted nothing yet, as most rows of a large set
}

// count are the counts of a unit.
func (l *liveSet) count(c *liveCampaign) *Counts {
	if c.counts == nil {
		c.counts = l.tally.counts(c.id)
	}
	return c.counts
}

// unitOf is the unit of an id, nil if the set in force lacks it or its trigger has
// changed since it was that.
func (l *liveSet) unitOf(id string, trigger uint64, since uint32) *liveCampaign {
	i, ok := l.unitIndex[id]
	if !ok || l.campaigns[i].trigger != trigger || l.campaigns[i].since != since {
		return nil
	}
	return &l.campaigns[i]
}

// enforce puts a set in force. Features and triggers that the previous set had,
// too, keep their epochs; new or changed ones begin in this epoch. Rows have the
// epoch of their campaign, unless they came later than it.
func (f *Fold) enforce(set *Set) {
	before := f.step.live
	l := &liveSet{Set: set, tally: newTally(), campaigns: make([]liveCampaign, 0, len(set.units)), all: set.features, byID: set.featureByID, retired: f.retired}
	if before != nil {
		l.tally = before.tally
	}
	paused := f.pausers()
	e := epochs{known: f.cur.Since, now: f.cur.Epoch}
	l.addRetired()
	for _, ft := range l.all {
		l.featureSince = append(l.featureSince, e.began('f', ft.id))
	}
	for first := 0; first < len(set.units); {
		c := set.units[first].compiled
		since := e.began('c', c.triggerID)
		for range max(len(c.def.Rows), 1) {
			u := &set.units[first]
			own := since
			if u.row != noRow {
				own = e.row(u, since, before != nil && before.Set != set && !before.had(u))
			}
			l.campaigns = append(l.campaigns, liveCampaign{unit: u, since: own, paused: paused.of(u)})
			first++
		}
	}
	l.couponKey, _ = f.couponKey(set)
	f.cur.Since = e.all()
	f.began()
	f.step.live = l
	f.setBrakes()
}

// began keeps Cursor.Began up to date, where the epochs of all parts are known.
func (f *Fold) began() {
	if _, known := f.cur.Began[f.cur.Epoch]; !known && f.cur.Applied > 0 && f.step.live != nil {
		f.beganAt(f.cur.LogTime)
	}
	if len(f.cur.Began) == 0 {
		return
	}
	used := make(map[uint32]bool, len(f.cur.Began))
	for _, epoch := range f.cur.Since {
		used[epoch] = true
	}
	maps.DeleteFunc(f.cur.Began, func(epoch uint32, _ int64) bool { return !used[epoch] })
}

// beganAt says from which log time on the epoch feeds.
func (f *Fold) beganAt(at int64) {
	f.cur.Began = maps.Clone(f.cur.Began)
	if f.cur.Began == nil {
		f.cur.Began = map[uint32]int64{}
	}
	f.cur.Began[f.cur.Epoch] = at
}

// Fed tells from which log time on each feature of the set in force ("feature x"),
// and each campaign's trigger ("campaign x"), is fed; what is not listed is fed from
// the log's beginning, as far as is known.
func (f *Fold) Fed() map[string]int64 {
	fed := map[string]int64{}
	add := func(name string, since uint32) {
		if at, ok := f.cur.Began[since]; ok {
			fed[name] = max(fed[name], at)
		}
	}
	l := f.step.live
	for i, ft := range l.features {
		add("feature "+ft.def.Name, l.featureSince[i])
	}
	for i := range l.campaigns {
		add("campaign "+l.campaigns[i].def.ID, l.campaigns[i].since)
	}
	return fed
}

// epochs finds in which epoch each part of a set began, and collects what the next
// set has to know of that. A large set has thousands of parts, and a worker that
// starts puts the same set in force that its cursor knows; so nothing is copied
// until a part differs.
type epochs struct {
	known map[string]uint32 // Cursor.Since
	now   uint32
	kept  []epoch
	news  bool // kept has what known lacks
	key   []byte
}

// An epoch is in which one a part began.
type epoch struct {
	kind  byte // f: a feature, c: a campaign's trigger, r: a row that came later than its campaign
	id    uint64
	since uint32
}

// find is the epoch of a part that is known.
func (e *epochs) find(kind byte, id uint64) (since uint32, ok bool) {
	e.key = appendEpochKey(e.key[:0], kind, id)
	since, ok = e.known[string(e.key)]
	return since, ok
}

// appendEpochKey appends the key of a part in Cursor.Since.
func appendEpochKey(b []byte, kind byte, id uint64) []byte {
	return strconv.AppendUint(append(b, kind), id, 36)
}

func (e *epochs) keep(p epoch) { e.kept = append(e.kept, p) }

// began is the epoch of a feature or a trigger.
func (e *epochs) began(kind byte, id uint64) uint32 {
	since, ok := e.find(kind, id)
	if !ok {
		since, e.news = e.now, true
	}
	e.keep(epoch{kind, id, since})
	return since
}

// row is the epoch of a row. came: the row is new.
func (e *epochs) row(u *unit, campaign uint32, came bool) uint32 {
	since, ok := e.find('r', u.trigger)
	switch {
	case ok:
	case came:
		since = e.now
	default:
		return campaign
	}
	if since == campaign {
		return campaign
	}
	e.news = e.news || !ok
	e.keep(epoch{'r', u.trigger, since})
	return since
}

// all are the epochs as Cursor.Since has them, which is never changed, since
// cursors share it.
func (e *epochs) all() map[string]uint32 {
	if !e.news && len(e.kept) == len(e.known) {
		return e.known
	}
	all := make(map[string]uint32, len(e.kept))
	for _, p := range e.kept {
		e.key = appendEpochKey(e.key[:0], p.kind, p.id)
		all[string(e.key)] = p.since
	}
	return all
}

// had reports whether the set in force has had the same unit.
func (l *liveSet) had(u *unit) bool {
	i, ok := l.unitIndex[u.id]
	return ok && l.campaigns[i].trigger == u.trigger
}
