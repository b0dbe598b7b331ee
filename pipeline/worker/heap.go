package worker

import (
	"os"
	"runtime/debug"
)

// heapBase is how much a worker's heap may take in addition to twice its cache
// before the garbage collector works harder. It is for Badger's memtables and the
// tables that the stores build, several at once when many partitions catch up
// together.
const heapBase = 2 << 30 // bytes

// LimitHeap sets a soft limit for the heap of a process with one worker and
// little else. cache is Options.CacheBytes. If GOMEMLIMIT is set, it stays.
func LimitHeap(cache int64) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(heapBase + 2*cache)
	}
}
