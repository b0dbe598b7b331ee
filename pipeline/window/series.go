package window

import (
	"math"

	"offerstream/pipeline/value"
)

// A series is the record of an aggregate of numbers (Aggregate.width > 0) under
// one key: buckets, then entries. Both are of fixed size and sorted by time;
// entries of the same time are in the order of the log. At most Shape.Entries
// entries are exact. Beyond that, the oldest is folded into a bucket. Bucket
// times are rounded up to multiples of a 64th of the window; so a user holds a
// bounded number of buckets, and each leaves the window less than one 64th
// late. What has left the window is dropped when something is added.
//
//	bucket  4 words of 8 bytes: its time, the number of entries, and the low and
//	        the high half of their sum, or their least and greatest value
//	entry   8 bytes event time, 8 bytes value (except for a count)
//
// A value is a number of millionths (sum, avg), a double (min, max), or the
// nanoseconds of a stay (dwell); openStay stands for a stay that is open. With
// `by`, buckets and entries end with 4 bytes order (State.added).
const (
	timeBytes   = 8
	bucketWords = 32
	orderBytes  = 4
	openStay    = math.MinInt64
	maxBuckets  = 1<<8 - 1 // of a record, which keeps their number in a byte
)

func word(b []byte, i int) int64 { return int64(le.Uint64(b[i*8:])) }

func putWord(b []byte, i int, v int64) { le.PutUint64(b[i*8:], uint64(v)) }

// entryBytes is the size of a series' entry, bucketBytes that of a bucket.
func (f *Shape) entryBytes() int  { return f.width + f.ordered() }
func (f *Shape) bucketBytes() int { return bucketWords + f.ordered() }

func (f *Shape) ordered() int {
	if f.Grouped {
		return orderBytes
	}
	return 0
}

// orderOf is the order at the end of a bucket or an entry, 0 without `by`.
func (f *Shape) orderOf(b []byte) uint32 {
	if f.Grouped {
		return le.Uint32(b[len(b)-orderBytes:])
	}
	return 0
}

// series splits a record into its buckets and its entries.
func (f *Shape) series(rec []byte) (buckets, entries []byte) {
	text, n := head(rec)
	start := headBytes + text
	end := start + n*f.bucketBytes()
	return rec[start:end], rec[end:]
}

// holdSeries adds entries and buckets, whose numbers may be negative, to what the
// state holds under a key of that length.
func (f *Shape) holdSeries(st *State, key, entries, buckets int) {
	key += entrySize
	st.hold(entries+buckets, entries*(key+f.width-timeBytes)+buckets*(key+f.folded))
}

// past counts the elements, of that size, whose time is at or before cutoff.
// They are sorted by time.
func past(b []byte, size int, cutoff int64) int {
	n := 0
	for n*size < len(b) && word(b[n*size:], 0) <= cutoff {
		n++
	}
	return n
}

// inSeries is that part of a series which is later than cutoff; rec may be nil.
func (f *Shape) inSeries(rec []byte, cutoff, now int64) part {
	p := part{entry: f.entryBytes(), bucket: f.bucketBytes(), now: now}
	if rec == nil {
		return p
	}
	p.buckets, p.entries = f.series(rec)
	p.buckets = p.buckets[past(p.buckets, p.bucket, cutoff)*p.bucket:]
	p.entries = p.entries[past(p.entries, p.entry, cutoff)*p.entry:]
	return p
}

// dropSeries drops the buckets and entries at or before cutoff.
func (f *Shape) dropSeries(st *State, i int, cutoff int64) {
	rec := st.record(i)
	buckets, entries := f.series(rec)
	if n := past(entries, f.entryBytes(), cutoff); n > 0 {
		f.removeEntries(st, i, n)
	}
	if n := past(buckets, f.bucketBytes(), cutoff); n > 0 {
		f.removeBuckets(st, i, n)
	}
}

// removeEntries removes the first n entries of key i's series.
func (f *Shape) removeEntries(st *State, i, n int) {
	rec := st.record(i)
	key, _ := head(rec)
	_, entries := f.series(rec)
	st.splice(i, len(rec)-len(entries), n*f.entryBytes(), 0)
	f.holdSeries(st, key, -n, 0)
}

// removeBuckets removes the first n buckets of key i's series.
func (f *Shape) removeBuckets(st *State, i, n int) {
	rec := st.record(i)
	buckets, entries := f.series(rec)
	st.splice(i, len(rec)-len(entries)-len(buckets), n*f.bucketBytes(), 0)
	f.addBuckets(st, i, -n)
}

