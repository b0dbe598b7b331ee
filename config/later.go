package config

import "fmt"

// later holds the keys of the language that this engine does not support yet,
// each with the end of the sentence "this version ...": what would go wrong if
// the key were ignored.
var later = map[string]string{
	// a set
	"facts":   "has no facts",
	"items":   "keeps state for users only",
	"coupons": "would send offers without their coupons",
	// a feature
	"per":       "keeps state for users only",
	"half_life": "has no aggregate that decays",
	// policies and campaigns
	"holdout": "would send to the control group as well",
	// a campaign
	"for_each":    "does not read the rows: write one campaign for each",
	"any":         "has one trigger per campaign: write one campaign for each",
	"sequence":    "cannot tell in which order events came",
	"let":         "cannot name expressions: write them out where they are used",
	"at":          "would send at once",
	"choose":      "would not choose anything",
	"score":       "would rank by priority alone",
	"to":          "would send to the user of the event",
	"budget":      "would ignore the budget",
	"session_end": "would never fire at the end of a session",
	// an offer
	"coupon": "would send it without the coupon",
	// unless
	"at_most": "would always wait for all of `within`",
	// policies
	"consent":     "would send without asking for consent",
	"quiet_hours": "would send in quiet hours as well",
	"valid_for":   "would send on a consent that has expired",
}

// laterIn holds the keys of later by the map that they belong to.
var laterIn = map[string][]string{
	aSet:      {"facts", "items", "coupons"},
	aFeature:  {"per", "half_life"},
	aCampaign: {"for_each", "any", "sequence", "let", "at", "choose", "score", "to", "budget", "holdout"},
	anOffer:   {"coupon"},
	anUnless:  {"at_most"},
	policies:  {"holdout"},
}

// The maps of the format, by their names in messages.
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
