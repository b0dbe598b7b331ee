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

// DefaultMemTable is the size of a memtable unless Options says otherwise.
const DefaultMemTable = 16 << 20

// Identity names the partition that a directory belongs to.
type Identity struct {
	Prefix     string `json:"prefix"`     // of the deployment; empty: none
	Partitions int    `json:"partitions"` // P
	Partition  int    `json:"partition"`  // 0 to P-1
}

func (i Identity) String() string {
	p := i.Prefix
	if p == "" {
		p = "without prefix"
	}
	return fmt.Sprintf("deployment %s, partition %d of %d", p, i.Partition, i.Partitions)
}

// Options of a Store.
type Options struct {
	Identity Identity
	// MemTable is the size of one of Badger's memtables in bytes, from 1 MB; 0:
	// DefaultMemTable. A commit may have 15% of it. Under load there are three:
	// one is written, one waits, one goes to disk.
	MemTable int64
	Log      *slog.Logger // nil: silent
}

// largeRecord is the size from which a record goes to the value log: Badger's
// own 1 MB, or what a commit can hold of it.
func largeRecord(o Options) int64 { return min(1<<20, o.MemTable/10) }

// badgerOptions tunes for one writer whose state can be rebuilt: no fsync, no
// conflicts, small memtables.
func badgerOptions(dir string, o Options, f *failure) badger.Options {
	b := badger.DefaultOptions(dir)
	b.MemTableSize = o.MemTable
	b.NumMemtables = 1                                     // that wait
	b.BaseTableSize = min(max(o.MemTable/2, 1<<20), 8<<20) // a compaction has ten and more in memory at once, each twice over
	b.BlockSize = 16 << 10                                 // a user of some KB wastes half a block of 4 KB, and has an index entry alone
	b.BaseLevelSize = max(2*o.MemTable, 4<<20)
	b.ValueThreshold = largeRecord(o)
	b.ValueLogFileSize = 64 << 20 // mapped twice over when open: small, for little is in it
	b.NumCompactors = 2
	b.NumGoroutines = 1
	b.SyncWrites = false
	b.DetectConflicts = false
	b.NumVersionsToKeep = 1
	b.MetricsEnabled = false
	b.Compression = options.None                        // a block that does not decompress reads as "no such key"
	b.BlockCacheSize = 0                                // uncompressed blocks are read from the mapped file: the page cache is the cache
	b.IndexCacheSize = 0                                // indexes and filters stay in memory, about 1% of the data
	b.ChecksumVerificationMode = options.NoVerification // verifyTables has looked at all; see doc.go
	log := o.Log
	if log == nil {
		log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	b.Logger = badgerLog{log, f}
	return b
}

// ErrFailed means that the disk did not take what it was given: what is in the
// directory is not to be trusted. The next Open finds it damaged.
var ErrFailed = errors.New("the disk failed")

// A failure is the first time that the disk did not take what Badger wrote to
// it beside the commits. Badger says so in its log alone and tries again for
// ever, while commits wait.
type failure struct {
	dir  string
	once sync.Once
	come chan struct{} // closed when it has
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

// failedFile marks a directory under which the disk failed: Badger opens it
// without an error, and some of what was committed last may be gone.
const failedFile = "failed"

func markFailed(dir, why string) error {
	return os.WriteFile(filepath.Join(dir, failedFile), []byte(why), 0o600)
}

// failedBefore is ErrDamaged where there is such a mark.
func failedBefore(dir string) error {
	why, err := os.ReadFile(filepath.Join(dir, failedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return damaged("the disk failed under it: %s", why)
}

// failures are how the formats begin with which Badger says so.
var failures = []string{"error flushing memtable to disk", "While running doCompact"}

// badgerLog passes Badger's own messages on, its news as debug.
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
		if len(text) > 500 { // a compaction's has all that it was about to do, and last what went wrong
			text = strings.ToValidUTF8(text[:100]+" ... "+text[len(text)-400:], "")
		}
		first := false
		l.once.Do(func() {
			l.why, first = text, true
			close(l.come)
			if err := markFailed(l.dir, text); err != nil {
				l.log.Error("cannot mark the state as one to be made anew: remove it", "dir", l.dir, "error", err)
			}
		})
		if !first { // it tries again every second
			level = slog.LevelDebug
		}
	}
	l.log.Log(context.Background(), level, "badger: "+text)
}
