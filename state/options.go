package state

import (
	"fmt"
	"io"
	"log/slog"
	"strings"

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
func badgerOptions(dir string, o Options) badger.Options {
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
	b.Logger = badgerLog{log}
	return b
}

// badgerLog passes Badger's own messages on, its news as debug.
type badgerLog struct{ log *slog.Logger }

func (l badgerLog) Errorf(f string, a ...any)   { l.log.Error("badger: " + line(f, a)) }
func (l badgerLog) Warningf(f string, a ...any) { l.log.Warn("badger: " + line(f, a)) }
func (l badgerLog) Infof(f string, a ...any)    { l.log.Debug("badger: " + line(f, a)) }
func (l badgerLog) Debugf(string, ...any)       {}

func line(f string, a []any) string { return strings.TrimSpace(fmt.Sprintf(f, a...)) }
