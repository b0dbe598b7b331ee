package pipeline

import (
	"math"
	"slices"
	"sort"
	"time"
)

// A window is one aggregate's entries, of one key. Entries are in order of
// (event time, log position, item). At most Bounds.Entries are exact; the
// oldest beyond fold into buckets, whose times are rounded up to whole steps
// of a 64th of the window, so that what a user holds is bounded and still
// leaves the window on time. What has left is dropped when something is added.
type window struct {
	entries []entry
	buckets []bucket // by time; older than the exact entries
}

type entry struct {
	t   int64  // event time
	pos uint64 // the user's event number << 16 | item
	v   Value  // what is aggregated; sum, avg: millionths; dwell: a duration, or null while open
	row *row   // list
}

// A row is one element of a list.
type row struct {
	key    string
	fields []Value
	has    []bool // per field: the item had it
}

type bucket struct {
	t        int64 // when it counts as having happened: the last entry's possible leaving is t + window
	n        int64
	sum      int64
	min, max Value
	first    entry
	last     entry
}

func (a entry) before(b entry) bool {
	if a.t != b.t {
		return a.t < b.t
	}
	return a.pos < b.pos
}

// cut is the latest time that lies outside a window of w ending now.
func cut(now int64, w time.Duration) int64 {
	if w == 0 {
		return math.MinInt64
	}
	return now - int64(w)
}

// drop removes what lies at or before c and returns how many records went.
func (w *window) drop(c int64) int {
	i := sort.Search(len(w.entries), func(i int) bool { return w.entries[i].t > c })
	j := sort.Search(len(w.buckets), func(j int) bool { return w.buckets[j].t > c })
	if i > 0 {
		w.entries = slices.Delete(w.entries, 0, i)
	}
	if j > 0 {
		w.buckets = slices.Delete(w.buckets, 0, j)
	}
	return i + j
}

func (w *window) len() int { return len(w.entries) + len(w.buckets) }

// empty says whether nothing lies after c.
func (w *window) empty(c int64) bool {
	return (len(w.entries) == 0 || w.entries[len(w.entries)-1].t <= c) && (len(w.buckets) == 0 || w.buckets[len(w.buckets)-1].t <= c)
}

func (w *window) insert(e entry) {
	i := len(w.entries)
	for i > 0 && e.before(w.entries[i-1]) {
		i--
	}
	w.entries = slices.Insert(w.entries, i, e)
}

// add puts an entry into feature f's window; full says that a bound was met.
func (w *window) add(f *feature, e entry, bounds *Bounds) (full bool) {
	limit := bounds.Entries
	switch f.agg {
	case aggDistinct:
		for i := range w.entries {
			if w.entries[i].v.same(e.v) {
				if e.before(w.entries[i]) {
					return false
				}
				w.entries = slices.Delete(w.entries, i, i+1)
				break
			}
		}
	case aggList:
		limit = f.def.Keep
		if f.def.Key != "" {
			w.remove(e.row.key)
		}
	}
	w.insert(e)
	if len(w.entries) <= limit {
		return false
	}
	if f.agg == aggDistinct || f.agg == aggList {
		w.entries = slices.Delete(w.entries, 0, 1)
		return true
	}
	w.foldTo(f, limit)
	return true
}

// foldTo folds the oldest entries until limit are left. One that is open has
// no length to fold yet: it and what is newer wait until it closes.
func (w *window) foldTo(f *feature, limit int) {
	n := 0
	for ; len(w.entries)-n > limit && !(f.agg == aggDwell && w.entries[n].open()); n++ {
		w.fold(f, w.entries[n])
	}
	w.entries = slices.Delete(w.entries, 0, n)
}

func (e entry) open() bool { return e.v.kind == kindNull }

// fold adds an exact entry to the bucket of its step.
func (w *window) fold(f *feature, e entry) {
	t := int64(0) // without a window: one bucket, for ever
	if f.def.Within != 0 {
		step := max(int64(f.def.Within)/64, 1)
		t = ceilDiv(e.t, step) * step
	}
	i := sort.Search(len(w.buckets), func(i int) bool { return w.buckets[i].t >= t })
	if i == len(w.buckets) || w.buckets[i].t != t {
		b := bucket{t: t, n: 1, min: e.v, max: e.v, first: e, last: e}
		if f.agg.sums() {
			b.sum = int64(e.v.bits)
		}
		w.buckets = slices.Insert(w.buckets, i, b)
		return
	}
	b := &w.buckets[i]
	b.n++
	switch f.agg {
	case aggSum, aggAvg, aggDwell:
		b.sum += int64(e.v.bits)
	case aggMin, aggMax:
		if less(e.v, b.min) {
			b.min = e.v
		}
		if less(b.max, e.v) {
			b.max = e.v
		}
	case aggFirst, aggLast:
		if e.before(b.first) {
			b.first = e
		}
		if b.last.before(e) {
			b.last = e
		}
	}
}

func ceilDiv(a, b int64) int64 {
	q := a / b
	if a%b > 0 {
		q++
	}
	return q
}

func less(a, b Value) bool {
	x, _ := a.number()
	y, _ := b.number()
	return x < y
}

// remove takes the row of a key out of a list.
func (w *window) remove(key string) bool {
	for i := range w.entries {
		if w.entries[i].row.key == key {
			w.entries = slices.Delete(w.entries, i, i+1)
			return true
		}
	}
	return false
}

// in is the part of the window after c.
func (w *window) in(c int64) ([]bucket, []entry) {
	i := sort.Search(len(w.entries), func(i int) bool { return w.entries[i].t > c })
	j := sort.Search(len(w.buckets), func(j int) bool { return w.buckets[j].t > c })
	return w.buckets[j:], w.entries[i:]
}

// maxDwell bounds one stay: nobody looks longer at one page.
const maxDwell = 5 * time.Minute

func clampDwell(ns int64) int64 { return min(max(ns, 0), int64(maxDwell)) }

// dwell is the time stayed, of what lies after c; what is open counts to now.
func dwell(buckets []bucket, entries []entry, now int64) int64 {
	var sum int64
	for i := range buckets {
		sum += buckets[i].sum
	}
	for i := range entries {
		if entries[i].open() {
			sum += clampDwell(now - entries[i].t)
		} else {
			sum += int64(entries[i].v.bits)
		}
	}
	return sum
}
