package main

import (
	"encoding/json"
	"os"
	"testing"
)

// TestBench measures the command's own backtest at a tiny size, in a process
// that runs this program again. The figures mean nothing; the test checks that
// they are all there.
func TestBench(t *testing.T) {
	var found struct {
		Events, Users, Cores int
		Ratio                float64
		Sequential           float64 `json:"sequential_per_s"`
		OfSequential         float64 `json:"rate_of_sequential"`
	}
	out := offerctl(t, "bench", "--backtest", "--events", "2000", "--users", "200", "--json")
	if err := json.Unmarshal([]byte(out), &found); err != nil {
		t.Fatal(err)
	}
	if found.Events != 2000 || found.Users < 100 || found.Ratio <= 0 || found.Cores < 1 || found.Sequential <= 0 || found.OfSequential <= 0 {
		t.Errorf("bench says %s", out)
	}
}

// TestBenchAgainst compares this program with itself.
func TestBenchAgainst(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var found struct {
		Against string
		Pairs   int
		Keys    map[string]map[string]float64
	}
	out := offerctl(t, "bench", "--against", self, "--pairs", "1", "--backtest", "--events", "2000", "--users", "200", "--json")
	if err := json.Unmarshal([]byte(out), &found); err != nil {
		t.Fatal(err)
	}
	if events := found.Keys["events"]; found.Against != self || found.Pairs != 1 || events["this"] != 2000 || events["ratio"] != 1 || found.Keys["ratio"]["low"] <= 0 {
		t.Errorf("bench says %s", out)
	}
}
