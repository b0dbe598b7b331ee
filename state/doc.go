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
// A snapshot is what one read transaction sees, as a stream (numbers are
// big-endian, lengths are varints):
//
//	"OFFERSNP", format of the snapshot (4 bytes), length of the header (4)
//	header: JSON with the state's format, the identity and the cursor
//	xxhash64 of all before (8)
//	for each key but the identity's, in order:
//		length of the key, length of the record, key, record
//	0, number of entities (8), number of timers (8)
//	xxhash64 of all before (8), and nothing after it
//
// All formats begin so, up to the first checksum: thus an older binary can
// tell a newer format from damage.
//
// What is restored is written as Badger's tables, and the MANIFEST names them
// all at once: it holds whole what the snapshot held, or not even an identity.
// Records that would lie in the value log lie in the tables, until they are
// next written.
//
// Two traps of Badger v4.9.6 shaped this package. A table block that cannot
// be read (bad checksum, bad compression) reads as "no such key", so
// checksums on reading would turn damage into silence: Open verifies every
// table itself, blocks are stored uncompressed, and each record has its own
// frame. And a torn table footer panics in a goroutine of Badger's, so it is
// looked at before Badger does.
package state
