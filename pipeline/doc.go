// Package pipeline is the pure core: a partition's log in, offers out.
//
// It reads no clock, no randomness, no map order, no file and no socket, and
// starts no goroutine. What it computes is a function of the log alone, so
// that a crash, a replay, a backtest and another worker all find the same
// offers.
//
// The flow, which is also the reading order:
//
//	event     what came from outside (event.go), read from JSON (decode.go); of
//	          an ordinary one only what is asked for (scan.go)
//	entity    a user's state: features, session, profile, what is pending,
//	          what went out (entity.go; its bytes: codec.go)
//	feature   what an event adds to it (feature.go, dwell.go), under which key
//	          (key.go), and how an expression sees it (reading.go)
//	keyed     what is held of a feature, in the bytes in which it is stored
//	          (keyed.go): of each key a series of numbers (series.go) or a
//	          window of any values (window.go)
//	campaign  a checked, compiled set: definition.go -> Compile (campaign.go)
//	expr      its expressions: CEL (expr.go, scope.go, value.go), common ones
//	          without it (shortcut.go), text with them in it (template.go)
//	match     which campaigns an event can concern at all (match.go)
//	offer     what goes out and its identity (offer.go)
//	step      one event or one due time on one entity: triggers (step.go), what
//	          waits (pending.go), what goes out (choice.go, limit.go), and how
//	          every evaluation ended (counts.go)
//	fold      one log on all entities (fold.go): its messages (message.go), the
//	          queue of what is due (queue.go), how far it is (cursor.go), and
//	          what becomes of a step that panics (poison.go)
//
// Beside the flow: a backtest over a file (backtest.go), a user as people see
// them (view.go).
//
// The log. A message is a pack of events (In), a Tick or a Control:
//
//	In       newline-delimited Segment-spec JSON objects; the gateway adds
//	         receivedAt, messageId and type where they are missing, sentAt
//	         where the batch has it, and lets logTime pass under clock: event
//	Tick     {"at": "2026-01-02T15:04:05Z"}
//	Control  {"set": "<hash>", "engine": 1, "at": "..."}
//
// A Fold applies one message in steps, each a due timer or an event, and
// may be checkpointed between any two:
//
//	fold := NewFold(cursor, sets, entities)
//	fold.Begin(message)
//	for fold.Next() { use fold.Effects() }
//	cursor = fold.Cursor()
package pipeline
