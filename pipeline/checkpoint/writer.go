package checkpoint

import (
	"encoding/json"
	"math"

	"offerstream/pipeline"
	"offerstream/state"
)

// A Writer stores checkpoints of a cache, one at a time:
//
//	Begin    takes the cursor, between two steps of the fold: what has changed up to
//	         here is the checkpoint's
//	Some     encodes a part of that; the fold may go on between two parts, as the
//	         cache encodes what is about to change
//	Commit   stores all of it; the fold may go on meanwhile
//	Done     lets the stored entities leave the cache
//
// All but Commit are for the goroutine of the cache. After a failed Commit the
// writer and its cache cannot be used any more.
type Writer struct {
	cache  *Cache
	batch  *state.Batch
	epoch  uint32          // the epoch of the Since in the store or in the batch
	gen    uint64          // the generation of the cache in the batch
	cursor pipeline.Cursor // the cursor to store with the batch
}

// NewWriter makes a writer for a cache. epoch is that of the cursor in the
// cache's store.
func NewWriter(c *Cache, epoch uint32) *Writer {
	return &Writer{cache: c, batch: c.store.NewBatch(), epoch: epoch}
}

// Begin begins a checkpoint with the changes in the cache, and the cursor. It includes
// the note with Cursor.Since if another campaign set has come into force since the last
// checkpoint.
func (w *Writer) Begin(cursor pipeline.Cursor) error {
	w.batch.Reset()
	w.gen = w.cache.begin(w.batch)
	since := cursor.Since
	cursor.Since = nil
	w.cursor = cursor
	if cursor.Epoch == w.epoch {
		return nil
	}
	j, err := json.Marshal(since)
	if err != nil {
		return err
	}
	w.batch.Note(noteSince, j)
	w.epoch = cursor.Epoch
	return nil
}

// Some encodes about so many bytes of the checkpoint. It reports whether the checkpoint
// is encoded.
func (w *Writer) Some(bytes int) (done bool) { return w.cache.encode(bytes) }

// Encode is Begin, and Some of all.
func (w *Writer) Encode(cursor pipeline.Cursor) error {
	if err := w.Begin(cursor); err != nil {
		return err
	}
	w.Some(math.MaxInt)
	return nil
}

// Commit stores the encoded checkpoint, all of it or nothing. The error is
// state.ErrTooBig if a transaction cannot hold it; after any other error it is
// not known whether the checkpoint is stored.
func (w *Writer) Commit() error {
	j, err := StoredCursor(w.cursor)
	if err != nil {
		return err
	}
	return w.cache.store.Commit(w.batch, j)
}

// Done tells the cache that the last encoded checkpoint is stored.
func (w *Writer) Done() { w.cache.committed = w.gen }

// Cursor is the cursor of the last encoded checkpoint.
func (w *Writer) Cursor() pipeline.Cursor { return w.cursor }

// Bytes is the approximate size of the last encoded checkpoint in the store.
func (w *Writer) Bytes() int { return w.batch.Bytes() }
