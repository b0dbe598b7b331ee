package window

import (
	"encoding/binary"
	"slices"
	"unsafe"

	"github.com/cespare/xxhash/v2"

	"offerstream/pipeline/value"
)

// A State is what an entity holds of one feature: a record for each key,
// without `by` at most one, under the key "". All of them lie in one piece of
// memory, in the bytes in which they are stored, and are changed in place: so
// an event touches few places, nothing is decoded or encoded, and a user who is
// in the cache and not in use costs the garbage collector nothing.
//
//	index    for each key, the least recently touched first: 4 bytes of its
//	         text's hash, 4 of where its record begins behind the index
//	records  in the same order: 3 bytes of the text's length, 1 of how many
//	         buckets a series has, the text, and a series (series.go) or
//	         a window (window.go)
//
// Integers are little-endian.
type State struct {
	ID    uint64 // the feature's (campaign.Feature.FeatureID)
	Since uint32 // epoch in which the feature began
	open  uint32 // dwell: how many stays are open
	keys  uint32
	held  uint32 // entries and buckets of all keys
	b     []byte
}

// Held is how many entries and buckets there are, of all keys.
func (s *State) Held() int { return int(s.held) }

// Open says that a stay goes on.
func (s *State) Open() bool { return s.open > 0 }

const (
	indexBytes = 8
	headBytes  = 4
	MaxKey     = 1<<24 - 1 // bytes of a key's text
)

var le = binary.LittleEndian

func keySum(key string) uint32 { return uint32(xxhash.Sum64String(key)) }

// offset is where key i's record begins in b; that of the number of keys is
// where all ends.
func (s *State) offset(i int) int {
	if i == int(s.keys) {
		return len(s.b)
	}
	return int(s.keys)*indexBytes + int(le.Uint32(s.b[i*indexBytes+4:]))
}

// record is key i's, valid until anything changes.
func (s *State) record(i int) []byte { return s.b[s.offset(i):s.offset(i+1)] }

// A head is a record's first bytes.
func head(rec []byte) (text, buckets int) {
	h := le.Uint32(rec)
	return int(h & MaxKey), int(h >> 24)
}

// key is key i's text, valid until anything changes.
func (s *State) key(i int) string {
	rec := s.record(i)
	n, _ := head(rec)
	return unsafe.String(unsafe.SliceData(rec[headBytes:]), n)
}

// find is a key's record, nil where it has none.
func (s *State) find(key string) []byte {
	if s == nil {
		return nil
	}
	if i := s.index(key); i >= 0 {
		return s.record(i)
	}
	return nil
}

// index is a key's place, -1 where it has none.
func (s *State) index(key string) int {
	sum := keySum(key)
	for i := int(s.keys) - 1; i >= 0; i-- { // the latest are asked for most
		if le.Uint32(s.b[i*indexBytes:]) == sum && s.key(i) == key {
			return i
		}
	}
	return -1
}

// append puts a new key behind the others.
func (s *State) append(key string) {
	old, at := len(s.b), int(s.keys)*indexBytes
	s.grow(indexBytes + headBytes + len(key))
	copy(s.b[at+indexBytes:], s.b[at:old])
	le.PutUint32(s.b[at:], keySum(key))
	le.PutUint32(s.b[at+4:], uint32(old-at))
	le.PutUint32(s.b[old+indexBytes:], uint32(len(key)))
	copy(s.b[old+indexBytes+headBytes:], key)
	s.keys++
}

func (s *State) grow(n int) {
	s.b = slices.Grow(s.b, n)[:len(s.b)+n]
}

// latest makes key i the last.
func (s *State) latest(i int) {
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

// remove takes key i away.
func (s *State) remove(i int) {
	from, to := s.offset(i), s.offset(i+1)
	s.splice(i, 0, to-from, 0)
	s.b = slices.Delete(s.b, i*indexBytes, (i+1)*indexBytes)
	s.keys--
}

// splice replaces del bytes of key i's record by ins bytes of room. Both begin
// at offset at of the record.
func (s *State) splice(i, at, del, ins int) {
	from, old := s.offset(i)+at, len(s.b)
	if ins > del {
		s.grow(ins - del)
	}
	copy(s.b[from+ins:], s.b[from+del:old])
	s.b = s.b[:old+ins-del]
	for j := i + 1; j < int(s.keys); j++ {
		off := s.b[j*indexBytes+4:]
		le.PutUint32(off, le.Uint32(off)+uint32(ins-del))
	}
}

// Append writes the state.
func (s *State) Append(w *value.Writer) {
	w.Fixed(s.ID)
	w.Uint(uint64(s.Since))
	w.Uint(uint64(s.open))
	w.Uint(uint64(s.keys))
	w.Uint(uint64(s.held))
	w.Bytes(s.b)
}

// StateBytes is the least that Append writes.
const StateBytes = 13

// ReadState reads what Append wrote. The state lives in the reader's memory
// until it grows.
func ReadState(r *value.Reader) State {
	s := State{ID: r.Fixed(), Since: uint32(r.Uint()), open: uint32(r.Uint()), keys: uint32(r.Uint()), held: uint32(r.Uint()), b: r.Bytes()}
	if int(s.keys)*(indexBytes+headBytes) > len(s.b) {
		r.Fail(value.ErrShort)
	}
	return s
}
