//go:build linux || darwin || freebsd || netbsd || openbsd

package ingest

import (
	"net"
	"syscall"
)

const canPeek = true

// ended reports whether the other end has closed the connection, and everything that it
// sent before was read.
func ended(c *net.TCPConn) (is bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK) // does not block: Go's connections never do
		is = n == 0 && err == nil || err != nil && err != syscall.EAGAIN && err != syscall.EINTR
	})
	return is || err != nil
}
