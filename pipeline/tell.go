package pipeline

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/value"
	"offerstream/pipeline/zone"
)

// A detail is a value of a trace. It becomes JSON only if there is a trace: steps
// make details always.
type detail struct {
	of   string
	kind detailKind
	text string
	n    int64
}

type detailKind byte

const (
	isText detailKind = iota
	isTime
	isSpan
	isNumber
)

func toldText(of, text string) detail      { return detail{of, isText, text, 0} }
func toldTime(of string, at int64) detail  { return detail{of, isTime, "", at} }
func toldSpan(of string, ns int64) detail  { return detail{of, isSpan, "", ns} }
func toldNumber(of string, n int64) detail { return detail{of, isNumber, "", n} }

// traceValues are details as JSON.
func traceValues(details []detail) (values []TraceValue) {
	for _, d := range details {
		v := TraceValue{Of: d.of}
		switch d.kind {
		case isText:
			v.Is = value.AppendJSONString(nil, d.text)
		case isTime:
			v.Is = value.AppendJSONString(nil, value.FormatTime(d.n))
		case isSpan:
			v.Is = value.AppendJSONString(nil, campaign.FormatDuration(time.Duration(d.n)))
		case isNumber:
			v.Is = strconv.AppendInt(nil, d.n, 10)
		}
		values = append(values, v)
	}
	return values
}

// tellPaused tells who has paused what. What another partition's brake has paused
// comes here as an operator's pause does, whose reason is not in the log.
func tellPaused(s *step, e *evaluation) []detail {
	by, of := "operator", "campaign"
	switch e.c.paused {
	case brakedCampaign:
		by = "brake"
	case brakedChannel:
		by, of = "brake", "channel"
	case pausedChannel:
		of = "channel"
	}
	if by == "operator" && slices.ContainsFunc(s.live.def.Brakes, func(b campaign.Brake) bool {
		return b.Channel == e.c.def.Offer.Channel && b.PerCampaign == (of == "campaign")
	}) {
		by = "operator or brake"
	}
	return []detail{toldText("by", by), toldText("of", of), toldText("channel", e.c.def.Offer.Channel)}
}

// PausedBy says in words what tellPaused tells.
func PausedBy(by, of, channel string) string {
	what := "the campaign"
	if of == "channel" {
		what = "advertising on " + channel
	}
	switch by {
	case "brake":
		return "a brake has paused " + what + ", because more went out than it allows"
	case "operator or brake":
		return "an operator, or the brake of another partition, has paused " + what
	}
	return "an operator has paused " + what
}

// What gates compare, for traces. The names of the values are those of the campaign
// files where there are such.

func tellPeriod(_ *step, e *evaluation) (told []detail) {
	if e.c.def.From != 0 {
		told = append(told, toldTime("from", e.c.def.From))
	}
	if e.c.def.To != 0 {
		told = append(told, toldTime("to", e.c.def.To))
	}
	return told
}

func tellAge(s *step, e *evaluation) []detail {
	if e.held == NoDue {
		return nil
	}
	return []detail{toldTime("held since", e.held), toldSpan("held", value.Minus(s.now, e.held)), toldSpan("at_most", int64(e.c.quiet.AtMost))}
}

func tellConsent(s *step, e *evaluation) []detail {
	channel := e.c.def.Offer.Channel
	told := []detail{toldText("channel", channel)}
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
func tellLimits(s *step, e *evaluation) (told []detail) {
	of := s.entity.sentOf(e.c.id)
	for _, l := range e.c.def.Limits {
		n, what := uint64(0), []detail{toldNumber("max", int64(l.Max))}
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
func tellCaps(s *step, e *evaluation) (told []detail) {
	for _, cp := range s.live.def.Caps {
		if !slices.Contains(cp.Channels, e.c.def.Offer.Channel) {
			continue
		}
		n := s.entity.sentAfter(cp.Channels, value.Minus(s.now, int64(cp.Within)))
		what := []detail{toldText("channels", strings.Join(cp.Channels, ", ")), toldNumber("max", int64(cp.Max)), toldSpan("within", int64(cp.Within)), toldNumber("sent", int64(n))}
		if n >= cp.Max {
			return what
		}
		if told == nil {
			told = what
		}
	}
	return told
}

func tellPause(s *step, _ *evaluation) []detail {
	p := s.live.def.Pause
	told := []detail{toldText("channels", strings.Join(p.Channels, ", ")), toldSpan("after_any", int64(p.AfterAny))}
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

func tellQuiet(s *step, e *evaluation) []detail {
	q, loc := e.c.quiet, s.entity.location()
	hour, minute, _, _ := zone.Local(s.now, loc)
	told := []detail{toldText("from", clockText(q.From)), toldText("to", clockText(q.To)), toldText("local", fmt.Sprintf("%02d:%02d", hour, minute)), toldText("zone", loc.String())}
	if s.entity.quiet(q, s.now) && e.c.holds() {
		told = append(told, toldTime("until", zone.Loud(s.now, loc, q.From, q.To)))
	}
	return told
}
