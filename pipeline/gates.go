package pipeline

import (
	"slices"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
)

// A gate stands between a trigger and an offer's going out (LANGUAGE.md, rule
// 9). Which of them a campaign has is known when it is compiled.
type gate struct {
	outcome     Outcome
	advertising bool // a service message passes
	// of compiles the gate for a campaign; nil: it has none.
	of func(c *compiler, def *campaign.Campaign) stops
}

// stops says whether a gate stops an evaluation, whose offer would have id.
type stops func(s *step, e *evaluation, id string) bool

// gates are all that there are, in the order in which they are judged.
var gates = [...]gate{
	{outcome: Duplicate, of: func(*compiler, *campaign.Campaign) stops {
		return func(s *step, _ *evaluation, id string) bool { return slices.Contains(s.entity.offers, id) }
	}},
	{outcome: Period, of: func(_ *compiler, def *campaign.Campaign) stops {
		if def.From == 0 && def.To == 0 {
			return nil
		}
		return func(s *step, _ *evaluation, _ string) bool { return !def.Runs(s.now) }
	}},
	{outcome: WhenDue, of: func(c *compiler, def *campaign.Campaign) stops {
		if def.WhenDue == "" {
			return nil
		}
		conds := c.state.Conjuncts(def.WhenDue, c.at([]string{"campaigns", def.ID, "when_due"}))
		return func(s *step, e *evaluation, _ string) bool {
			if e.firstDue == 0 {
				return false // it has not waited
			}
			sc := s.scopeOf(e.event)
			e.trace.conditions(stageGates, conds, sc)
			return !all(conds, sc, e.c.counts)
		}
	}},
	{outcome: Limit, of: func(_ *compiler, def *campaign.Campaign) stops {
		if len(def.Limits) == 0 {
			return nil
		}
		return func(s *step, _ *evaluation, _ string) bool { return s.entity.limited(def, s.now) }
	}},
	{outcome: Cap, advertising: true, of: func(c *compiler, def *campaign.Campaign) stops {
		caps := slices.DeleteFunc(slices.Clone(c.set.def.Caps), func(cp campaign.Cap) bool {
			return !slices.Contains(cp.Channels, def.Offer.Channel)
		})
		if len(caps) == 0 {
			return nil
		}
		return func(s *step, _ *evaluation, _ string) bool {
			return slices.ContainsFunc(caps, func(cp campaign.Cap) bool {
				return s.entity.sentAfter(cp.Channels, s.now-int64(cp.Within)) >= cp.Max
			})
		}
	}},
	{outcome: Paused, advertising: true, of: func(c *compiler, def *campaign.Campaign) stops {
		p := c.set.def.Pause
		if p == nil || !slices.Contains(p.Channels, def.Offer.Channel) {
			return nil
		}
		return func(s *step, _ *evaluation, _ string) bool {
			return s.entity.sentAfter(p.Channels, s.now-int64(p.AfterAny)) > 0
		}
	}},
}

// An ownGate is a gate that a campaign has.
type ownGate struct {
	outcome Outcome
	stops   stops
}

// gates are those that a campaign has.
func (c *compiler) gates(def *campaign.Campaign) (has []ownGate) {
	for _, g := range gates {
		if g.advertising && def.Offer.Kind != campaign.Advertising {
			continue
		}
		if stops := g.of(c, def); stops != nil {
			has = append(has, ownGate{g.outcome, stops})
		}
	}
	return has
}

// tooOld says whether the event is too old to trigger the campaign.
func (c *compiled) tooOld(ev *event.Event, now int64) bool {
	return c.def.Fresh > 0 && now-ev.Time > int64(c.def.Fresh)
}
