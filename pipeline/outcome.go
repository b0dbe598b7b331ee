package pipeline

import (
	"bytes"
	"encoding/json"
	"fmt"

	"offerstream/pipeline/expr"
)

// An Outcome is how an evaluation ended. Every evaluation has one, or waits
// (LANGUAGE.md, rule 13).
type Outcome uint8

// The outcomes, in the order in which they are shown.
const (
	Fired Outcome = iota
	Condition
	Period
	Age
	WhenDue
	Limit
	Cap
	Paused
	Outranked
	Duplicate
	Failed
	Cancelled
	Superseded
	outcomes // how many
)

// outcomeNames are what JSON, metrics and people read.
var outcomeNames = [outcomes]string{
	Fired: "fired", Condition: "condition", Period: "period", Age: "age", WhenDue: "when_due", Limit: "limit", Cap: "cap", Paused: "pause",
	Outranked: "outranked", Duplicate: "duplicate", Failed: "error", Cancelled: "cancelled", Superseded: "superseded",
}

func (o Outcome) String() string { return outcomeNames[o] }

// Outcomes are all that there are, in their order.
func Outcomes() []Outcome {
	all := make([]Outcome, outcomes)
	for o := range all {
		all[o] = Outcome(o)
	}
	return all
}

// Counts are the evaluations of one campaign, and how they ended. Missing,
// Errors and Bounds are no outcomes: they say what was met on the way. Of
// features there are only these three.
type Counts struct {
	Evaluated uint64
	Ended     [outcomes]uint64 // by Outcome
	Missing   uint64           // expressions that failed on a missing field
	Errors    uint64           // expressions that failed otherwise
	Bounds    uint64           // how often a bound was met
}

// Pending is how many evaluations still wait for their outcome, where the
// counts are of a whole log.
func (c *Counts) Pending() uint64 {
	n := c.Evaluated
	for _, ended := range c.Ended {
		n -= ended
	}
	return n
}

// MarshalJSON writes an object: evaluated, each outcome, then what was met.
func (c Counts) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"evaluated":%d`, c.Evaluated)
	for o, n := range c.Ended {
		fmt.Fprintf(&b, ",%q:%d", outcomeNames[o], n)
	}
	fmt.Fprintf(&b, `,"missing_fields":%d,"errors":%d,"bounds":%d}`, c.Missing, c.Errors, c.Bounds)
	return b.Bytes(), nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
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

// A tally is what a fold has counted, whatever sets were in force.
type tally struct {
	campaigns map[string]*Counts // those that are gone too
	features  *Counts            // Missing, Errors, Bounds
}

func newTally() *tally { return &tally{map[string]*Counts{}, &Counts{}} }

func (t *tally) of(campaign string) *Counts {
	n := t.campaigns[campaign]
	if n == nil {
		n = &Counts{}
		t.campaigns[campaign] = n
	}
	return n
}

// copied is the tally as it is now.
func (t *tally) copied() *tally {
	c := newTally()
	*c.features = *t.features
	for id, n := range t.campaigns {
		*c.of(id) = *n
	}
	return c
}

// restore makes the tally what it was when was was copied. Counts that others
// point to stay where they are.
func (t *tally) restore(was *tally) {
	*t.features = *was.features
	for id, n := range t.campaigns {
		*n = *was.of(id)
	}
}
