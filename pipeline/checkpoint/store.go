package checkpoint

import (
	"io"

	"offerstream/state"
)

// A Store holds the state of one partition. It is a state.Store, or the
// simulation's; methods and errors are those of state.Store.
type Store interface {
	Entity(key string, dst []byte) ([]byte, state.Pieces, bool, error)
	Entities(after string, fn func(key string, b []byte, pieces state.Pieces) error) error
	Cursor() ([]byte, error)
	Note(name string) ([]byte, error)
	Timers(fn func(due int64, key string) error) error
	Limit() state.Limit
	NewBatch() *state.Batch
	Commit(b *state.Batch, cursor []byte) error
	Snapshot(w io.Writer) (state.SnapshotInfo, error)
	Close() error
}

// A Disk holds stores, each in its own directory.
type Disk interface {
	// Open opens the store in a directory, and makes an empty one if there is
	// none. The error is state.ErrDamaged if the store must be made anew.
	Open(dir string, o state.Options) (Store, error)
	// Discard removes the store in a directory, if there is one. The store must
	// be closed.
	Discard(dir string) error
	// Restore makes a store from a snapshot, in a directory that has none, and
	// leaves the store closed. Its errors are those of state.Restore.
	Restore(dir string, o state.Options, r io.Reader) error
}

// Badgers is the disk of this machine, with a Badger database for each store.
type Badgers struct{}

// Open implements Disk.
func (Badgers) Open(dir string, o state.Options) (Store, error) {
	s, err := state.Open(dir, o)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Discard implements Disk.
func (Badgers) Discard(dir string) error { return state.Discard(dir) }

// Restore implements Disk.
func (Badgers) Restore(dir string, o state.Options, r io.Reader) error {
	_, err := state.Restore(dir, o, r)
	return err
}
