package state

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// A snapshotReader reads and verifies the output of a snapshotWriter.
type snapshotReader struct {
	r      io.Reader
	end    bool   // r has ended
	buf    []byte // bytes read from r
	at     int    // how many bytes of buf are consumed
	summed int    // how many bytes of buf are in sum
	sum    xxhash.Digest
	before int64 // how many bytes came before buf

	lastKey          []byte
	entities, timers int
	pieces           int    // how many the entities list that have not been read
	cursor           []byte // the cursor's payload
	seal             uint64 // the commit number of the seal
	seals, cursors   int
}

func newSnapshotReader(r io.Reader) *snapshotReader {
	s := &snapshotReader{r: r, buf: make([]byte, 0, snapshotPiece)}
	s.sum.Reset()
	return s
}

// header reads up to the first record.
func (r *snapshotReader) header(want Identity) (h header, err error) {
	b, err := r.next(len(snapshotMagic) + 8)
	if err != nil {
		return h, err
	}
	if string(b[:len(snapshotMagic)]) != snapshotMagic {
		return h, damaged("it does not begin as a snapshot does")
	}
	b = b[len(snapshotMagic):]
	version, n := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	if n > maxHeader {
		return h, damaged("header of %d bytes", n)
	}
	if b, err = r.next(int(n)); err != nil {
		return h, err
	}
	b = bytes.Clone(b)
	if err := r.checksum("header"); err != nil {
		return h, err
	}
	// The checksum is right, so the header is what was written.
	if version > snapshotFormat {
		return h, fmt.Errorf("the snapshot's format is %d and this binary knows %d: %w", version, snapshotFormat, ErrNewer)
	}
	if err := json.Unmarshal(b, &h); err != nil {
		return h, damaged("header: %v", err)
	}
	if h.Format > format {
		return h, fmt.Errorf("the snapshot's state has format %d and this binary knows %d: %w", h.Format, format, ErrNewer)
	}
	if h.Identity != want {
		return h, fmt.Errorf("%w: the snapshot is of %v, and this is %v", ErrForeign, h.Identity, want)
	}
	return h, nil
}

// record returns the next key and its record, which are valid until the next
// call; after the last record the key is nil. It verifies the record and the
// order of keys.
func (r *snapshotReader) record() (key, record []byte, err error) {
	k, err := r.uvarint(maxKey)
	if err != nil || k == 0 {
		return nil, nil, err
	}
	n, err := r.uvarint(maxRecord)
	if err != nil {
		return nil, nil, err
	}
	b, err := r.next(k + n)
	if err != nil {
		return nil, nil, err
	}
	key, record = b[:k], b[k:]
	if bytes.Compare(key, r.lastKey) <= 0 {
		return nil, nil, damaged("key %q after %q", key, r.lastKey)
	}
	r.lastKey = append(r.lastKey[:0], key...)
	return key, record, r.take(key, record)
}

// take verifies one record, and keeps what trailer and agrees need of it.
func (r *snapshotReader) take(key, record []byte) error {
	if key[0] == kindTimer {
		if _, _, ok := splitTimerKey(key); !ok || len(record) > 0 {
			return damaged("timer key %q with %d bytes", key, len(record))
		}
		r.timers++
		return nil
	}
	if key[0] == kindEntity && isHead(record) {
		_, pieces, err := openHead(key, record)
		r.entities++
		r.pieces += pieces.different()
		return err
	}
	payload, err := openFrame(key, record)
	if err != nil {
		return err
	}
	switch key[0] {
	case kindEntity:
		r.entities++
	case kindPiece:
		r.pieces--
	case kindNote:
	case kindCursor:
		if len(key) > 1 {
			return damaged("unknown key %q", key)
		}
		r.cursor, r.cursors = bytes.Clone(payload), r.cursors+1
	case kindSeal:
		n, ok := splitSealKey(key)
		if !ok {
			return damaged("unknown key %q", key)
		}
		r.seal, r.seals = n, r.seals+1
	default:
		return damaged("unknown key %q", key)
	}
	return nil
}

