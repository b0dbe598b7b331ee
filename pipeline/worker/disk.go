package worker

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"offerstream/state"
)

// A store is a partition's state.Store, or the simulation's.
type store interface {
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

// A disk is where stores lie.
type disk interface {
	open(dir string, o state.Options) (store, error)
	discard(dir string) error
	restore(dir string, o state.Options, r io.Reader) error // where nothing is
	free(dir string) (bytes int64, err error)               // of the disk that dir is on, for this process
	// member is whose directory this is, as a member of a group; nobody else
	// may use it until leave is called.
	member(dir string) (id string, leave func(), err error)
}

// badgers is the disk of this machine.
type badgers struct{}

func (badgers) open(dir string, o state.Options) (store, error) {
	s, err := state.Open(dir, o)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (badgers) discard(dir string) error { return state.Discard(dir) }

func (badgers) restore(dir string, o state.Options, r io.Reader) error {
	_, err := state.Restore(dir, o, r)
	return err
}

func (badgers) free(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// member keeps the id in a file, so that a worker that is started again is the
// same member, and locks it.
func (badgers) member(dir string) (id string, leave func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, fmt.Errorf("the worker's directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "member"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", nil, fmt.Errorf("the worker's directory: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		return "", nil, fmt.Errorf("directory %s is in use by another worker: give each its own --dir", dir)
	} else if err != nil {
		return "", nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	b, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return "", nil, err
	}
	if _, err := hex.DecodeString(string(b)); err != nil || len(b) != 16 { // new, or its writing was cut short
		b = make([]byte, 8)
		rand.Read(b)
		b = []byte(hex.EncodeToString(b))
		if err := f.Truncate(0); err != nil {
			return "", nil, err
		}
		if _, err := f.WriteAt(b, 0); err != nil {
			return "", nil, err
		}
	}
	return string(b), func() { f.Close() }, nil
}
