// Package ingest takes events over HTTP and puts them into the log.
//
//	HTTP -> body (body.go) -> envelope (scan.go, envelope.go)
//	     -> admit one by one (admit.go) -> the log's text (splice.go)
//	     -> a parcel per partition (request.go) -> packs (pack.go) -> Log
//
// # What is taken
//
// POST /v1/batch, /v1/track, /v1/page, /v1/screen, /v1/identify, /v1/group
// and /v1/alias, Segment-spec JSON, plain or gzip whatever the headers say,
// with a write key as Basic user name or as writeKey in the body. A batch is
// {"batch": [event, ...]} with at most MaxBatchBytes, as sent and inflated,
// and MaxBatchEvents; an event has at most event.MaxEventBytes as received.
//
// # What is answered
//
// 200 with {"success":true,"ok":true,"status":1} after the log has
// acknowledged every event of the request, and nothing else means success.
// Everything else is in answer.go. SDKs send a batch again for as long as it
// is refused, so a bad event among others does not make a batch fail: it
// becomes a dead letter, acknowledged too. Only what is no batch at all is
// 400. A single bad event is 400 (413 if too large) and no dead letter.
//
// # What is written
//
// Packs: newline-delimited JSON, all events of one partition, each as it came
// but on one line, with receivedAt, and messageId, type, sentAt, context and
// logTime as splice.go says. The events of one request keep their order in
// each partition, and so do requests of which only one is outstanding.
//
// # What is promised
//
// An event that was answered with 200 is in the log. One that was not may be
// in the log too: the client sends it again and the entity's duplicate ring
// knows its messageId. Memory is bounded by Options.MemoryBytes, in all; what
// is beyond a bound is refused with 429 and counted, never dropped.
package ingest
