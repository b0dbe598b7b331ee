package window

import (
	"math"
	"slices"
	"sort"

	"offerstream/pipeline/value"
)

// A window is the record of an aggregate of any values under one key: values or
// rows, sorted by event time; entries of the same time are in the order of the
// log. The bound on entries is that of a series, but only some aggregates fold
// entries into buckets. A window is changed in place (state.go):
//
//	8 bytes  time of the newest bucket or entry
//	4 bytes  number of entries
//	4 bytes  number of buckets
//	4 bytes  size of the buckets in bytes
//	         the buckets, each its time, its order, and the entry that it keeps
//	         the entries, each 8 bytes time, 4 bytes size of its content, 4 bytes
//	         order (State.added), and the content: a value, and of a list a row
//	         (writeContent)
const (
	windowEntries = 8
	windowBuckets = 12
	windowSize    = 16
	windowHead    = 20
	entryHead     = 16
)

// An Entry is what an event adds under one key.
type Entry struct {
	Time  int64       // event time
	Value value.Value // as Aggregate.Take returned it
	Row   *Row        // of a list
}

// A Row is one element of a list.
type Row struct {
	Key    string
	Fields []value.Value // in the order of Shape.Fields
	Has    []bool        // for each field, whether the item has it
}

type bucket struct {
	t     int64  // its time: when its entries count as having happened
	order uint32 // of the entry that came first
	kept  Entry
}

// cutoff is the latest time that has left the window at now.
func (f *Shape) cutoff(now int64) int64 {
	if f.Within == 0 {
		return math.MinInt64
	}
	return value.Minus(now, int64(f.Within))
}

// body is a record without its head and key; empty if the record is new.
func body(rec []byte) []byte {
	n, _ := head(rec)
	return rec[headBytes+n:]
}

// number32 is the number, of 4 bytes, at an offset of a window's body.
func number32(b []byte, offset int) int { return int(le.Uint32(b[offset:])) }

// count adds n to the number of entries or buckets, at an offset of the body, of
// key i's window.
func (s *State) count(i, offset, n int) {
	b := body(s.record(i))
	le.PutUint32(b[offset:], uint32(number32(b, offset)+n))
}

// entriesOffset is the offset of a record's first entry.
func entriesOffset(rec []byte) int {
	b := body(rec)
	if len(b) == 0 {
		return len(rec)
	}
	return len(rec) - len(b) + windowHead + number32(b, windowSize)
}

// readEntry reads the entry at an offset of a record; next is the offset of the
// next entry. The content aliases the record.
func readEntry(rec []byte, offset int) (t int64, content []byte, next int) {
	next = offset + entryHead + int(le.Uint32(rec[offset+8:]))
	return word(rec[offset:], 0), rec[offset+entryHead : next], next
}

// entryOrder is the order of the entry at an offset of a record.
func entryOrder(rec []byte, offset int) uint32 { return le.Uint32(rec[offset+12:]) }

// bucketsOf decodes the buckets of a record, which may be nil. Their texts
// alias the record.
func bucketsOf(rec []byte) []bucket {
	if rec == nil {
		return nil
	}
	b := body(rec)
	if len(b) == 0 || number32(b, windowBuckets) == 0 {
		return nil
	}
	buckets := make([]bucket, number32(b, windowBuckets))
	r := value.Reader{B: b[windowHead:], Alias: true}
	for i := range buckets {
		buckets[i] = bucket{r.Int(), uint32(r.Uint()), readContent(&r, r.Int())}
	}
	return buckets
}

// addWindow drops the entries of key i's window at or before cutoff and then
// adds an entry; full reports that the bound was reached. scratch is memory
// that it may use.
func (f *Shape) addWindow(st *State, i int, cutoff int64, e Entry, scratch *[]byte) (full bool) {
	f.dropWindow(st, i, cutoff)
	if f.replaces != nil && !f.replace(st, i, e, false) {
		return false
	}
	w := value.Writer{B: (*scratch)[:0]}
	writeContent(&w, e)
	*scratch = w.B
	st.insert(i, e.Time, w.B)
	return f.trim(st, i)
}

// trim folds or removes the oldest entries of key i's window beyond the bound; full
// reports that there were any.
func (f *Shape) trim(st *State, i int) (full bool) {
	n := number32(body(st.record(i)), windowEntries) - f.Entries
	if n <= 0 {
		return false
	}
	if f.keeps != nil {
		f.foldWindow(st, i, n)
	}
	for range n {
		f.removeEntry(st, i, entriesOffset(st.record(i)))
	}
	return true
}

// replace removes the entry that e replaces. It returns false, and removes
// nothing, if e must not be added because the entry of the same value is newer. A row
// replaces a newer one too, unless onlyOlder.
func (f *Shape) replace(st *State, i int, e Entry, onlyOlder bool) bool {
	rec := st.record(i)
	for offset := entriesOffset(rec); offset < len(rec); {
		t, content, next := readEntry(rec, offset)
		if f.replaces(f, content, e) {
			if (!f.Rows || onlyOlder) && e.Time < t {
				return false
			}
			f.removeEntry(st, i, offset)
			break
		}
		offset = next
	}
	return true
}

// begin makes key i's record, which is new, an empty window.
func (s *State) begin(i int) {
	s.splice(i, len(s.record(i)), 0, windowHead)
	b := body(s.record(i))
	clear(b)
	putWord(b, 0, math.MinInt64)
}

