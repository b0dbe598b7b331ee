package oracle

import (
	"slices"
	"strings"
)

// A brake of the set.
type brake struct {
	Channel     string `json:"channel"`
	Max         int    `json:"max"`
	Within      int64  `json:"within"`
	PerCampaign bool   `json:"per_campaign,omitempty"`
}

// A trip is the offer that was one too many for a brake. It is found among all offers
// of a run: so all is run again with each trip that is found, which changes nothing
// before it.
type trip struct {
	at    placed
	brake brake
	names string // what a resume calls it
	known uint64 // the revision of the pauses that was known
}

// braked reports whether the brake's pause concerns a campaign.
func (t trip) braked(c *campaign) bool {
	return c.Offer.Kind != "service" && c.Offer.Channel == t.brake.Channel && (!t.brake.PerCampaign || c.base == base(t.at.Campaign))
}

func base(unit string) string { name, _, _ := strings.Cut(unit, "/"); return name }

// most is how many offers of a brake may go out in one of so many partitions.
func (b brake) most(partitions int) int {
	part := b.Max / partitions
	if b.Max%partitions != 0 {
		part++
	}
	root := part
	for root*root > part {
		root--
	}
	return part + root + root + root + root
}

// name is what a resume calls what an offer's brake pauses.
func (b brake) name(o placed) string {
	if b.PerCampaign {
		return "campaign " + base(o.Campaign)
	}
	return "channel " + b.Channel
}

// nextTrip returns the first trip that is not among those known. The offers are in
// the order of the log.
func (in *input) nextTrip(set *definition, offers []placed, partitions int, known []trip) (trip, bool) {
	for i, o := range offers {
		for _, b := range set.Brakes {
			if !b.counts(o, o) {
				continue
			}
			t := trip{at: o, brake: b, names: b.name(o), known: in.revision(o.pos)}
			if slices.ContainsFunc(known, func(k trip) bool { return k.brake == b && k.at.order(o) == 0 }) {
				continue
			}
			n := 0
			for _, other := range offers[:i+1] {
				if b.counts(other, o) && other.now > minus(o.now, b.Within) && !in.resumedBetween(other.pos, o.pos, t.names) && !t.trippedSince(other, known) {
					n++
				}
			}
			if n > b.most(partitions) {
				return t, true
			}
		}
	}
	return trip{}, false
}

// trippedSince reports whether the same brake has tripped with an offer or after it:
// what went out until then is not counted again.
func (t trip) trippedSince(o placed, known []trip) bool {
	return slices.ContainsFunc(known, func(k trip) bool { return k.brake == t.brake && k.names == t.names && k.at.order(o) >= 0 })
}

// counts reports whether a brake counts an offer together with another one.
func (b brake) counts(o, with placed) bool {
	return o.Kind != "service" && !o.Withheld && o.Channel == b.Channel && (!b.PerCampaign || base(o.Campaign) == base(with.Campaign))
}

// revision is that of the pauses that are in force at a position.
func (in *input) revision(pos int) uint64 {
	newest := uint64(0)
	for _, p := range in.pauseList {
		if p.pos <= pos {
			newest = max(newest, p.Pauses)
		}
	}
	return newest
}

// resumedBetween reports whether a name was resumed after one step and before
// another, which are at these positions.
func (in *input) resumedBetween(after, before int, name string) bool {
	for i, p := range in.pauseList {
		known := uint64(0)
		for _, earlier := range in.pauseList[:i] {
			known = max(known, earlier.Pauses)
		}
		if p.Pauses > known && p.Resumed[name] > known && p.pos > after && p.pos <= before {
			return true
		}
	}
	return false
}

// isBraked reports whether a brake has paused the campaign.
func (w *world) isBraked(c *campaign) bool {
	here := placed{step: w.steps}
	for _, t := range w.trips {
		if !t.braked(c) || t.at.order(here) >= 0 {
			continue
		}
		released := slices.ContainsFunc(w.in.pauseList, func(p pausing) bool {
			return p.pos > t.at.pos && p.pos <= w.pos && w.in.inForce(p) && p.Resumed[t.names] > t.known
		})
		if !released {
			return true
		}
	}
	return false
}

// inForce reports whether a control's revision is above all before it, or there is
// none.
func (in *input) inForce(p pausing) bool {
	for _, earlier := range in.pauseList[:p.number] {
		if p.Pauses != 0 && earlier.Pauses >= p.Pauses {
			return false
		}
	}
	return true
}
