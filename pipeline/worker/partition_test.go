package worker

import (
	"testing"
	"time"
)

// TestGrow: after checkpoints that were too big, the following ones are smaller
// for a while and not for ever.
func TestGrow(t *testing.T) {
	now := time.Unix(1e9, 0)
	p := partition{shrink: 4, shrunk: now}
	for _, step := range []struct {
		after time.Duration
		want  int
	}{{growAfter - 1, 4}, {1, 2}, {growAfter - 1, 2}, {1, 1}, {time.Hour, 1}} {
		now = now.Add(step.after)
		if p.grow(now); p.shrink != step.want {
			t.Fatalf("%v later: %d, want %d", step.after, p.shrink, step.want)
		}
	}
}
