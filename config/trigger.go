package config

import (
	"fmt"
	"slices"

	"offerstream/pipeline/campaign"
)

// Upper limits of the lists that an event is tried on.
const (
	mostTriggers = 64 // entries of any
	mostSteps    = 64 // of a sequence
)

// trigger reads `on` of a campaign: event names, or the end of a session.
func (v value) trigger() []string {
	names := v.eventNames()
	if slices.Contains(names, campaign.SessionEnd) && len(names) > 1 {
		v.problem(campaign.SessionEnd+" is no event, so it stands in `on` alone", "write a second campaign for the events")
		return nil
	}
	return names
}

// oneTrigger reports a campaign with no trigger or several, and keys that belong
// to each entry of its trigger.
func (v value) oneTrigger(has present) {
	first := ""
	for _, name := range []string{"on", "any", "sequence"} {
		switch {
		case !has.has(name):
		case first == "":
			first = name
		default:
			c := has[name]
			c.problemAt(start(c.key), fmt.Sprintf("a campaign has one of `on`, `any` and `sequence`, this one has `%s` already", first), "keep one; several triggers are entries of any")
		}
	}
	move := func(key, to string) {
		if c, ok := has[key]; ok {
			c.problemAt(start(c.key), fmt.Sprintf("with `%s` each %s has its own `%s`", first, to, key), "move it there")
		}
	}
	switch first {
	case "":
		v.needs(has, aCampaign, "on", "on: Product Viewed; or any, or sequence")
	case "any":
		move("where", "entry")
		move("unless", "entry")
	case "sequence":
		move("where", "step")
	}
}

// sessionEnd reports the keys that read the event that triggers, which the end
// of a session has not.
func (v value) sessionEnd(has present) {
	refuse := func(c value, what string) {
		c.problemAt(start(c.key), fmt.Sprintf("the end of a session has no event, so `%s` has nothing to read", what), "remove it; what is known of the session is in `session`")
	}
	for _, name := range []string{"where", "fresh", "to"} {
		if c, ok := has[name]; ok {
			refuse(c, name)
		}
	}
	if u, ok := has["unless"]; ok && u.is() == "a map" {
		for name, c := range u.pairs {
			if name == "match" {
				refuse(c, "match")
			}
		}
	}
}

// triggers reads `any`.
func (v value) triggers() []campaign.Trigger {
	var all []campaign.Trigger
	v.elements("any: [{on: Product Viewed}]", func(v value) {
		var t campaign.Trigger
		v.fields(aTrigger, fields{
			"on":     func(v value) { t.On = v.events() },
			"where":  func(v value) { t.Where = v.cel() },
			"unless": func(v value) { t.Unless = v.unless() },
		})
		all = append(all, t)
	})
	v.atMost(len(all), mostTriggers)
	return all
}

func (v value) sequence() *campaign.Sequence {
	s := campaign.Sequence{}
	v.fields(aSequence, fields{
		"steps":  func(v value) { s.Steps = v.steps() },
		"within": func(v value) { s.Within = v.span() },
	})
	if s.Within == 0 {
		s.Within = 1 // any, so that the rest can be checked
	}
	return &s
}

func (v value) steps() []campaign.SequenceStep {
	var steps []campaign.SequenceStep
	v.elements(v.row.hint(), func(v value) {
		var s campaign.SequenceStep
		if v.is() == "text" {
			s.On = v.events()
			steps = append(steps, s)
			return
		}
		v.fields(aStep, fields{
			"on":    func(v value) { s.On = v.events() },
			"where": func(v value) { s.Where = v.cel() },
		})
		steps = append(steps, s)
	})
	if len(steps) == 1 {
		v.problem("a sequence has at least two steps", "for one event write `on`")
	}
	v.atMost(len(steps), mostSteps)
	return steps
}

// atMost reports a list that is too long.
func (v value) atMost(n, most int) {
	if n > most {
		v.problem(fmt.Sprintf("the list has %d elements, at most %d are allowed", n, most), "")
	}
}

func (v value) unless() *campaign.Unless {
	u := campaign.Unless{}
	restart := true
	has := v.fields(anUnless, fields{
		"on":      func(v value) { u.On = v.events() },
		"where":   func(v value) { u.Where = v.cel() },
		"match":   func(v value) { u.Match = v.cel() },
		"within":  func(value) {}, // below, with at_most
		"at_most": func(v value) { u.AtMost = v.span() },
		"restart": func(v value) { restart = v.boolean() },
	})
	u.Within, u.WithinIs = has.computedSpan("within")
	if u.Within == 0 && u.WithinIs == "" {
		u.Within = 1 // any, so that the rest can be checked
	}
	u.NoRestart = !restart
	return &u
}
