// Package worker lives a partition's life: restore, catch up, live, release.
// It joins the log (broker), the state (state) and the core (pipeline), and
// decides nothing of what an offer is.
//
// One goroutine a partition folds; beside it each chain publishes its records
// one by one, and one goroutine commits:
//
//	reader -> fold -> entities in the cache (cache.go), records to the chains
//	   |
//	   checkpoint: what changed is encoded between two steps, with the cursor
//	   |           (checkpoint.go), while the fold goes on
//	   await:      until every record up to the cursor is stored on its chain
//	   commit:     entities, timers, cursor in one transaction
//
// so that a crash replays and never forgets (DESIGN.md, P4):
//
//	dies                                  finds when it comes back
//	before a record is stored             the checkpoint before it: replayed, published
//	stored, not acknowledged              the chain's tail has it: skipped
//	stored, checkpoint not committed      the same
//	checkpoint committed                  goes on behind it
//	disk lost, or damaged                 nothing: the log is replayed from its beginning
//
// A step that panics ends the session as well; the next rolls it back alone
// and makes it a dead letter (poison.go).
//
// A session (session.go) is the time between a connection and its loss. What
// is known of tails dies with it; the next begins at the checkpoint. What
// cannot be right (a log or chain that is not the one that was seen before)
// stops that partition loudly, and no other.
//
// The owner also moves its log on (clock.go): a tick when a timer is due and
// nothing else comes, a control message when another campaign set is live.
package worker
