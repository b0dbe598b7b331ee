// Package ingest accepts events over HTTP and stores them in the log.
//
//	HTTP -> body (body.go) -> envelope (scan.go, envelope.go)
//	     -> admit one by one (admit.go) -> the log's text (splice.go)
//	     -> a parcel per partition (request.go) -> packs (pack.go) -> Log
//
// # Requests
//
// POST /v1/batch, /v1/track, /v1/page, /v1/screen, /v1/identify, /v1/group and
// /v1/alias, with JSON of the Segment specification, plain or gzip whatever the
// headers say, and a write key as user name of Basic authorization or as writeKey
// in the body. A batch is {"batch": [event, ...]} with at most MaxBatchBytes, both
// as sent and inflated, and MaxBatchEvents. An event has at most
// event.MaxEventBytes as received.
//
// # Answers
//
// 200 with {"success":true,"ok":true,"status":1} means that the log has
// acknowledged every event of the request. Any other answer means failure (see
// answer.go). SDKs resend a refused batch again and again, so one bad event does
// not make its batch fail: it becomes a dead letter, which is acknowledged too.
// Only a body that is not a batch at all is answered with 400. A bad event that
// is sent alone is answered with 400 (413 if it is too large), and is not a dead
// letter.
//
// # The log
//
// Events are written in packs: newline-delimited JSON, with events of one
// partition. Each event is as it came, but on one line, with receivedAt, and with
// messageId, type, sentAt, context and logTime as splice.go says. The events of
// one request keep their order in each partition, and so do the requests of a
// client that sends one at a time.
//
// # Guarantees
//
// An event that was answered with 200 is in the log. An event that was not may be
// in the log too: the client resends it, and the entity's duplicate ring knows its
// messageId. Options.MemoryBytes limits the memory of all requests together. A
// request that exceeds a limit is refused with 429 and counted; nothing is dropped
// silently.
package ingest
