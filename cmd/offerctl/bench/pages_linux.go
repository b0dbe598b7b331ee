package bench

import (
	"os"
	"syscall"
)

// dropPages asks the system to drop a file's pages from memory. File systems
// that are in memory cannot do this.
func dropPages(f *os.File) error {
	if err := f.Sync(); err != nil {
		return err
	}
	const dontNeed = 4
	syscall.Syscall6(syscall.SYS_FADVISE64, f.Fd(), 0, 0, dontNeed, 0, 0)
	return nil
}
