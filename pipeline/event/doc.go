// Package event holds what comes from outside: an Event and its types
// (event.go), decoded from Segment-spec JSON (decode.go) and split into items
// (items.go); events about an item, of no user (item.go); whom an event claims for its
// user (claim.go); which roles of keys may send which events (reserved.go); and what
// is kept of an event while it waits (keep.go). For most events of the log, only
// the members of the outer object are read (scan.go), the rest is stepped over
// (skip.go) and parsed when it is used (lazy.go); what a scan has found can be handed
// on without the event (scanned.go).
package event
