//go:build !unix

package ingest

// maxFiles is how many files the process may open, 0 if that is not known.
func maxFiles() uint64 { return 0 }
