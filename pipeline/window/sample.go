package window

import "math"

// A sample is the record of sampled under one key, without its head and the key. It is
// changed in place:
//
//	8 bytes  time of the newest value
//	4 bytes  number of values held
//	4 bytes  j
//	4 bytes  number of values for which there is room: a power of 2
//	         the room for values: each 8 bytes hash, 8 bytes event time, 4 bytes
//	         order (State.added), 2 bytes size, 2 bytes its index in the heap
//	         the heap: of each value 2 bytes its index. The oldest is first, those at
//	         2i+1 and 2i+2 are not older than that at i
//	         the table: twice as many slots of 2 bytes as there is room for values,
//	         open-addressed by hash: the index of a value, plus 1
type sample []byte

const (
	sampleHeld  = 8
	sampleJ     = 12
	sampleRoom  = 16
	sampleHead  = 20
	sampledSize = 24 // of a value
	leastRoom   = 4
)

func (s sample) held() int { return int(le.Uint32(s[sampleHeld:])) }
func (s sample) j() int    { return int(le.Uint32(s[sampleJ:])) }
func (s sample) room() int { return int(le.Uint32(s[sampleRoom:])) }

func (s sample) set(offset, v int) { le.PutUint32(s[offset:], uint32(v)) }

// A sampledValue is a value in memory.
type sampledValue struct {
	sum   uint64
	t     int64
	order uint32
	size  uint16
}

func (s sample) value(i int) []byte { return s[sampleHead+i*sampledSize:][:sampledSize] }

func (s sample) read(i int) sampledValue {
	b := s.value(i)
	return sampledValue{le.Uint64(b), word(b, 1), le.Uint32(b[16:]), le.Uint16(b[20:])}
}

func (s sample) write(i int, v sampledValue) {
	b := s.value(i)
	le.PutUint64(b, v.sum)
	putWord(b, 1, v.t)
	le.PutUint32(b[16:], v.order)
	le.PutUint16(b[20:], v.size)
}

func (s sample) sum(i int) uint64 { return le.Uint64(s.value(i)) }
func (s sample) time(i int) int64 { return word(s.value(i), 1) }

// takes reports whether values of a hash are held.
func (s sample) takes(sum uint64) bool { return sum>>(64-s.j()) == 0 }

// The heap.

func (s sample) heap() []byte     { return s[sampleHead+s.room()*sampledSize:][:2*s.room()] }
func (s sample) heaped(h int) int { return int(le.Uint16(s.heap()[2*h:])) }

// heapIndex is the index in the heap of value i.
func (s sample) heapIndex(i int) int { return int(le.Uint16(s.value(i)[22:])) }

// place makes value i the one at index h of the heap.
func (s sample) place(h, i int) {
	le.PutUint16(s.heap()[2*h:], uint16(i))
	le.PutUint16(s.value(i)[22:], uint16(h))
}

// older reports whether value i is older than value k: by time, then by order.
func (s sample) older(i, k int) bool {
	t, u := s.time(i), s.time(k)
	return t < u || t == u && before(le.Uint32(s.value(i)[16:]), le.Uint32(s.value(k)[16:]))
}

// settle moves value i from index h of the heap to where it belongs.
func (s sample) settle(h, i int) {
	for h > 0 && s.older(i, s.heaped((h-1)/2)) {
		s.place(h, s.heaped((h-1)/2))
		h = (h - 1) / 2
	}
	for n := s.held(); ; {
		child := 2*h + 1
		if child >= n {
			break
		}
		if child+1 < n && s.older(s.heaped(child+1), s.heaped(child)) {
			child++
		}
		if !s.older(s.heaped(child), i) {
			break
		}
		s.place(h, s.heaped(child))
		h = child
	}
	s.place(h, i)
}

// The table.

func (s sample) slot(at int) []byte { return s[len(s)-4*s.room()+2*at:] }
func (s sample) mask() int          { return 2*s.room() - 1 }

// find is the slot of a hash, and the value's index, -1 if it is not held. The slot
// is then the one that it would get.
func (s sample) find(sum uint64) (at, i int) {
	mask := s.mask()
	for at = int(sum) & mask; ; at = (at + 1) & mask {
		i = int(le.Uint16(s.slot(at))) - 1
		if i < 0 || s.sum(i) == sum {
			return at, i
		}
	}
}

// clearSlot empties a slot, and moves those behind it to where they are found.
func (s sample) clearSlot(at int) {
	mask := s.mask()
	for next := (at + 1) & mask; ; next = (next + 1) & mask {
		i := int(le.Uint16(s.slot(next))) - 1
		if i < 0 {
			break
		}
		if home := int(s.sum(i)) & mask; (next-home)&mask >= (next-at)&mask {
			le.PutUint16(s.slot(at), uint16(i+1))
			at = next
		}
	}
	le.PutUint16(s.slot(at), 0)
}

// add adds a value that is not held, for which there is room.
func (s sample) add(v sampledValue) {
	i := s.held()
	s.write(i, v)
	at, _ := s.find(v.sum)
	le.PutUint16(s.slot(at), uint16(i+1))
	s.set(sampleHeld, i+1)
	s.settle(i, i)
	putWord(s, 0, max(word(s, 0), v.t))
}

// removeOldest removes the oldest value.
func (s sample) removeOldest() {
	i, last := s.heaped(0), s.held()-1
	at, _ := s.find(s.sum(i))
	s.clearSlot(at)
	moved := s.heaped(last) // the last of the heap comes first
	s.set(sampleHeld, last)
	if moved != i {
		s.settle(0, moved)
	}
	if i != last { // the last of the values takes the place that is free
		at, _ := s.find(s.sum(last))
		le.PutUint16(s.slot(at), uint16(i+1))
		h := s.heapIndex(last)
		copy(s.value(i), s.value(last))
		s.place(h, i)
	}
	if last == 0 {
		putWord(s, 0, math.MinInt64)
	}
}

// left is the number of values at or before cutoff, of that at index h of the heap and
// of those behind it.
func (s sample) left(h int, cutoff int64) int {
	if h >= s.held() || s.time(s.heaped(h)) > cutoff {
		return 0
	}
	return 1 + s.left(2*h+1, cutoff) + s.left(2*h+2, cutoff)
}

// all appends the values that are held.
func (s sample) all(to []sampledValue) []sampledValue {
	for i := range s.held() {
		to = append(to, s.read(i))
	}
	return to
}
