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

// verifyLogs verifies the write-ahead logs of the memtables, all but the
// newest: each was complete before the next one began, however the process
// died. Badger would replay a torn log up to the tear. If the log's table was
// already written and compacted, that replay can bring back keys whose
// deletion is behind the tear, and the seals do not show it. So a torn log is
// damage.
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

// dropEmptyLogs removes logs of 0 bytes: a process that is killed just after it
// made one leaves it so, and Badger does not open a directory with such a log.
// dropEmptyLogs holds Badger's lock meanwhile; it does nothing in a directory
// that is in use, which Badger then reports.
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
	logHeader  = 20     // bytes before the first entry
	logTxn     = 1 << 6 // flag: the transaction goes on; the entry that ends it lacks the flag
	maxLogKey  = 1 << 16
	logTrailer = crc32.Size
)

// verifyLog reads entries until only zeros are left. An entry is 2 bytes of
// flags; the length of the key, the length of the value and the expiry as
// varints; key; value; checksum of all this.
func verifyLog(b []byte) error {
	if len(b) < logHeader {
		return errors.New("it has no header")
	}
	inTxn := false
	for at := logHeader; at < len(b); {
		n, flags, ok := logEntry(b[at:])
		if !ok {
			if zero := len(bytes.Trim(b[at:], "\x00")) == 0; !zero {
				return fmt.Errorf("the entry at byte %d is torn", at)
			}
			break
		}
		inTxn = flags&logTxn != 0
		at += n
	}
	if inTxn {
		return errors.New("its last transaction has no end")
	}
	return nil
}

// logEntry returns the length and the flags of the entry at the beginning of b.
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
