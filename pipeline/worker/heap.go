package worker

import (
	"os"
	"runtime/debug"
)

// heapBase is what a worker's heap may take beside twice its cache before the
// collector becomes eager: Badger's memtables, and the tables that its stores
// build, several at once where many partitions catch up together.
const heapBase = 2 << 30 // bytes

// LimitHeap bounds the heap of a process that holds one worker and little
// else, softly. cache is Options.CacheBytes; GOMEMLIMIT, where set, stays.
func LimitHeap(cache int64) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(heapBase + 2*cache)
	}
}
