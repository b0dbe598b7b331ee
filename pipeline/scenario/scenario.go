// Package scenario runs scenarios, the tests of campaigns: a few events, and
// the offers and outcomes that must result from them. It reads no file and no
// clock. Package config reads the scenario files; `offerctl test` runs them.
//
// Reading order: scenario, moment (the times in its lines), word (the parts of
// a line), event (a line with an event), item (one about an item), offer (a line
// with an offer), run, compare (the differences from what is expected), align
// (which lines of two lists are equal), explanation (what must be told of an
// evaluation), view (a line that says what is stored), viewing (looking at that),
// viewed (the differences), late (events that come too late). The other way, from a
// user's log to a scenario: recording (which events and facts of the log matter),
// recorded (their order and times), line (an event as text), disguise (what takes the
// place of ids and personal values).
package scenario

import (
	"strings"
	"unicode/utf8"

	"offerstream/pipeline"
)

// A Scenario is one example.
type Scenario struct {
	Name string
	File string
	Line int // of its name in the file

	Set    *pipeline.Set // compiled under clock: event; many may share it
	Day    Day
	Events []Event

	// The expected results. If Compares is set, the offers are compared, in
	// order. If About is not empty, only offers of these campaigns are.
	Offers     []Offer
	About      []string
	Compares   bool
	Outcomes   map[string]map[string]uint64 // by campaign and outcome name; those not listed are not compared
	Rejected   map[string]uint64            // events that the gateway would refuse, by reason; nil means none
	Duplicates *uint64                      // nil: not compared
	Explains   []Explanation
	Views      []View
}

// An Event is a line of the input.
type Event struct {
	JSON []byte
	Line int // in the scenario file, or in the file of events that it came from
}

// A Mistake is a mistake in a line of a scenario.
type Mistake struct {
	At   int // bytes before it in the line
	What string
	Hint string
}

func (m *Mistake) Error() string {
	if m.Hint == "" {
		return m.What
	}
	return m.What + ": " + m.Hint
}

// Place returns the place of the mistake in the line's text: the line from 1,
// the column in runes from 0.
func (m *Mistake) Place(text string) (line, col int) {
	before := text[:min(max(m.At, 0), len(text))]
	line = 1 + strings.Count(before, "\n")
	return line, utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
}
