package state

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestEmptyLog: a directory opens after a kill at the moment that Badger had
// made an empty log.
func TestEmptyLog(t *testing.T) {
	r := rnd(t)
	seed, dir := r.Uint64(), t.TempDir()
	crash(t, dir, seed, 100)
	if err := os.WriteFile(filepath.Join(dir, "00099.mem"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if outcome := judge(t, dir, seed, "00099.mem"); outcome != "older or whole" {
		t.Error(outcome)
	}
}

// wholeLog repeats crashes until the newest log is whole and holds entries: at
// the moment of the kill it was not being written, and had not just been made.
func wholeLog(t *testing.T, r *rand.Rand) (dir, path string, whole []byte) {
	t.Helper()
	for range 20 {
		dir = t.TempDir()
		crash(t, dir, r.Uint64(), 300)
		logs, err := filepath.Glob(filepath.Join(dir, "*.mem"))
		if err != nil || len(logs) == 0 {
			t.Fatal("no log", err)
		}
		slices.Sort(logs)
		path = logs[len(logs)-1]
		if whole, err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
		if err = verifyLog(whole); err == nil && len(content(whole)) > logHeader+logTrailer {
			return dir, path, whole
		}
	}
	t.Fatal("each of 20 crashes left a torn or an empty log")
	return
}

// TestTornLog: verifyLog accepts a log as a crash leaves it, and refuses it if
// any bit is flipped or its end is cut off within a transaction. verifyLogs
// refuses a torn log only if another log follows.
func TestTornLog(t *testing.T) {
	t.Parallel()
	r := rnd(t)
	dir, path, whole := wholeLog(t, r)
	end := len(content(whole))
	for range 200 {
		b := slices.Clone(whole)
		at, bit := logHeader+r.IntN(end-logHeader), byte(1)<<r.IntN(8)
		b[at] ^= bit
		if verifyLog(b) == nil {
			t.Errorf("bit %#x of byte %d of %d is flipped, and the log is whole", bit, at, end)
		}
	}
	if verifyLog(whole[:end-logTrailer-1]) == nil {
		t.Error("the end is cut off, and the log is whole")
	}
	torn := slices.Clone(whole)
	torn[logHeader+(end-logHeader)/2] ^= 1
	if err := os.WriteFile(path, torn, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := verifyLogs(dir); err != nil {
		t.Errorf("the newest log is torn: older, no damage, but got %v", err)
	}
	next := filepath.Join(dir, fmt.Sprintf("%05d.mem", 99))
	if err := os.WriteFile(next, make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := verifyLogs(dir); !errors.Is(err, ErrDamaged) {
		t.Errorf("an older log is torn: got %v", err)
	}
}
