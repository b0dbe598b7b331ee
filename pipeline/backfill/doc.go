// Package backfill has what a backfill needs beside the core (pipeline/second.go and
// pipeline/switch.go): second states in stores of their own, and the join of such a
// store with that of the live state. Workers use it, and so does package audit, which
// comes across switches when it folds a log anew.
//
//	begin (begin.go)    a second state of a set begins with a copy of a live state,
//	                    or with nothing at the log's beginning
//	fold (second.go,    it is brought on with the log, on its own reader, and
//	reading.go)         checkpointed; nothing comes of it
//	object (object.go)  it is stored under a name, and made of such an object again
//	join (join.go)      at a switch, all users of the live store are joined with it,
//	                    in the order of their keys and in bounded transactions
//
// A store with a second state has what other stores have (package checkpoint), and
//
//	note "second"  the Name as JSON; written last, so that a directory without it is
//	               of no use
package backfill
