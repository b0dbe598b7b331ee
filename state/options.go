package state

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// DefaultMemTable is the size of a memtable in bytes if Options sets none.
const DefaultMemTable = 16 << 20

// Identity names the partition that a directory belongs to.
type Identity struct {
	Prefix     string `json:"prefix"`     // the deployment's; empty: it has none
	Partitions int    `json:"partitions"` // how many the deployment has
	Partition  int    `json:"partition"`  // from 0
}

func (i Identity) String() string {
	p := i.Prefix
	if p == "" {
		p = "without prefix"
	}
	return fmt.Sprintf("deployment %s, partition %d of %d", p, i.Partition, i.Partitions)
}

// Options configure a Store.
type Options struct {
	Identity Identity
	// MemTable is the size of one of Badger's memtables in bytes, at least 1 MB;
	// 0: DefaultMemTable. A commit may take up to 15% of it. Under load there are
	// three memtables: one is written to, one waits, one is flushed to disk.
	MemTable int64
	Log      *slog.Logger // nil: silent
}

// badgerOptions tunes Badger for a single writer whose state can be rebuilt: no
// fsync, no conflict detection, small memtables.
func badgerOptions(dir string, o Options, f *failure) badger.Options {
	b := badger.DefaultOptions(dir)
	b.MemTableSize = o.MemTable
	b.NumMemtables = 1                                     // waiting to be flushed
	b.BaseTableSize = min(max(o.MemTable/2, 1<<20), 8<<20) // a compaction holds ten or more tables in memory, each of them twice
	b.BlockSize = 16 << 10                                 // with blocks of 4 KB, a user of some KB would waste half a block and need an index entry of its own
	b.BaseLevelSize = max(2*o.MemTable, 4<<20)
	b.ValueThreshold = min(1<<20, o.MemTable*15/100) // the greatest that Badger allows: entities are cut into pieces far below it, so only a note or cursor of 1 MB would enter the value log
	b.ValueLogFileSize = 64 << 20                    // kept small, as nothing is in it: its file is mapped at twice this size
	b.NumCompactors = 2
	b.NumGoroutines = 1
	b.SyncWrites = false
	b.DetectConflicts = false
	b.NumVersionsToKeep = 1
	b.MetricsEnabled = false
	b.Compression = options.None                        // Badger reads a block that does not decompress as "no such key"
	b.BlockCacheSize = 0                                // uncompressed blocks are read from the mapped file: the page cache is the cache
	b.IndexCacheSize = 0                                // indexes and filters stay in memory, about 1% of the data
	b.ChecksumVerificationMode = options.NoVerification // verifyTables has verified all of them; see doc.go
	log := o.Log
	if log == nil {
		log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	b.Logger = badgerLog{log, f}
	return b
}

// ErrFailed means that the disk failed while Badger wrote to it. The directory
// cannot be trusted any more; the next Open returns ErrDamaged for it.
var ErrFailed = errors.New("the disk failed")

// A failure records the first time that the disk failed while Badger wrote to
// it in the background. Badger only logs such an error and retries for ever,
// while commits wait.
type failure struct {
	dir  string
	once sync.Once
	come chan struct{} // closed when the disk has failed
	why  string
}

func newFailure(dir string) *failure { return &failure{dir: dir, come: make(chan struct{})} }

func (f *failure) err() error {
	select {
	case <-f.come:
		return fmt.Errorf("%w: %s", ErrFailed, f.why)
	default:
		return nil
	}
}

// failedFile lies in a directory whose disk has failed. Badger would open that
// directory without an error although some of the newest commits may be lost.
const failedFile = "failed"

func recordFailure(dir, why string) error {
	return os.WriteFile(filepath.Join(dir, failedFile), []byte(why), 0o600)
}

// failedBefore returns ErrDamaged if failedFile is in the directory.
func failedBefore(dir string) error {
	why, err := os.ReadFile(filepath.Join(dir, failedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return damaged("its disk failed before: %s", why)
}

// failures are the beginnings of the format strings with which Badger logs such
// a failure.
var failures = []string{"error flushing memtable to disk", "While running doCompact"}

// badgerLog passes Badger's log messages on, its info messages as debug.
type badgerLog struct {
	log *slog.Logger
	*failure
}

func (l badgerLog) Errorf(f string, a ...any)   { l.say(slog.LevelError, f, a) }
func (l badgerLog) Warningf(f string, a ...any) { l.say(slog.LevelWarn, f, a) }
func (l badgerLog) Infof(f string, a ...any)    { l.say(slog.LevelDebug, f, a) }
func (l badgerLog) Debugf(string, ...any)       {}

func (l badgerLog) say(level slog.Level, f string, a []any) {
	text := strings.TrimSpace(fmt.Sprintf(f, a...))
	if slices.ContainsFunc(failures, func(begin string) bool { return strings.HasPrefix(f, begin) }) {
		if len(text) > 500 { // a compaction's message first lists its whole plan; the error comes last
			text = strings.ToValidUTF8(text[:100]+" ... "+text[len(text)-400:], "")
		}
		first := false
		l.once.Do(func() {
			l.why, first = text, true
			close(l.come)
			if err := recordFailure(l.dir, text); err != nil {
				l.log.Error("cannot record that the disk failed: remove the state directory before the next start", "dir", l.dir, "error", err)
			}
		})
		if !first { // Badger retries, and logs this, every second
			level = slog.LevelDebug
		}
	}
	l.log.Log(context.Background(), level, "badger: "+text)
}
