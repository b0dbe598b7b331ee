package pipeline

import (
	"math"
	"slices"
	"sort"
	"time"
)

// A window is what distinct, first, last or list hold under one key: values or
// rows, in order of event time, those of one time in the order of the log.
// Bounds are as those of a series; buckets are of first and last alone. It is
// worked on where it lies (keyed.go):
//
//	8 bytes  time of the newest bucket or entry
//	4 bytes  how many entries
//	4 bytes  how many buckets
//	4 bytes  the size of the buckets
//	         the buckets, as codec.go writes them
//	         the entries: 8 bytes the time, 4 the size of what is held, which
//	         is as codec.go writes it
const (
	windowEntries = 8
	windowBuckets = 12
	windowSize    = 16
	windowHead    = 20
	entryHead     = 12
)

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

// body is a record behind its head and text; of no bytes when it is new.
func body(rec []byte) []byte {
	n, _ := head(rec)
	return rec[headBytes+n:]
}

func counted(b []byte, what int) int { return int(le.Uint32(b[what:])) }

func (s *featureState) count(i, what, n int) {
	b := body(s.record(i))
	le.PutUint32(b[what:], uint32(counted(b, what)+n))
	s.held = uint32(int(s.held) + n)
}

// entriesAt is where a record's entries begin.
func entriesAt(rec []byte) int {
	b := body(rec)
	if len(b) == 0 {
		return len(rec)
	}
	return len(rec) - len(b) + windowHead + counted(b, windowSize)
}

// entryAt reads the entry at at in a record.
func entryAt(rec []byte, at int) (t int64, holds []byte, next int) {
	next = at + entryHead + int(le.Uint32(rec[at+8:]))
	return word(rec[at:], 0), rec[at+entryHead : next], next
}

// bucketsOf decodes a record's buckets; texts are views into it.
func bucketsOf(rec []byte) []bucket {
	b := body(rec)
	if len(b) == 0 || counted(b, windowBuckets) == 0 {
		return nil
	}
	buckets := make([]bucket, counted(b, windowBuckets))
	r := reader{b: b[windowHead:], views: true}
	for i := range buckets {
		buckets[i] = bucket{r.int(), r.entry(0), r.entry(0)}
	}
	return buckets
}

// addWindow puts an entry into key i's window, from which goes what lies at or
// before out; full says that a bound was met. b is memory to use.
func (f *feature) addWindow(st *featureState, i int, out int64, e entry, bounds *Bounds, b *[]byte) (full bool) {
	f.dropWindow(st, i, out)
	limit := bounds.Entries
	switch f.agg {
	case aggDistinct:
		rec := st.record(i)
		for at := entriesAt(rec); at < len(rec); {
			t, holds, next := entryAt(rec, at)
			if (&reader{b: holds, views: true}).value().same(e.v) {
				if e.t < t {
					return false
				}
				f.cutEntry(st, i, at)
				break
			}
			at = next
		}
	case aggList:
		limit = f.def.Keep
		if f.def.Key != "" {
			f.removeRow(st, i, e.row.key)
		}
	}
	w := writer{(*b)[:0]}
	w.holds(e)
	*b = w.b
	st.insert(i, e.t, w.b)
	n := counted(body(st.record(i)), windowEntries) - limit
	if n <= 0 {
		return false
	}
	if f.agg == aggFirst || f.agg == aggLast {
		f.foldWindow(st, i, n)
	}
	for range n {
		f.cutEntry(st, i, entriesAt(st.record(i)))
	}
	return true
}

// insert puts an entry behind those of its time and before.
func (s *featureState) insert(i int, t int64, holds []byte) {
	rec := s.record(i)
	if len(body(rec)) == 0 {
		s.splice(i, len(rec), 0, windowHead)
		rec = s.record(i)
		clear(body(rec))
		putWord(body(rec), 0, math.MinInt64)
	}
	at := len(rec)
	if newest := word(body(rec), 0); newest > t {
		for at = entriesAt(rec); at < len(rec); {
			was, _, next := entryAt(rec, at)
			if was > t {
				break
			}
			at = next
		}
	} else {
		putWord(body(rec), 0, t)
	}
	s.splice(i, at, 0, entryHead+len(holds))
	en := s.record(i)[at:]
	putWord(en, 0, t)
	le.PutUint32(en[8:], uint32(len(holds)))
	copy(en[entryHead:], holds)
	s.count(i, windowEntries, 1)
}

