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

// A snapshotReader reads what a snapshotWriter has written and believes none
// of it.
type snapshotReader struct {
	r      io.Reader
	end    bool   // r has no more
	buf    []byte // read
	at     int    // of these were consumed
	summed int    // of these are in sum
	sum    xxhash.Digest
	before int64 // bytes that have left buf

	last             []byte // key
	entities, timers int
	cursor           []byte // payload
	mark             uint64
	marks, cursors   int
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
		return h, damaged("this is no snapshot")
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
	// What follows is what was written.
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
		return h, fmt.Errorf("%w: the snapshot holds %v, wanted is %v", ErrForeign, h.Identity, want)
	}
	return h, nil
}

// record returns the next key and what lies under it, until the next call;
// no key after the last. Each is right by itself, and follows the one before.
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
	if bytes.Compare(key, r.last) <= 0 {
		return nil, nil, damaged("key %q after %q", key, r.last)
	}
	r.last = append(r.last[:0], key...)
	return key, record, r.take(key, record)
}

// take checks one record and remembers what it says of the whole.
func (r *snapshotReader) take(key, record []byte) error {
	if key[0] == kindTimer {
		if _, _, ok := splitTimerKey(key); !ok || len(record) > 0 {
			return damaged("timer key %q with %d bytes", key, len(record))
		}
		r.timers++
		return nil
	}
	payload, err := openFrame(key, record)
	if err != nil {
		return err
	}
	switch key[0] {
	case kindEntity:
		r.entities++
	case kindNote:
	case kindCursor:
		if len(key) > 1 {
			return damaged("unknown key %q", key)
		}
		r.cursor, r.cursors = bytes.Clone(payload), r.cursors+1
	case kindMark:
		n, ok := splitMarkKey(key)
		if !ok {
			return damaged("unknown key %q", key)
		}
		r.mark, r.marks = n, r.marks+1
	default:
		return damaged("unknown key %q", key)
	}
	return nil
}

// trailer reads what follows the last record, and sees that nothing follows.
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
		return damaged("it counts %d entities and %d timers and has %d and %d", entities, timers, r.entities, r.timers)
	}
	if err := r.fill(1); err != nil {
		return err
	}
	if len(r.buf) > r.at {
		return damaged("something follows the end, at byte %d", r.before+int64(r.at))
	}
	return nil
}

// agrees holds the records against the header: one cursor, the same, and one
// mark, its own.
func (r *snapshotReader) agrees(info *SnapshotInfo) error {
	if r.cursors != 1 || r.marks != 1 {
		return damaged("it has %d cursors and %d marks", r.cursors, r.marks)
	}
	commit, cursor, err := splitCursor(r.cursor)
	if err != nil {
		return err
	}
	if commit != r.mark || !bytes.Equal(cursor, info.Cursor) {
		return damaged("commit %d has the mark of %d, or the header another cursor", commit, r.mark)
	}
	info.Entities, info.Timers = r.entities, r.timers
	info.Bytes = r.before + int64(r.at)
	return nil
}

// checksum compares the sum of all that was consumed with the 8 bytes that follow.
func (r *snapshotReader) checksum(of string) error {
	r.hash()
	want := r.sum.Sum64()
	b, err := r.next(8)
	if err == nil && binary.BigEndian.Uint64(b) != want {
		err = damaged("the %s has a wrong checksum", of)
	}
	return err
}

// next consumes n bytes and returns them, until the next call.
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
		return 0, damaged("length at byte %d, over %d", r.before+int64(r.at), most)
	}
	r.at += n
	return int(v), nil
}

// fill makes n bytes ready, fewer only where r ends.
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
			r.buf = slices.Grow(r.buf, len(r.buf)) // by what came, whatever a length says
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
