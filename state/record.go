package state

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// ErrDamaged means that a directory or a snapshot does not hold what was
// written to it. A directory must be discarded (Discard) and rebuilt from
// snapshot and log.
var ErrDamaged = errors.New("state is damaged")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

const (
	frameVersion = 1
	frameBytes   = 9
)

// appendFrame appends to dst the record that stores payload under key.
func appendFrame(dst, key, payload []byte) []byte {
	return appendVersion(frameVersion, dst, key, payload)
}

func appendVersion(version byte, dst, key, payload []byte) []byte {
	dst = append(dst, version)
	dst = binary.BigEndian.AppendUint64(dst, frameSum(key, payload))
	return append(dst, payload...)
}

// openFrame returns the payload of a record that was read under key.
func openFrame(key, record []byte) ([]byte, error) {
	return openVersion(frameVersion, key, record)
}

func openVersion(version byte, key, record []byte) ([]byte, error) {
	if len(record) < frameBytes {
		return nil, damaged("record under %q has %d bytes", key, len(record))
	}
	if v := record[0]; v != version {
		return nil, damaged("record under %q has format %d, want %d", key, v, version)
	}
	payload := record[frameBytes:]
	if binary.BigEndian.Uint64(record[1:]) != frameSum(key, payload) {
		return nil, damaged("record under %q has a wrong checksum", key)
	}
	return payload, nil
}

// frameSum is the checksum of a record. It covers the key too, so that a record
// under another record's key is damage.
func frameSum(key, payload []byte) uint64 {
	var d xxhash.Digest
	d.Reset()
	d.Write(key)
	d.Write(payload)
	return d.Sum64()
}

// appendCursor appends the cursor's payload: the commit number, then the
// caller's bytes.
func appendCursor(dst []byte, commit uint64, cursor []byte) []byte {
	return append(binary.BigEndian.AppendUint64(dst, commit), cursor...)
}

func splitCursor(payload []byte) (commit uint64, cursor []byte, err error) {
	if len(payload) < 8 {
		return 0, nil, damaged("cursor has %d bytes", len(payload))
	}
	return binary.BigEndian.Uint64(payload), payload[8:], nil
}
