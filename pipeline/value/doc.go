// Package value holds the values that the core computes with: what an
// expression gives and an entity keeps (value.go), how JSON becomes one and is
// written again (json.go), times (time.go), what maps and structs look like to
// CEL (map.go, struct.go), and the bytes in which records are stored
// (record.go).
package value
