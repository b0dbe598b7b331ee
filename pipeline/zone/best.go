package zone

import (
	"time"

	"offerstream/pipeline/value"
)

// BestHour is when an offer had best go out, within a time ahead (LANGUAGE.md,
// rule 8): at the moment of now and of the Hours after it, before now + ahead, of
// which the hour of the week has most of the times; of equals, the hour of the
// day; of equals, the earliest. Moments for which quiet is true are left out;
// quiet may be nil. ok is false if the offer should go out at once: if that is
// best, if no moment is left, or if none of their hours has any of the times.
func BestHour(now, ahead int64, times []int64, loc *time.Location, quiet func(t int64) bool) (due int64, ok bool) {
	var ofWeek [7 * 24]int
	var ofDay [24]int
	for _, t := range times {
		h := HourOfWeek(t, loc)
		ofWeek[h]++
		ofDay[h%24]++
	}
	due = now
	mostWeek, mostDay := 0, 0
	for i, t := range append([]int64{now}, Hours(now, value.Plus(now, ahead), loc)...) {
		if quiet != nil && quiet(t) {
			continue
		}
		h := HourOfWeek(t, loc)
		if week, day := ofWeek[h], ofDay[h%24]; week > mostWeek || week == mostWeek && day > mostDay {
			due, ok, mostWeek, mostDay = t, i > 0, week, day
		}
	}
	return due, ok
}
