package ingest

import (
	"runtime/debug"
	"testing"
)

func TestTuneHeap(t *testing.T) {
	limit := debug.SetMemoryLimit(-1)
	percent := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(percent); debug.SetMemoryLimit(limit) })
	t.Setenv("GOGC", "50")
	t.Setenv("GOMEMLIMIT", "1GiB")
	TuneHeap()
	if got := debug.SetGCPercent(100); got != 100 {
		t.Errorf("GOGC says otherwise, it became %d", got)
	}
	if got := debug.SetMemoryLimit(-1); got != limit {
		t.Errorf("GOMEMLIMIT says otherwise, it became %d", got)
	}
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	TuneHeap()
	if got := debug.SetGCPercent(100); got != heapGrowth {
		t.Errorf("the heap grows by %d%%", got)
	}
	if got := debug.SetMemoryLimit(-1); got != heapLimit {
		t.Errorf("the limit is %d", got)
	}
}
