package broker

import (
	"context"
	"errors"
)

// A SetFile is a file of a campaign set as it was written, with its comments.
type SetFile struct {
	Path string `json:"path"` // slashes between, relative and below the set's directory
	Text string `json:"text"`
}

// maxFiles is the size in bytes of a set's files, uncompressed.
const maxFiles = 64 << 20

// ErrNoFiles means that the bucket does not have the files of a set.
var ErrNoFiles = errors.New("the files of this campaign set are not stored")

// PutFiles stores the files of a set beside it. They replace those of an earlier
// apply of the same set.
func (c *Conn) PutFiles(ctx context.Context, hash string, files []SetFile) error {
	return errors.New("not built yet")
}

// Files returns the files of a set as they were written when it was last applied.
// The error is ErrNoFiles if there are none.
func (c *Conn) Files(ctx context.Context, hash string) ([]SetFile, error) {
	return nil, errors.New("not built yet")
}
