package main

import (
	"errors"
	"fmt"
	"os"
)

// A newFile is written beside the file of its path, and takes its place when it is
// complete: if writing fails or is interrupted, the old file is as it was, and none is
// there that looks like a whole one. What is no regular file, such as /dev/stdout, is
// written to directly.
type newFile struct {
	*os.File
	path string // "": the file is in its place
}

func beginFile(path string) (*newFile, error) {
	mode := os.FileMode(0o666) // before umask
	switch st, err := os.Lstat(path); {
	case err == nil && !st.Mode().IsRegular():
		f, err := os.Create(path)
		return &newFile{File: f}, err
	case err == nil:
		mode = st.Mode().Perm()
	}
	f, err := os.OpenFile(fmt.Sprintf("%s.%d.part", path, os.Getpid()), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, errors.Unwrap(err))
	}
	return &newFile{File: f, path: path}, nil
}

// done gives the file its name.
func (f *newFile) done() error {
	err := f.Close()
	if err == nil && f.path != "" {
		err = os.Rename(f.Name(), f.path)
	}
	if err == nil {
		f.path = ""
	}
	return err
}

// drop removes the file, if it did not come so far that it has its name.
func (f *newFile) drop() {
	f.Close()
	if f.path != "" {
		os.Remove(f.Name())
	}
}