// trailer reads and verifies the end of the snapshot: counts, checksum, and
// that nothing follows.
func (r *snapshotReader) trailer() error {
	b, err := r.next(16)
	if err != nil {
		return err
	}
	entities, timers := binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	if err := r.checksum("snapshot"); err != nil {
		return err
	}
	if entities != uint64(r.entities) || timers != uint64(r.timers) {
		return damaged("its trailer says %d entities and %d timers, but it has %d and %d", entities, timers, r.entities, r.timers)
	}
	if r.pieces != 0 {
		return damaged("it lacks %d pieces of entities", r.pieces)
	}
	if err := r.fill(1); err != nil {
		return err
	}
	if len(r.buf) > r.at {
		return damaged("more bytes follow its end, at byte %d", r.before+int64(r.at))
	}
	return nil
}

// agrees compares the records with the header: there must be one cursor, the
// header's, and one seal, that of the cursor's commit.
func (r *snapshotReader) agrees(info *SnapshotInfo) error {
	if r.cursors != 1 || r.seals != 1 {
		return damaged("it has %d cursors and %d seals, want one of each", r.cursors, r.seals)
	}
	commit, cursor, err := splitCursor(r.cursor)
	if err != nil {
		return err
	}
	if commit != r.seal || !bytes.Equal(cursor, info.Cursor) {
		return damaged("its cursor is of commit %d and its seal of commit %d, or its header has another cursor", commit, r.seal)
	}
	info.Entities, info.Timers = r.entities, r.timers
	info.Bytes = r.before + int64(r.at)
	return nil
}

// checksum compares the sum of everything consumed so far with the next 8 bytes.
func (r *snapshotReader) checksum(part string) error {
	r.hash()
	want := r.sum.Sum64()
	b, err := r.next(8)
	if err == nil && binary.BigEndian.Uint64(b) != want {
		err = damaged("the %s has a wrong checksum", part)
	}
	return err
}

// next consumes n bytes and returns them; they are valid until the next call.
func (r *snapshotReader) next(n int) ([]byte, error) {
	if err := r.fill(n); err != nil {
		return nil, err
	}
	if len(r.buf)-r.at < n {
		return nil, damaged("the snapshot ends early, after %d bytes", r.before+int64(len(r.buf)))
	}
	r.at += n
	return r.buf[r.at-n : r.at], nil
}

func (r *snapshotReader) uvarint(most uint64) (int, error) {
	if err := r.fill(binary.MaxVarintLen64); err != nil {
		return 0, err
	}
	v, n := binary.Uvarint(r.buf[r.at:])
	if n == 0 {
		return 0, damaged("the snapshot ends early, after %d bytes", r.before+int64(len(r.buf)))
	}
	if n < 0 || v > most {
		return 0, damaged("the length at byte %d is over %d", r.before+int64(r.at), most)
	}
	r.at += n
	return int(v), nil
}

// fill reads until n unconsumed bytes are in buf, or r ends.
func (r *snapshotReader) fill(n int) error {
	if len(r.buf)-r.at >= n || r.end {
		return nil
	}
	r.hash()
	r.before += int64(r.at)
	r.buf = r.buf[:copy(r.buf, r.buf[r.at:])]
	r.at, r.summed = 0, 0
	for len(r.buf) < n && !r.end {
		if len(r.buf) == cap(r.buf) {
			r.buf = slices.Grow(r.buf, len(r.buf)) // by the bytes that came: a length in the snapshot may be wrong
		}
		m, err := r.r.Read(r.buf[len(r.buf):cap(r.buf)])
		r.buf = r.buf[:len(r.buf)+m]
		if err == io.EOF {
			r.end = true
		} else if err != nil {
			return fmt.Errorf("read the snapshot: %w", err)
		}
	}
	return nil
}

func (r *snapshotReader) hash() {
	r.sum.Write(r.buf[r.summed:r.at])
	r.summed = r.at
}
