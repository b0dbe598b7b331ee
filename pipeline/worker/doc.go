// Package worker runs partitions through their life: restore, catch up, follow or
// own, release. It connects the log (broker), the state (state) and the core
// (pipeline). The core alone decides who is offered what.
//
// Each partition has one goroutine that folds, one for each chain, which publishes
// its records one by one (mails that wait together, in one message), and one that
// commits. A chain of mails to a partition is made with the first mail to it:
//
//	reader -> fold -> entities in the cache, records to the chains
//	   |
//	   checkpoint: it takes the cursor between two steps; the changes up to there
//	   |           are encoded a few at a time (package checkpoint), and stored
//	   |           while the fold goes on (committer.go):
//	   await:      wait until every record up to the cursor is stored on its chain
//	   commit:     entities, timers and cursor in one transaction
//
// So a crash leads to a replay and never loses records (PROTOCOL.md, P4):
//
//	a worker dies when                    when it comes back
//	a record is not stored                it replays from the checkpoint and publishes the record
//	the record is not acknowledged        the chain's tail shows the record: it is skipped
//	the checkpoint is not committed       the same
//	the checkpoint is committed           it goes on after the checkpoint
//	its disk is lost or damaged           it restores the newest snapshot, if any, and replays the log from there
//
// An attempt (attempt.go) folds a partition's log over one connection: it begins
// at the last checkpoint and ends with the connection or an error. What is known
// of the chains' tails must not outlive it. A step that panics ends the attempt as
// well; the next attempt rolls back that step alone and makes it a dead letter
// (poison.go). A contradiction (a log or chain that is not the one that was seen
// before) stops that partition loudly, and no other.
//
// Workers form a group (group.go). Each has a lease that says what it owns and
// follows, and sees all other leases. From these it computes its duty
// (assignment.go) about each partition: own it, follow it, or leave it alone. A
// partition is handed over in these steps:
//
//	new member              restores a snapshot, catches up with the log and folds
//	                        along without publishing (muted): it follows
//	                        when it has caught up, its lease says ready
//	old owner               sees that, stops publishing, and no longer claims the
//	                        partition in its lease
//	new member              sees that, publishes the waiting records, and owns
//
// Two owners at once, or an owner that was frozen and comes back, can only publish
// the right next record or nothing: no correctness rests on leases. Snapshots
// (snapshot.go) are stored in the object store at an interval and on release. A
// worker whose disk gets full stays a member but takes no partitions until there
// is room (room.go).
//
// All of this runs as tasks (package task) over a wire (broker.Wire) and a disk
// (disk.go), so that TestSimulation can run groups of workers under a schedule
// that a seed decides, and TestMutations can check that each rule is needed.
//
// What a worker publishes about itself is defined in package broker (claim.go,
// report.go). Operators' tools are in package audit, which workers do not need.
//
// While the bucket's record asks for a backfill, the owner folds its log a second time
// under the set that is to come (second.go, secondbegin.go), beside the fold and slower
// than it, in a store of its own that it removes when nobody asks for it any more.
// Where the set goes live by it, at a switch, whoever folds the log makes the two
// states one (join.go): a second state that is lost is restored from its object.
//
//	a worker dies                         when it comes back
//	as it folds a second time             it goes on with the directory, else with the newest stored second state, else it begins anew
//	within a join                         it goes on after the last user that is joined, with the same second state
//
// The owner also appends to its log: a tick when a timer is due and no other message
// comes (clock.go), and a control message when the bucket has a newer record of what
// is live or paused (control.go).
package worker
