// Package audit is for operators' tools: it examines a deployment from outside,
// over a connection to NATS, without a worker in its process.
//
//	overview.go    the status of workers and partitions
//	verify.go      verifies that the stored offers are those that the logs give
//	comparison.go  the part of a verification for one chain, record by record
//	mail.go        the part of a verification for the mails from one partition to another
//	accept.go      accepts that data of a partition is lost, so that workers go on
//	acceptmail.go  the mails that an acceptance finds lost, and those that it sends
//	replay.go      computes a partition's state anew, for verify.go and accept.go
//	reading.go     a replay of the log as it is, without its expired beginning
//	livelog.go     such a replay for others: backtests, and what explains users
//	events.go      the events of a log with their log times
//	shadow.go      follows the log with a set that is not live, beside the live one
//	shadowfollow.go  the part of a shadow for one partition: its switch, and those of
//	               the log (shadowswitch.go), a part of the users (shadowsample.go)
//	sample.go      the newest events of all logs
//
// A verification reads and compares; it changes nothing in NATS:
//
//	log -> replay -> offers that the log gives --+-- comparison -> Sums, Examples
//	chains ------------------> offers stored ----+
//	log -> replay -> mails that the log gives ---+-- mailComparison -> MailSums, Examples
//	receivers' logs ---------> mails stored -----+
//
// An acceptance changes the log, the chains and the snapshots, while no worker is
// alive (PROTOCOL.md, P9):
//
//	log       <- a message with the last number on each chain of offers
//	chains    <- a mark on each, after which the workers go on, also of mails to each partition
//	snapshots <- a snapshot of the replayed state, which replaces all others
//
// A replay keeps its state in a temporary directory. A verification that can begin
// with the log's first message keeps its state in memory.
package audit
