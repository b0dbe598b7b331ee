package window

import (
	"math"

	"offerstream/pipeline/value"
)

// The size of what a user holds is measured in the terms of LANGUAGE.md, rule
// 18, whatever the encoding; so are values (value.Value.Size).
const (
	MaxKey    = 1 << 10 // longest key, in bytes; entries of longer ones are not added
	MaxValue  = 4 << 10 // longest stored value, in bytes
	entrySize = 16      // of an entry or a bucket, without its key and value
)

// A Size is how much is held: entries and buckets, and their bytes.
type Size struct{ Entries, Bytes int }

// Plus is the sum of two sizes.
func (s Size) Plus(t Size) Size { return Size{s.Entries + t.Entries, s.Bytes + t.Bytes} }

// Minus is the difference of two sizes.
func (s Size) Minus(t Size) Size { return Size{s.Entries - t.Entries, s.Bytes - t.Bytes} }

// contentSize is the size of what an entry of a window holds: its value, and
// the key and the fields of its row.
func contentSize(content []byte) int {
	r := value.Reader{B: content, Alias: true}
	n := r.Value().Size()
	if fields := r.Len(1); fields > 0 {
		n += len(r.Text())
		for range fields - 1 {
			if r.Byte() != 0 {
				n += r.Value().Size()
			}
		}
	}
	return n
}

// size is the size of a record.
func (f *Shape) size(rec []byte) (s Size) {
	text, _ := head(rec)
	if f.width > 0 {
		buckets, entries := f.series(rec)
		b, e := len(buckets)/f.bucketBytes(), len(entries)/f.entryBytes()
		return Size{b + e, b*(entrySize+text+f.folded) + e*(entrySize+text+f.width-timeBytes)}
	}
	if f.Samples {
		return sampleSize(sample(body(rec)), text)
	}
	s = bucketsSize(bucketsOf(rec), text)
	for offset := entriesOffset(rec); offset < len(rec); {
		var content []byte
		_, content, offset = readEntry(rec, offset)
		s = s.Plus(Size{1, entrySize + text + contentSize(content)})
	}
	return s
}

// bucketsSize is the size of a window's buckets under a key of that length.
func bucketsSize(buckets []bucket, key int) (s Size) {
	for _, b := range buckets {
		s = s.Plus(Size{1, entrySize + key + b.kept.Value.Size()})
	}
	return s
}

// RemoveOldest removes the oldest entry or bucket under all keys: that with the
// least time; of equals, the one that came first.
func (f *Shape) RemoveOldest(st *State) {
	found := oldest{key: -1}
	for i := range int(st.keys) {
		o := f.oldestOf(st.record(i))
		if o.key = i; o.held && (found.key < 0 || o.t < found.t || o.t == found.t && before(o.order, found.order)) {
			found = o
		}
	}
	if found.key < 0 {
		return
	}
	f.removeFirst(st, found)
	if f.newest(st.record(found.key)) == math.MinInt64 {
		st.remove(found.key)
	}
}

// An oldest is the oldest bucket or entry of a key.
type oldest struct {
	key    int
	held   bool // there is one
	bucket bool
	t      int64
	order  uint32
}

// before reports whether one order is before another. Orders are compared in a
// circle, because they start again from 0 after 2^32.
func before(a, b uint32) bool { return int32(a-b) < 0 }

// oldestOf finds the oldest bucket or entry of a record. A bucket is older than
// an entry of the same time.
func (f *Shape) oldestOf(rec []byte) (o oldest) {
	bucket := func(t int64, order uint32) {
		if !o.held || t <= o.t {
			o = oldest{held: true, bucket: true, t: t, order: order}
		}
	}
	if f.width > 0 {
		buckets, entries := f.series(rec)
		if len(entries) > 0 {
			o = oldest{held: true, t: word(entries, 0), order: f.orderOf(entries[:f.entryBytes()])}
		}
		if len(buckets) > 0 {
			bucket(word(buckets, 0), f.orderOf(buckets[:f.bucketBytes()]))
		}
		return o
	}
	if f.Samples {
		if s := sample(body(rec)); len(s) > 0 && s.held() > 0 {
			first := s.read(s.heaped(0))
			return oldest{held: true, t: first.t, order: first.order}
		}
		return o
	}
	if offset := entriesOffset(rec); offset < len(rec) {
		t, _, _ := readEntry(rec, offset)
		o = oldest{held: true, t: t, order: entryOrder(rec, offset)}
	}
	if buckets := bucketsOf(rec); len(buckets) > 0 {
		bucket(buckets[0].t, buckets[0].order)
	}
	return o
}

// removeFirst removes the first bucket or entry of a key.
func (f *Shape) removeFirst(st *State, o oldest) {
	switch {
	case f.Samples:
		f.removeSampled(st, o.key)
	case f.width > 0 && o.bucket:
		f.removeBuckets(st, o.key, 1)
	case f.width > 0:
		f.removeEntries(st, o.key, 1)
	case o.bucket:
		f.setBuckets(st, o.key, bucketsOf(st.record(o.key))[1:])
	default:
		f.removeEntry(st, o.key, entriesOffset(st.record(o.key)))
	}
}
