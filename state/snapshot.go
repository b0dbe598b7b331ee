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
	snapshotFormat = 2       // version of the snapshot layout in doc.go
	snapshotPiece  = 1 << 20 // bytes in one write
	maxHeader      = 8 << 20
	maxKey         = 65000    // Badger's limit
	maxRecord      = 64 << 20 // of an entity with its pieces, too
)

// SnapshotInfo describes a snapshot.
type SnapshotInfo struct {
	Identity Identity
	Cursor   []byte // the cursor of its last commit; nil before the first commit
	Entities int
	Timers   int
	Bytes    int64 // size of the snapshot
}

// A header is the JSON that precedes a snapshot's records.
type header struct {
	label
	Cursor []byte `json:"cursor"`
}

// Snapshot writes the state of the newest commit to w, in pieces of about
// 1 MB. It may run in any goroutine, concurrently with Entity and Commit, but
// must have returned before Close. It returns the first error of w. While it
// runs, replaced records keep their disk space.
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
	buf   []byte        // to be written
	sum   xxhash.Digest // of the bytes written
	bytes int64
	info  SnapshotInfo
}

func (w *snapshotWriter) write(t *badger.Txn) error {
	w.sum.Reset()
	if err := w.header(t); err != nil {
		return err
	}
	o := badger.DefaultIteratorOptions
	o.PrefetchValues = false // prefetching starts a goroutine for each value, and values lie beside their keys
	it := t.NewIterator(o)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		if err := w.item(it.Item()); err != nil {
			return err
		}
	}
	w.buf = append(w.buf, 0) // an empty key ends the records
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
	case kindIdentity, '!': // the identity is in the header; '!' begins Badger's own keys
		return nil
	case kindTimer:
		w.info.Timers++
		return w.record(key, nil)
	case kindEntity:
		w.info.Entities++
	case kindCursor, kindSeal, kindNote, kindPiece:
	default:
		return damaged("unknown key %q", key)
	}
	return item.Value(func(record []byte) error {
		var err error
		if key[0] == kindEntity && isHead(record) {
			_, _, err = openHead(key, record)
		} else {
			_, err = openFrame(key, record)
		}
		if err != nil {
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

// payload returns a copy of the payload under a key.
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