// addBuckets adds n, which may be negative, to the number of buckets in the
// head of key i's record.
func (f *Shape) addBuckets(st *State, i, n int) {
	h := st.b[st.offset(i)+headBytes-1:]
	h[0] = byte(int(h[0]) + n)
	f.holdSeries(st, st.keyBytes(i), 0, n)
}

// addSeries adds an entry to key i's series; full reports that the bound was
// reached.
func (f *Shape) addSeries(st *State, i int, t, v int64, limit int) (full bool) {
	rec := st.record(i)
	_, entries := f.series(rec)
	size, offset := f.entryBytes(), len(entries)
	for offset > 0 && word(entries[offset-size:], 0) > t {
		offset -= size
	}
	offset += len(rec) - len(entries)
	st.splice(i, offset, 0, size)
	rec = st.record(i)
	en := rec[offset : offset+size]
	putWord(en, 0, t)
	if f.width > timeBytes {
		putWord(en, 1, v)
	}
	if f.Grouped {
		le.PutUint32(en[f.width:], st.added)
	}
	key, _ := head(rec)
	f.holdSeries(st, key, 1, 0)
	if len(entries)/size < limit {
		return false
	}
	f.foldTo(st, i, limit)
	return true
}

// foldTo folds the oldest entries of a series until limit are left. An open
// stay has no length yet, so folding stops there until it is closed.
func (f *Shape) foldTo(st *State, i, limit int) {
	size := f.entryBytes()
	for {
		_, entries := f.series(st.record(i))
		if len(entries)/size <= limit || f.Stays && word(entries, 1) == openStay {
			return
		}
		t, v, order := word(entries, 0), int64(0), f.orderOf(entries[:size])
		if f.width > timeBytes {
			v = word(entries, 1)
		}
		f.removeEntries(st, i, 1)
		f.foldEntry(st, i, t, v, order)
	}
}

// bucketTime is the time of the bucket into which an entry of time t is folded.
func (f *Shape) bucketTime(t int64) int64 {
	if f.Within == 0 {
		return 0 // a single bucket, which never leaves
	}
	slot := max(int64(f.Within)/64, 1)
	after := t % slot // since the multiple before t; negative before 1970, where / and % round up
	if after <= 0 {
		return t - after
	}
	return value.Plus(t, slot-after)
}

// foldEntry adds the time and value of an entry to its bucket.
func (f *Shape) foldEntry(st *State, i int, t, v int64, order uint32) {
	b, fresh := f.bucketAt(st, i, f.bucketTime(t))
	putWord(b, 1, word(b, 1)+1)
	if f.fold != nil {
		f.fold(b, v, fresh)
	}
	if f.Grouped && (fresh || before(order, f.orderOf(b))) {
		le.PutUint32(b[bucketWords:], order)
	}
}

// bucketAt is the bucket of time t of key i's series. If there was none, it is fresh,
// and empty, and where there were too many the oldest has left.
func (f *Shape) bucketAt(st *State, i int, t int64) (b []byte, fresh bool) {
	rec, size := st.record(i), f.bucketBytes()
	buckets, entries := f.series(rec)
	place := len(buckets)
	for place > 0 && word(buckets[place-size:], 0) >= t {
		place -= size
	}
	fresh = place == len(buckets) || word(buckets[place:], 0) != t
	if fresh && len(buckets)/size == maxBuckets { // of visitors whose logs were far ahead (Union)
		f.removeBuckets(st, i, 1)
		return f.bucketAt(st, i, t)
	}
	if fresh {
		offset := len(rec) - len(entries) - len(buckets) + place
		st.splice(i, offset, 0, size)
		f.addBuckets(st, i, 1)
		buckets, _ = f.series(st.record(i))
		clear(buckets[place : place+size])
		putWord(buckets[place:], 0, t)
	}
	return buckets[place : place+size], fresh
}

func double(v int64) float64 { return math.Float64frombits(uint64(v)) }

// Close ends all open stays of a dwell at time t.
func (f *Shape) Close(st *State, t int64) {
	for i := int(st.keys) - 1; i >= 0 && st.open > 0; i-- { // open stays are under the keys touched last
		before := st.open
		_, entries := f.series(st.record(i))
		size := f.entryBytes()
		for offset := len(entries) - size; offset >= 0 && st.open > 0; offset -= size {
			if en := entries[offset:]; word(en, 1) == openStay {
				putWord(en, 1, clampDwell(value.Minus(t, word(en, 0))))
				st.open--
			}
		}
		if st.open < before {
			f.foldTo(st, i, f.Entries)
		}
	}
	st.open = 0 // open stays whose entry or key was dropped are still counted
}