// insert inserts an entry after those of the same time or earlier.
func (s *State) insert(i int, t int64, content []byte) {
	rec := s.record(i)
	if len(body(rec)) == 0 {
		s.begin(i)
		rec = s.record(i)
	}
	offset := len(rec)
	if newest := word(body(rec), 0); newest > t {
		for offset = entriesOffset(rec); offset < len(rec); {
			other, _, next := readEntry(rec, offset)
			if other > t {
				break
			}
			offset = next
		}
	} else {
		putWord(body(rec), 0, t)
	}
	s.splice(i, offset, 0, entryHead+len(content))
	en := s.record(i)[offset:]
	putWord(en, 0, t)
	le.PutUint32(en[8:], uint32(len(content)))
	le.PutUint32(en[12:], s.added)
	copy(en[entryHead:], content)
	s.count(i, windowEntries, 1)
	s.hold(1, entrySize+s.keyBytes(i)+contentSize(content))
}

// removeEntry removes the entry at an offset of key i's record.
func (f *Shape) removeEntry(st *State, i, offset int) {
	rec := st.record(i)
	_, content, next := readEntry(rec, offset)
	st.hold(-1, -entrySize-st.keyBytes(i)-contentSize(content))
	st.splice(i, offset, next-offset, 0)
	st.count(i, windowEntries, -1)
	if next == len(rec) {
		f.updateNewest(st, i)
	}
}

// updateNewest stores the time of key i's newest bucket or entry in its record.
func (f *Shape) updateNewest(st *State, i int) {
	rec, newest := st.record(i), int64(math.MinInt64)
	for offset := entriesOffset(rec); offset < len(rec); {
		newest, _, offset = readEntry(rec, offset)
	}
	for _, b := range bucketsOf(rec) {
		newest = max(newest, b.t) // which is the end of its step
	}
	putWord(body(rec), 0, newest)
}

// dropWindow drops the buckets and entries at or before cutoff.
func (f *Shape) dropWindow(st *State, i int, cutoff int64) {
	for {
		rec := st.record(i)
		offset := entriesOffset(rec)
		if offset == len(rec) || word(rec[offset:], 0) > cutoff {
			break
		}
		f.removeEntry(st, i, offset)
	}
	if buckets := bucketsOf(st.record(i)); len(buckets) > 0 && buckets[0].t <= cutoff {
		n := sort.Search(len(buckets), func(j int) bool { return buckets[j].t > cutoff })
		f.setBuckets(st, i, buckets[n:])
	}
}

// foldWindow folds the first n entries of key i's window into buckets. The
// caller removes the entries.
func (f *Shape) foldWindow(st *State, i, n int) {
	rec := st.record(i)
	buckets := bucketsOf(rec)
	for offset := entriesOffset(rec); n > 0; n-- {
		t, content, next := readEntry(rec, offset)
		order := entryOrder(rec, offset)
		offset = next
		e := readContent(&value.Reader{B: content, Alias: true}, t)
		t = f.bucketTime(t)
		j := sort.Search(len(buckets), func(j int) bool { return buckets[j].t >= t })
		if j == len(buckets) || buckets[j].t != t {
			buckets = slices.Insert(buckets, j, bucket{t, order, e})
			continue
		}
		b := &buckets[j]
		if f.keeps(b.kept, e) {
			b.kept = e
		}
		if before(order, b.order) {
			b.order = order
		}
	}
	f.setBuckets(st, i, buckets)
}

// setBuckets replaces the buckets of key i's window. The new ones may alias it.
func (f *Shape) setBuckets(st *State, i int, buckets []bucket) {
	key := st.keyBytes(i)
	more := bucketsSize(buckets, key).Minus(bucketsSize(bucketsOf(st.record(i)), key))
	st.hold(more.Entries, more.Bytes)
	var w value.Writer
	for _, b := range buckets {
		w.Int(b.t)
		w.Uint(uint64(b.order))
		w.Int(b.kept.Time)
		writeContent(&w, b.kept)
	}
	rec := st.record(i)
	b := body(rec)
	size, offset := number32(b, windowSize), len(rec)-len(b)+windowHead
	st.count(i, windowBuckets, len(buckets)-number32(b, windowBuckets))
	le.PutUint32(b[windowSize:], uint32(len(w.B)))
	st.splice(i, offset, size, len(w.B))
	copy(st.record(i)[offset:], w.B)
	f.updateNewest(st, i)
}

// writeContent writes the content of an entry: its value and its row.
func writeContent(w *value.Writer, e Entry) {
	w.Value(e.Value)
	if e.Row == nil {
		w.Len(0)
		return
	}
	w.Len(len(e.Row.Fields) + 1)
	w.Text(e.Row.Key)
	for i, v := range e.Row.Fields {
		if e.Row.Has[i] {
			w.Byte(1)
			w.Value(v)
		} else {
			w.Byte(0)
		}
	}
}

// readContent reads the content of an entry of time t.
func readContent(r *value.Reader, t int64) Entry {
	e := Entry{Time: t, Value: r.Value()}
	if n := r.Len(1); n > 0 {
		e.Row = &Row{Key: r.Text(), Fields: make([]value.Value, n-1), Has: make([]bool, n-1)}
		for i := range e.Row.Fields {
			if r.Byte() != 0 {
				e.Row.Fields[i], e.Row.Has[i] = r.Value(), true
			}
		}
	}
	return e
}

// aliasValue is the value in an entry's content, in the content's memory.
func aliasValue(content []byte) value.Value { return (&value.Reader{B: content, Alias: true}).Value() }
