package window

import (
	"math"
	"unsafe"

	"offerstream/pipeline/value"
)

// users keeps a list of entity keys, each with the event time of its latest on.
// A key that comes again moves to the end of the list. It has a bound of its own,
// Shape.Entries, and does not count in the size of a state. Expressions see its
// size only; `to:` reads the list (Shape.Users).
var users = &Aggregate{Name: "users", Entities: true, Newest: true, Type: always(crowd.Type)}

// crowd is the type of a list of users in expressions.
var crowd = value.NewSized("Users", func(n any) int { return n.(int) })

// A userList is the list of a State in memory. Its entries lie in pieces of at
// most pieceBytes, in the order of the list; so an act changes few pieces of many,
// and each can be stored by itself. An entry is
//
//	8 bytes  event time
//	2 bytes  length of the key, of which the highest bit says that the entry was
//	         removed
//	         the key
//
// A removed entry stays until half of its piece is such; then the piece is written
// anew, together with the one before it if both fit into one. As the State is
// stored, its memory (State.b) is the entries of all pieces, without removed ones.
//
// The table finds the entry of a key: it is open-addressed, with a slot of 4 bytes
// place of the entry (piece.id + 1, and 2 bytes offset in the piece) and 4 bytes
// hash of the key. An empty slot is 0.
type userList struct {
	pieces []*piece
	byID   []*piece // nil: the id is free
	free   []int    // ids that are free
	table  []uint64
	held   int // slots in use

	dropped int64 // when AddUser last dropped what had left the window, which it does a little late
}

type piece struct {
	id    int
	b     []byte
	first int   // offset up to which all entries were removed
	n     int   // entries that were not removed
	live  int   // bytes of these
	least int64 // none of them is of an earlier time
}

const (
	pieceBytes  = 64 << 10
	userHead    = 10
	userRemoved = 1 << 15
)

// readUser reads the entry at an offset of a piece. The key aliases the piece.
func readUser(b []byte, offset int) (t int64, key string, removed bool, next int) {
	length := le.Uint16(b[offset+8:])
	n := int(length &^ userRemoved)
	next = offset + userHead + n
	return word(b[offset:], 0), unsafe.String(unsafe.SliceData(b[offset+userHead:next]), n), length&userRemoved != 0, next
}

func appendUser(b []byte, t int64, key string) []byte {
	b = le.AppendUint64(b, uint64(t))
	b = le.AppendUint16(b, uint16(len(key)))
	return append(b, key...)
}

// list is the state's list of users, made of its memory if need be. The pieces
// alias that memory until they grow.
func (s *State) list() *userList {
	if s.users != nil {
		return s.users
	}
	l := &userList{}
	s.users = l
	for b := s.b; len(b) > 0; {
		p := l.add(len(l.pieces))
		p.least = math.MaxInt64
		end := 0
		for end < len(b) {
			t, _, _, next := readUser(b, end)
			if next > pieceBytes {
				break
			}
			p.n, p.least, end = p.n+1, min(p.least, t), next
		}
		p.b, p.live, b = b[:end:end], end, b[end:]
	}
	s.b = nil
	l.resize(int(s.keys))
	for _, p := range l.pieces {
		p.each(func(offset int, _ int64, key string) bool {
			l.put(keySum(key), p.place(offset))
			return true
		})
	}
	return l
}

// each calls fn with the entries that were not removed, until it returns false.
func (p *piece) each(fn func(offset int, t int64, key string) bool) {
	for offset := p.first; offset < len(p.b); {
		t, key, removed, next := readUser(p.b, offset)
		if !removed && !fn(offset, t, key) {
			return
		}
		offset = next
	}
}

func (p *piece) place(offset int) uint32 { return uint32(p.id+1)<<16 | uint32(offset) }

// at is the piece and the offset of an entry.
func (l *userList) at(place uint32) (p *piece, offset int) {
	return l.byID[place>>16-1], int(place & (1<<16 - 1))
}

// add inserts an empty piece at index i.
func (l *userList) add(i int) *piece {
	p := &piece{least: math.MaxInt64}
	if n := len(l.free); n > 0 {
		p.id, l.free = l.free[n-1], l.free[:n-1]
		l.byID[p.id] = p
	} else {
		p.id = len(l.byID)
		l.byID = append(l.byID, p)
	}
	l.pieces = append(l.pieces, nil)
	copy(l.pieces[i+1:], l.pieces[i:])
	l.pieces[i] = p
	return p
}

// drop removes the piece at index i.
func (l *userList) drop(i int) {
	id := l.pieces[i].id
	l.byID[id], l.free = nil, append(l.free, id)
	l.pieces = append(l.pieces[:i], l.pieces[i+1:]...)
}

// index is the index of a piece.
func (l *userList) index(p *piece) int {
	for i := len(l.pieces) - 1; i > 0; i-- {
		if l.pieces[i] == p {
			return i
		}
	}
	return 0
}

// find is the slot and the place of a key's entry; ok is false if there is none.
func (l *userList) find(key string) (slot int, place uint32, ok bool) {
	if l.held == 0 {
		return 0, 0, false
	}
	sum, mask := keySum(key), len(l.table)-1
	for slot = int(sum) & mask; l.table[slot] != 0; slot = (slot + 1) & mask {
		if s := l.table[slot]; uint32(s) == sum {
			p, offset := l.at(uint32(s >> 32))
			if _, k, _, _ := readUser(p.b, offset); k == key {
				return slot, uint32(s >> 32), true
			}
		}
	}
	return 0, 0, false
}

// slotOf is the slot of the entry at a place, whose key has that hash.
func (l *userList) slotOf(sum, place uint32) int {
	mask := len(l.table) - 1
	slot := int(sum) & mask
	for l.table[slot] != uint64(place)<<32|uint64(sum) {
		slot = (slot + 1) & mask
	}
	return slot
}

// put adds a slot for an entry. There is room for it.
func (l *userList) put(sum, place uint32) {
	mask := len(l.table) - 1
	slot := int(sum) & mask
	for l.table[slot] != 0 {
		slot = (slot + 1) & mask
	}
	l.table[slot] = uint64(place)<<32 | uint64(sum)
	l.held++
}

// clear empties a slot, and moves those behind it to where they are found.
func (l *userList) clear(slot int) {
	mask := len(l.table) - 1
	for next := (slot + 1) & mask; l.table[next] != 0; next = (next + 1) & mask {
		if home := int(uint32(l.table[next])) & mask; (next-home)&mask >= (next-slot)&mask {
			l.table[slot] = l.table[next]
			slot = next
		}
	}
	l.table[slot] = 0
	l.held--
}

// resize makes the table large enough for n keys.
func (l *userList) resize(n int) {
	size := 8
	for size*3 < n*4 {
		size *= 2
	}
	if size <= len(l.table) {
		return
	}
	old := l.table
	l.table, l.held = make([]uint64, size), 0
	for _, s := range old {
		if s != 0 {
			l.put(uint32(s), uint32(s>>32))
		}
	}
}
