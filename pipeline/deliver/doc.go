// Package deliver sends the offers of one channel to a receiver: to a webhook, to the
// gateway of a provider of SMS or push, or to a mail server.
//
// An offer takes this way:
//
//	consumer   a durable consumer on OFFERS gives it, and keeps it until it is
//	           acknowledged (consumer.go)
//	lane       it waits for the offers before it to the same user (lane.go)
//	delivery   what becomes of it (delivery.go):
//	  ask      the owner of the user's partition says whether it may go out now, by the
//	           user's consent, the quiet hours, what is paused, and its expiry (ask.go)
//	  preset   it becomes the message that the receiver takes (preset.go, template.go)
//	  attempt  the message is sent, by HTTP (http.go, signature.go) or as mail (mail.go),
//	           to an address that it may be sent to (address.go). What failed is tried
//	           again later (backoff.go)
//	  letter   what is given up becomes a dead letter (letter.go)
//	  report   the gateway is told as an event (report.go)
//	acknowledgement
//
// What a crash leaves:
//
//	before the receiver has it            it is sent by the next process
//	the receiver has it, not reported,    it is sent again, under the same id (webhook-id),
//	or not acknowledged                   and reported again, under the same messageId
//	acknowledged                          nothing is left to do
//
// So each offer is sent at least once, and what is sent again was in flight at the crash.
// The offer's id is the same each time: by it a receiver drops repeats.
//
// Dead letters are sent again in the same way, by a process with Options.Letters, whose
// consumer is one on dead.deliver.
//
// The dead letter, if there is one, is stored before the acknowledgement, and so is the
// event reported. Whatever cannot be known makes an offer wait: without the owner's
// answer none goes out.
package deliver
