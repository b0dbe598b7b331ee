// Package pipeline is the pure core: a partition's log in, offers out.
//
// It uses no clock, no randomness, no map order, no files, no sockets and no
// goroutines. Its results are a function of the log alone, so that a crash, a
// replay, a backtest and another worker all give the same offers. LANGUAGE.md
// (in config) has the rules; PROTOCOL.md has the guarantees, and the reasons
// why they hold.
//
// The parts, with their packages, in the order of the flow, which is also a
// good order for reading:
//
//	value       the values of expressions, JSON, times, records (package value)
//	event       what comes from outside, decoded from JSON (package event)
//	campaign    a set in its normal form (package campaign), and compiled
//	            (compile.go, campaign.go), for the engines that this binary has
//	            (engine.go)
//	expr        the language of conditions: CEL (package expr), which names each
//	            expression can use (language.go), what is known of their values
//	            (known.go), and what expressions see of an entity (scope.go),
//	            also as it was before the event (before.go)
//	window      what a feature keeps (package window); what an event adds to it
//	            (feature.go), under which keys (key.go)
//	entity      a user's state (entity.go) and its stored form (record.go):
//	            features, the session (session.go), sequences (sequence.go),
//	            consent (consent.go), what is pending, what was sent (sent.go); and
//	            what is known about the world (fact.go)
//	match       which features and campaigns an event can concern (match.go), found
//	            by its name and texts (selector.go)
//	step        one event or one due time on one entity (step.go)
//	evaluation  one campaign judged for one entity, stage by stage (evaluation.go):
//	            dwell (dwell.go), gates (gates.go), quiet hours and the best hour
//	            (quiet.go, and package zone for local time), choice (choice.go),
//	            control groups (holdout.go), the offer (offer.go) with its coupon
//	            (coupon.go, and package coupon for codes); its outcome (outcome.go),
//	            and the errors of its expressions (failure.go); what it keeps of its
//	            event while it waits (stored.go)
//	mail        what one entity's step sends to another entity (mail.go), in packs
//	            (mailpack.go); the stored form of what entities have to do with each
//	            other (link.go)
//	items       what events are about: features of items and the campaigns that read
//	            them, compiled (items.go); what an event brings to an item (feed.go);
//	            questions of users and answers of items (ask.go); an item that reaches
//	            the users in a list (fanout.go)
//	budgets     what all users share (budget.go), and pools of codes (pool.go)
//	coupons     what becomes of those of a user (redeem.go), and what gateways are told of
//	            that, and of merges (page.go)
//	merge       a visitor who logs in: claims, records, what is forwarded (claim.go),
//	            two states that become one (merge.go), and what a backfill has of such
//	            a visitor (remains.go)
//	trace       what a step did to an evaluation, for those who ask why (trace.go):
//	            what its conditions read (inspect.go), what else is compared (tell.go)
//	fold        one log applied to all entities (fold.go): log time (logtime.go), its
//	            messages (message.go), acceptances (accept.go), the set in force (live.go),
//	            the queue of due times (queue.go), the cursor (cursor.go), steps that
//	            panic (poison.go)
//	change      what control messages do to a fold (control.go): a set goes live, and
//	            the features that it lacks are kept for a day (retired.go); campaigns and
//	            channels are paused, by operators or by a brake (brake.go); a set goes
//	            live with a second state, which was folded beside the live one
//	            (second.go) and becomes one with it at a switch (switch.go), user by
//	            user (join.go)
//
// Besides: a backtest over a file (backtest.go), or a part of one (shard.go); a fold
// that begins or ends elsewhere than its log (refold.go), or is of some users only
// (only.go); the state of a user (user.go), an item (itemview.go), a budget or a pool
// (budgetview.go) in readable form; and an offer rendered as a test
// (sendtest.go), with what would stop it (stops.go); and whether an offer that is stored
// may still go out (delivery.go). A new aggregate is a row of
// window.Aggregates; a new gate is a row of gates, with its outcome.
//
// Four packages say what folds did, from their traces and counts: explain puts a user's
// evaluations into words, survey compares a set with a sample of events, backtest runs
// sets over many events, and report shows that as a page.
//
// Entities are users, items, budgets and pools; each belongs to one partition, by its
// key. What one sends to another goes through the log of the receiver's partition:
//
//	user  -- feed: entries, questions, triggers --> item
//	user <-- answer: the values that were asked --- item
//	user <-- recipient: a campaign with `to` ------ item
//	user  -- spend: request, return, withdrawal --> budget, pool
//	user <-- grant: granted or refused ------------ budget, pool
//	user  -- claim ------------------------------> visitor
//	user <-- record (once), then forwarded events - visitor
//	user <-- remains, after a switch -------------- visitor
//	user  -- rename: the visitor is the user -----> item
//
// A fold gives each mail a position on a chain, as it does with offers; a worker writes
// the chain into the receiver's log (package broker); the receiver applies each mail
// once, by its position (Fold.origin). A fold that is told of no partitions, as that of
// a file, keeps its mails in a queue of its own and applies them before anything else.
//
// The log consists of messages. A message is a pack of events (In), a Tick, a
// Control or an Accept:
//
//	In       newline-delimited Segment-spec JSON objects; the gateway adds
//	         receivedAt, adds messageId and type if they are missing, copies sentAt
//	         from the batch, and keeps logTime only under clock: event; a fact is
//	         in the log of every partition
//	Tick     {"at": "2026-01-02T15:04:05Z"}
//	Control  {"set": "<hash>", "revision": 7, "engine": 5, "at": "..."}, or
//	         {"paused": ["<campaign>"], "pauses": 3, "engine": 5, "at": "..."}
//	From     mails from entities of another partition (mailpack.go)
//	Accept   {"chains": {"offers.web": 12}, "after": 1795551540199725, "why": "..."}
//
// A Fold applies a message in steps, each for a due time or an event. It may be
// checkpointed between any two steps:
//
//	fold := NewFold(cursor, sets, entities)
//	fold.Begin(message)
//	for fold.Next() { use fold.Effects() }
//	cursor = fold.Cursor()
package pipeline
