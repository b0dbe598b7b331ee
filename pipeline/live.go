package pipeline

import (
	"strconv"

	"offerstream/pipeline/coupon"
)

// A liveSet is the set in force on one partition, with the epochs in which its
// features and triggers began there.
type liveSet struct {
	*Set
	featureSince []uint32       // by feature
	campaigns    []liveCampaign // in the order of Set.campaigns
	tally        *tally
	couponKey    *coupon.Key // that codes are made under; nil: they are placeholders
}

// A liveCampaign is a campaign of the set in force.
type liveCampaign struct {
	*compiled
	since  uint32 // the epoch in which its trigger began
	counts *Counts
}

// triggered is the campaign of an evaluation, nil if the set no longer has it
// or its trigger has changed.
func (l *liveSet) triggered(e *evaluation) *liveCampaign {
	i, ok := l.campaignIndex[e.campaign]
	if !ok || l.campaigns[i].trigger != e.trigger || l.campaigns[i].since != e.since {
		return nil
	}
	return &l.campaigns[i]
}

// enforce puts a set in force. Features and triggers that the previous set had,
// too, keep their epochs; new or changed ones begin in this epoch.
func (f *Fold) enforce(set *Set) {
	l := &liveSet{Set: set, tally: newTally(), campaigns: make([]liveCampaign, 0, len(set.campaigns))}
	if f.step.live != nil {
		l.tally = f.step.live.tally
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
	for _, c := range set.campaigns {
		l.campaigns = append(l.campaigns, liveCampaign{c, began("c", c.trigger), l.tally.counts(c.def.ID)})
	}
	l.couponKey, _ = f.couponKey(set)
	f.cur.Since = kept
	f.step.live = l
}
