package window

import (
	"slices"
	"sort"

	"offerstream/pipeline/value"
)

// Union adds what a holds to u, which both are states of one feature, as of a visitor
// and of the user he turned out to be (LANGUAGE.md, rule 17), and returns how often a
// bound was reached. The entries of a come after all of u: of equal event times those
// of a are the later ones, and its keys are the most recently touched. Buckets stay
// buckets. Of two rows or values of a list or a distinct that replace each other, the
// one with the later event time stays; of equals, that of a. Weights of a ranking are
// decayed to now and added. Stays that are open in both stay open: close one first.
//
// The state a does not change.
func (f *Shape) Union(u, a *State, now int64) (reached uint64) {
	if f.Entities {
		return f.unionUsers(u, a, now)
	}
	if f.Ranks {
		return f.unionRanks(u, a, now)
	}
	cutoff := f.cutoff(now)
	m := merger{f: f, u: u, a: a, cutoff: cutoff, after: u.added + 1, first: f.firstOrder(a)}
	for i := range int(a.keys) {
		rec := a.record(i)
		if f.newest(rec) <= cutoff {
			continue
		}
		k, full := f.touch(u, a.key(i), cutoff)
		reached += full
		f.dropKey(u, k, cutoff)
		switch {
		case f.Samples:
			reached += m.sample(k, sample(body(rec)))
		case f.width > 0:
			reached += m.series(k, rec)
		default:
			reached += m.window(k, rec)
		}
	}
	if n := a.added - m.first + 1; a.keys > 0 {
		u.added = m.after - 1 + n
	}
	return reached
}

// firstOrder is the first of the orders that a state holds; without any, the next.
func (f *Shape) firstOrder(st *State) uint32 {
	first := st.added + 1
	take := func(order uint32) {
		if before(order, first) {
			first = order
		}
	}
	for i := range int(st.keys) {
		rec := st.record(i)
		switch {
		case f.width > 0 && !f.Grouped:
		case f.Samples:
			for _, v := range sample(body(rec)).all(nil) {
				take(v.order)
			}
		case f.width > 0:
			buckets, entries := f.series(rec)
			for b := range slices.Chunk(buckets, f.bucketBytes()) {
				take(f.orderOf(b))
			}
			for e := range slices.Chunk(entries, f.entryBytes()) {
				take(f.orderOf(e))
			}
		default:
			for _, b := range bucketsOf(rec) {
				take(b.order)
			}
			for offset := entriesOffset(rec); offset < len(rec); {
				take(entryOrder(rec, offset))
				_, _, offset = readEntry(rec, offset)
			}
		}
	}
	return first
}

// A merger adds the records of state a to those of u.
type merger struct {
	f      *Shape
	u, a   *State
	cutoff int64
	first  uint32 // the first order in a
	after  uint32 // what becomes of it in u
}

// order is what becomes of an order of a.
func (m *merger) order(o uint32) uint32 { return o - m.first + m.after }

// series adds a series to that of key k.
func (m *merger) series(k int, rec []byte) (reached uint64) {
	f, u := m.f, m.u
	in := f.inSeries(rec, m.cutoff, 0)
	for b := range slices.Chunk(in.buckets, in.bucket) {
		f.joinBucket(u, k, b, m.order(f.orderOf(b)))
	}
	for e := range slices.Chunk(in.entries, in.entry) {
		v := int64(0)
		if f.width > timeBytes {
			v = word(e, 1)
		}
		if f.Stays && v == openStay {
			u.open++
		}
		u.added = m.order(f.orderOf(e))
		if f.addSeries(u, k, word(e, 0), v, f.Entries) {
			reached++
		}
	}
	return reached
}

// joinBucket adds a bucket to that of its time in key k's series.
func (f *Shape) joinBucket(st *State, k int, from []byte, order uint32) {
	b, fresh := f.bucketAt(st, k, word(from, 0))
	putWord(b, 1, word(b, 1)+word(from, 1))
	if f.join != nil {
		f.join(b, from, fresh)
	}
	if f.Grouped && (fresh || before(order, f.orderOf(b))) {
		le.PutUint32(b[bucketWords:], order)
	}
}

// window adds a window to that of key k.
func (m *merger) window(k int, rec []byte) (reached uint64) {
	f, u := m.f, m.u
	if buckets := bucketsOf(rec); len(buckets) > 0 {
		f.joinWindowBuckets(u, k, buckets, m)
	}
	for offset := entriesOffset(rec); offset < len(rec); {
		t, content, next := readEntry(rec, offset)
		u.added = m.order(entryOrder(rec, offset))
		if offset = next; t <= m.cutoff || f.replaces != nil && !f.replace(u, k, readContent(&value.Reader{B: content, Alias: true}, t), true) {
			continue
		}
		u.insert(k, t, content)
		if f.trim(u, k) {
			reached++
		}
	}
	return reached
}

// joinWindowBuckets adds buckets to those of key k's window.
func (f *Shape) joinWindowBuckets(st *State, k int, more []bucket, m *merger) {
	if len(body(st.record(k))) == 0 {
		st.begin(k)
	}
	buckets := bucketsOf(st.record(k))
	for _, b := range more {
		b.order = m.order(b.order)
		j := sort.Search(len(buckets), func(j int) bool { return buckets[j].t >= b.t })
		switch {
		case b.t <= m.cutoff:
		case j == len(buckets) || buckets[j].t != b.t:
			buckets = slices.Insert(buckets, j, b)
		case f.keeps(buckets[j].kept, b.kept):
			buckets[j].kept = b.kept
		}
	}
	f.setBuckets(st, k, buckets)
}

// sample adds a sample to that of key k.
func (m *merger) sample(k int, s sample) (reached uint64) {
	f, u := m.f, m.u
	if mine := u.sampleOf(k); len(mine) > 0 && mine.held() > 0 && mine.j() < s.j() {
		f.thin(u, k, s.j())
	}
	values := s.all(nil)
	slices.SortFunc(values, func(v, w sampledValue) int { // the order in which they came does not matter, but it has one
		if before(v.order, w.order) {
			return -1
		}
		return 1
	})
	least := s.j()
	for _, v := range values {
		if v.t <= m.cutoff {
			continue
		}
		v.order = m.order(v.order)
		if f.addSample(u, k, m.cutoff, v) {
			reached++
		}
		if mine := u.sampleOf(k); mine.j() < least {
			f.thin(u, k, least)
		}
	}
	return reached
}

// unionUsers adds the users of list a to list u. Of a key in both, the entry with the
// later event time stays; of equals, that of a.
func (f *Shape) unionUsers(u, a *State, now int64) (reached uint64) {
	cutoff := f.cutoff(now)
	a.eachPiece(func(p *piece) bool {
		p.each(func(_ int, t int64, key string) bool {
			l := u.list()
			if _, place, ok := l.find(key); ok {
				if q, offset := l.at(place); word(q.b[offset:], 0) > t {
					return true
				}
			}
			if t > cutoff {
				reached += f.AddUser(u, key, t, now)
			}
			return true
		})
		return true
	})
	return reached
}
