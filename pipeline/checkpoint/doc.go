// Package checkpoint is what lies between a fold and the disk: entities cached
// over a store, and committed with the cursor. Whoever computes a partition's
// state needs it: a worker, and whoever audits what workers have done.
//
// What is in a store (package state has its keys):
//
//	each entity that is not empty, and when its timer is due
//	the cursor     pipeline.Cursor as JSON, without Since
//	note "since"   Cursor.Since as JSON, written when the campaign set changes
//
// A checkpoint changes all of these in one transaction, so that a store is
// always the state of one moment of the log:
//
//	store -> Cache.Entity -> fold
//	            | what has changed, and the cursor: Writer.Encode
//	         Writer.Commit -> store
//
// cache.go has the entities, writer.go and cursor.go the checkpoints, store.go
// and archive.go where stores and snapshots of them lie, set.go the campaign
// sets that a fold needs, and poison.go a step that panics.
package checkpoint
