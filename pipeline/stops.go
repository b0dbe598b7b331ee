package pipeline

import (
	"fmt"
	"strings"

	"offerstream/pipeline/campaign"
)

// judge finds what would stop a real offer now: conditions, gates and holdouts. The
// offer's rank and its channel are not judged.
func (t *rendering) judge(e *evaluation) {
	s := t.step
	sc := s.judge(e)
	for _, x := range e.c.cond {
		if ok, err := x.Holds(sc); err != nil {
			t.stops("if: %s fails: %v", onOneLine(x.Text), err)
		} else if !ok {
			t.stops("if: %s does not hold", onOneLine(x.Text))
		}
	}
	e.waited = e.c.waits() // or when_due would not be judged
	for _, g := range e.c.gates {
		if g.stops(s, e) {
			t.Stops = append(t.Stops, t.stopped(g.outcome, e))
		}
	}
	e.waited = false
	if s.entity.withheld(e.c) {
		t.stops("holdout: the user belongs to it")
	}
}

func (t *rendering) stops(format string, args ...any) {
	t.Stops = append(t.Stops, fmt.Sprintf(format, args...))
}

// stopped says in words why a gate stops the campaign.
func (t *rendering) stopped(g Outcome, e *evaluation) string {
	def, set := t.unit.def, t.step.live.def
	switch g {
	case Paused:
		var of [3]string
		for i, d := range tellPaused(t.step, e) {
			of[i] = d.text
		}
		return "paused: " + PausedBy(of[0], of[1], of[2])
	case Period:
		return "period: it is not the time of the campaign"
	case WhenDue:
		return "when_due: " + onOneLine(def.WhenDue) + " does not hold"
	case NoConsent:
		return "consent: none to " + def.Offer.Channel
	case Limit:
		return "limits: the campaign has sent the user as many as it may"
	case Cap:
		return "caps: the user has had as many on " + def.Offer.Channel + " as the set allows"
	case Pause:
		return fmt.Sprintf("pause: less than %s since the last offer", campaign.FormatDuration(set.Pause.AfterAny))
	case Quiet:
		q := t.unit.quiet
		return fmt.Sprintf("quiet hours: from %s to %s", clockText(q.From), clockText(q.To))
	}
	return g.String()
}

// onOneLine is an expression without the line breaks of the file.
func onOneLine(source string) string { return strings.Join(strings.Fields(source), " ") }
