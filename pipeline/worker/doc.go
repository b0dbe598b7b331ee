// Package worker lives a partition's life: restore, catch up, live, release.
// It joins the log (broker), the state (state) and the core (pipeline), and
// decides nothing of what an offer is.
//
// One goroutine a partition folds; beside it each chain publishes its records
// one by one, and one goroutine commits:
//
//	reader -> fold -> entities in the cache, records to the chains
//	   |
//	   checkpoint: what changed is encoded between two steps, with the cursor
//	   |           (package checkpoint), and stored while the fold goes on
//	   |           (committer.go):
//	   await:      until every record up to the cursor is stored on its chain
//	   commit:     entities, timers, cursor in one transaction
//
// so that a crash replays and never forgets (PROTOCOL.md, P4):
//
//	dies                                  finds when it comes back
//	before a record is stored             the checkpoint before it: replayed, published
//	stored, not acknowledged              the chain's tail has it: skipped
//	stored, checkpoint not committed      the same
//	checkpoint committed                  goes on behind it
//	disk lost, or damaged                 the newest snapshot, else nothing: the log from there on
//
// An attempt (attempt.go) is one attempt to live over a connection: it begins
// at the checkpoint and ends with the connection or an error. What is known of
// the chains' tails ends with it. A step that panics ends it as well; the next
// attempt rolls that step back alone and makes it a dead letter (poison.go).
// What cannot be right (a log or chain that is not the one that was seen
// before) stops that partition loudly, and no other.
//
// Workers form a group (group.go). Each keeps a lease with what it owns and
// follows; each sees all leases, and does its duty (assignment.go) about each
// partition: own it, follow it, leave it alone. A partition is handed over so:
//
//	member that comes       opens (a snapshot, what is missing of the log), and
//	                        folds along, muted: it follows
//	                        it has caught up: its lease says ready
//	member that owns        sees that, is muted, and claims it in its lease no more
//	member that comes       sees that, publishes what waits, and owns
//
// Two that own it at once, or one that was frozen and comes back, can only
// publish the right next record or nothing: no correctness rests on leases.
// Snapshots (snapshot.go) go to the object store at an interval and on
// release. A worker whose disk gets full is a member that takes nothing, until
// there is room (room.go).
//
// All of this runs as tasks over a wire and a disk (package task,
// broker.Wire, disk.go), so that TestSimulation can run groups of workers in
// one goroutine schedule that a seed decides, and TestMutations can see that
// each rule is needed.
//
// What a worker tells others of itself is in package broker (claim.go,
// report.go). Operators' tools are package audit, which workers do not need.
//
// The owner also moves its log on (clock.go): a tick when a timer is due and
// nothing else comes, a control message when another campaign set is live.
package worker
