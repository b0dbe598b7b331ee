package pipeline

import (
	"slices"
	"strconv"

	"offerstream/pipeline/coupon"
)

// A liveSet is the set in force on one partition, with the epochs in which its
// features and triggers began there.
type liveSet struct {
	*Set
	featureSince []uint32       // by feature
	campaigns    []liveCampaign // in the order of Set.units
	tally        *tally
	couponKey    *coupon.Key // that codes are made under; nil: they are placeholders
}

// A liveCampaign is a unit of the set in force.
type liveCampaign struct {
	*unit
	since  uint32 // the epoch in which its trigger began
	paused bool   // by an operator
	counts *Counts
	tally  *tally
}

// count are the counts of the unit. Most rows of a large set never count anything.
func (c *liveCampaign) count() *Counts {
	if c.counts == nil {
		c.counts = c.tally.counts(c.id)
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
	l := &liveSet{Set: set, tally: newTally(), campaigns: make([]liveCampaign, 0, len(set.units))}
	if before != nil {
		l.tally = before.tally
	}
	kept := map[string]uint32{}
	began := func(prefix string, id uint64) uint32 {
		k := prefix + strconv.FormatUint(id, 36)
		epoch, ok := f.cur.Since[k]
		if !ok {
			epoch = f.cur.Epoch
		}
		kept[k] = epoch
		return epoch
	}
	for _, ft := range set.features {
		l.featureSince = append(l.featureSince, began("f", ft.id))
	}
	for i := range set.units {
		u := &set.units[i]
		since := began("c", u.triggerID)
		if u.row != nil {
			k := "r" + strconv.FormatUint(u.trigger, 36)
			later, ok := f.cur.Since[k]
			switch {
			case ok:
				since = later
			case before != nil && before.Set != set && !before.had(u):
				since = f.cur.Epoch
			}
			if since != kept["c"+strconv.FormatUint(u.triggerID, 36)] {
				kept[k] = since
			}
		}
		l.campaigns = append(l.campaigns, liveCampaign{unit: u, since: since, tally: l.tally, paused: f.paused(u)})
	}
	l.couponKey, _ = f.couponKey(set)
	f.cur.Since = kept
	f.step.live = l
}

// had reports whether the set in force has had the same unit.
func (l *liveSet) had(u *unit) bool {
	i, ok := l.unitIndex[u.id]
	return ok && l.campaigns[i].trigger == u.trigger
}

// paused reports whether an operator has paused the unit: by its own id, or that of
// its campaign.
func (f *Fold) paused(u *unit) bool {
	return slices.Contains(f.cur.Paused, u.id) || u.row != nil && slices.Contains(f.cur.Paused, u.def.ID)
}

// pause replaces the campaigns that are paused.
func (f *Fold) pause(names []string) {
	f.cur.Paused = names
	for i := range f.step.live.campaigns {
		c := &f.step.live.campaigns[i]
		c.paused = f.paused(c.unit)
	}
}
