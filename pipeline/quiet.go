package pipeline

import (
	"time"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/value"
	"offerstream/pipeline/window"
	"offerstream/pipeline/zone"
)

// location is the user's time zone: that of the trait `timezone`, else the set's,
// else UTC.
func (e *Entity) location() *time.Location {
	if i, found := e.trait("timezone"); found && e.traits[i].value.Kind == value.String {
		if loc, ok := zone.Load(e.traits[i].value.Str); ok {
			return loc
		}
	}
	return zone.OrUTC(e.live.def.Zone)
}

// quiet reports whether it is quiet for the user at a time, for a channel of the
// quiet hours.
func (e *Entity) quiet(q *campaign.QuietHours, at int64) bool {
	if q.ExceptConsent != "" && e.consented(q.ExceptConsent, at) {
		return false
	}
	return zone.Quiet(at, e.location(), q.From, q.To)
}

// bestHour is when the offer of an evaluation is best sent (LANGUAGE.md, rule 8).
// waits is false if that is now.
func (s *step) bestHour(e *evaluation) (due int64, waits bool, err error) {
	sc := s.judge(e)
	v, err := e.c.at.Eval(sc)
	if err != nil {
		return 0, false, err
	}
	times, _ := window.HistogramTimes(v)
	var quiet func(at int64) bool
	if q := e.c.quiet; q != nil {
		quiet = func(at int64) bool { return s.entity.quiet(q, at) }
	}
	due, waits = zone.BestHour(s.now, int64(e.c.def.At.Ahead), times, s.entity.location(), quiet)
	return due, waits, nil
}
