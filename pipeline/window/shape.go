package window

import (
	"math"
	"time"
)

// A Shape says how the windows of one feature are kept. Any number of folds may
// share it.
type Shape struct {
	*Aggregate
	Within   time.Duration // 0: without limit
	Entries  int           // exact entries per key; beyond it the oldest is folded or removed
	Keys     int           // the greatest number of keys
	Grouped  bool          // the feature has `by`: there may be several keys
	Keyed    bool          // of a list: a new row replaces the row with the same key
	Fields   []string      // of a list: the fields of an item that a row keeps
	HalfLife time.Duration // of a top
}

// Mapped reports whether expressions see a map by key (By), and not one value
// (Read, of the key "").
func (f *Shape) Mapped() bool { return f.Grouped && !f.Ranks }

// Left reports whether an entry of time t has left the window at now.
func (f *Shape) Left(t, now int64) bool { return t <= f.cutoff(now) }

// Add adds an entry under a key, which becomes the most recently touched key,
// and returns how often a bound was reached. A top takes no more of an entry
// than that it touches its key at now. scratch is memory that Add may use.
func (f *Shape) Add(st *State, key string, e Entry, now int64, scratch *[]byte) (reached uint64) {
	st.added++
	if f.Ranks {
		return f.rank(st, key, now)
	}
	cutoff := f.cutoff(now)
	i, reached := f.touch(st, key, cutoff)
	full := false
	switch {
	case f.Samples:
		full = f.addSample(st, i, cutoff, sampledValue{textSum(e.Value), e.Time, st.added, uint16(e.Value.Size())})
	case f.width > 0:
		f.dropSeries(st, i, cutoff)
		if f.Stays && int64(e.Value.Bits) == openStay {
			st.open++
		}
		full = f.addSeries(st, i, e.Time, int64(e.Value.Bits), f.Entries)
	default:
		full = f.addWindow(st, i, cutoff, e, scratch)
	}
	if full {
		reached++
	}
	return reached
}

// touch finds or makes the record of a key, and moves it to the end of the
// records.
func (f *Shape) touch(st *State, key string, cutoff int64) (i int, reached uint64) {
	if i := st.index(key); i >= 0 {
		st.moveLast(i)
		return int(st.keys) - 1, 0
	}
	if int(st.keys) >= f.Keys {
		for i := int(st.keys) - 1; i >= 0; i-- {
			if f.newest(st.record(i)) <= cutoff {
				f.forget(st, i)
			}
		}
		if int(st.keys) >= f.Keys {
			f.forget(st, 0)
			reached++
		}
	}
	st.append(key)
	return int(st.keys) - 1, reached
}

// forget removes key i and its record.
func (f *Shape) forget(st *State, i int) {
	size := f.size(st.record(i))
	st.hold(-size.Entries, -size.Bytes)
	st.remove(i)
}

// newest is the time of the newest bucket or entry of a record.
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
		newest = word(buckets[n-f.bucketBytes():], 0)
	}
	if n := len(entries); n > 0 {
		newest = max(newest, word(entries[n-f.entryBytes():], 0))
	}
	return newest
}

// Drop drops what has left the window at now, under all keys, and the keys
// that then hold nothing.
func (f *Shape) Drop(st *State, now int64) {
	cutoff := f.cutoff(now)
	if f.Entities {
		f.dropUsers(st, cutoff)
		return
	}
	for i := int(st.keys) - 1; i >= 0; i-- {
		f.dropKey(st, i, cutoff)
		if f.newest(st.record(i)) <= cutoff {
			f.forget(st, i)
		}
	}
}

// dropKey drops what lies at or before cutoff under key i.
func (f *Shape) dropKey(st *State, i int, cutoff int64) {
	switch {
	case f.Samples:
		f.dropSample(st, i, cutoff)
	case f.width > 0:
		f.dropSeries(st, i, cutoff)
	default:
		f.dropWindow(st, i, cutoff)
	}
}

// KeysHolding is the number of keys that hold anything, and of those that hold
// buckets.
func (f *Shape) KeysHolding(st *State) (held, folded int) {
	if f.Entities {
		return int(st.keys), 0
	}
	for i := range int(st.keys) {
		rec := st.record(i)
		_, buckets := head(rec)
		if f.width == 0 && !f.Samples {
			buckets = len(bucketsOf(rec))
		}
		if f.size(rec).Entries > 0 {
			held++
		}
		if buckets > 0 {
			folded++
		}
	}
	return held, folded
}
