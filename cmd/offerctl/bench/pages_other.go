//go:build !linux

package bench

import "os"

// dropPages does nothing: this system has no such call.
func dropPages(*os.File) error { return nil }
