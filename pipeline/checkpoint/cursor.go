package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"

	"offerstream/pipeline"
	"offerstream/state"
)

// ErrOtherLog says that a log is not the one that a state was made of: a
// message that the state has applied is stored there with another time, or the
// log ends before it.
var ErrOtherLog = errors.New("this is not the log that the state was made of")

// noteSince is the note that holds Cursor.Since, which is large and changes
// only with the campaign set.
const noteSince = "since"

// LoadCursor reads the cursor of a store's last checkpoint: how far the log is
// applied, and what the fold goes on from. Of a store without one it is zero.
// The error is pipeline.ErrNewer where a newer version wrote it, else
// state.ErrDamaged where it cannot be decoded.
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

// notNewer makes of what is wrong with a record damage, unless a newer version
// wrote it: that is to be left alone.
func notNewer(err error) error {
	if errors.Is(err, pipeline.ErrNewer) {
		return err
	}
	return fmt.Errorf("%w: %w", state.ErrDamaged, err)
}
