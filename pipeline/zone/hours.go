package zone

import (
	"math"
	"time"

	"offerstream/pipeline/value"
)

// mostShift is more than wall clocks of one zone ever differ: those of the date
// line moved by a day, and offsets lie within 26 hours of each other.
const mostShift = 2 * day

// Hours are the moments strictly between two times at which an hour of the wall
// clock begins: at which it shows full minutes 00 and seconds 00. When it is put
// forward over the beginning of an hour, that hour has none. When it is put back,
// so that it shows the same date and hour twice, only the first counts. The
// result has at most about one moment for each hour between the two times.
func Hours(after, before int64, loc *time.Location) (starts []int64) {
	var earlier []segment
	for t := value.Minus(after, mostShift); t < before; {
		s := segmentAt(t, loc)
		// The first moment after the time `after`, or the first of the segment.
		t = max(s.from, value.Plus(after, 1))
		if since := s.since(t, hour); since > 0 {
			t = value.Plus(t, hour-since)
		}
		for ; t < min(s.to, before); t = value.Plus(t, hour) {
			if !shown(value.Plus(t, s.offset), earlier) {
				starts = append(starts, t)
			}
		}
		if s.to == math.MaxInt64 {
			break
		}
		earlier = append(earlier, s)
		t = s.to
	}
	return starts
}

// shown reports whether the wall clock has shown the same, as if it were UTC, in
// one of these segments.
func shown(wall int64, earlier []segment) bool {
	for _, s := range earlier {
		if u := value.Minus(wall, s.offset); s.from <= u && u < s.to {
			return true
		}
	}
	return false
}
