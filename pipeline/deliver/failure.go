package deliver

import "time"

// A verdict is what follows of a failed attempt.
type verdict int

const (
	again verdict = iota // it is tried again later
	never                // it cannot succeed: the offer becomes a dead letter
	gone                 // the receiver takes nothing any more: the channel stops
)

// A failure is why an attempt has failed.
type failure struct {
	reason  string // one word, for metrics
	detail  string
	verdict verdict
	after   time.Duration // no attempt of the channel before; 0: none was asked for
}

// Reasons of failures, besides http_<class> such as http_5xx, and what presets know.
const (
	reasonTimeout     = "timeout"         // no answer in time
	reasonConnection  = "connection"      // no connection, or it broke
	reasonPrivate     = "private_address" // see errPrivate
	reasonTemplate    = "template"        // the offer does not fit the template
	reasonNoAddress   = "no_address"      // the user has no address for the channel
	reasonSecret      = "secret"          // the secret or token cannot be used
	reasonUnsubscribe = "unsubscribe"     // the link to unsubscribe cannot be made
	reasonGone        = "gone"            // 410
	reasonAttempts    = "attempts"        // as many as it may have
	reasonAge         = "too_old"         // longer in OFFERS than it may be
	reasonDamaged     = "damaged"         // the message in OFFERS is not an offer
)
