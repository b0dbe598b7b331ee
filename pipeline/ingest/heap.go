package ingest

import (
	"os"
	"runtime/debug"
)

// A gateway's heap is a few megabytes that live as long as a request, so that
// at Go's defaults the collector runs dozens of times a second for nothing.
// It may take five times what lives, up to a bound well above MemoryBytes.
const (
	heapGrowth = 400       // percent
	heapLimit  = 512 << 20 // bytes; from there on the collector is as eager as it must be
)

// TuneHeap sets the process's garbage collector for a gateway that is alone
// in it. What GOGC and GOMEMLIMIT say stays.
func TuneHeap() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(heapGrowth)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(heapLimit)
	}
}
