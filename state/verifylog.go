package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/dgraph-io/badger/v4/y"
)

// verifyLogs reads the write-ahead logs of the memtables, all but the newest:
// whatever kills the process, they were complete when the next one began. Of
// one that is torn Badger would take the part before the tear. Where its table
// was written already, and compacted, that part may bring back keys whose
// deletion stood behind the tear, and the marks cannot tell: it is damage.
func verifyLogs(dir string) error {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	logs := map[int]string{}
	var ids []int
	for _, f := range files {
		if n, ok := strings.CutSuffix(f.Name(), ".mem"); ok {
			if id, err := strconv.Atoi(n); err == nil {
				logs[id], ids = f.Name(), append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	for _, id := range ids[:max(len(ids)-1, 0)] {
		b, err := os.ReadFile(filepath.Join(dir, logs[id]))
		if err != nil {
			return err
		}
		if err := verifyLog(b); err != nil {
			return damaged("log %s: %v", logs[id], err)
		}
	}
	return nil
}

// dropEmptyLogs removes logs of no bytes: a process that was killed just as it
// began one leaves it so, and Badger does not open a directory that has one.
// It holds Badger's own lock meanwhile; a directory that is in use it leaves
// alone, and Badger then says so.
func dropEmptyLogs(dir string) error {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer d.Close()
	if syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return nil
	}
	logs, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	if err != nil {
		return err
	}
	for _, path := range logs {
		st, err := os.Stat(path)
		if err == nil && st.Size() == 0 {
			err = os.Remove(path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

const (
	logHeader  = 20     // before the first entry
	logTxn     = 1 << 6 // the entry belongs to a transaction
	logTxnEnd  = 1 << 7 // it ends one
	maxLogKey  = 1 << 16
	logTrailer = crc32.Size
)

// verifyLog reads entries until nothing but zeros is left: two bytes of flags,
// length of key and of value and expiry as varints, key, value, checksum of
// all this.
func verifyLog(b []byte) error {
	if len(b) < logHeader {
		return errors.New("it has no header")
	}
	within := false // a transaction
	for at := logHeader; at < len(b); {
		n, flags, ok := logEntry(b[at:])
		if !ok {
			if zero := len(bytes.Trim(b[at:], "\x00")) == 0; !zero {
				return fmt.Errorf("what stands at %d is torn", at)
			}
			break
		}
		within = flags&logTxn != 0
		at += n
	}
	if within {
		return errors.New("its last transaction has no end")
	}
	return nil
}

// logEntry is the length of the entry at the beginning of b, and its flags.
func logEntry(b []byte) (n int, flags byte, ok bool) {
	if len(b) < 2 {
		return 0, 0, false
	}
	var nums [3]uint64 // length of the key, of the value, expiry
	at := 2
	for i := range nums {
		v, n := binary.Uvarint(b[at:])
		if n <= 0 {
			return 0, 0, false
		}
		nums[i] = v
		at += n
	}
	if nums[0] == 0 || nums[0] > maxLogKey || nums[1] > uint64(len(b)) {
		return 0, 0, false
	}
	end := at + int(nums[0]) + int(nums[1])
	if end+logTrailer > len(b) || crc32.Checksum(b[:end], y.CastagnoliCrcTable) != binary.BigEndian.Uint32(b[end:]) {
		return 0, 0, false
	}
	return end + logTrailer, b[0], true
}
