package state

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Restore makes a partition's directory from a snapshot. It builds the
// directory under another name and renames it when the whole snapshot has been
// read and verified: whatever happens, dir holds the whole state or nothing.
// The caller must discard an existing directory first.
//
// The error is ErrDamaged if the snapshot is not what was written, ErrForeign
// if it is of another deployment or partition, ErrNewer if only a newer binary
// can read it; other errors come from r or from the disk.
func Restore(dir string, o Options, r io.Reader) (info SnapshotInfo, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("restore state %s: %w", dir, err)
		}
	}()
	if free, err := empty(dir); err != nil {
		return info, err
	} else if !free {
		return info, errors.New("the directory is not empty: discard it first")
	}
	in := newSnapshotReader(r)
	h, err := in.header(o.Identity)
	if err != nil {
		return info, err
	}
	info.Identity, info.Cursor = h.Identity, h.Cursor
	beside := buildDir(dir)
	defer os.RemoveAll(beside)
	if err := build(beside, o, in, &info); err != nil {
		return info, err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) { // it is empty
		return info, err
	}
	return info, os.Rename(beside, dir)
}

// buildDir returns the name under which Restore builds a directory.
func buildDir(dir string) string { return filepath.Clean(dir) + ".restore" }

// build makes a directory of the records that follow the header. It first
// removes a directory that a crash has left there.
func build(dir string, o Options, in *snapshotReader, info *SnapshotInfo) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tables := newTableWriter(dir, o)
	defer tables.close()
	identity, err := identityRecord(o.Identity)
	if err != nil {
		return err
	}
	for {
		key, record, err := in.record()
		if err != nil {
			return err
		}
		if identity != nil && (key == nil || bytes.Compare(key, identityKey) > 0) {
			if err := tables.add(identityKey, identity); err != nil {
				return err
			}
			identity = nil
		}
		if key == nil {
			break
		}
		if err := tables.add(key, record); err != nil {
			return err
		}
	}
	if err := in.trailer(); err != nil {
		return err
	}
	if err := in.agrees(info); err != nil {
		return err
	}
	return tables.finish()
}
