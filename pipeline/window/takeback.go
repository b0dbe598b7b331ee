package window

import "math/bits"

// TakeBack removes an entry with the event time t and the value v, in millionths, from
// a sum without `by`. If there is none, it takes the value out of the bucket of t's
// step. It returns false if there is no such bucket either, or if t has left the
// window at now.
func TakeBack(f *Shape, st *State, t, v, now int64) bool {
	i := st.index("")
	if i < 0 || f.Left(t, now) {
		return false
	}
	rec, size := st.record(i), f.entryBytes()
	_, entries := f.series(rec)
	for offset := 0; offset < len(entries); offset += size {
		if word(entries[offset:], 0) != t || word(entries[offset:], 1) != v {
			continue
		}
		st.splice(i, len(rec)-len(entries)+offset, size, 0)
		f.holdSeries(st, 0, -1, 0)
		f.forgetEmpty(st, i)
		return true
	}
	return f.takeFolded(st, i, f.bucketTime(t), v)
}

// takeFolded takes a value out of the bucket of that time.
func (f *Shape) takeFolded(st *State, i int, t, v int64) bool {
	buckets, _ := f.series(st.record(i))
	size := f.bucketBytes()
	for offset := 0; offset < len(buckets); offset += size {
		b := buckets[offset : offset+size]
		if word(b, 0) != t {
			continue
		}
		sum := wide{word(b, 3), uint64(word(b, 2))}.minus(widen(v))
		putWord(b, 1, word(b, 1)-1)
		putWord(b, 2, int64(sum.low))
		putWord(b, 3, sum.high)
		if word(b, 1) == 0 {
			rec := st.record(i)
			_, entries := f.series(rec)
			st.splice(i, len(rec)-len(entries)-len(buckets)+offset, size, 0)
			f.addBuckets(st, i, -1)
			f.forgetEmpty(st, i)
		}
		return true
	}
	return false
}

// forgetEmpty removes key i if it holds nothing.
func (f *Shape) forgetEmpty(st *State, i int) {
	if f.size(st.record(i)).Entries == 0 {
		st.remove(i)
	}
}

// SumMicros is a sum without `by` at now, in millionths: exactly, of 128 bits in two's
// complement. The state may be nil.
func (f *Shape) SumMicros(st *State, now int64) (high int64, low uint64) {
	sum := f.inSeries(st.find(""), f.cutoff(now), now).total()
	return sum.high, sum.low
}

// SumAtMost reports whether a sum without `by`, and what is to be added to it, are at
// most a bound, all in millionths: exactly. The state may be nil.
func (f *Shape) SumAtMost(st *State, now, add, most int64) bool {
	high, low := f.SumMicros(st, now)
	return wide{high, low}.plus(widen(add)).minus(widen(most)).atMostZero()
}

func (a wide) minus(b wide) wide {
	low, borrow := bits.Sub64(a.low, b.low, 0)
	return wide{a.high - b.high - int64(borrow), low}
}

func (a wide) atMostZero() bool { return a.high < 0 || a == wide{} }
