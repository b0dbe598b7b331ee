package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// What `bench --backtest` makes is a file of events that a backtest takes
// whole: a rate over events that were refused would mean nothing.
func TestBenchBacktestEvents(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(writeBacktest(f, 100, 3000), f.Close()); err != nil {
		t.Fatal(err)
	}
	def, err := loadOrShipped("", "")
	if err != nil {
		t.Fatal(err)
	}
	b, err := backtestFile(t.Context(), def, path, "", stdio{out: io.Discard, err: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	fired := uint64(0)
	counts, _ := b.Counts()
	for _, c := range counts {
		fired += c.Fired
	}
	if b.Applied != 3000 || b.Duplicates() != 0 || len(b.Rejected) != 0 || len(b.Jumps) != 0 || fired == 0 {
		t.Errorf("%d applied, %d duplicates, rejected %v, jumps %v, %d fired", b.Applied, b.Duplicates(), b.Rejected, b.Jumps, fired)
	}
}
