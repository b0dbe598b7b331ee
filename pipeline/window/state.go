package window

import (
	"encoding/binary"
	"slices"
	"unsafe"

	"github.com/cespare/xxhash/v2"

	"offerstream/pipeline/value"
)

// A State is what an entity holds of one feature: a record for each key.
// Without `by` there is at most one record, under the key "". All records lie
// in one piece of memory, in the form in which they are stored, and are changed
// in place. Hence an event touches little memory, nothing is decoded or
// encoded, and the garbage collector has no work with users who are cached but
// idle.
//
//	index    for each key, starting with the least recently touched: 4 bytes hash
//	         of the key, 4 bytes offset of its record after the index
//	records  in the same order: 3 bytes length of the key, 1 byte number of a
//	         series' buckets, the key, and a series (series.go) or a window
//	         (window.go)
//
// Of users there is a list instead, of as many entries as there are keys (users.go).
// Integers are little-endian.
type State struct {
	ID    uint64 // campaign.Feature.FeatureID
	Since uint32 // the epoch in which the feature began
	open  uint32 // number of open stays of a dwell
	keys  uint32
	held  uint32 // entries and buckets under all keys
	bytes uint32 // their size (size.go)
	added uint32 // the order of the entry that was added last
	b     []byte
	users *userList // of users, once it was changed; b is empty then
}

// Size is the size of all that is held, under all keys. The state may be nil.
func (s *State) Size() Size {
	if s == nil {
		return Size{}
	}
	return Size{int(s.held), int(s.bytes)}
}

// hold adds entries and buckets, and their bytes, to what the state holds; both
// may be negative.
func (s *State) hold(entries, bytes int) {
	s.held = uint32(int(s.held) + entries)
	s.bytes = uint32(int(s.bytes) + bytes)
}

// Open reports whether a stay is open.
func (s *State) Open() bool { return s.open > 0 }

const (
	indexBytes = 8
	headBytes  = 4
	keyLength  = 1<<24 - 1 // mask of the length of the key in a record's first bytes
)

var le = binary.LittleEndian

func keySum(key string) uint32 { return uint32(xxhash.Sum64String(key)) }

// offset is the offset in b of key i's record; with i the number of keys, the
// end of the last record.
func (s *State) offset(i int) int {
	if i == int(s.keys) {
		return len(s.b)
	}
	return int(s.keys)*indexBytes + int(le.Uint32(s.b[i*indexBytes+4:]))
}

// record is key i's record. It is valid until the state changes.
func (s *State) record(i int) []byte { return s.b[s.offset(i):s.offset(i+1)] }

// head reads a record's first bytes: the length of its key, the number of a
// series' buckets.
func head(rec []byte) (text, buckets int) {
	h := le.Uint32(rec)
	return int(h & keyLength), int(h >> 24)
}

// key is the text of key i. It is valid until the state changes.
func (s *State) key(i int) string {
	rec := s.record(i)
	n, _ := head(rec)
	return unsafe.String(unsafe.SliceData(rec[headBytes:]), n)
}

// keyBytes is the length of key i.
func (s *State) keyBytes(i int) int {
	n, _ := head(s.record(i))
	return n
}

// find is the record of a key, nil if there is none.
func (s *State) find(key string) []byte {
	if s == nil {
		return nil
	}
	if i := s.index(key); i >= 0 {
		return s.record(i)
	}
	return nil
}

// index is the position of a key among the keys, -1 if the state does not hold
// it.
func (s *State) index(key string) int {
	sum := keySum(key)
	for i := int(s.keys) - 1; i >= 0; i-- { // recently touched keys are looked up most
		if le.Uint32(s.b[i*indexBytes:]) == sum && s.key(i) == key {
			return i
		}
	}
	return -1
}

// append adds an empty record under a new key, which becomes the last.
func (s *State) append(key string) {
	old, slot := len(s.b), int(s.keys)*indexBytes
	s.grow(indexBytes + headBytes + len(key))
	copy(s.b[slot+indexBytes:], s.b[slot:old])
	le.PutUint32(s.b[slot:], keySum(key))
	le.PutUint32(s.b[slot+4:], uint32(old-slot))
	le.PutUint32(s.b[old+indexBytes:], uint32(len(key)))
	copy(s.b[old+indexBytes+headBytes:], key)
	s.keys++
}

func (s *State) grow(n int) {
	s.b = slices.Grow(s.b, n)[:len(s.b)+n]
}

// moveLast makes key i the last, that is, the most recently touched.
func (s *State) moveLast(i int) {
	end := int(s.keys) - 1
	if i == end {
		return
	}
	var buf [512]byte
	rec := append(buf[:0], s.record(i)...)
	sum := le.Uint32(s.b[i*indexBytes:])
	from := s.offset(i)
	copy(s.b[from:], s.b[from+len(rec):])
	copy(s.b[len(s.b)-len(rec):], rec)
	for j := i; j < end; j++ {
		le.PutUint32(s.b[j*indexBytes:], le.Uint32(s.b[(j+1)*indexBytes:]))
		le.PutUint32(s.b[j*indexBytes+4:], le.Uint32(s.b[(j+1)*indexBytes+4:])-uint32(len(rec)))
	}
	le.PutUint32(s.b[end*indexBytes:], sum)
	le.PutUint32(s.b[end*indexBytes+4:], uint32(len(s.b)-int(s.keys)*indexBytes-len(rec)))
}

// remove removes key i and its record.
func (s *State) remove(i int) {
	from, to := s.offset(i), s.offset(i+1)
	s.splice(i, 0, to-from, 0)
	s.b = slices.Delete(s.b, i*indexBytes, (i+1)*indexBytes)
	s.keys--
}

// splice deletes remove bytes of key i's record at an offset, and makes room
// there for insert bytes, whose content is undefined.
func (s *State) splice(i, offset, remove, insert int) {
	start, old := s.offset(i)+offset, len(s.b)
	if insert > remove {
		s.grow(insert - remove)
	}
	copy(s.b[start+insert:], s.b[start+remove:old])
	s.b = s.b[:old+insert-remove]
	for j := i + 1; j < int(s.keys); j++ {
		off := s.b[j*indexBytes+4:]
		le.PutUint32(off, le.Uint32(off)+uint32(insert-remove))
	}
}

// Append writes the state to a record.
func (s *State) Append(w *value.Writer) {
	w.Fixed(s.ID)
	w.Uint(uint64(s.Since))
	w.Uint(uint64(s.open))
	w.Uint(uint64(s.keys))
	w.Uint(uint64(s.held))
	w.Uint(uint64(s.bytes))
	w.Uint(uint64(s.added))
	if s.users != nil {
		w.Len(s.users.size())
		w.B = s.users.appendUsers(w.B)
		return
	}
	w.Bytes(s.b)
}

// StateBytes is the least number of bytes that Append writes.
const StateBytes = 15

// ReadState reads what Append wrote. The state aliases the reader's memory
// until it grows.
func ReadState(r *value.Reader) State {
	s := State{ID: r.Fixed(), Since: uint32(r.Uint()), open: uint32(r.Uint()), keys: uint32(r.Uint()), held: uint32(r.Uint()), bytes: uint32(r.Uint()), added: uint32(r.Uint()), b: r.Bytes()}
	if int(s.keys)*(indexBytes+headBytes) > len(s.b) {
		r.Fail(value.ErrShort)
	}
	return s
}
