package pipeline

import "strconv"

// A liveSet is the set in force on one partition, with the epoch in which
// each feature and trigger began there.
type liveSet struct {
	*Set
	featureSince []uint32
	campaigns    []liveCampaign // by id, as Set.campaigns
	tally        *tally
}

// A liveCampaign is a campaign of the set in force.
type liveCampaign struct {
	*compiled
	since  uint32 // epoch in which its trigger began
	counts *Counts
}

// triggered is the campaign that an evaluation is of; nil where it is gone, or
// its trigger has changed since.
func (l *liveSet) triggered(e *evaluation) *liveCampaign {
	i, ok := l.campaignIndex[e.campaign]
	if !ok || l.campaigns[i].trigger != e.trigger || l.campaigns[i].since != e.since {
		return nil
	}
	return &l.campaigns[i]
}

// enforce puts a set in force: what it shares with the one before it goes
// on, what is new or changed begins in this epoch.
func (f *Fold) enforce(set *Set) {
	l := &liveSet{Set: set, tally: newTally(), campaigns: make([]liveCampaign, 0, len(set.campaigns))}
	if f.step.live != nil {
		l.tally = f.step.live.tally
	}
	kept := map[string]uint32{}
	began := func(prefix string, id uint64) uint32 {
		k := prefix + strconv.FormatUint(id, 36)
		at, ok := f.cur.Since[k]
		if !ok {
			at = f.cur.Epoch
		}
		kept[k] = at
		return at
	}
	for _, ft := range set.features {
		l.featureSince = append(l.featureSince, began("f", ft.id))
	}
	for _, c := range set.campaigns {
		l.campaigns = append(l.campaigns, liveCampaign{c, began("c", c.trigger), l.tally.of(c.def.ID)})
	}
	f.cur.Since = kept
	f.step.live = l
}
