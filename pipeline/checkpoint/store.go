package checkpoint

import (
	"io"

	"offerstream/state"
)

// A Store holds the state of one partition: a state.Store, or the
// simulation's. Its methods and their errors are those of state.Store.
type Store interface {
	Entity(key string, dst []byte) ([]byte, bool, error)
	Cursor() ([]byte, error)
	Note(name string) ([]byte, error)
	Timers(fn func(due int64, key string) error) error
	Limit() state.Limit
	NewBatch() *state.Batch
	Commit(b *state.Batch, cursor []byte) error
	Snapshot(w io.Writer) (state.SnapshotInfo, error)
	Close() error
}

// A Disk is where stores lie, each in a directory of its own.
type Disk interface {
	// Open opens a directory's store, an empty one where there is none. The
	// error is state.ErrDamaged where it must be made anew.
	Open(dir string, o state.Options) (Store, error)
	// Discard removes a directory's store, if there is one. It must be closed.
	Discard(dir string) error
	// Restore makes a store of a snapshot, in a directory that has none, and
	// leaves it closed. Its errors are those of state.Restore.
	Restore(dir string, o state.Options, r io.Reader) error
}

// Badgers is the disk of this machine, on which Badger keeps each store.
type Badgers struct{}

// Open is Disk's.
func (Badgers) Open(dir string, o state.Options) (Store, error) {
	s, err := state.Open(dir, o)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Discard is Disk's.
func (Badgers) Discard(dir string) error { return state.Discard(dir) }

// Restore is Disk's.
func (Badgers) Restore(dir string, o state.Options, r io.Reader) error {
	_, err := state.Restore(dir, o, r)
	return err
}
