package oracle

import (
	"slices"
	"time"
)

// quiet reports whether the quiet hours stop the campaign's offer at a time, as far
// as is known now.
func (u *user) quiet(c *campaign, at int64) bool {
	q := u.set.Quiet
	if q == nil || c.Offer.Kind == "service" || !slices.Contains(q.Channels, c.Offer.Channel) {
		return false
	}
	if !q.has(at, u.zone()) {
		return false
	}
	if q.ExceptConsent != "" && u.consents(q.ExceptConsent, at) {
		u.out.meet("quiet hours lifted by a consent")
		return false
	}
	return true
}

// has reports whether the wall clock of a zone is in the quiet hours.
func (q *quiet) has(at int64, zone *time.Location) bool {
	clock := time.Unix(0, at).In(zone)
	minute := clock.Hour()*60 + clock.Minute()
	if q.From <= q.To {
		return q.From <= minute && minute < q.To
	}
	return q.From <= minute || minute < q.To
}

// over returns the first moment after now whose wall clock is not in the quiet
// hours. It goes on minute by minute until they are over, and then back second by
// second, since zones change at whole seconds.
func (q *quiet) over(now int64, zone *time.Location) int64 {
	at := now
	for q.has(at, zone) {
		at += minute
	}
	for at -= at % second; at-second > now && !q.has(at-second, zone); at -= second {
	}
	return at
}
