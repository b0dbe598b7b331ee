package state

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"

	"github.com/cespare/xxhash/v2"
	"github.com/dgraph-io/badger/v4"
)

const (
	snapshotMagic  = "OFFERSNP"
	snapshotFormat = 1       // counts the changes of what doc.go says of a snapshot
	snapshotPiece  = 1 << 20 // bytes written at once
	maxHeader      = 8 << 20
	maxKey         = 65000    // Badger's own
	maxRecord      = 64 << 20 // what the value log takes
)

// SnapshotInfo says what a snapshot holds.
type SnapshotInfo struct {
	Identity Identity
	Cursor   []byte // what the last commit in it was given, nil before the first
	Entities int
	Timers   int
	Bytes    int64 // of the snapshot itself
}

// A header is the JSON before the records.
type header struct {
	label
	Cursor []byte `json:"cursor"`
}

// Snapshot writes the state of one commit to w, in pieces of about 1 MB. It
// may run in any goroutine beside those of Entity and Commit, but must have
// returned before Close. An error of w ends it, and is returned. While it
// runs, what is replaced keeps its disk space.
func (s *Store) Snapshot(w io.Writer) (SnapshotInfo, error) {
	out := &snapshotWriter{w: w, buf: make([]byte, 0, snapshotPiece+maxKey)}
	err := s.db.View(out.write)
	if err != nil {
		err = fmt.Errorf("snapshot: %w", err)
	}
	out.info.Bytes = out.bytes
	return out.info, err
}

type snapshotWriter struct {
	w     io.Writer
	buf   []byte        // not written yet
	sum   xxhash.Digest // of what is written
	bytes int64
	info  SnapshotInfo
}

func (w *snapshotWriter) write(t *badger.Txn) error {
	w.sum.Reset()
	if err := w.header(t); err != nil {
		return err
	}
	o := badger.DefaultIteratorOptions
	o.PrefetchValues = false // it starts a goroutine for each, and values lie beside their keys
	it := t.NewIterator(o)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		if err := w.item(it.Item()); err != nil {
			return err
		}
	}
	w.buf = append(w.buf, 0) // a key of no bytes ends the records
	w.buf = binary.BigEndian.AppendUint64(w.buf, uint64(w.info.Entities))
	w.buf = binary.BigEndian.AppendUint64(w.buf, uint64(w.info.Timers))
	w.sum.Write(w.buf)
	w.buf = binary.BigEndian.AppendUint64(w.buf, w.sum.Sum64())
	return w.flush()
}

func (w *snapshotWriter) header(t *badger.Txn) error {
	var h header
	b, err := payload(t, identityKey)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, &h.label); err != nil {
		return damaged("identity: %v", err)
	}
	if b, err = payload(t, cursorKey); err != nil {
		return err
	}
	if _, b, err = splitCursor(b); err != nil {
		return err
	}
	if len(b) > 0 {
		h.Cursor = b
	}
	w.info.Identity, w.info.Cursor = h.Identity, h.Cursor
	if b, err = json.Marshal(h); err != nil {
		return err
	}
	if len(b) > maxHeader {
		return fmt.Errorf("header of %d bytes, at most %d: the cursor is too long", len(b), maxHeader)
	}
	w.buf = append(w.buf, snapshotMagic...)
	w.buf = binary.BigEndian.AppendUint32(w.buf, snapshotFormat)
	w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(len(b)))
	w.buf = append(w.buf, b...)
	w.buf = binary.BigEndian.AppendUint64(w.buf, xxhash.Sum64(w.buf))
	return nil
}

func (w *snapshotWriter) item(item *badger.Item) error {
	key := item.Key()
	switch key[0] {
	case kindIdentity, '!': // in the header; Badger's own
		return nil
	case kindTimer:
		w.info.Timers++
		return w.record(key, nil)
	case kindEntity:
		w.info.Entities++
	case kindCursor, kindMark, kindNote:
	default:
		return damaged("unknown key %q", key)
	}
	return item.Value(func(record []byte) error {
		if _, err := openFrame(key, record); err != nil {
			return err
		}
		return w.record(key, record)
	})
}

func (w *snapshotWriter) record(key, record []byte) error {
	w.buf = binary.AppendUvarint(w.buf, uint64(len(key)))
	w.buf = binary.AppendUvarint(w.buf, uint64(len(record)))
	w.buf = append(append(w.buf, key...), record...)
	if len(w.buf) < snapshotPiece {
		return nil
	}
	w.sum.Write(w.buf)
	return w.flush()
}

func (w *snapshotWriter) flush() error {
	n, err := w.w.Write(w.buf)
	w.bytes += int64(n)
	w.buf = w.buf[:0]
	return err
}

// payload returns a copy of what lies under a key.
func payload(t *badger.Txn, key []byte) ([]byte, error) {
	item, err := t.Get(key)
	if err != nil {
		return nil, damaged("no %q: %v", key, err)
	}
	record, err := item.ValueCopy(nil)
	if err != nil {
		return nil, err
	}
	return openFrame(key, record)
}
