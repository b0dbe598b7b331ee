package explain

import (
	"fmt"
	"strings"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/value"
)

// sentence is an evaluation in one plain sentence.
func sentence(e *evaluation, zone *time.Location) string {
	last := e.last()
	unit := e.first().Campaign
	switch {
	case e.movedTo != "" && e.movedAt == 0:
		return fmt.Sprintf("%s went on with %s, who the visitor has become.", unit, entityWords(e.movedTo))
	case e.movedTo != "":
		return fmt.Sprintf("%s went on with %s, who the visitor became at %s.", unit, entityWords(e.movedTo), moment(e.movedAt, e.movedAt, zone))
	case !e.done:
		return fmt.Sprintf("%s is pending: %s.", unit, waits(e, zone))
	}
	switch last.Outcome {
	case pipeline.Fired:
		return fmt.Sprintf("%s went out%s at %s%s.", unit, channelOf(last), moment(last.Now, last.Now, zone), because(e, zone))
	case pipeline.Withheld:
		return fmt.Sprintf("%s was withheld at %s: the user is in the control group (%s).", unit, moment(last.Now, last.Now, zone), holdout(last))
	}
	return fmt.Sprintf("No %s offer: %s.", unit, reason(e, zone))
}

func channelOf(t *pipeline.Trace) string {
	if t.Offer == nil {
		return ""
	}
	return " on " + t.Offer.Channel
}

// because tells what led to an offer: its trigger, and what it waited for.
func because(e *evaluation, zone *time.Location) string {
	first, last := e.first(), e.last()
	text := ", after " + triggered(e)
	if first.Now != last.Now {
		text += " at " + moment(first.Began, last.Now, zone)
	}
	if def := campaignOf(e.def, first.Campaign); def != nil && last.Key != "" {
		text += fmt.Sprintf(" (%s)", last.Key)
	}
	return text
}

// triggered names what has triggered an evaluation.
func triggered(e *evaluation) string {
	t := e.first()
	if c := campaignOf(e.def, t.Campaign); c != nil && atSessionEnd(c) || c == nil && t.By == nil && t.From == 0 {
		return "the end of a session"
	}
	return named(t.Trigger)
}

func atSessionEnd(c *campaign.Campaign) bool { return len(c.On) == 1 && c.On[0] == campaign.SessionEnd }

// waits tells what a pending evaluation waits for.
func waits(e *evaluation, zone *time.Location) string {
	t := e.last()
	due := moment(t.Due, t.Now, zone)
	c := campaignOf(e.def, t.Campaign)
	switch t.Stage {
	case "dwell":
		return fmt.Sprintf("%s, enough at %s if the user stays", strings.Join(failing(t, e.def, zone), " and "), due)
	case "absence":
		if u := unlessOf(c, e); u != nil {
			return fmt.Sprintf("it is due at %s, unless %s comes before", due, orList(u.On))
		}
	case "delay":
		return "it waits for the user's best hour, which begins at " + due
	case "hold":
		return "it is held in the quiet hours until " + due
	case "ask":
		return fmt.Sprintf("it waits for the answer of %s since %s", entityWords(t.Asks), moment(t.Now, t.Now, zone))
	case "grant":
		return fmt.Sprintf("it waits for a grant of %s since %s", entityWords(t.Asks), moment(t.Now, t.Now, zone))
	}
	return fmt.Sprintf("it waits in %s until %s", t.Stage, due)
}

// unlessOf is the `unless` that an evaluation waits for.
func unlessOf(c *campaign.Campaign, e *evaluation) *campaign.Unless {
	if c == nil {
		return nil
	}
	if c.Unless != nil {
		return c.Unless
	}
	for _, t := range c.Any {
		if u := t.Unless; u != nil && value.Plus(e.first().Began, int64(u.Within)) == e.last().Due {
			return u
		}
	}
	return nil
}

// reason tells why an evaluation ended without an offer.
func reason(e *evaluation, zone *time.Location) string {
	t := e.last()
	switch t.Outcome {
	case pipeline.Cancelled, pipeline.Superseded, pipeline.Lost:
		return interrupted(e, zone)
	}
	if why := failing(t, e.def, zone); len(why) > 0 {
		return strings.Join(why, "; ")
	}
	return t.Outcome.String()
}

// interrupted tells what has cancelled or superseded an evaluation.
func interrupted(e *evaluation, zone *time.Location) string {
	t := e.last()
	was := t // the step that made it wait
	if n := len(e.steps); n > 1 {
		was = e.steps[n-2]
	}
	by := "an event"
	if t.By != nil {
		by = named(*t.By)
	}
	at := moment(t.Now, t.Now, zone)
	switch t.Cause {
	case pipeline.ByView:
		why := failing(t, e.def, zone)
		if len(why) == 0 {
			return fmt.Sprintf("the user went on to %s at %s", by, at)
		}
		return fmt.Sprintf("%s when the user went on to %s at %s", strings.Join(why, "; "), by, at)
	case pipeline.ByUnless:
		before := ""
		if was.Due != pipeline.NoDue {
			before = fmt.Sprintf(", %s before the offer was due", span(value.Minus(was.Due, t.Now)))
		}
		return fmt.Sprintf("%s came at %s%s", by, at, before)
	case pipeline.ByNewer:
		if t.By == nil {
			return fmt.Sprintf("a later evaluation took its place at %s", at)
		}
		return fmt.Sprintf("a later %s took its place at %s", by, at)
	case pipeline.ByBound:
		return fmt.Sprintf("too many evaluations were waiting at %s, and it was the oldest", at)
	case pipeline.ByMerge:
		return fmt.Sprintf("a visitor became this user at %s, and the other of the two had viewed something since", at)
	case pipeline.ByLoss:
		if was.Asks == "" {
			return fmt.Sprintf("it was lost, as an operator accepted at %s", at)
		}
		return fmt.Sprintf("the answer of %s was lost, as an operator accepted at %s", entityWords(was.Asks), at)
	case pipeline.ByChange:
		return fmt.Sprintf("the campaign was changed or removed while it waited, as seen at %s", at)
	}
	return t.Outcome.String()
}

// failing tells of each part that stopped an evaluation at a step.
func failing(t *pipeline.Trace, def *campaign.Definition, zone *time.Location) (why []string) {
	if len(t.Stages) == 0 {
		return nil
	}
	for _, p := range t.Stages[len(t.Stages)-1].Parts {
		if !p.OK {
			why = append(why, partWords(p, def, t.Now, zone))
		}
	}
	if gate := t.Outcome == pipeline.WhenDue && t.Due == pipeline.NoDue; gate && len(why) > 1 { // the last is the gate itself
		why = why[:len(why)-1]
		why[0] = "when it was due, " + why[0]
	}
	return why
}

// holdout tells whose control group has withheld the offer.
func holdout(t *pipeline.Trace) string {
	for _, g := range t.Stages {
		for _, p := range g.Parts {
			if v := valuesOf(p); p.Text == "holdout" && v.text("of") == "campaign" {
				return fmt.Sprintf("holdout: %s of the campaign", percent(int(v.number("share"))))
			} else if p.Text == "holdout" {
				return fmt.Sprintf("holdout: %s of all users", percent(int(v.number("share"))))
			}
		}
	}
	return "holdout"
}
