// Package ingest accepts events over HTTP and stores them in the log.
//
//	HTTP -> connections (connections.go) -> body (arrival.go, body.go)
//	     -> envelope (scan.go, envelope.go) -> the dialect's events into ours (dialect.go)
//	     -> place and admit one by one (place.go, admit.go) -> the log's text (splice.go)
//	     -> a parcel per partition (request.go) -> packs (pack.go) -> Log
//
//	refused events of a batch -> dead letters (letters.go) -> Log
//	what has become of each event -> who listens (listen.go)
//	open offers (package page) -> pages (offers.go)
//
// # Requests
//
// POST /v1/batch, /v1/track, /v1/page, /v1/screen, /v1/identify, /v1/group,
// /v1/alias, /v1/system, /v1/fact and /v1/item, and the paths of other vendors' SDKs, whose
// events are put into the same form first (dialect.go, and a file for each dialect), with
// JSON of the Segment specification in UTF-8, with or without a byte order mark, plain or gzip whatever the headers say,
// and a key as user name of Basic authorization or as writeKey in the body. A batch is
// {"batch": [event, ...]} with at most MaxBatchBytes, both as sent and inflated, and
// MaxBatchEvents. An event has at most event.MaxEventBytes as received. In paths, // is
// /, and a / at the end means nothing.
//
// POST /v1/coupons/redeem and /v1/coupons/void store an event too, and are answered with
// what it has come to; GET /v1/coupons/CODE stores none (coupon.go).
//
// # Answers
//
// 200 means that the log has acknowledged every accepted event of the request. For a
// batch it says how many these are, {"success":true,"ok":true,"status":1,"accepted":2,
// "refused":3}. Any other answer means failure (see answer.go). SDKs resend a refused
// batch again and again, so one bad event does not make its batch fail: it becomes a
// dead letter. Only a body that is not a batch at all is answered with 400. A bad
// event that is sent alone is answered with 400 (413 if it is too large), and is not a
// dead letter.
//
// # Who may say what
//
// Keys have roles (keys.go); event.Reserved says which events need which. Each event
// is judged as the log's reader reads it, wherever it was sent (admit.go). What its key
// may not send is answered with 403, or counted as refused in a batch. It is counted
// by reason and sampled into the process log (denied.go), but is never a dead letter.
//
// An event of a browser is about a proved user if its userId comes with his user token
// (proof.go): in the header Offerstream-User-Token, as userToken of the batch, or as
// userToken of the event, of which the last that is given counts. The token is
//
//	EXPIRY.MAC    EXPIRY: seconds since 1970, in decimal; MAC: the HMAC-SHA-256 of
//	              "EXPIRY.USERID" under the key's secret, base64url without padding
//
// An expired or wrong token is as none. Without proof, "proof":"none" is written first
// into the object; clients cannot write or remove it. Under a key with identity:
// verified, an event whose userId lacks proof is keyed by its anonymousId, and the id
// becomes the property claimed_user_id (claim.go); without an anonymousId it is refused,
// alone with 401.
//
// Offers on pages have their own rule of who may see whose (offers.go), and package page
// does the rest. A visitor whose id a gateway has issued is claimed with his token alone
// (visitor.go).
//
// The header Offerstream-Sender, browser or verified, makes a request's events those of
// such a key without proof, whatever its own key is. offerctl deadletters replay sends
// it with what it knows to be of a browser.
//
// A fact goes into the log of every partition, as a clock event does. An event about an
// item goes into that of the item's partition, like a user's, but is of no user: it gets
// neither the batch's context nor the stamp of a proof, and a userId in it means nothing.
//
// # Dead letters
//
// Dead letters never delay accepted events, and never make their request fail: see
// letters.go. They are packed, and limited for each write key; beyond that a sample is
// stored. Each one that is not stored is counted, with the reason. The answer waits
// for a batch's dead letters until its events are acknowledged, and a tenth of a
// second from the beginning in any case, unless they cannot be stored now. So a batch
// is answered as soon as it would be without its bad events, or within that time; and
// a dead letter that is not stored by then follows soon, unless the process is killed:
// this alone is not counted. A gateway that is told to stop stores what waits.
//
// # Slow and greedy clients
//
// A request takes one of Options.Requests slots when its body is there. Until then it
// costs a connection and the memory for what has come, which are limited in total
// (Options.Connections, half of Options.MemoryBytes) and, to half of that, for each
// address (address.go says which address counts behind a proxy). Beyond these limits a
// connection is closed at once, and a request is refused with 429, while other
// addresses go on. A body that comes too slowly is answered with 408 (arrival.go). The
// request of a client that leaves is given up within a quarter of a second (quiet.go).
//
// Events are limited too, for each key that has a rate, and under keys of role browser for
// each address and each user: rate.go.
//
// # What is not stored
//
// Between the dialect and admission a redaction takes members away (redact.go). Events of
// crawlers are counted in place of being stored (bot.go). Both only where the settings ask
// for it.
//
// # Listeners
//
// Who wishes to is told what becomes of each event, and of each request that is refused
// as a whole: by which key it came, and why it was refused (offerctl listen). An event
// is told as accepted when the log has acknowledged it. What is told is not stored, and
// limited; what is left out is counted, and that is told. See listen.go and hearing.go.
//
// # The log
//
// Events are written in packs: newline-delimited JSON, with events of one
// partition. Each event is as it came, but on one line, with receivedAt, and with
// proof, messageId, type, sentAt, context and logTime as splice.go says. The events of
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
