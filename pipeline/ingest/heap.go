package ingest

import (
	"os"
	"runtime/debug"
)

// A gateway's heap is a few megabytes that live only as long as a request, so
// with Go's defaults the garbage collector runs dozens of times a second to little
// effect. Instead the heap may grow to five times its live part, up to a limit
// well above Options.MemoryBytes.
const (
	heapGrowth = 400       // percent of the live heap
	heapLimit  = 512 << 20 // bytes; above this the collector works harder
)

// TuneHeap sets the garbage collector of a process with a gateway and little
// else. If GOGC or GOMEMLIMIT is set, it stays.
func TuneHeap() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(heapGrowth)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(heapLimit)
	}
}
