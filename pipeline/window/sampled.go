package window

import (
	"math"
	"math/bits"

	"cel.dev/cel-go/cel"
	"github.com/cespare/xxhash/v2"

	"offerstream/pipeline/value"
)

// sampled is distinct of an item, whose users may be millions. It is exact up to
// mostSampled values; beyond, only values whose hash (xxhash64 of the text, seed 0) is
// below 2^(64-j) stay or enter, and it is read as their number times 2^j.
//
// Of a value it keeps the hash, and not the text. So two values of one hash count as
// one, which changes a count by 1: of 16,384 random values, any two have one hash
// once in 2^37 items, and the sample, which the hash defines, is far less exact.
var sampled = &Aggregate{Name: "distinct", Of: Scalars, Samples: true, Type: always(cel.IntType), Take: texted, pick: estimate}

const mostSampled = 16384 // values that are held

// textSum is the hash of a value's text.
func textSum(v value.Value) uint64 {
	if v.Kind != value.String {
		v.Str, _ = value.PrintText(v.CEL()) // it has one: texted has seen it
	}
	return xxhash.Sum64String(v.Str)
}

// sampleOf is key i's sample.
func (s *State) sampleOf(i int) sample { return sample(body(s.record(i))) }

// addSample adds a value to key i's sample; full reports that the bound was reached.
func (f *Shape) addSample(st *State, i int, cutoff int64, v sampledValue) (full bool) {
	f.dropSample(st, i, cutoff)
	s := st.sampleOf(i)
	if len(s) == 0 {
		f.refill(st, i, nil, 0)
		s = st.sampleOf(i)
	}
	if s.held() == 0 {
		s.set(sampleJ, 0)
	}
	if _, k := s.find(v.sum); k >= 0 {
		if old := s.read(k); v.t >= old.t {
			st.hold(0, int(v.size)-int(old.size))
			s.write(k, v)
			s.settle(s.heapIndex(k), k)
			putWord(s, 0, max(word(s, 0), v.t))
		}
		return false
	}
	for s.takes(v.sum) && s.held() == mostSampled {
		f.thin(st, i, s.j()+1)
		s, full = st.sampleOf(i), true
	}
	if !s.takes(v.sum) {
		return full
	}
	if s.held() == s.room() {
		f.refill(st, i, s.all(nil), s.j())
		s = st.sampleOf(i)
	}
	s.add(v)
	st.hold(1, entrySize+st.keyBytes(i)+int(v.size))
	return full
}

// thin raises j of key i's sample, and removes the values that it then does not take.
func (f *Shape) thin(st *State, i, j int) {
	s := st.sampleOf(i)
	s.set(sampleJ, j)
	var stay []sampledValue
	for _, v := range s.all(nil) {
		if s.takes(v.sum) {
			stay = append(stay, v)
			continue
		}
		st.hold(-1, -entrySize-st.keyBytes(i)-int(v.size))
	}
	f.refill(st, i, stay, j)
}

// refill makes key i's sample anew, of values that the state already counts, with room
// for more.
func (f *Shape) refill(st *State, i int, values []sampledValue, j int) {
	room := min(max(leastRoom, 1<<bits.Len(uint(len(values)))), mostSampled)
	rec := st.record(i)
	old := len(body(rec))
	st.splice(i, len(rec)-old, old, sampleHead+room*(sampledSize+2+4))
	s := st.sampleOf(i)
	clear(s)
	putWord(s, 0, math.MinInt64)
	s.set(sampleJ, j)
	s.set(sampleRoom, room)
	for _, v := range values {
		s.add(v)
	}
}

// dropSample drops the values at or before cutoff.
func (f *Shape) dropSample(st *State, i int, cutoff int64) {
	s := st.sampleOf(i)
	if len(s) == 0 {
		return
	}
	for s.held() > 0 && s.time(s.heaped(0)) <= cutoff {
		f.removeSampled(st, i)
	}
	if s.room() > leastRoom && s.held() <= s.room()/8 {
		f.refill(st, i, s.all(nil), s.j())
	}
}

// removeSampled removes the oldest value of key i's sample.
func (f *Shape) removeSampled(st *State, i int) {
	s := st.sampleOf(i)
	st.hold(-1, -entrySize-st.keyBytes(i)-int(s.read(s.heaped(0)).size))
	s.removeOldest()
}

// estimate is the number of values later than cutoff, of all that came.
func estimate(_ *Shape, rec []byte, cutoff int64) value.Value {
	if rec == nil || len(body(rec)) == 0 {
		return value.OfInt(0)
	}
	s := sample(body(rec))
	return value.OfInt(int64(s.held()-s.left(0, cutoff)) << s.j())
}

// sampleSize is the size of a sample under a key of that length.
func sampleSize(s sample, key int) (size Size) {
	if len(s) == 0 {
		return Size{}
	}
	for i := range s.held() {
		size = size.Plus(Size{1, entrySize + key + int(s.read(i).size)})
	}
	return size
}
