//go:build !linux

package bench

import "os"

// dropPages cannot be asked for here.
func dropPages(*os.File) error { return nil }
