// Package broker is everything that knows NATS.
//
// What is stored where (name.go has the names, stream.go the settings; with
// prefix x, x. stands before subjects and X- before the names of streams and
// buckets):
//
//	EVENTS-<p>    events.<p>.in, .tick, .control, .accept, .from.<q>: partition p's log
//	OFFERS        offers.<channel>.<p>, withheld.<p>: its chains
//	DEADLETTERS   dead.<p>, a chain too, and dead.gateway
//	CAMPAIGNS     a KV bucket:
//	                deployment      {"partitions": 8}, written once
//	                live            the hash of the set that is live
//	                set.<hash>      {"chunks": n, "bytes": n}, written last
//	                set.<hash>.<i>  a piece, from 0, of the gzipped Definition
//	GROUP         a KV bucket, whose keys expire:
//	                member.<id>     3s, a line, and what the worker says of itself
//	SNAPSHOTS     an object store, <partition>/<sequence, 20 digits>; its
//	              messages are
//	                $O.SNAPSHOTS.M.<that in base64>   JSON, written last
//	                $O.SNAPSHOTS.C.<partition>.<sequence>.<random>   the pieces
//
// and query.<p> is no stream: requests to the partition's owner.
//
// A Conn (connect.go) is a connection to a deployment that has been
// provisioned, or checked to be what this process was told it is. On it:
// campaign.go (sets and which is live), gateway.go (packs in), reader.go (a
// log out), chain.go and record.go (offers and dead letters in), walk.go and
// deadletter.go (the same out), group.go (who lives), claim.go and report.go
// (what workers say of themselves), snapshot.go (a partition's state out and
// in).
//
// What a worker needs of NATS is a Wire (wire.go): NATS itself (nats.go,
// source.go), or a simulation.
package broker
