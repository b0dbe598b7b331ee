package pipeline

import (
	"encoding/binary"
	"slices"
	"unsafe"

	"github.com/cespare/xxhash/v2"
)

// A featureState is what a user holds of one feature: a record for each key,
// without `by` at most one, of key "". All of them lie in one piece of memory,
// in the bytes in which they are stored, and are worked on there: so an event
// touches few places, nothing is decoded or encoded, and a user who is put
// aside costs the garbage collector nothing.
//
//	index    for each key, the least recently touched first: 4 bytes of its
//	         text's hash, 4 of where its record begins behind the index
//	records  in the same order: 3 bytes of the text's length, 1 of how many
//	         buckets a series has, the text, and a series (series.go) or
//	         a window (window.go)
//
// Integers are little-endian.
type featureState struct {
	id    uint64
	since uint32 // epoch of the feature when it began
	open  uint32 // dwell: how many intervals are open
	keys  uint32
	held  uint32 // entries and buckets of all keys
	b     []byte
}

const (
	indexBytes = 8
	headBytes  = 4
	maxKey     = 1<<24 - 1 // bytes of a key's text
)

var le = binary.LittleEndian

func keySum(key string) uint32 { return uint32(xxhash.Sum64String(key)) }

// offset is where key i's record begins in b; that of the number of keys is
// where all ends.
func (s *featureState) offset(i int) int {
	if i == int(s.keys) {
		return len(s.b)
	}
	return int(s.keys)*indexBytes + int(le.Uint32(s.b[i*indexBytes+4:]))
}

// record is key i's, valid until anything changes.
func (s *featureState) record(i int) []byte { return s.b[s.offset(i):s.offset(i+1)] }

// A head is a record's first bytes.
func head(rec []byte) (text, buckets int) {
	h := le.Uint32(rec)
	return int(h & maxKey), int(h >> 24)
}

// key is key i's text, valid until anything changes.
func (s *featureState) key(i int) string {
	rec := s.record(i)
	n, _ := head(rec)
	return unsafe.String(unsafe.SliceData(rec[headBytes:]), n)
}

// find is a key's record, nil where it has none.
func (s *featureState) find(key string) []byte {
	if s == nil {
		return nil
	}
	if i := s.index(key); i >= 0 {
		return s.record(i)
	}
	return nil
}

// index is a key's place, -1 where it has none.
func (s *featureState) index(key string) int {
	sum := keySum(key)
	for i := int(s.keys) - 1; i >= 0; i-- { // the latest are asked for most
		if le.Uint32(s.b[i*indexBytes:]) == sum && s.key(i) == key {
			return i
		}
	}
	return -1
}

// append puts a new key behind the others.
func (s *featureState) append(key string) {
	old, at := len(s.b), int(s.keys)*indexBytes
	s.grow(indexBytes + headBytes + len(key))
	copy(s.b[at+indexBytes:], s.b[at:old])
	le.PutUint32(s.b[at:], keySum(key))
	le.PutUint32(s.b[at+4:], uint32(old-at))
	le.PutUint32(s.b[old+indexBytes:], uint32(len(key)))
	copy(s.b[old+indexBytes+headBytes:], key)
	s.keys++
}

func (s *featureState) grow(n int) {
	s.b = slices.Grow(s.b, n)[:len(s.b)+n]
}

// latest makes key i the last.
func (s *featureState) latest(i int) {
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
func (s *featureState) remove(i int) {
	from, to := s.offset(i), s.offset(i+1)
	s.splice(i, 0, to-from, 0)
	s.b = slices.Delete(s.b, i*indexBytes, (i+1)*indexBytes)
	s.keys--
}

// splice makes room for ins bytes in place of del bytes at at in key i's
// record.
func (s *featureState) splice(i, at, del, ins int) {
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
