package main

import (
	"encoding/json"
	"testing"
)

// TestBench measures the command's own backtest at a tiny size, in a process
// that is this program again: what it finds means nothing, that it is all
// there does.
func TestBench(t *testing.T) {
	var found struct {
		Events, Users int
		Ratio         float64
	}
	out := offerctl(t, "bench", "--backtest", "--events", "2000", "--users", "200", "--json")
	if err := json.Unmarshal([]byte(out), &found); err != nil {
		t.Fatal(err)
	}
	if found.Events != 2000 || found.Users < 100 || found.Ratio <= 0 {
		t.Errorf("bench says %s", out)
	}
}
