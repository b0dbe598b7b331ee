package oracle

import (
	"math/big"
	"slices"

	"cel.dev/cel-go/common/types/ref"
)

// An entry is one value at one event time.
type entry struct {
	key  string // of `by`
	at   int64  // event time
	pos  int    // of its event in the log
	item int

	value   ref.Val  // first, last, min, max, distinct; list: the stored fields
	text    string   // distinct: of the value
	micro   *big.Int // sum, avg: millionths
	listKey string   // list
	stored  *object  // list: the stored fields

	open   bool  // dwell: the interval has no end yet
	length int64 // dwell: of a closed interval
}

// before compares two entries in their order.
func (e *entry) before(o *entry) int {
	switch {
	case e.at != o.at:
		return sign(e.at < o.at)
	case e.pos != o.pos:
		return sign(e.pos < o.pos)
	case e.item != o.item:
		return sign(e.item < o.item)
	}
	return 0
}

func sign(less bool) int {
	if less {
		return -1
	}
	return 1
}

// A window holds the entries of one key. The newest are exact. Folded entries
// share the time of their bucket but are all kept, so that every aggregate can
// be computed from entries.
type window struct {
	within  int64
	exact   []*entry  // in order
	buckets []*bucket // by time
	zeros   int       // distinct values of an item: how many zero bits the hash of one that is held begins with
}

type bucket struct {
	at      int64
	entries []*entry // in order
}

// in reports whether a time is in the window.
func (w *window) in(at, now int64) bool { return w.within == 0 || at > minus(now, w.within) }

// drop removes the entries that have left the window.
func (w *window) drop(now int64) {
	w.exact = slices.DeleteFunc(w.exact, func(e *entry) bool { return !w.in(e.at, now) })
	w.buckets = slices.DeleteFunc(w.buckets, func(b *bucket) bool { return !w.in(b.at, now) })
}

// insert puts an entry in its place.
func (w *window) insert(e *entry) {
	w.exact = append(w.exact, e)
	slices.SortFunc(w.exact, (*entry).before)
}

// foldTo folds the oldest exact entry until at most n are left, or until the
// oldest is an interval that is still open.
func (w *window) foldTo(n int) {
	for len(w.exact) > n && !w.exact[0].open {
		w.fold()
	}
}

// fold moves the oldest exact entry into the bucket of its step. Without
// `within` there is only one bucket.
func (w *window) fold() {
	e := w.exact[0]
	w.exact = w.exact[1:]
	at := int64(0)
	if w.within > 0 {
		step := max(w.within/64, 1)
		at = e.at / step * step // rounds towards zero
		if at < e.at {
			at = plus(at, step)
		}
	}
	w.putInBucket(e, at)
}

// putInBucket adds a folded entry to the bucket of a time.
func (w *window) putInBucket(e *entry, at int64) {
	i := slices.IndexFunc(w.buckets, func(b *bucket) bool { return b.at == at })
	if i < 0 {
		i = len(w.buckets)
		w.buckets = append(w.buckets, &bucket{at: at})
	}
	b := w.buckets[i]
	b.entries = append(b.entries, e)
	slices.SortFunc(b.entries, (*entry).before)
	slices.SortFunc(w.buckets, func(a, b *bucket) int { return sign(a.at < b.at) })
}

// live returns the entries in the window: those of the buckets, the earliest
// bucket first, then the exact ones.
func (w *window) live(now int64) []*entry {
	var out []*entry
	for _, b := range w.buckets {
		if w.in(b.at, now) {
			out = append(out, b.entries...)
		}
	}
	for _, e := range w.exact {
		if w.in(e.at, now) {
			out = append(out, e)
		}
	}
	return out
}

// held counts the entries that the window has to keep; a bucket counts as one.
func (w *window) held(now int64) int {
	n := 0
	for _, b := range w.buckets {
		if w.in(b.at, now) {
			n++
		}
	}
	for _, e := range w.exact {
		if w.in(e.at, now) {
			n++
		}
	}
	return n
}

// exits returns the moments at which an entry or a bucket leaves the window.
func (w *window) exits() []int64 {
	if w.within == 0 {
		return nil
	}
	var out []int64
	for _, b := range w.buckets {
		out = append(out, plus(b.at, w.within))
	}
	for _, e := range w.exact {
		out = append(out, plus(e.at, w.within))
	}
	return out
}
