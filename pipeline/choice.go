package pipeline

import (
	"slices"
	"strings"
)

// A candidate is an offer that would go out.
type candidate struct {
	c     *campaign
	key   string
	event *Event
	timer bool
	due   int64
}

// choose lets the best candidates out, one a channel. Who is stopped
// outranks nobody.
func (s *stepper) choose(e *Entity, now int64) {
	slices.SortFunc(s.candidates, func(a, b candidate) int {
		switch {
		case a.c.def.Priority > b.c.def.Priority:
			return -1
		case a.c.def.Priority < b.c.def.Priority:
			return 1
		case a.c != b.c:
			return strings.Compare(a.c.def.ID, b.c.def.ID)
		}
		return strings.Compare(a.key, b.key)
	})
	var taken []string
	for _, cd := range s.candidates {
		ch := cd.c.def.Offer.Channel
		outcome, o := s.judge(cd, e, now, slices.Contains(taken, ch))
		*outcome++
		if o != nil {
			taken = append(taken, ch)
			e.wentOut(cd.c, o.ID, now)
			s.out(cd.c, cd.event, o)
		}
	}
}

// judge takes one candidate through the gates; the offer is nil where one
// stops it.
func (s *stepper) judge(cd candidate, e *Entity, now int64, taken bool) (outcome *uint64, o *Offer) {
	c, n := cd.c, s.live.counts[cd.c.index]
	spec := &c.def.Offer
	id := OfferID(c.def.ID, e.Key, cd.key, cd.event.ID, cd.timer, cd.due)
	switch {
	case slices.Contains(e.offers, id):
		return &n.Duplicate, nil
	case !c.inPeriod(now):
		return &n.Period, nil
	case c.limited(e, now):
		return &n.Limit, nil
	case spec.Kind == Advertising && s.live.capped(e, spec.Channel, now):
		return &n.Cap, nil
	case spec.Kind == Advertising && s.live.paused(e, spec.Channel, now):
		return &n.Pause, nil
	}
	o = &Offer{
		ID: id, Campaign: c.def.ID, Channel: spec.Channel, Kind: spec.Kind,
		User: e.Key[2:], Anon: e.Key[0] == 'a', Event: strings.Clone(cd.event.ID), Key: cd.key, Time: FormatTime(now),
	}
	if spec.Expires > 0 {
		o.Expires = FormatTime(now + int64(spec.Expires))
	}
	if c.data != nil {
		data, err := c.data.offerData(&scope{set: s.live.Set, now: now, event: cd.event, ent: e})
		if err != nil {
			n.failed(err)
			return &n.Error, nil
		}
		o.Data = data
	}
	if taken {
		return &n.Outranked, nil
	}
	return &n.Fired, o
}
