package pipeline

import (
	"slices"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// A gate is a rule that may stop an offer from going out (LANGUAGE.md, rule 9).
// Which gates a campaign has is decided when it is compiled.
type gate struct {
	outcome     Outcome
	advertising bool // the gate stops only advertising, not service offers
	// compile makes the gate's rule for a campaign; nil: the gate never stops it.
	compile func(c *compiler, def *campaign.Campaign) stops
}

// stops reports whether a gate stops an evaluation. id is that of the offer
// that would go out.
type stops func(s *step, e *evaluation, id string) bool

// gates are all gates, in the order in which they are judged.
var gates = [...]gate{
	{outcome: Duplicate, compile: func(*compiler, *campaign.Campaign) stops {
		return func(s *step, _ *evaluation, id string) bool { return slices.Contains(s.entity.offers, id) }
	}},
	{outcome: Period, compile: func(_ *compiler, def *campaign.Campaign) stops {
		if def.From == 0 && def.To == 0 {
			return nil
		}
		return func(s *step, _ *evaluation, _ string) bool { return !def.Runs(s.now) }
	}},
	{outcome: WhenDue, compile: func(c *compiler, def *campaign.Campaign) stops {
		if def.WhenDue == "" {
			return nil
		}
		conds := c.state.Conjuncts(def.WhenDue, c.reporter([]string{"campaigns", def.ID, "when_due"}))
		return func(s *step, e *evaluation, _ string) bool {
			if e.firstDue == 0 {
				return false // it has not waited
			}
			sc := s.scopeOf(e.event)
			e.trace.conditions(stageGates, conds, sc)
			return !all(conds, sc, e.c.counts)
		}
	}},
	{outcome: Limit, compile: func(_ *compiler, def *campaign.Campaign) stops {
		if len(def.Limits) == 0 {
			return nil
		}
		return func(s *step, _ *evaluation, _ string) bool { return s.entity.limited(def, s.now) }
	}},
	{outcome: Cap, advertising: true, compile: func(c *compiler, def *campaign.Campaign) stops {
		caps := slices.DeleteFunc(slices.Clone(c.set.def.Caps), func(cp campaign.Cap) bool {
			return !slices.Contains(cp.Channels, def.Offer.Channel)
		})
		if len(caps) == 0 {
			return nil
		}
		return func(s *step, _ *evaluation, _ string) bool {
			return slices.ContainsFunc(caps, func(cp campaign.Cap) bool {
				return s.entity.sentAfter(cp.Channels, value.Minus(s.now, int64(cp.Within))) >= cp.Max
			})
		}
	}},
	{outcome: Paused, advertising: true, compile: func(c *compiler, def *campaign.Campaign) stops {
		p := c.set.def.Pause
		if p == nil || !slices.Contains(p.Channels, def.Offer.Channel) {
			return nil
		}
		return func(s *step, _ *evaluation, _ string) bool {
			return s.entity.sentAfter(p.Channels, value.Minus(s.now, int64(p.AfterAny))) > 0
		}
	}},
}

// An ownGate is a gate of one campaign.
type ownGate struct {
	outcome Outcome
	stops   stops
}

// gates are the gates of a campaign.
func (c *compiler) gates(def *campaign.Campaign) (has []ownGate) {
	for _, g := range gates {
		if g.advertising && def.Offer.Kind != campaign.Advertising {
			continue
		}
		if stops := g.compile(c, def); stops != nil {
			has = append(has, ownGate{g.outcome, stops})
		}
	}
	return has
}

// tooOld reports whether the event is too old to trigger the campaign (its
// `fresh`).
func (c *compiled) tooOld(ev *event.Event, now int64) bool {
	return c.def.Fresh > 0 && value.Minus(now, ev.Time) > int64(c.def.Fresh)
}
