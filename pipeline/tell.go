package pipeline

import (
	"fmt"
	"slices"
	"strings"

	"offerstream/pipeline/value"
	"offerstream/pipeline/zone"
)

// What gates compare, for traces. The names of the values are those of the campaign
// files where there are such.

func tellPeriod(_ *step, e *evaluation) (told []TraceValue) {
	if e.c.def.From != 0 {
		told = append(told, toldTime("from", e.c.def.From))
	}
	if e.c.def.To != 0 {
		told = append(told, toldTime("to", e.c.def.To))
	}
	return told
}

func tellAge(s *step, e *evaluation) []TraceValue {
	if e.held == NoDue {
		return nil
	}
	return []TraceValue{toldTime("held since", e.held), toldSpan("held", value.Minus(s.now, e.held)), toldSpan("at_most", int64(e.c.quiet.AtMost))}
}

func tellConsent(s *step, e *evaluation) []TraceValue {
	channel := e.c.def.Offer.Channel
	told := []TraceValue{toldText("channel", channel)}
	i := slices.IndexFunc(s.entity.consent, func(c consent) bool { return c.channel == channel })
	if i < 0 {
		return append(told, toldText("newest", "none"))
	}
	newest := "revoked"
	if s.entity.consent[i].granted {
		newest = "granted"
	}
	told = append(told, toldText("newest", newest), toldTime("at", s.entity.consent[i].time))
	if p := s.live.def.Consent; p != nil && p.ValidFor > 0 {
		told = append(told, toldSpan("valid_for", int64(p.ValidFor)))
	}
	return told
}

// tellLimits tells of the limit that is reached, else of the first one.
func tellLimits(s *step, e *evaluation) (told []TraceValue) {
	of := s.entity.sentOf(e.c.id)
	for _, l := range e.c.def.Limits {
		n, what := uint64(0), []TraceValue{toldNumber("max", int64(l.Max))}
		switch {
		case l.PerSession:
			what = append(what, toldText("per", "session"))
			if of != nil {
				n = uint64(countAfter(of.times, value.Minus(s.entity.session.started, 1)))
			}
		case l.Within == 0:
			if of != nil {
				n = of.ever
			}
		default:
			what = append(what, toldSpan("within", int64(l.Within)))
			if of != nil {
				n = uint64(countAfter(of.times, value.Minus(s.now, int64(l.Within))))
			}
		}
		what = append(what, toldNumber("sent", int64(n)))
		if of != nil && len(of.times) > 0 {
			what = append(what, toldTime("last", of.times[len(of.times)-1]))
		}
		if n >= uint64(l.Max) {
			return what
		}
		if told == nil {
			told = what
		}
	}
	return told
}

// tellCaps tells of the cap that is reached, else of the first one.
func tellCaps(s *step, e *evaluation) (told []TraceValue) {
	for _, cp := range s.live.def.Caps {
		if !slices.Contains(cp.Channels, e.c.def.Offer.Channel) {
			continue
		}
		n := s.entity.sentAfter(cp.Channels, value.Minus(s.now, int64(cp.Within)))
		what := []TraceValue{toldText("channels", strings.Join(cp.Channels, ", ")), toldNumber("max", int64(cp.Max)), toldSpan("within", int64(cp.Within)), toldNumber("sent", int64(n))}
		if n >= cp.Max {
			return what
		}
		if told == nil {
			told = what
		}
	}
	return told
}

func tellPause(s *step, _ *evaluation) []TraceValue {
	p := s.live.def.Pause
	told := []TraceValue{toldText("channels", strings.Join(p.Channels, ", ")), toldSpan("after_any", int64(p.AfterAny))}
	last := int64(NoDue)
	for _, ch := range p.Channels {
		if times := s.entity.timesOf(ch); len(times) > 0 {
			last = max(last, times[len(times)-1])
		}
	}
	if last != NoDue {
		told = append(told, toldTime("last", last))
	}
	return told
}

// clockText is the time of day of some minutes after midnight.
func clockText(minutes int) string { return fmt.Sprintf("%02d:%02d", minutes/60, minutes%60) }

func tellQuiet(s *step, e *evaluation) []TraceValue {
	q, loc := e.c.quiet, s.entity.location()
	hour, minute, _, _ := zone.Local(s.now, loc)
	told := []TraceValue{toldText("from", clockText(q.From)), toldText("to", clockText(q.To)), toldText("local", fmt.Sprintf("%02d:%02d", hour, minute)), toldText("zone", loc.String())}
	if s.entity.quiet(q, s.now) && e.c.holds() {
		told = append(told, toldTime("until", zone.Loud(s.now, loc, q.From, q.To)))
	}
	return told
}
