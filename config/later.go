package config

import "fmt"

// later is what the language has and this engine has not yet, and what would
// go wrong if it were ignored.
var later = map[string]string{
	// a set
	"facts":   "would know none of them",
	"items":   "keeps state of users alone",
	"coupons": "would send offers without their coupons",
	// a feature
	"per":       "keeps state of users alone",
	"half_life": "has no aggregate that decays",
	// policies and campaigns
	"holdout": "would send to the control group as well",
	// a campaign
	"for_each":    "would not know its rows: write a campaign of each",
	"any":         "has one trigger a campaign: write a campaign of each",
	"sequence":    "cannot tell in which order events came",
	"let":         "cannot name expressions: write them out where they are used",
	"at":          "would send at once",
	"choose":      "would not choose anything",
	"score":       "would rank by priority alone",
	"to":          "would send to the user of the event",
	"budget":      "would send without asking the budget",
	"session_end": "would never fire at the end of a session",
	// an offer
	"coupon": "would send it without the coupon",
	// unless
	"at_most": "would wait for the whole of within",
	// policies
	"consent":     "would send without asking for consent",
	"quiet_hours": "would send in quiet hours as well",
	"valid_for":   "would send on a consent that has expired",
}

// laterIn says of which map a key in later is one.
var laterIn = map[string][]string{
	aSet:      {"facts", "items", "coupons"},
	aFeature:  {"per", "half_life"},
	aCampaign: {"for_each", "any", "sequence", "let", "at", "choose", "score", "to", "budget", "holdout"},
	anOffer:   {"coupon"},
	anUnless:  {"at_most"},
	policies:  {"holdout"},
}

// The maps of the format, as they are called in messages.
const (
	aSet      = "a campaign set"
	aFeature  = "a feature"
	aCampaign = "a campaign"
	anOffer   = "an offer"
	anUnless  = "unless"
	aPeriod   = "a period"
	aLimit    = "a limit"
	policies  = "policies"
	aCap      = "a cap"
	aPause    = "pause"
	bounds    = "bounds"
	forget    = "forget"
)

// unsupported refuses a key.
func (v value) unsupported(name string) {
	v.problemAt(start(v.key), fmt.Sprintf("%q is not supported yet", name), "remove it; this version "+later[name])
}

// notYet refuses a value.
func (v value) notYet(what, consequence string) {
	v.problem(what+" is not supported yet", "remove it; this version "+consequence)
}
