package pipeline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"offerstream/pipeline/expr"
)

// An Outcome is how an evaluation ended. Every evaluation that is not pending
// has exactly one (LANGUAGE.md, rule 13).
type Outcome uint8

// The outcomes, in the order in which they are shown.
const (
	Fired Outcome = iota
	Withheld
	Condition
	Period
	Age
	NoConsent
	Limit
	Cap
	Pause
	Quiet
	WhenDue
	Paused
	OverBudget
	Lost
	NoChoice
	Outranked
	Duplicate
	Failed
	Cancelled
	Superseded
	outcomes // the number of outcomes
)

// outcomeNames are the names in JSON, metrics and texts.
var outcomeNames = [outcomes]string{
	Fired: "fired", Withheld: "withheld", Condition: "condition", Period: "period", Age: "age", NoConsent: "consent", Limit: "limit", Cap: "cap",
	Pause: "pause", Quiet: "quiet hours", WhenDue: "when_due", Paused: "paused", OverBudget: "budget", Lost: "lost", NoChoice: "no choice",
	Outranked: "outranked", Duplicate: "duplicate", Failed: "error", Cancelled: "cancelled", Superseded: "superseded",
}

func (o Outcome) String() string { return outcomeNames[o] }

// Word is the name without blanks, as it stands in the JSON of a backtest.
func (o Outcome) Word() string { return strings.ReplaceAll(outcomeNames[o], " ", "_") }

// Suppressed reports whether the outcome is a reason for which an offer was
// suppressed.
func (o Outcome) Suppressed() bool {
	return o != Fired && o != Withheld && o != Cancelled && o != Superseded
}

// outcomeMeanings say what an outcome means, to people who know the campaign and not
// the engine.
var outcomeMeanings = [outcomes]string{
	Fired:      "the offer went out",
	Withheld:   "the person is in the control group (`holdout`), so the offer did not go out",
	Condition:  "`if` was not true, or there was nothing to wait for (`unless.match`, `restart`)",
	Period:     "the campaign did not run at that time (`period`)",
	Age:        "the event was older than `fresh`, or the offer was held longer than `at_most`",
	NoConsent:  "the person has not agreed to this channel, or agrees no longer",
	Limit:      "the person already got as many as the campaign's `limits` allow",
	Cap:        "the person already got as many offers on these channels as `caps` allow",
	Pause:      "the person got another offer too short a time before (`pause`)",
	Quiet:      "it was in the quiet hours, and the set says `then: drop`",
	WhenDue:    "`when_due` was not true when the wait was over",
	Paused:     "an operator, or a brake, has paused the campaign or its channel",
	OverBudget: "the campaign's budget, or its pool of codes, was used up",
	Lost:       "the answer of an item or a budget was lost, and an operator has accepted that",
	NoChoice:   "`choose` found nothing to offer",
	Outranked:  "an offer with a higher `priority` or `score` took the channel at that moment",
	Duplicate:  "the same offer had gone out before",
	Failed:     "the offer could not be made: `score`, `at`, `choose` or a template failed",
	Cancelled:  "something happened during the wait that ends it: `unless`, or the next view",
	Superseded: "a newer trigger took its place during the wait",
}

// Meaning says what the outcome means, in plain words.
func (o Outcome) Meaning() string { return outcomeMeanings[o] }

// Outcomes are all outcomes, in the order in which they are shown.
func Outcomes() []Outcome {
	all := make([]Outcome, outcomes)
	for o := range all {
		all[o] = Outcome(o)
	}
	return all
}

// Counts are the numbers of evaluations of one campaign, by outcome. Missing,
// Errors and Bounds are not outcomes: they count events on the way. Counts of
// features have only these three.
type Counts struct {
	Evaluated uint64
	Ended     [outcomes]uint64 // by Outcome
	Missing   uint64           // expressions that failed because a field is missing
	Errors    uint64           // expressions that failed for another reason
	Bounds    uint64           // how often a bound was reached
}

// Pending is the number of evaluations without an outcome. It is valid if the
// counts cover the whole log.
func (c *Counts) Pending() uint64 {
	n := c.Evaluated
	for _, ended := range c.Ended {
		n -= ended
	}
	return n
}

// Plus is the sum of two counts.
func (c Counts) Plus(n Counts) Counts {
	for o := range c.Ended {
		c.Ended[o] += n.Ended[o]
	}
	c.Evaluated, c.Missing, c.Errors, c.Bounds = c.Evaluated+n.Evaluated, c.Missing+n.Missing, c.Errors+n.Errors, c.Bounds+n.Bounds
	return c
}

// Since are the counts after those of a moment, at which what was pending counts as
// evaluated.
func (c Counts) Since(before Counts) Counts {
	for o := range c.Ended {
		c.Ended[o] -= before.Ended[o]
	}
	c.Evaluated -= before.Evaluated - before.Pending()
	c.Missing, c.Errors, c.Bounds = c.Missing-before.Missing, c.Errors-before.Errors, c.Bounds-before.Bounds
	return c
}

// MarshalJSON writes an object: evaluated, each outcome, then the other counts.
func (c Counts) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"evaluated":%d`, c.Evaluated)
	for o, n := range c.Ended {
		fmt.Fprintf(&b, ",%q:%d", outcomeNames[o], n)
	}
	fmt.Fprintf(&b, `,"missing_fields":%d,"errors":%d,"bounds":%d}`, c.Missing, c.Errors, c.Bounds)
	return b.Bytes(), nil
}

// UnmarshalJSON reads the output of MarshalJSON.
func (c *Counts) UnmarshalJSON(b []byte) error {
	var by map[string]uint64
	if err := json.Unmarshal(b, &by); err != nil {
		return err
	}
	*c = Counts{Evaluated: by["evaluated"], Missing: by["missing_fields"], Errors: by["errors"], Bounds: by["bounds"]}
	for o := range c.Ended {
		c.Ended[o] = by[outcomeNames[o]]
	}
	return nil
}

// failed counts an expression's error.
func (c *Counts) failed(err error) {
	if expr.IsMissing(err) {
		c.Missing++
	} else {
		c.Errors++
	}
}

// A tally holds all counts of a fold. It survives changes of the set in force.
type tally struct {
	campaigns map[string]*Counts // also campaigns that are no longer in the set
	features  *Counts            // Missing, Errors and Bounds
}

func newTally() *tally { return &tally{map[string]*Counts{}, &Counts{}} }

func (t *tally) counts(campaign string) *Counts {
	n := t.campaigns[campaign]
	if n == nil {
		n = &Counts{}
		t.campaigns[campaign] = n
	}
	return n
}

// add adds the counts of another tally.
func (t *tally) add(o *tally) {
	*t.features = t.features.Plus(*o.features)
	for id, n := range o.campaigns {
		*t.counts(id) = t.counts(id).Plus(*n)
	}
}

// copied is a copy of the tally.
func (t *tally) copied() *tally {
	c := newTally()
	*c.features = *t.features
	for id, n := range t.campaigns {
		*c.counts(id) = *n
	}
	return c
}

// restore gives the tally the counts of an earlier copy. It keeps the Counts to
// which others have pointers.
func (t *tally) restore(before *tally) {
	*t.features = *before.features
	for id, n := range t.campaigns {
		*n = *before.counts(id)
	}
}
