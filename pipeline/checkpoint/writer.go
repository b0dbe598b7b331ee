package checkpoint

import (
	"encoding/json"

	"offerstream/pipeline"
	"offerstream/state"
)

// A Writer stores checkpoints of a cache, one at a time:
//
//	Encode   between two steps of the fold: all that has changed, and the cursor
//	Commit   into the store, which may take place while the fold goes on
//	Done     after that: what was stored may leave the cache
//
// Encode and Done are for the goroutine that has the cache. After a failed
// Commit the writer and its cache are of no use any more.
type Writer struct {
	cache  *Cache
	batch  *state.Batch
	epoch  uint32          // of the Since that the store holds, or that the batch brings
	gen    uint64          // of the cache, in the batch
	cursor pipeline.Cursor // with the batch
}

// NewWriter makes the writer of a cache whose store stands at epoch, the
// cursor's.
func NewWriter(c *Cache, epoch uint32) *Writer {
	return &Writer{cache: c, batch: c.store.NewBatch(), epoch: epoch}
}

// Encode takes all that has changed in the cache, as of the cursor. What the
// cursor leaves to the note is taken too where another campaign set has come
// into force since the last checkpoint.
func (w *Writer) Encode(cursor pipeline.Cursor) error {
	w.batch.Reset()
	w.gen = w.cache.encode(w.batch)
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

// Commit stores what was encoded, all of it or nothing. The error is
// state.ErrTooBig where it is more than a transaction holds; after any other
// it is not known whether it is stored.
func (w *Writer) Commit() error {
	j, err := w.cursor.JSON()
	if err != nil {
		return err
	}
	return w.cache.store.Commit(w.batch, j)
}

// Done says that what was encoded last is stored.
func (w *Writer) Done() { w.cache.committed = w.gen }

// Cursor is that of what was encoded last.
func (w *Writer) Cursor() pipeline.Cursor { return w.cursor }

// Bytes is about how much what was encoded last takes in the store.
func (w *Writer) Bytes() int { return w.batch.Bytes() }
