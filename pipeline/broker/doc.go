// Package broker has all code that deals with NATS.
//
// What is stored where (name.go has the names, stream.go the settings; with
// prefix x, x. stands before subjects and X- before the names of streams and
// buckets):
//
//	EVENTS-<p>    events.<p>.in, .tick, .control, .accept, .from.<q>: partition p's log
//	OFFERS        offers.<channel>.<p>, withheld.<p>, page.<p>: its chains
//	DEADLETTERS   dead.<p>, a chain too; dead.gateway, many letters in a message, and
//	              dead.deliver, offers that were given up (deadletter.go)
//	CAMPAIGNS     a KV bucket:
//	                deployment      {"partitions": 8}, written once
//	                live            Live, the record: which set is live (older versions: its hash)
//	                paused          Pauses
//	                set.<hash>      {"chunks": n, "bytes": n}, written last
//	                set.<hash>.<i>  a piece, from 0, of the gzipped Definition
//	                files.<hash>, files.<hash>.<sum>.<i>: likewise, the set's files as they were written
//	GROUP         a KV bucket, whose keys expire:
//	                member.<id>     a line with the lease's duration, such as 3s, and the worker's Claim
//	SNAPSHOTS     an object store, <partition>/<sequence, 20 digits>, and
//	              second/<partition>/<set>/<from>/<sequence>; its messages are
//	                $O.SNAPSHOTS.M.<the object's name in base64>   JSON, written last
//	                $O.SNAPSHOTS.C.<partition>.<sequence>.<random>   the pieces
//	                $O.SNAPSHOTS.C.second.<partition>.<sequence>.<random>
//
// query.<p>, on which the partition's owner answers requests, query.coupons.<p>, on which
// it answers those of gateways about coupons (coupon.go), query.listen and
// query.listen.<id>, on which gateways tell what arrives (listen.go), and
// offers-test.<channel>, on which offerctl publishes test offers, are in no stream.
//
// A Conn (connect.go) is a connection to a deployment that Connect has
// provisioned, or has checked against this process' options. Its methods are in
// campaign.go, files.go and text.go (campaign sets), live.go and pauses.go (which
// set is live, and what is paused), control.go (control messages), gateway.go
// (writing packs), listen.go (what arrives, live), reader.go (reading a log),
// chain.go, record.go and mail.go (writing offers, dead letters and mails), walk.go
// and deadletter.go (reading them), group.go (leases), claim.go and report.go (what
// workers publish about themselves), snapshot.go and second.go (storing and reading
// snapshots, and second states).
//
// Workers use NATS through a Wire (wire.go), which is NATS itself (nats.go,
// source.go) or a simulation.
package broker
