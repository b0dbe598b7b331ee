package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"

	"offerstream/pipeline"
	"offerstream/state"
)

// ErrOtherLog means that a log is not the one that a state was made of: the log
// has a message that the state has applied with another stored time, or ends
// before that message.
var ErrOtherLog = errors.New("this is not the log that the state was made of")

// noteSince is the note with Cursor.Since, which is large and changes only with
// the campaign set.
const noteSince = "since"

// StoredCursor is a cursor as a store has it beside the note with Since.
func StoredCursor(c pipeline.Cursor) ([]byte, error) {
	c.Since = nil
	return c.JSON()
}

// LoadCursor reads the cursor of a store's last checkpoint: how far the log is
// applied, and from where the fold goes on. It is zero if there is no checkpoint.
// The error is pipeline.ErrNewer if a newer version has written it, and
// state.ErrDamaged if it cannot be decoded for another reason.
func LoadCursor(store Store) (cursor pipeline.Cursor, err error) {
	b, err := store.Cursor()
	if err != nil || b == nil {
		return cursor, err
	}
	if cursor, err = pipeline.ReadCursor(b); err != nil {
		return cursor, notNewer(err)
	}
	since, err := store.Note(noteSince)
	if err != nil {
		return cursor, err
	}
	if since != nil {
		if err := json.Unmarshal(since, &cursor.Since); err != nil {
			return cursor, fmt.Errorf("%w: note %s: %w", state.ErrDamaged, noteSince, err)
		}
	}
	return cursor, nil
}

// notNewer turns an error of decoding a record into state.ErrDamaged, unless a
// newer version has written the record: that must be left alone.
func notNewer(err error) error {
	if errors.Is(err, pipeline.ErrNewer) {
		return err
	}
	return fmt.Errorf("%w: %w", state.ErrDamaged, err)
}
