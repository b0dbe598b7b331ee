package pipeline

import (
	"math"
	"slices"
	"sort"
	"time"
)

// A window is what distinct, first, last or list hold under one key, decoded:
// values of any kind, in order of event time, those of one time in the order
// of the log. Bounds are as those of a series; buckets are of first and last
// alone. In its record (keyed.go) it stands as
//
//	8 bytes  time of the newest bucket or entry
//	4 bytes  how many buckets and entries there are
//	         and those, as codec.go writes them
type window struct {
	entries []entry
	buckets []bucket // by time; older than the exact entries
}

type entry struct {
	t   int64 // event time
	v   Value // what is aggregated
	row *row  // list
}

// A row is one element of a list.
type row struct {
	key    string
	fields []Value
	has    []bool // per field: the item had it
}

type bucket struct {
	t           int64 // when it counts as having happened
	first, last entry
}

// cut is the latest time that lies outside a window of w ending now.
func cut(now int64, w time.Duration) int64 {
	if w == 0 {
		return math.MinInt64
	}
	return now - int64(w)
}

func (w *window) len() int { return len(w.entries) + len(w.buckets) }

// drop removes what lies at or before c.
func (w *window) drop(c int64) {
	b, e := w.in(c)
	w.entries = slices.Delete(w.entries, 0, len(w.entries)-len(e))
	w.buckets = slices.Delete(w.buckets, 0, len(w.buckets)-len(b))
}

// in is the part of the window after c.
func (w *window) in(c int64) ([]bucket, []entry) {
	i := sort.Search(len(w.entries), func(i int) bool { return w.entries[i].t > c })
	j := sort.Search(len(w.buckets), func(j int) bool { return w.buckets[j].t > c })
	return w.buckets[j:], w.entries[i:]
}

func (w *window) insert(e entry) {
	i := len(w.entries)
	for i > 0 && e.t < w.entries[i-1].t {
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
				if e.t < w.entries[i].t {
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
	n := len(w.entries) - limit
	if n <= 0 {
		return false
	}
	if f.agg == aggFirst || f.agg == aggLast {
		for _, e := range w.entries[:n] {
			w.fold(f.bucketTime(e.t), e)
		}
	}
	w.entries = slices.Delete(w.entries, 0, n)
	return true
}

// fold adds an exact entry to the bucket of its step.
func (w *window) fold(t int64, e entry) {
	i := sort.Search(len(w.buckets), func(i int) bool { return w.buckets[i].t >= t })
	if i == len(w.buckets) || w.buckets[i].t != t {
		w.buckets = slices.Insert(w.buckets, i, bucket{t, e, e})
		return
	}
	b := &w.buckets[i]
	if e.t < b.first.t {
		b.first = e
	}
	if b.last.t <= e.t {
		b.last = e
	}
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

// windowHead is the size of what stands before a window's bytes.
const windowHead = 12

// body is a record behind its head and text.
func body(rec []byte) []byte {
	n, _ := head(rec)
	return rec[headBytes+n:]
}

// read decodes a record into w; texts are views into it.
func (w *window) read(rec []byte) {
	w.buckets, w.entries = w.buckets[:0], w.entries[:0]
	b := body(rec)
	if len(b) == 0 {
		return
	}
	r := reader{b: b[windowHead:], views: true}
	for range r.len(5) {
		w.buckets = append(w.buckets, bucket{r.int(), r.entry(0), r.entry(0)})
	}
	at := int64(0)
	for range r.len(3) {
		e := r.entry(at)
		at = e.t
		w.entries = append(w.entries, e)
	}
}

// appendTo appends what read reads.
func (w *window) appendTo(dst []byte) []byte {
	newest := int64(math.MinInt64)
	if n := len(w.buckets); n > 0 {
		newest = w.buckets[n-1].t
	}
	if n := len(w.entries); n > 0 {
		newest = max(newest, w.entries[n-1].t)
	}
	dst = le.AppendUint64(dst, uint64(newest))
	dst = le.AppendUint32(dst, uint32(w.len()))
	out := writer{dst}
	out.len(len(w.buckets))
	for _, b := range w.buckets {
		out.int(b.t)
		out.entry(b.first, 0)
		out.entry(b.last, 0)
	}
	out.len(len(w.entries))
	at := int64(0)
	for _, e := range w.entries {
		out.entry(e, at)
		at = e.t
	}
	return out.b
}

// A windowScratch is where a fold decodes the window that it changes.
type windowScratch struct {
	w window
	b []byte
}

// change decodes key i's window, lets fn change it, and puts it back.
func (f *feature) change(st *featureState, i int, s *windowScratch, fn func(w *window)) {
	rec := st.record(i)
	s.w.read(rec)
	before := s.w.len()
	fn(&s.w)
	s.b = s.w.appendTo(s.b[:0])
	old := len(body(rec))
	at := len(rec) - old
	st.splice(i, at, old, len(s.b))
	copy(st.record(i)[at:], s.b)
	st.held = uint32(int(st.held) + s.w.len() - before)
}
