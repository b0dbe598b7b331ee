package window

import (
	"math"
	"slices"
	"time"

	"offerstream/pipeline/value"
)

// maxDwell bounds one stay: nobody looks at one page for longer.
const maxDwell = 5 * time.Minute

func clampDwell(ns int64) int64 { return min(max(ns, 0), int64(maxDwell)) }

// A Stay is one condition that a dwell be long enough, with the stays that lie
// in the dwell's window.
type Stay struct {
	Need   int64 // how long the dwell must be, in nanoseconds
	within int64 // the window, in nanoseconds; 0: without limit
	closed []stayEntry
	open   []int64 // the start of each open stay
}

// A stayEntry is a stay, or a bucket of stays, of time t that lasted d nanoseconds.
type stayEntry struct{ t, d int64 }

// Earliest is the first moment after now at which every stay is long enough,
// provided that no further event comes: open stays grow, and stays that leave
// their window no longer count. ok is false if there is no such moment before the
// open stays end. points is memory that Earliest may use.
func Earliest(now int64, stays []Stay, points []int64) (moment int64, ok bool) {
	points, end := changes(now, stays, points)
	for i, p := range points {
		if p < now || p > end {
			continue
		}
		last := end
		if i+1 < len(points) {
			last = min(points[i+1]-1, end)
		}
		if m, ok := enough(p, stays); ok && m > now && m <= last {
			return m, true
		}
	}
	return 0, false
}

// changes returns now and the moments at which the growth of any dwell changes,
// sorted: when an open stay ends, or a stay leaves its window. end is when the
// last open stay ends.
func changes(now int64, stays []Stay, points []int64) (moments []int64, end int64) {
	end = now
	points = append(points[:0], now)
	for _, s := range stays {
		for _, t := range s.open {
			end = max(end, value.Plus(t, int64(maxDwell)))
			points = append(points, value.Plus(t, int64(maxDwell)))
			if s.within > 0 {
				points = append(points, value.Plus(t, s.within))
			}
		}
		if s.within > 0 {
			for _, e := range s.closed {
				points = append(points, value.Plus(e.t, s.within))
			}
		}
	}
	slices.Sort(points)
	return slices.Compact(points), end
}

// enough is the first moment, from p on, at which every dwell is long enough if
// each goes on growing as at p.
func enough(p int64, stays []Stay) (moment int64, ok bool) {
	moment = p
	for _, s := range stays {
		have, slope := s.at(p)
		switch {
		case have >= s.Need:
		case slope == 0:
			return 0, false
		default:
			wait := (s.Need - have + slope - 1) / slope
			if value.Plus(p, wait)-p < wait {
				return 0, false // beyond the last time there is
			}
			moment = max(moment, p+wait)
		}
	}
	return moment, true
}

// at is the dwell at moment m, and how fast it grows from there: by slope
// nanoseconds a nanosecond.
func (s Stay) at(m int64) (have, slope int64) {
	cutoff := int64(math.MinInt64)
	if s.within > 0 {
		cutoff = value.Minus(m, s.within)
	}
	for _, e := range s.closed {
		if e.t > cutoff {
			have += e.d
		}
	}
	for _, t := range s.open {
		if t > cutoff {
			have += clampDwell(value.Minus(m, t))
			if m >= t && m < value.Plus(t, int64(maxDwell)) {
				slope++
			}
		}
	}
	return have, slope
}

// Stay fills in the stays that lie in the window of a key at now. It keeps
// into.Need, and reuses the memory of into.
func (f *Shape) Stay(st *State, key string, now int64, into *Stay) {
	*into = Stay{Need: into.Need, within: int64(f.Within), closed: into.closed[:0], open: into.open[:0]}
	in := f.inSeries(st.find(key), f.cutoff(now), now)
	for b := in.buckets; len(b) > 0; b = b[in.bucket:] {
		into.closed = append(into.closed, stayEntry{word(b, 0), word(b, 2)})
	}
	for e := in.entries; len(e) > 0; e = e[in.entry:] {
		if word(e, 1) == openStay {
			into.open = append(into.open, word(e, 0))
		} else {
			into.closed = append(into.closed, stayEntry{word(e, 0), word(e, 1)})
		}
	}
}
