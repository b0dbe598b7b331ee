// Package event is what comes from outside: an Event and its types (event.go),
// read from Segment-spec JSON (decode.go). Of an ordinary event of the log only
// what is asked for is parsed (scan.go); what it is about are its items
// (items.go).
package event
