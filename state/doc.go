// Package state keeps one partition's entities and cursor in an embedded
// Badger, one directory a partition. It is a cache of the log: behind means
// replay, damaged means discard and rebuild, so nothing here is fsynced on
// the way.
//
// Keys, by their first byte (numbers are 8 bytes, big-endian):
//
//	m                       identity: whose directory this is, JSON
//	c                       cursor: commit number, then the caller's bytes
//	l <commit number>       the newest commit's mark; there is always just one
//	n <name>                a note: what belongs to the cursor but changes seldom
//	e <entity key>          an entity: the caller's bytes
//	t <due> <entity key>    timer index: when an entity is due; no value
//
// due is nanoseconds since 1970 with the sign bit flipped, so that keys sort
// by time. Every value but a timer's is framed, to notice a flipped byte:
//
//	offset  bytes
//	0       1      format of the frame, 1
//	1       8      xxhash64 of key and payload, big-endian
//	9       -      payload
//
// A commit is one Badger transaction: entities, timers, cursor, its own mark
// put and the mark before it deleted. After a crash Badger has a prefix of
// the commits, which is an older and consistent state. If it lost commits
// from the middle (a byte flipped in an older write-ahead log, an older
// MANIFEST), the mark before the gap was never deleted: two marks, damaged.
// If it lost the beginning, the identity is gone: damaged as well.
//
// If an older write-ahead log is torn, deletions may be lost that no mark
// tells of: Open verifies those as well.
//
// Two traps of Badger v4.9.6 shaped this package. A table block that cannot
// be read (bad checksum, bad compression) reads as "no such key", so
// checksums on reading would turn damage into silence: Open verifies every
// table itself, blocks are stored uncompressed, and each record has its own
// frame. And a torn table footer panics in a goroutine of Badger's, so it is
// looked at before Badger does.
package state
