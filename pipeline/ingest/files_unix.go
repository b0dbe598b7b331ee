//go:build unix

package ingest

import "syscall"

// maxFiles is how many files the process may open, 0 if that is not known.
func maxFiles() uint64 {
	var lim syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim) != nil {
		return 0
	}
	return uint64(lim.Cur) // its type is not the same everywhere
}
