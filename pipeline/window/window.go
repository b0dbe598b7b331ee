package window

import (
	"math"
	"slices"
	"sort"

	"offerstream/pipeline/value"
)

// A window is what an aggregate of any values holds under one key: values or
// rows, in order of event time, those of one time in the order of the log.
// Bounds are as those of a series; only some aggregates fold into buckets. It
// is changed in place (state.go):
//
//	8 bytes  time of the newest bucket or entry
//	4 bytes  how many entries
//	4 bytes  how many buckets
//	4 bytes  the size of the buckets
//	         the buckets, each its time and two entries: the first and last
//	         the entries: 8 bytes the time, 4 the size of what the entry holds,
//	         and that: a value, and of a list its row (holds)
const (
	windowEntries = 8
	windowBuckets = 12
	windowSize    = 16
	windowHead    = 20
	entryHead     = 12
)

// An Entry is what an event adds under one key.
type Entry struct {
	Time  int64       // event time
	Value value.Value // what the aggregate takes
	Row   *Row        // of a list
}

// A Row is one element of a list.
type Row struct {
	Key    string
	Fields []value.Value // by the place of their names in Shape.Fields
	Has    []bool        // per field: the item had it
}

type bucket struct {
	t           int64 // when it counts as having happened
	first, last Entry
}

// cut is the latest time that has left the window at now.
func (f *Shape) cut(now int64) int64 {
	if f.Within == 0 {
		return math.MinInt64
	}
	return now - int64(f.Within)
}

// body is a record behind its head and text; of no bytes when it is new.
func body(rec []byte) []byte {
	n, _ := head(rec)
	return rec[headBytes+n:]
}

func counted(b []byte, what int) int { return int(le.Uint32(b[what:])) }

func (s *State) count(i, what, n int) {
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

// entryAt reads the entry that begins at offset at of a record.
func entryAt(rec []byte, at int) (t int64, holds []byte, next int) {
	next = at + entryHead + int(le.Uint32(rec[at+8:]))
	return word(rec[at:], 0), rec[at+entryHead : next], next
}

// bucketsOf decodes the buckets of a record, which may be nil; texts lie in it.
func bucketsOf(rec []byte) []bucket {
	if rec == nil {
		return nil
	}
	b := body(rec)
	if len(b) == 0 || counted(b, windowBuckets) == 0 {
		return nil
	}
	buckets := make([]bucket, counted(b, windowBuckets))
	r := value.Reader{B: b[windowHead:], Views: true}
	for i := range buckets {
		buckets[i] = bucket{r.Int(), readHeld(&r, r.Int()), readHeld(&r, r.Int())}
	}
	return buckets
}

// addWindow puts an entry into key i's window, after dropping what has left it
// at out; full says that a bound was met. scratch is memory to use.
func (f *Shape) addWindow(st *State, i int, out int64, e Entry, scratch *[]byte) (full bool) {
	f.dropWindow(st, i, out)
	if f.replaces != nil && !f.replace(st, i, e) {
		return false
	}
	w := value.Writer{B: (*scratch)[:0]}
	hold(&w, e)
	*scratch = w.B
	st.insert(i, e.Time, w.B)
	n := counted(body(st.record(i)), windowEntries) - f.Entries
	if n <= 0 {
		return false
	}
	if f.buckets {
		f.foldWindow(st, i, n)
	}
	for range n {
		f.cutEntry(st, i, entriesAt(st.record(i)))
	}
	return true
}

// replace takes the entry away that e replaces; false where that one is newer.
func (f *Shape) replace(st *State, i int, e Entry) bool {
	rec := st.record(i)
	for at := entriesAt(rec); at < len(rec); {
		t, holds, next := entryAt(rec, at)
		if f.replaces(f, holds, e) {
			if !f.Rows && e.Time < t {
				return false
			}
			f.cutEntry(st, i, at)
			break
		}
		at = next
	}
	return true
}

// insert puts an entry behind those of its time and before.
func (s *State) insert(i int, t int64, holds []byte) {
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

// cutEntry takes the entry that begins at offset at out of key i's record.
func (f *Shape) cutEntry(st *State, i, at int) {
	rec := st.record(i)
	_, _, next := entryAt(rec, at)
	st.splice(i, at, next-at, 0)
	st.count(i, windowEntries, -1)
	if next == len(rec) {
		f.newestAgain(st, i)
	}
}

// newestAgain finds the time of key i's newest bucket or entry.
func (f *Shape) newestAgain(st *State, i int) {
	rec, newest := st.record(i), int64(math.MinInt64)
	for _, b := range bucketsOf(rec) {
		newest = b.t
	}
	for at := entriesAt(rec); at < len(rec); {
		newest, _, at = entryAt(rec, at)
	}
	putWord(body(rec), 0, newest)
}

// dropWindow drops what lies at or before c.
func (f *Shape) dropWindow(st *State, i int, c int64) {
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
func (f *Shape) foldWindow(st *State, i, n int) {
	rec := st.record(i)
	buckets := bucketsOf(rec)
	for at := entriesAt(rec); n > 0; n-- {
		t, holds, next := entryAt(rec, at)
		at = next
		e := readHeld(&value.Reader{B: holds, Views: true}, t)
		t = f.bucketTime(t)
		j := sort.Search(len(buckets), func(j int) bool { return buckets[j].t >= t })
		if j == len(buckets) || buckets[j].t != t {
			buckets = slices.Insert(buckets, j, bucket{t, e, e})
			continue
		}
		b := &buckets[j]
		if e.Time < b.first.Time {
			b.first = e
		}
		if b.last.Time <= e.Time {
			b.last = e
		}
	}
	f.setBuckets(st, i, buckets)
}

// setBuckets gives key i's window other buckets, which may be views into it.
func (f *Shape) setBuckets(st *State, i int, buckets []bucket) {
	var w value.Writer
	for _, b := range buckets {
		w.Int(b.t)
		for _, e := range [...]Entry{b.first, b.last} {
			w.Int(e.Time)
			hold(&w, e)
		}
	}
	rec := st.record(i)
	b := body(rec)
	size, at := counted(b, windowSize), len(rec)-len(b)+windowHead
	st.count(i, windowBuckets, len(buckets)-counted(b, windowBuckets))
	le.PutUint32(b[windowSize:], uint32(len(w.B)))
	st.splice(i, at, size, len(w.B))
	copy(st.record(i)[at:], w.B)
	f.newestAgain(st, i)
}

// hold writes what an entry holds.
func hold(w *value.Writer, e Entry) {
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

// readHeld reads an entry of time t.
func readHeld(r *value.Reader, t int64) Entry {
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

// heldValue is the value that an entry holds, in the entry's memory.
func heldValue(holds []byte) value.Value { return (&value.Reader{B: holds, Views: true}).Value() }
