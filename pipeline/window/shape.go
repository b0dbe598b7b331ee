package window

import (
	"math"
	"time"
)

// A Shape is how the windows of one feature are kept. It may be shared by any
// number of folds.
type Shape struct {
	*Aggregate
	Within  time.Duration // 0: for ever
	Entries int           // exact entries a key; the oldest beyond fold or leave
	Keys    int           // keys
	Keyed   bool          // of a list: a row takes the place of the one with its key
	Fields  []string      // of a list: what a row keeps of an item
}

// Left says whether an entry of time t has left the window at now.
func (f *Shape) Left(t, now int64) bool { return t <= f.cut(now) }

// Add puts an entry under a key, which becomes the most recently touched, and
// returns how often a bound was met. scratch is memory to use.
func (f *Shape) Add(st *State, key string, e Entry, now int64, scratch *[]byte) (met uint64) {
	out := f.cut(now)
	i, met := f.touch(st, key, out)
	full := false
	if f.width > 0 {
		f.dropSeries(st, i, out)
		if f.Stays && int64(e.Value.Bits) == openStay {
			st.open++
		}
		full = f.addSeries(st, i, e.Time, int64(e.Value.Bits), f.Entries)
	} else {
		full = f.addWindow(st, i, out, e, scratch)
	}
	if full {
		met++
	}
	return met
}

// touch finds or makes the key's record and moves it to the end of the keys.
func (f *Shape) touch(st *State, key string, out int64) (i int, met uint64) {
	if i := st.index(key); i >= 0 {
		st.latest(i)
		return int(st.keys) - 1, 0
	}
	if int(st.keys) >= f.Keys {
		for i := int(st.keys) - 1; i >= 0; i-- {
			if f.newest(st.record(i)) <= out {
				f.forget(st, i)
			}
		}
		if int(st.keys) >= f.Keys {
			f.forget(st, 0)
			met++
		}
	}
	st.append(key)
	return int(st.keys) - 1, met
}

// forget takes key i and what it holds away.
func (f *Shape) forget(st *State, i int) {
	st.held -= uint32(f.holds(st.record(i)))
	st.remove(i)
}

// newest is the time of a record's newest bucket or entry.
func (f *Shape) newest(rec []byte) int64 {
	newest := int64(math.MinInt64)
	if f.width == 0 {
		if b := body(rec); len(b) > 0 {
			newest = word(b, 0)
		}
		return newest
	}
	buckets, entries := f.series(rec)
	if n := len(buckets); n > 0 {
		newest = word(buckets[n-bucketBytes:], 0)
	}
	if n := len(entries); n > 0 {
		newest = max(newest, word(entries[n-f.width:], 0))
	}
	return newest
}

// holds is how many buckets and entries a record has.
func (f *Shape) holds(rec []byte) int {
	if f.width > 0 {
		buckets, entries := f.series(rec)
		return len(buckets)/bucketBytes + len(entries)/f.width
	}
	if b := body(rec); len(b) > 0 {
		return counted(b, windowEntries) + counted(b, windowBuckets)
	}
	return 0
}

// Drop drops what has left the window at now, under every key.
func (f *Shape) Drop(st *State, now int64) {
	c := f.cut(now)
	for i := range int(st.keys) {
		if f.width > 0 {
			f.dropSeries(st, i, c)
		} else {
			f.dropWindow(st, i, c)
		}
	}
}

// Told is under how many keys anything is held, and how many of them hold
// something that is folded.
func (f *Shape) Told(st *State) (held, folded int) {
	for i := range int(st.keys) {
		rec := st.record(i)
		_, buckets := head(rec)
		if f.width == 0 {
			buckets = len(bucketsOf(rec))
		}
		if f.holds(rec) > 0 {
			held++
		}
		if buckets > 0 {
			folded++
		}
	}
	return held, folded
}
