package oracle

import (
	"errors"
	"slices"
	"time"
)

// bestHour returns the hour until which an evaluation has to wait: now, or the
// start of an hour. Of those that are possible it is the one that the histogram
// counts most often, by hour of the week, then by hour of the day, then the
// earliest.
func (u *user) bestHour(e *evaluation, now int64) (int64, error) {
	c, zone := e.campaign, u.zone()
	v, err := c.At.hours.eval(u.scope(e, now))
	if err != nil {
		return 0, err
	}
	h, ok := v.(histogram)
	if !ok {
		return 0, errors.New("best_hour is for histograms")
	}
	possible := append([]int64{now}, hourStarts(now, plus(now, c.At.Ahead), zone)...)
	possible = slices.DeleteFunc(possible, func(at int64) bool { return u.quiet(c, at) })
	best, bestOfWeek, bestOfDay := now, 0, 0
	for _, at := range possible {
		ofWeek, ofDay := h.counts(at, zone)
		if ofWeek > bestOfWeek || ofWeek == bestOfWeek && ofDay > bestOfDay {
			best, bestOfWeek, bestOfDay = at, ofWeek, ofDay
		}
	}
	return best, nil
}

// counts returns how many times of the histogram are in the same hour of the week,
// and of the day, as a moment.
func (h histogram) counts(at int64, zone *time.Location) (ofWeek, ofDay int) {
	t := time.Unix(0, at).In(zone)
	for _, ns := range h.times {
		o := time.Unix(0, ns).In(zone)
		if o.Hour() != t.Hour() {
			continue
		}
		ofDay++
		if o.Weekday() == t.Weekday() {
			ofWeek++
		}
	}
	return ofWeek, ofDay
}

// hourStarts returns the moments strictly between two others at which the wall
// clock of a zone shows a whole hour for the first time. Each time that the wall
// clock might show is tried with each offset that the zone has about then.
func hourStarts(now, end int64, zone *time.Location) (starts []int64) {
	const around = 26 * hour
	var offsets []int64 // in seconds
	for at := now - around; at < end+around; at += 15 * minute {
		if off := offset(at/second, zone); !slices.Contains(offsets, off) {
			offsets = append(offsets, off)
		}
	}
	from, to := (now-around)/hour*3600, (end+around)/hour*3600
	for wall := from; wall <= to; wall += 3600 {
		var shown []int64
		for _, off := range offsets {
			if at := wall - off; offset(at, zone) == off {
				shown = append(shown, at)
			}
		}
		if len(shown) == 0 {
			continue // the clock skips it
		}
		if at := slices.Min(shown) * second; now < at && at < end {
			starts = append(starts, at)
		}
	}
	return starts
}

// offset returns how many seconds a zone is ahead of UTC.
func offset(seconds int64, zone *time.Location) int64 {
	_, off := time.Unix(seconds, 0).In(zone).Zone()
	return int64(off)
}
