package window

import "math"

// A series is the record of an aggregate of numbers (Aggregate.width > 0) under
// one key: buckets, then entries. Both are of fixed size and sorted by time;
// entries of the same time are in the order of the log. At most Shape.Entries
// entries are exact. Beyond that, the oldest is folded into a bucket. Bucket
// times are rounded up to multiples of a 64th of the window; so a user holds a
// bounded number of buckets, and each leaves the window less than one 64th
// late. What has left the window is dropped when something is added.
//
//	bucket  4 words of 8 bytes: its time, the number of entries, their sum or
//	        least value, their greatest value
//	entry   8 bytes event time, 8 bytes value (except for a count)
//
// A value is a number of millionths (sum, avg), a double (min, max), or the
// nanoseconds of a stay (dwell); openStay stands for a stay that is open.
const (
	timeBytes   = 8
	bucketBytes = 32
	openStay    = math.MinInt64
)

func word(b []byte, i int) int64 { return int64(le.Uint64(b[i*8:])) }

func putWord(b []byte, i int, v int64) { le.PutUint64(b[i*8:], uint64(v)) }

// series splits a record into its buckets and its entries.
func (f *Shape) series(rec []byte) (buckets, entries []byte) {
	text, n := head(rec)
	start := headBytes + text
	end := start + n*bucketBytes
	return rec[start:end], rec[end:]
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
func (f *Shape) inSeries(rec []byte, cutoff int64) (buckets, entries []byte) {
	if rec == nil {
		return nil, nil
	}
	buckets, entries = f.series(rec)
	return buckets[past(buckets, bucketBytes, cutoff)*bucketBytes:], entries[past(entries, f.width, cutoff)*f.width:]
}

// dropSeries drops the buckets and entries at or before cutoff.
func (f *Shape) dropSeries(st *State, i int, cutoff int64) {
	rec := st.record(i)
	buckets, entries := f.series(rec)
	start := len(rec) - len(entries)
	if n := past(entries, f.width, cutoff); n > 0 {
		st.splice(i, start, n*f.width, 0)
		st.held -= uint32(n)
	}
	if n := past(buckets, bucketBytes, cutoff); n > 0 {
		st.splice(i, start-len(buckets), n*bucketBytes, 0)
		st.addBuckets(i, -n)
	}
}

// addBuckets adds n, which may be negative, to the number of buckets in the
// head of key i's record.
func (s *State) addBuckets(i, n int) {
	h := s.b[s.offset(i)+headBytes-1:]
	h[0] = byte(int(h[0]) + n)
	s.held = uint32(int(s.held) + n)
}

// addSeries adds an entry to key i's series; full reports that the bound was
// reached.
func (f *Shape) addSeries(st *State, i int, t, v int64, limit int) (full bool) {
	rec := st.record(i)
	_, entries := f.series(rec)
	offset := len(entries)
	for offset > 0 && word(entries[offset-f.width:], 0) > t {
		offset -= f.width
	}
	offset += len(rec) - len(entries)
	st.splice(i, offset, 0, f.width)
	en := st.record(i)[offset:]
	putWord(en, 0, t)
	if f.width > timeBytes {
		putWord(en, 1, v)
	}
	st.held++
	if len(entries)/f.width < limit {
		return false
	}
	f.foldTo(st, i, limit)
	return true
}

// foldTo folds the oldest entries of a series until limit are left. An open
// stay has no length yet, so folding stops there until it is closed.
func (f *Shape) foldTo(st *State, i, limit int) {
	for {
		rec := st.record(i)
		_, entries := f.series(rec)
		if len(entries)/f.width <= limit || f.Stays && word(entries, 1) == openStay {
			return
		}
		t, v := word(entries, 0), int64(0)
		if f.width > timeBytes {
			v = word(entries, 1)
		}
		st.splice(i, len(rec)-len(entries), f.width, 0)
		st.held--
		f.foldEntry(st, i, t, v)
	}
}

// bucketTime is the time of the bucket into which an entry of time t is folded.
func (f *Shape) bucketTime(t int64) int64 {
	if f.Within == 0 {
		return 0 // a single bucket, which never leaves
	}
	slot := max(int64(f.Within)/64, 1)
	return ceilDiv(t, slot) * slot
}

func ceilDiv(a, b int64) int64 {
	q := a / b
	if a%b > 0 {
		q++
	}
	return q
}

// foldEntry adds the time and value of an entry to its bucket.
func (f *Shape) foldEntry(st *State, i int, t, v int64) {
	t = f.bucketTime(t)
	rec := st.record(i)
	buckets, entries := f.series(rec)
	place := len(buckets)
	for place > 0 && word(buckets[place-bucketBytes:], 0) >= t {
		place -= bucketBytes
	}
	if place == len(buckets) || word(buckets[place:], 0) != t {
		offset := len(rec) - len(entries) - len(buckets) + place
		st.splice(i, offset, 0, bucketBytes)
		st.addBuckets(i, 1)
		b := st.record(i)[offset:]
		putWord(b, 0, t)
		putWord(b, 1, 1)
		putWord(b, 2, v)
		putWord(b, 3, v)
		return
	}
	b := buckets[place:]
	putWord(b, 1, word(b, 1)+1)
	if f.fold != nil {
		f.fold(b, v)
	}
}

func double(v int64) float64 { return math.Float64frombits(uint64(v)) }

// Close ends all open stays of a dwell at time t.
func (f *Shape) Close(st *State, t int64) {
	for i := int(st.keys) - 1; i >= 0 && st.open > 0; i-- { // open stays are under the keys touched last
		before := st.open
		_, entries := f.series(st.record(i))
		for offset := len(entries) - f.width; offset >= 0 && st.open > 0; offset -= f.width {
			if en := entries[offset:]; word(en, 1) == openStay {
				putWord(en, 1, clampDwell(t-word(en, 0)))
				st.open--
			}
		}
		if st.open < before {
			f.foldTo(st, i, f.Entries)
		}
	}
	st.open = 0 // open stays whose entry or key was dropped are still counted
}
