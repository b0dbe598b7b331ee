package state

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// An entity of more than wholeMost bytes is stored in pieces: the record under
// its key is a head, which lists the pieces, and each piece lies under a key of
// its own, which has the digest of the piece. So a piece never changes, and a
// commit writes only those pieces that the entity did not have before: if an
// event adds some bytes to a large entity, a few KB are written and not all of
// it. Nothing is ever large enough for Badger's value log, whose space comes
// back only when its garbage is collected.
//
// The content decides where a piece ends, so that bytes that are inserted or
// removed shift what follows without changing the pieces there.
const (
	wholeMost  = 32 << 10 // bytes of an entity that is stored whole
	pieceLeast = 2 << 10  // bytes of a piece, except the last
	pieceMost  = 16 << 10
	pieceBits  = 11 // upper bits of the rolling sum that are zero at a piece's end: beyond pieceLeast, every 2 KB on average
	pieceSum   = 64 // newest bytes that the rolling sum depends on, as each leaves it through its upper bits
)

// Pieces are the digests of an entity's pieces, in order; nil if it is stored
// whole.
type Pieces []digest

// A digest is the beginning of a SHA-256: whoever sends events must not be able
// to make two pieces that are mistaken for each other.
type digest [16]byte

func digestOf(piece []byte) digest {
	sum := sha256.Sum256(piece)
	return digest(sum[:len(digest{})])
}

// rolling is what each byte adds to the rolling sum: fixed numbers that look
// random, from SplitMix64.
var rolling = func() (table [256]uint64) {
	x := uint64(0)
	for i := range table {
		x += 0x9e3779b97f4a7c15
		z := (x ^ x>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		table[i] = z ^ z>>31
	}
	return table
}()

// cutPiece splits the first piece off.
func cutPiece(b []byte) (piece, rest []byte) {
	if len(b) <= pieceLeast {
		return b, nil
	}
	most := min(len(b), pieceMost)
	sum := uint64(0)
	for i := pieceLeast - pieceSum; i < most; i++ {
		sum = sum<<1 + rolling[b[i]]
		if i+1 >= pieceLeast && sum>>(64-pieceBits) == 0 {
			return b[:i+1], b[i+1:]
		}
	}
	return b[:most], b[most:]
}

// headVersion is the format byte of a head's frame. The payload is the length
// of the entity as a varint, and the digests.
const headVersion = 2

func appendHead(dst []byte, length int, pieces Pieces) []byte {
	dst = binary.AppendUvarint(dst, uint64(length))
	for _, p := range pieces {
		dst = append(dst, p[:]...)
	}
	return dst
}

// isHead reports whether an entity's record is a head. openHead verifies it.
func isHead(record []byte) bool { return len(record) > 0 && record[0] == headVersion }

// openHead reads a head that was read under key.
func openHead(key, record []byte) (length int, pieces Pieces, err error) {
	payload, err := openVersion(headVersion, key, record)
	if err != nil {
		return 0, nil, err
	}
	n, at := binary.Uvarint(payload)
	if at <= 0 || len(payload[at:])%len(digest{}) != 0 || n > maxRecord {
		return 0, nil, damaged("record under %q lists no pieces", key)
	}
	for p := range slices.Chunk(payload[at:], len(digest{})) {
		pieces = append(pieces, digest(p))
	}
	return int(n), pieces, nil
}

// join appends an entity's pieces to dst[:0]. get calls its second argument with
// the record under a key, and reports whether there is one.
func (p Pieces) join(key string, length int, dst []byte, get func(k []byte, use func(record []byte) error) (bool, error)) ([]byte, error) {
	dst = slices.Grow(dst[:0], length)
	var k []byte
	for i := range p {
		k = appendPieceKey(k[:0], key, p[i])
		found, err := get(k, func(record []byte) error {
			piece, err := openFrame(k, record)
			dst = append(dst, piece...)
			return err
		})
		if err == nil && !found {
			err = damaged("piece %d of %d is not there", i+1, len(p))
		}
		if err != nil {
			return nil, err
		}
	}
	if len(dst) != length {
		return nil, damaged("its pieces have %d bytes, want %d", len(dst), length)
	}
	return dst, nil
}

// different returns how many different pieces there are: the keys that they need.
func (p Pieces) different() int {
	all := make(map[digest]bool, len(p))
	for _, d := range p {
		all[d] = true
	}
	return len(all)
}
