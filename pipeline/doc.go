// Package pipeline is the pure core: a partition's log in, offers out.
//
// It reads no clock, no randomness, no map order, no file and no socket, and
// starts no goroutine. What it computes is a function of the log alone, so
// that a crash, a replay, a backtest and another worker all find the same
// offers. LANGUAGE.md (in config) has the rules, PROTOCOL.md what is promised
// and why that holds.
//
// The flow, which is also the reading order, with the packages that it stands
// on:
//
//	value       what the core computes with, JSON, times, records (package value)
//	event       what came from outside, read from JSON (package event)
//	campaign    a set in its normal form (package campaign), compiled (compile.go)
//	expr        its expressions: CEL (package expr), and what they see of an
//	            entity (scope.go)
//	window      what a feature keeps (package window); what an event adds to it
//	            (feature.go), under which key (key.go)
//	entity      a user's state (entity.go), in bytes (record.go): features, visits
//	            (session.go), what waits, what went out (sent.go)
//	match       which features and campaigns an event can concern at all (match.go)
//	step        one event or one due time on one entity (step.go)
//	evaluation  one campaign judged in it, stage by stage (evaluation.go): dwell
//	            (dwell.go), gates (gates.go), choice (choice.go), the offer
//	            (offer.go); how it ended (outcome.go), and why (trace.go)
//	fold        one log on all entities (fold.go): its messages (message.go), the
//	            set that is live (live.go), the queue of what is due (queue.go), how
//	            far it is (cursor.go), what becomes of a step that panics (poison.go)
//
// Beside the flow: a backtest over a file (backtest.go), a user as people see
// them (user.go). A new aggregate is a row of window.Aggregates; a new gate a
// row of gates, with its outcome.
//
// The log. A message is a pack of events (In), a Tick, a Control or an Accept:
//
//	In       newline-delimited Segment-spec JSON objects; the gateway adds
//	         receivedAt, messageId and type where they are missing, sentAt
//	         where the batch has it, and lets logTime pass under clock: event
//	Tick     {"at": "2026-01-02T15:04:05Z"}
//	Control  {"set": "<hash>", "engine": 1, "at": "..."}
//	Accept   {"chains": {"offers.web": 12}, "why": "..."}
//
// A Fold applies one message in steps, each a due time or an event, and may be
// checkpointed between any two:
//
//	fold := NewFold(cursor, sets, entities)
//	fold.Begin(message)
//	for fold.Next() { use fold.Effects() }
//	cursor = fold.Cursor()
package pipeline
