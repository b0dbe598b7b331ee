// Package audit is for operators: it looks at a deployment from outside, with
// the connection of a tool, and needs no worker in its process.
//
//	overview.go    what the workers say of themselves and of their partitions
//	verify.go      whether the stored offers are those that the logs give
//	comparison.go  one chain of them, record by record
//	accept.go      accepts what a partition has lost, so that workers go on
//	replay.go      a partition's state computed anew, for both of these
//
// A verification reads and compares; it changes nothing in NATS:
//
//	log -> replay -> offers that the log gives --+-- comparison -> Sums, Examples
//	chains ------------------> offers stored ----+
//
// An acceptance changes the log, the chains and the snapshots, while no worker
// lives (PROTOCOL.md, P9):
//
//	log     <- one message with the last number on each chain
//	chains  <- a mark on each, behind which the workers go on
//	objects <- a snapshot of the replayed state, in place of all others
//
// A replay keeps its state in a directory of its own, which is removed in the
// end. Where it can be computed from the log's first message, a verification
// keeps it in memory.
package audit
