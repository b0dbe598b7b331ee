package oracle

import (
	"fmt"
	"os"
	"testing"
)

func TestShow(t *testing.T) {
	var seed uint64
	fmt.Sscan(os.Getenv("SEED"), &seed)
	set, events := Generate(seed)
	os.WriteFile("/tmp/set.json", set, 0o644)
	f, _ := os.Create("/tmp/ev.jsonl")
	for _, e := range events {
		f.Write(append(e, '\n'))
	}
	f.Close()
}
