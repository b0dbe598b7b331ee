// Package state keeps one partition's entities and cursor in an embedded
// Badger database, one directory for each partition. It is a cache of the log:
// state that is behind is caught up by a replay, and state that is damaged is
// discarded and rebuilt. So commits are not fsynced.
//
// Keys, by their first byte (numbers are 8 bytes, big-endian):
//
//	m                       identity: which partition this directory holds, JSON
//	c                       cursor: commit number, then the caller's bytes
//	l <commit number>       seal of the newest commit; there is exactly one
//	n <name>                a note: data that belongs to the cursor but changes seldom
//	e <entity key>          an entity: the caller's bytes, or a head
//	p <entity key> <digest> a piece of a large entity; the digest has 16 bytes
//	t <due> <entity key>    timer index: when an entity is due; no value
//
// due is nanoseconds since 1970 with the sign bit flipped, so that keys sort
// by time. Every value but a timer's is framed, so that a flipped bit is
// noticed:
//
//	offset  bytes
//	0       1      format of the frame: 1, or 2 of a head
//	1       8      xxhash64 of key and payload, big-endian
//	9       -      payload
//
// An entity of more than 32 KB lies in pieces of 2 to 16 KB, which its head lists
// (pieces.go). A commit writes those that are new and deletes those that are no
// longer listed. So what is written for an event does not grow with what the
// entity holds, and all space is that of Badger's tables, which compactions
// free: nothing enters the value log, which is never compacted.
//
// A commit is one Badger transaction: it writes entities, timers, the cursor
// and its own seal, and deletes the seal of the commit before. After a crash
// Badger has a prefix of the commits, which is an older, consistent state. If
// Badger lost commits from the middle (a flipped bit in an older write-ahead
// log, an older MANIFEST), the seal before the gap was never deleted: two seals
// mean damage. If Badger lost the first commits, the identity is missing, which
// means damage as well.
//
// If an older write-ahead log is torn, deletions may be lost without a trace in
// the seals. So Open also verifies these logs.
//
// A snapshot is the content of one read transaction as a stream (numbers are
// big-endian, lengths of keys and records are varints):
//
//	"OFFERSNP", format of the snapshot (4 bytes), length of the header (4)
//	header: JSON with the state's format, the identity and the cursor
//	xxhash64 of everything before (8)
//	for each key but the identity's, in order:
//		length of the key, length of the record, key, record
//	0, number of entities (8), number of timers (8)
//	xxhash64 of everything before (8), and nothing after it
//
// Every format begins this way, up to the first checksum, so that an older
// binary can distinguish a newer format from damage.
//
// Restore writes a snapshot's records as Badger tables, and a MANIFEST that
// names all of them at once. So a restored directory holds everything that the
// snapshot held, or not even an identity.
//
// Two traps of Badger v4.9.6 shaped this package. First, Badger reads a table
// block with a bad checksum or bad compression as "no such key", so its own
// checksums would hide damage: Open verifies every table itself, blocks are
// stored uncompressed, and each record has its own frame. Second, a torn table
// footer panics in one of Badger's goroutines, so Open checks footers before
// Badger reads them.
package state
