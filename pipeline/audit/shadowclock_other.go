//go:build !linux

package audit

import "time"

var started = time.Now()

// threadTime is the time of a clock, as there is no CPU time of a thread.
func threadTime() time.Duration { return time.Since(started) }
