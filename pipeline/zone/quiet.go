package zone

import (
	"math"
	"time"

	"offerstream/pipeline/value"
)

// Quiet reports whether the wall clock at t lies in [from, to), which are minutes
// since midnight. If from is after to, the quiet hours go over midnight; if both
// are equal, there are none.
func Quiet(t int64, loc *time.Location, from, to int) bool {
	wall := in(t, loc)
	return quiet(wall.Hour()*60+wall.Minute(), from, to)
}

func quiet(minute, from, to int) bool {
	if from <= to {
		return from <= minute && minute < to
	}
	return from <= minute || minute < to
}

// Loud is the first moment at or after t that is not Quiet. Where the wall clock
// is put forward over the end of the quiet hours, they are over at once; where it
// is put back into them, they begin again. If the whole day is quiet, it is the
// last time that there is.
func Loud(t int64, loc *time.Location, from, to int) int64 {
	for {
		s := segmentAt(t, loc)
		shown := s.since(t, day)
		if !quiet(int(shown/minute), from, to) {
			return t
		}
		// In this segment, the quiet hours are over when the clock shows their end,
		// which is less than a day away, or a day if all of it is quiet.
		wait := floorMod(int64(to)*minute-shown, day)
		if wait == 0 {
			wait = day
		}
		if t = min(value.Plus(t, wait), s.to); t == math.MaxInt64 {
			return t
		}
	}
}
