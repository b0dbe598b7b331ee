package audit

import (
	"syscall"
	"time"
	"unsafe"
)

// threadClock is CLOCK_THREAD_CPUTIME_ID. getrusage has the same time, but on some
// machines only in milliseconds.
const threadClock = 3

// threadTime is the CPU time of the calling thread: unlike that of a clock, it does
// not grow while other processes run.
func threadTime() time.Duration {
	var ts syscall.Timespec
	if _, _, failed := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, threadClock, uintptr(unsafe.Pointer(&ts)), 0); failed != 0 {
		return 0
	}
	return time.Duration(ts.Nano())
}
