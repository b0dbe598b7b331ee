package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
)

// empty reports whether the directory is missing or has no files.
func empty(dir string) (bool, error) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return len(files) == 0, err
}

// ours reports whether an error from Badger is about the machine (permissions,
// space, a second process) and not about the content of the files. Badger keeps
// only the text of errors, so this compares texts.
func ours(err error) bool {
	for _, e := range [...]syscall.Errno{
		syscall.EAGAIN, // another process holds the directory's lock
		syscall.EACCES, syscall.EPERM, syscall.EROFS, syscall.EIO,
		syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM,
	} {
		if strings.Contains(err.Error(), e.Error()) {
			return true
		}
	}
	return false
}

// verifyTables reads every table that the MANIFEST names and verifies all its
// checksums. Badger can verify tables too, but it ends the process on a torn
// footer, and reads a torn block as one that lacks the key. Tables that the
// MANIFEST does not name are leftovers of a crash: Badger removes them.
func verifyTables(dir string) error {
	f, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // recognise finds out whether anything is lost
	} else if err != nil {
		return err
	}
	defer f.Close()
	manifest, _, err := badger.ReplayManifestFile(f, 0, badger.DefaultOptions(dir))
	if err != nil {
		return damaged("MANIFEST: %v", err)
	}
	ids := make([]uint64, 0, len(manifest.Tables))
	for id := range manifest.Tables {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		b, err := os.ReadFile(table.NewFilename(id, dir))
		if errors.Is(err, fs.ErrNotExist) {
			return damaged("table %d is not there", id)
		} else if err != nil {
			return err
		}
		if err := verifyTable(b); err != nil {
			return damaged("table %d: %v", id, err)
		}
	}
	return nil
}

// verifyTable verifies one table: blocks, index, length of the index (4 bytes,
// big-endian), checksum of the index, length of the checksum (4 bytes).
func verifyTable(b []byte) error {
	rest, sum, err := cutChecksum(b)
	if err != nil {
		return fmt.Errorf("footer: %w", err)
	}
	if len(rest) < 4 {
		return errors.New("no index")
	}
	rest, n := rest[:len(rest)-4], int(binary.BigEndian.Uint32(rest[len(rest)-4:]))
	if n < 8 || n > len(rest) {
		return fmt.Errorf("index of %d bytes in %d", n, len(rest))
	}
	blocks, index := rest[:len(rest)-n], rest[len(rest)-n:]
	if err := y.VerifyChecksum(index, sum); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	// The checksum is right, so the index is what was written.
	ti := fb.GetRootAsTableIndex(index, 0)
	var o fb.BlockOffset
	for i := range ti.OffsetsLength() {
		ti.Offsets(&o, i)
		from, to := uint64(o.Offset()), uint64(o.Offset())+uint64(o.Len())
		if to > uint64(len(blocks)) {
			return fmt.Errorf("block %d ends at %d of %d", i, to, len(blocks))
		}
		data, sum, err := cutChecksum(blocks[from:to])
		if err == nil {
			err = y.VerifyChecksum(data, sum)
		}
		if err != nil {
			return fmt.Errorf("block %d: %w", i, err)
		}
	}
	return nil
}

// cutChecksum splits off the end of a block or table: a checksum as protobuf
// (field 1 is the algorithm, field 2 the sum) and its length (4 bytes).
func cutChecksum(b []byte) (data []byte, sum *pb.Checksum, err error) {
	if len(b) < 4 {
		return nil, nil, errors.New("no checksum")
	}
	b, n := b[:len(b)-4], int(binary.BigEndian.Uint32(b[len(b)-4:]))
	if n > 32 || n > len(b) {
		return nil, nil, fmt.Errorf("checksum of %d bytes", n)
	}
	data, b = b[:len(b)-n], b[len(b)-n:]
	sum = new(pb.Checksum)
	for len(b) > 0 {
		v, n := binary.Uvarint(b[1:])
		if n <= 0 {
			return nil, nil, errors.New("checksum is torn")
		}
		switch b[0] {
		case 1 << 3:
			sum.Algo = pb.Checksum_Algorithm(v)
		case 2 << 3:
			sum.Sum = v
		default:
			return nil, nil, errors.New("checksum is torn")
		}
		b = b[1+n:]
	}
	if sum.Algo != pb.Checksum_CRC32C && sum.Algo != pb.Checksum_XXHash64 { // Badger panics on others
		return nil, nil, errors.New("checksum of an unknown kind")
	}
	return data, sum, nil
}
