package zone

import (
	"math"
	"time"

	"offerstream/pipeline/value"
)

const (
	minute = int64(time.Minute)
	hour   = int64(time.Hour)
	day    = 24 * hour
)

// weekdays are the names of the days, by time.Weekday.
var weekdays = [...]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

func in(t int64, loc *time.Location) time.Time { return time.Unix(0, t).In(loc) }

// Local is what the wall clock shows at t: the hour (0 to 23), the minute, the
// weekday ("mon" to "sun"), and the date ("2026-04-01").
func Local(t int64, loc *time.Location) (hour, minute int, weekday, date string) {
	wall := in(t, loc)
	return wall.Hour(), wall.Minute(), weekdays[wall.Weekday()], wall.Format(time.DateOnly)
}

// HourOfWeek is the hour that the wall clock shows at t, counted from Monday 0:00:
// 0 to 167. Its remainder by 24 is the hour of the day.
func HourOfWeek(t int64, loc *time.Location) int {
	wall := in(t, loc)
	return (int(wall.Weekday())+6)%7*24 + wall.Hour()
}

// A segment is a time in which the wall clock has the same distance from UTC.
type segment struct {
	from, to int64 // from is in it, to is not, unless it is the last time that there is
	offset   int64 // wall clock minus UTC
}

// segmentAt is the segment in which t lies, from t on. What follows it may have
// the same offset.
func segmentAt(t int64, loc *time.Location) segment {
	wall := in(t, loc)
	_, offset := wall.Zone()
	s := segment{t, math.MaxInt64, int64(offset) * int64(time.Second)}
	if _, end := wall.ZoneBounds(); !end.IsZero() {
		s.to = value.Nanos(end)
	}
	if s.to <= t && t < math.MaxInt64 {
		// For years that only a zone's last rule describes, the bounds end 365 days
		// after the year began, in UTC. In a leap year, a day is missing.
		s.to = value.Plus(t, day-floorMod(t, day))
	}
	return s
}

// since is how long before t the wall clock last showed a multiple of a length,
// which is an hour or a day and must be more than 0.
func (s segment) since(t, length int64) int64 {
	return floorMod(floorMod(t, length)+s.offset, length)
}

// floorMod is the remainder of a division that rounds down.
func floorMod(a, b int64) int64 { return (a%b + b) % b }
