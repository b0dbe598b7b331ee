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

// A disk holds a worker's stores, in a directory that only this worker uses.
type disk interface {
	checkpoint.Disk
	// free returns the free space, for this process, of the disk with dir.
	free(dir string) (bytes int64, err error)
	// member returns the id of the directory's member of the group, and locks the
	// directory until leave is called.
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

// member keeps the id in a file, so that a restarted worker is the same member,
// and locks that file.
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
	if _, err := hex.DecodeString(string(b)); err != nil || len(b) != 16 { // the file is new, or its writing was interrupted
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
