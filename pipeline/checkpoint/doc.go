// Package checkpoint connects a fold with the disk: it caches entities in front
// of a store, and commits them together with the cursor. Workers use it, and so
// does package audit, which computes states anew.
//
// Content of a store (its keys are in package state):
//
//	entities       all that are not empty, with the time at which each is due
//	the cursor     pipeline.Cursor as JSON, without Since
//	note "since"   Cursor.Since as JSON, written when the campaign set changes
//
// A checkpoint changes all of these in one transaction, so that a store always
// has the state at one position of the log:
//
//	store -> Cache.Entity -> fold
//	            | Writer.Encode: changed entities and the cursor
//	         Writer.Commit -> store
//
// Files: cache.go (the cache of entities), writer.go and cursor.go (checkpoints),
// store.go and archive.go (interfaces of stores and of snapshots), set.go (the
// campaign sets that a fold needs), poison.go (steps that panic).
package checkpoint
