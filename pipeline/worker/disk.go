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

	"offerstream/pipeline/checkpoint"
)

// A disk is where a worker's stores lie, in a directory that is its own.
type disk interface {
	checkpoint.Disk
	free(dir string) (bytes int64, err error) // of the disk that dir is on, for this process
	// member is whose directory this is, as a member of a group; nobody else
	// may use it until leave is called.
	member(dir string) (id string, leave func(), err error)
}

// machine is the disk of this machine.
type machine struct{ checkpoint.Badgers }

func (machine) free(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// member keeps the id in a file, so that a worker that is started again is the
// same member, and locks it.
func (machine) member(dir string) (id string, leave func(), err error) {
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
