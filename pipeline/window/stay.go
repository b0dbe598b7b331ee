package window

import (
	"slices"
	"time"
)

// maxDwell bounds one stay: nobody looks longer at one page.
const maxDwell = 5 * time.Minute

func clampDwell(ns int64) int64 { return min(max(ns, 0), int64(maxDwell)) }

// A Stay is a dwell of which a condition asks whether it is long enough: what
// lies in its window now.
type Stay struct {
	Need   int64 // nanoseconds
	within int64 // 0: for ever
	closed []stayEntry
	open   []int64 // when each open stay began
}

type stayEntry struct{ t, d int64 }

// Earliest is the first moment after now at which every stay has what it
// needs without further events: what is open grows, what leaves its window
// goes. False when that does not happen before the open stays end. points is
// memory to use.
func Earliest(now int64, stays []Stay, points []int64) (int64, bool) {
	end := now
	points = append(points[:0], now)
	for _, s := range stays {
		for _, t := range s.open {
			end = max(end, t+int64(maxDwell))
			points = append(points, t+int64(maxDwell))
			if s.within > 0 {
				points = append(points, t+s.within)
			}
		}
		if s.within > 0 {
			for _, e := range s.closed {
				points = append(points, e.t+s.within)
			}
		}
	}
	slices.Sort(points)
	points = slices.Compact(points)
	for i, p := range points {
		if p < now || p > end {
			continue
		}
		next := end + 1
		if i+1 < len(points) {
			next = min(points[i+1], end+1)
		}
		at, ok := p, true
		for _, s := range stays {
			have, slope := s.at(p)
			switch {
			case have >= s.Need:
			case slope == 0:
				ok = false
			default: // grows by slope a nanosecond
				at = max(at, p+(s.Need-have+slope-1)/slope)
			}
		}
		if ok && at > now && at < next {
			return at, true
		}
	}
	return 0, false
}

// at is the dwell at moment m and how fast it grows from there.
func (s Stay) at(m int64) (have, slope int64) {
	out := int64(-1 << 63)
	if s.within > 0 {
		out = m - s.within
	}
	for _, e := range s.closed {
		if e.t > out {
			have += e.d
		}
	}
	for _, t := range s.open {
		if t > out {
			have += clampDwell(m - t)
			if m >= t && m < t+int64(maxDwell) {
				slope++
			}
		}
	}
	return have, slope
}

// Stay fills in what lies in the window of a key at now.
func (f *Shape) Stay(st *State, key string, now int64, into *Stay) {
	*into = Stay{Need: into.Need, within: int64(f.Within), closed: into.closed[:0], open: into.open[:0]}
	buckets, entries := f.inSeries(st.find(key), f.cut(now))
	for b := buckets; len(b) > 0; b = b[bucketBytes:] {
		into.closed = append(into.closed, stayEntry{word(b, 0), word(b, 2)})
	}
	for e := entries; len(e) > 0; e = e[2*timeBytes:] {
		if word(e, 1) == openStay {
			into.open = append(into.open, word(e, 0))
		} else {
			into.closed = append(into.closed, stayEntry{word(e, 0), word(e, 1)})
		}
	}
}
