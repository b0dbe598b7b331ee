package window

import "math"

// A series is what an aggregate of numbers (Aggregate.width) holds under one key:
// buckets and entries, both of fixed size and in order of time, those of one
// time in the order of the log. At most Shape.Entries are exact; the oldest
// beyond fold into buckets, whose times are rounded up to whole steps of a
// 64th of the window, so that what a user holds is bounded and still leaves
// the window on time. What has left is dropped when something is added.
//
//	bucket  8 bytes each: when it counts as having happened, how many entries,
//	        their sum or least, their greatest
//	entry   8 bytes its event time, 8 its value (a count has none)
//
// A value is millionths (sum, avg), a double (min, max), or nanoseconds
// stayed (dwell); openStay stands for a stay that goes on.
const (
	timeBytes   = 8
	bucketBytes = 32
	openStay    = math.MinInt64
)

func word(b []byte, i int) int64 { return int64(le.Uint64(b[i*8:])) }

func putWord(b []byte, i int, v int64) { le.PutUint64(b[i*8:], uint64(v)) }

// series splits a record.
func (f *Shape) series(rec []byte) (buckets, entries []byte) {
	text, n := head(rec)
	at := headBytes + text + n*bucketBytes
	return rec[headBytes+text : at], rec[at:]
}

// past is how many of the first records of that size lie at or before c.
func past(b []byte, size int, c int64) int {
	n := 0
	for n*size < len(b) && word(b[n*size:], 0) <= c {
		n++
	}
	return n
}

// inSeries is the part of a series after c; rec may be nil.
func (f *Shape) inSeries(rec []byte, c int64) (buckets, entries []byte) {
	if rec == nil {
		return nil, nil
	}
	buckets, entries = f.series(rec)
	return buckets[past(buckets, bucketBytes, c)*bucketBytes:], entries[past(entries, f.width, c)*f.width:]
}

// dropSeries drops what lies at or before c.
func (f *Shape) dropSeries(st *State, i int, c int64) {
	rec := st.record(i)
	buckets, entries := f.series(rec)
	at := len(rec) - len(entries)
	if n := past(entries, f.width, c); n > 0 {
		st.splice(i, at, n*f.width, 0)
		st.held -= uint32(n)
	}
	if n := past(buckets, bucketBytes, c); n > 0 {
		st.splice(i, at-len(buckets), n*bucketBytes, 0)
		st.addBuckets(i, -n)
	}
}

// addBuckets changes how many buckets key i says it has.
func (s *State) addBuckets(i, n int) {
	h := s.b[s.offset(i)+headBytes-1:]
	h[0] = byte(int(h[0]) + n)
	s.held = uint32(int(s.held) + n)
}

// addSeries puts a value into key i's series; full says that a bound was met.
func (f *Shape) addSeries(st *State, i int, t, v int64, limit int) (full bool) {
	rec := st.record(i)
	_, entries := f.series(rec)
	at := len(entries)
	for at > 0 && word(entries[at-f.width:], 0) > t {
		at -= f.width
	}
	at += len(rec) - len(entries)
	st.splice(i, at, 0, f.width)
	en := st.record(i)[at:]
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

// foldTo folds the oldest entries until limit are left. One that is open has
// no length to fold yet: it and what is newer wait until it closes.
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

// bucketTime is the time of the bucket that an entry of time t folds into.
func (f *Shape) bucketTime(t int64) int64 {
	if f.Within == 0 {
		return 0 // one bucket, for ever
	}
	step := max(int64(f.Within)/64, 1)
	return ceilDiv(t, step) * step
}

func ceilDiv(a, b int64) int64 {
	q := a / b
	if a%b > 0 {
		q++
	}
	return q
}

// foldEntry adds an exact entry to the bucket of its step.
func (f *Shape) foldEntry(st *State, i int, t, v int64) {
	t = f.bucketTime(t)
	rec := st.record(i)
	buckets, entries := f.series(rec)
	at := len(buckets)
	for at > 0 && word(buckets[at-bucketBytes:], 0) >= t {
		at -= bucketBytes
	}
	if at == len(buckets) || word(buckets[at:], 0) != t {
		from := len(rec) - len(entries) - len(buckets) + at
		st.splice(i, from, 0, bucketBytes)
		st.addBuckets(i, 1)
		b := st.record(i)[from:]
		putWord(b, 0, t)
		putWord(b, 1, 1)
		putWord(b, 2, v)
		putWord(b, 3, v)
		return
	}
	b := buckets[at:]
	putWord(b, 1, word(b, 1)+1)
	if f.fold != nil {
		f.fold(b, v)
	}
}

func double(v int64) float64 { return math.Float64frombits(uint64(v)) }

// Close ends the open stays of a dwell at time t.
func (f *Shape) Close(st *State, t int64) {
	for i := int(st.keys) - 1; i >= 0 && st.open > 0; i-- { // the latest are open, if any
		was := st.open
		_, entries := f.series(st.record(i))
		for at := len(entries) - f.width; at >= 0 && st.open > 0; at -= f.width {
			if en := entries[at:]; word(en, 1) == openStay {
				putWord(en, 1, clampDwell(t-word(en, 0)))
				st.open--
			}
		}
		if st.open < was {
			f.foldTo(st, i, f.Entries)
		}
	}
	st.open = 0 // what was open and has left its window or its key
}
