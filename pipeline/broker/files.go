package broker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"unicode/utf8"

	"github.com/nats-io/nats.go/jetstream"
)

// A SetFile is a file of a campaign set as it was written, with its comments.
type SetFile struct {
	Path string `json:"path"` // below the set's directory, with slashes between
	Text string `json:"text"`
}

// maxFiles is the size in bytes of a set's files, uncompressed.
const maxFiles = 64 << 20

// ErrNoFiles means that the bucket does not have the files of a set.
var ErrNoFiles = errors.New("the files of this campaign set are not stored")

func filesKey(hash string) string { return "files." + hash }

// PutFiles stores the files of a set beside it: its hash does not cover how they are
// written. They replace those of an earlier apply of the same set; who reads those
// meanwhile has an error.
func (c *Conn) PutFiles(ctx context.Context, hash string, files []SetFile) error {
	text, err := packFiles(files)
	if err != nil {
		return fmt.Errorf("store the files of campaign set %s: %w", hash, err)
	}
	key, sum := filesKey(hash), sha256.Sum256(text)
	_, old, err := c.text(ctx, key, maxFiles)
	now := hex.EncodeToString(sum[:16])
	if err == nil && old.Sum == now {
		return nil
	}
	if err := c.putText(ctx, key, now, text); err != nil {
		return fmt.Errorf("store the files of campaign set %s: %w", hash, err)
	}
	if old.Sum == "" || old.Sum == now {
		return nil
	}
	st, err := c.JS.Stream(ctx, "KV_"+c.Names.CampaignsBucket())
	if err == nil {
		err = st.Purge(ctx, jetstream.WithPurgeSubject(c.Names.campaignsSubject(key+"."+old.Sum+".*")))
	}
	if err != nil {
		c.Log.Warn("the files that were stored before with this campaign set are not removed: they take room in the bucket", "set", hash, "error", err)
	}
	return nil
}

// packFiles is the text that holds the files.
func packFiles(files []SetFile) ([]byte, error) {
	size := 0
	for _, f := range files {
		if !fs.ValidPath(f.Path) || f.Path == "." {
			return nil, fmt.Errorf("%q is not a path below a directory", f.Path)
		}
		if !utf8.ValidString(f.Text) {
			return nil, fmt.Errorf("%s is not in UTF-8: save it in UTF-8", f.Path)
		}
		size += len(f.Path) + len(f.Text)
	}
	var text []byte
	if size <= maxFiles {
		var err error
		if text, err = json.Marshal(files); err != nil {
			return nil, err
		}
	}
	if size = max(size, len(text)); size > maxFiles {
		return nil, fmt.Errorf("they have %.1f MB, and at most %d MB can be stored", float64(size)/(1<<20), maxFiles>>20)
	}
	return text, nil
}

// Files returns the files of a set as they were written when it was last applied. The
// error is ErrNoFiles if there are none.
func (c *Conn) Files(ctx context.Context, hash string) ([]SetFile, error) {
	var files []SetFile
	text, m, err := c.text(ctx, filesKey(hash), maxFiles)
	if errors.Is(err, jetstream.ErrKeyNotFound) || errors.Is(err, jetstream.ErrInvalidKey) {
		err = ErrNoFiles
	}
	if sum := sha256.Sum256(text); err == nil && m.Sum != hex.EncodeToString(sum[:16]) {
		err = errors.New("their checksum is wrong: apply the campaigns again")
	}
	if err == nil {
		err = json.Unmarshal(text, &files)
	}
	for _, f := range files {
		if err == nil && (!fs.ValidPath(f.Path) || f.Path == ".") {
			err = fmt.Errorf("%q is not a path below a directory: apply the campaigns again", f.Path)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read the files of campaign set %s: %w", hash, err)
	}
	return files, nil
}
