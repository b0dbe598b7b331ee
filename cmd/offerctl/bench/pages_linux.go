package bench

import (
	"os"
	"syscall"
)

// dropPages asks the system to forget what it has of a file in memory. Some
// file systems cannot, such as those that live there.
func dropPages(f *os.File) error {
	if err := f.Sync(); err != nil {
		return err
	}
	const dontNeed = 4
	syscall.Syscall6(syscall.SYS_FADVISE64, f.Fd(), 0, 0, dontNeed, 0, 0)
	return nil
}
