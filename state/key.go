package state

import "encoding/binary"

// The kinds of keys: the first byte of each key.
const (
	kindIdentity = 'm'
	kindCursor   = 'c'
	kindSeal     = 'l'
	kindNote     = 'n'
	kindEntity   = 'e'
	kindTimer    = 't'
	kindPiece    = 'p'
)

var (
	identityKey = []byte{kindIdentity}
	cursorKey   = []byte{kindCursor}
)

func appendEntityKey(dst []byte, key string) []byte {
	return append(append(dst, kindEntity), key...)
}

func appendPieceKey(dst []byte, key string, d digest) []byte {
	return append(append(append(dst, kindPiece), key...), d[:]...)
}

func appendTimerKey(dst []byte, due int64, key string) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, kindTimer), uint64(due)^1<<63)
	return append(dst, key...)
}

func appendNoteKey(dst []byte, name string) []byte {
	return append(append(dst, kindNote), name...)
}

func appendSealKey(dst []byte, commit uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, kindSeal), commit)
}

// splitTimerKey is the inverse of appendTimerKey; ok is false for a key that
// appendTimerKey cannot have written.
func splitTimerKey(k []byte) (due int64, key string, ok bool) {
	if len(k) < 9 || k[0] != kindTimer {
		return 0, "", false
	}
	return int64(binary.BigEndian.Uint64(k[1:]) ^ 1<<63), string(k[9:]), true
}

func splitSealKey(k []byte) (commit uint64, ok bool) {
	if len(k) != 9 || k[0] != kindSeal {
		return 0, false
	}
	return binary.BigEndian.Uint64(k[1:]), true
}
