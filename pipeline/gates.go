package pipeline

import (
	"slices"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/expr"
	"offerstream/pipeline/value"
)

// A gate is a rule that may stop an offer from going out (LANGUAGE.md, rule 9).
// Which gates a campaign has is decided when it is compiled.
type gate struct {
	outcome     Outcome
	advertising bool // the gate stops only advertising, not service offers
	// compile makes the gate's rule for a campaign; nil: the gate never stops it.
	compile func(g *gating) stops
	tell    func(s *step, e *evaluation) []detail // what the gate compares, for traces; nil: nothing
}

// stops reports whether a gate stops an evaluation.
type stops func(s *step, e *evaluation) bool

// gates are all gates, in the order in which they are judged.
var gates = [...]gate{
	{outcome: Paused, tell: tellPaused, compile: func(*gating) stops {
		return func(_ *step, e *evaluation) bool { return e.c.paused != notPaused }
	}},
	{outcome: Period, tell: tellPeriod, compile: func(g *gating) stops {
		if g.def.From == 0 && g.def.To == 0 {
			return nil
		}
		return func(s *step, _ *evaluation) bool { return !g.def.Runs(s.now) }
	}},
	{outcome: Age, tell: tellAge, advertising: true, compile: func(g *gating) stops {
		q := g.quiet
		if q == nil || q.Drop || q.AtMost == 0 {
			return nil
		}
		return func(s *step, e *evaluation) bool {
			return e.held != NoDue && value.Minus(s.now, e.held) > int64(q.AtMost)
		}
	}},
	{outcome: WhenDue, compile: func(g *gating) stops {
		if g.def.WhenDue == "" {
			return nil
		}
		return func(s *step, e *evaluation) bool {
			if !e.waited {
				return false
			}
			sc := s.judge(e)
			s.traceConditions(e, stageGates, g.whenDue, sc)
			return !all(g.whenDue, sc, &counted{s, e.c, "when_due"})
		}
	}},
	{outcome: NoConsent, tell: tellConsent, advertising: true, compile: func(g *gating) stops {
		channel := g.def.Offer.Channel
		if p := g.set.Consent; p == nil || !slices.Contains(p.Required, channel) {
			return nil
		}
		return func(s *step, _ *evaluation) bool { return !s.entity.consented(channel, s.now) }
	}},
	{outcome: Limit, tell: tellLimits, compile: func(g *gating) stops {
		if len(g.def.Limits) == 0 {
			return nil
		}
		return func(s *step, e *evaluation) bool { return s.entity.limited(e.c, s.now) }
	}},
	{outcome: Cap, tell: tellCaps, advertising: true, compile: func(g *gating) stops {
		caps := slices.DeleteFunc(slices.Clone(g.set.Caps), func(cp campaign.Cap) bool {
			return !slices.Contains(cp.Channels, g.def.Offer.Channel)
		})
		if len(caps) == 0 {
			return nil
		}
		return func(s *step, _ *evaluation) bool {
			return slices.ContainsFunc(caps, func(cp campaign.Cap) bool {
				return s.entity.sentAfter(cp.Channels, value.Minus(s.now, int64(cp.Within))) >= cp.Max
			})
		}
	}},
	{outcome: Pause, tell: tellPause, advertising: true, compile: func(g *gating) stops {
		p := g.set.Pause
		if p == nil || !slices.Contains(p.Channels, g.def.Offer.Channel) {
			return nil
		}
		return func(s *step, _ *evaluation) bool {
			return s.entity.sentAfter(p.Channels, value.Minus(s.now, int64(p.AfterAny))) > 0
		}
	}},
	{outcome: Quiet, tell: tellQuiet, advertising: true, compile: func(g *gating) stops {
		q := g.quiet
		if q == nil {
			return nil
		}
		return func(s *step, _ *evaluation) bool { return s.entity.quiet(q, s.now) }
	}},
}

// A gating is what the gates of a campaign are compiled from.
type gating struct {
	set     *campaign.Definition
	def     *campaign.Campaign
	quiet   *campaign.QuietHours // compiled.quiet
	whenDue []*expr.Expr
}

// An ownGate is a gate of one campaign.
type ownGate struct {
	outcome Outcome
	stops   stops
	tell    func(s *step, e *evaluation) []detail
}

// gates are the gates of a campaign.
func (c *compiler) gates(cp *compiled, whenDue []*expr.Expr) (has []ownGate) {
	of := &gating{c.set.def, cp.def, cp.quiet, whenDue}
	for _, g := range gates {
		if g.advertising && cp.def.Offer.Kind != campaign.Advertising {
			continue
		}
		if stops := g.compile(of); stops != nil {
			has = append(has, ownGate{g.outcome, stops, g.tell})
		}
	}
	return has
}

// tooOld reports whether the event is too old to trigger the campaign (its
// `fresh`).
func (c *compiled) tooOld(ev *event.Event, now int64) bool {
	return c.fresh > 0 && value.Minus(now, ev.Time) > c.fresh
}
