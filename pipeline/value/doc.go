// Package value holds the values that the core computes with: the results of
// expressions and what an entity keeps (value.go), their conversion from and to
// JSON (json.go), numbers and their comparison (number.go), times (time.go), the
// maps and structs that CEL sees (map.go, struct.go), and the binary form of stored
// records (record.go).
package value
