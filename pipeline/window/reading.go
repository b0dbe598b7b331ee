package window

import (
	"sort"
	"strings"

	"cel.dev/cel-go/common/types/ref"

	"offerstream/pipeline/value"
)

// Total is the aggregate under a key as a single value (Aggregate.Single). Its
// text is valid until the state changes. Here as in all of this file, st may be
// nil.
func (f *Shape) Total(st *State, key string, now int64) value.Value {
	return f.total(st.find(key), now)
}

// total is Total of a record, which may be nil.
func (f *Shape) total(rec []byte, now int64) value.Value {
	if f.width > 0 {
		return f.sum(f.inSeries(rec, f.cutoff(now), now))
	}
	return f.pick(f, rec, f.cutoff(now))
}

// Read is the aggregate under a key as an expression sees it; a ranking or a list
// of users is that of all keys, whatever key is given.
func (f *Shape) Read(st *State, key string, now int64) ref.Val {
	if f.Ranks {
		return rankingOf(f.weights(st, now))
	}
	if f.Entities {
		return crowd.Of(f.UserCount(st, now))
	}
	rec := st.find(key)
	if !f.Single() {
		var w value.Writer
		f.write(f, rec, f.cutoff(now), &w)
		return f.show(f, &value.Reader{B: w.B, Alias: true})
	}
	v := f.total(rec, now)
	v.Str = strings.Clone(v.Str)
	return v.CEL()
}

// Has reports whether a key has an entry in the window, of a list of users whether
// anyone has.
func (f *Shape) Has(st *State, key string, now int64) bool {
	if f.Entities {
		return f.UserCount(st, now) > 0
	}
	rec := st.find(key)
	return rec != nil && f.newest(rec) > f.cutoff(now)
}

// By is a feature with `by` as an expression sees it: a map of the keys that
// have an entry in the window. Looking up any other key gives the aggregate's
// empty value.
func (f *Shape) By(st *State, now int64) ref.Val { return value.Map{Source: keysSource{f, st, now}} }

type keysSource struct {
	f   *Shape
	st  *State
	now int64
}

func (s keysSource) Find(key string) (ref.Val, bool) { return s.f.Read(s.st, key, s.now), true }

func (s keysSource) Has(key string) bool { return s.f.Has(s.st, key, s.now) }

func (s keysSource) Keys() []string {
	if s.st == nil {
		return nil
	}
	cutoff := s.f.cutoff(s.now)
	var ks []string
	for i := range int(s.st.keys) {
		if s.f.newest(s.st.record(i)) > cutoff {
			ks = append(ks, strings.Clone(s.st.key(i)))
		}
	}
	sort.Strings(ks)
	return ks
}

func (s keysSource) Size() int { return len(s.Keys()) }

// A part is that part of a series which lies in the window at now.
type part struct {
	buckets, entries []byte
	bucket, entry    int // size of one
	now              int64
}

// count is the number of entries, including folded ones.
func (p part) count() int64 {
	n := int64(len(p.entries) / p.entry)
	for b := p.buckets; len(b) > 0; b = b[p.bucket:] {
		n += word(b, 1)
	}
	return n
}

// total is the sum of the values.
func (p part) total() (sum wide) {
	for b := p.buckets; len(b) > 0; b = b[p.bucket:] {
		sum = sum.plus(wide{word(b, 3), uint64(word(b, 2))})
	}
	for e := p.entries; len(e) > 0; e = e[p.entry:] {
		sum = sum.plus(widen(word(e, 1)))
	}
	return sum
}

// extreme is the value that beats all others, null if there are none. A
// bucket's own extreme is its word number bucketWord.
func (p part) extreme(bucketWord int, beats func(a, b float64) bool) (best value.Value) {
	take := func(v int64) {
		if x := double(v); best.Kind == value.Null || beats(x, best.Double()) {
			best = value.OfDouble(x)
		}
	}
	for b := p.buckets; len(b) > 0; b = b[p.bucket:] {
		take(word(b, bucketWord))
	}
	for e := p.entries; len(e) > 0; e = e[p.entry:] {
		take(word(e, 1))
	}
	return best
}

// stayed is the sum of the stays; a stay that is open lasts until now.
func (p part) stayed() int64 {
	var sum int64
	for b := p.buckets; len(b) > 0; b = b[p.bucket:] {
		sum += word(b, 2)
	}
	for e := p.entries; len(e) > 0; e = e[p.entry:] {
		if d := word(e, 1); d != openStay {
			sum += d
		} else {
			sum += clampDwell(value.Minus(p.now, word(e, 0)))
		}
	}
	return sum
}

// each calls fn with the content of each entry of a window that is later than
// cutoff; rec may be nil.
func each(rec []byte, cutoff int64, fn func(content []byte)) {
	if rec == nil {
		return
	}
	for offset := entriesOffset(rec); offset < len(rec); {
		t, content, next := readEntry(rec, offset)
		if offset = next; t > cutoff {
			fn(content)
		}
	}
}