// cutEntry takes the entry at at out of key i's record.
func (f *feature) cutEntry(st *featureState, i, at int) {
	rec := st.record(i)
	_, _, next := entryAt(rec, at)
	st.splice(i, at, next-at, 0)
	st.count(i, windowEntries, -1)
	if next == len(rec) {
		f.newestAgain(st, i)
	}
}

// newestAgain finds the time of key i's newest bucket or entry.
func (f *feature) newestAgain(st *featureState, i int) {
	rec, newest := st.record(i), int64(math.MinInt64)
	for _, b := range bucketsOf(rec) {
		newest = b.t
	}
	for at := entriesAt(rec); at < len(rec); {
		newest, _, at = entryAt(rec, at)
	}
	putWord(body(rec), 0, newest)
}

// removeRow takes the row of a key out of key i's list.
func (f *feature) removeRow(st *featureState, i int, key string) {
	rec := st.record(i)
	for at := entriesAt(rec); at < len(rec); {
		_, holds, next := entryAt(rec, at)
		if rowKey(holds) == key {
			f.cutEntry(st, i, at)
			return
		}
		at = next
	}
}

// dropWindow drops what lies at or before c.
func (f *feature) dropWindow(st *featureState, i int, c int64) {
	for {
		rec := st.record(i)
		at := entriesAt(rec)
		if at == len(rec) || word(rec[at:], 0) > c {
			break
		}
		f.cutEntry(st, i, at)
	}
	if buckets := bucketsOf(st.record(i)); len(buckets) > 0 && buckets[0].t <= c {
		n := sort.Search(len(buckets), func(j int) bool { return buckets[j].t > c })
		f.setBuckets(st, i, buckets[n:])
	}
}

// foldWindow folds key i's first n entries into the buckets of their steps.
func (f *feature) foldWindow(st *featureState, i, n int) {
	rec := st.record(i)
	buckets := bucketsOf(rec)
	for at := entriesAt(rec); n > 0; n-- {
		t, holds, next := entryAt(rec, at)
		at = next
		e := (&reader{b: holds, views: true}).holds(t)
		t = f.bucketTime(t)
		j := sort.Search(len(buckets), func(j int) bool { return buckets[j].t >= t })
		if j == len(buckets) || buckets[j].t != t {
			buckets = slices.Insert(buckets, j, bucket{t, e, e})
			continue
		}
		b := &buckets[j]
		if e.t < b.first.t {
			b.first = e
		}
		if b.last.t <= e.t {
			b.last = e
		}
	}
	f.setBuckets(st, i, buckets)
}

// setBuckets gives key i's window other buckets, which may be views into it.
func (f *feature) setBuckets(st *featureState, i int, buckets []bucket) {
	var w writer
	for _, b := range buckets {
		w.int(b.t)
		w.entry(b.first, 0)
		w.entry(b.last, 0)
	}
	rec := st.record(i)
	b := body(rec)
	size, at := counted(b, windowSize), len(rec)-len(b)+windowHead
	st.count(i, windowBuckets, len(buckets)-counted(b, windowBuckets))
	le.PutUint32(b[windowSize:], uint32(len(w.b)))
	st.splice(i, at, size, len(w.b))
	copy(st.record(i)[at:], w.b)
	f.newestAgain(st, i)
}

// totalWindow is distinct, first or last of what lies after c.
func (f *feature) totalWindow(rec []byte, c int64) Value {
	var first, last Value
	n, found := 0, false
	take := func(t int64, a, b Value) {
		if t > c {
			if !found {
				first, found = a, true
			}
			last = b
		}
	}
	if rec != nil {
		for _, b := range bucketsOf(rec) {
			take(b.t, b.first.v, b.last.v)
		}
		for at := entriesAt(rec); at < len(rec); {
			t, holds, next := entryAt(rec, at)
			at = next
			if t > c {
				n++
			}
			if f.agg != aggDistinct {
				v := (&reader{b: holds, views: true}).value()
				take(t, v, v)
			}
		}
	}
	switch f.agg {
	case aggDistinct:
		return Value{kind: kindInt, bits: uint64(n)}
	case aggFirst:
		return first
	}
	return last
}

// rows are those of a list that lie after c.
func rows(rec []byte, c int64) []*row {
	var all []*row
	for at := entriesAt(rec); at < len(rec); {
		t, holds, next := entryAt(rec, at)
		if at = next; t > c {
			all = append(all, (&reader{b: holds}).holds(t).row)
		}
	}
	return all
}
