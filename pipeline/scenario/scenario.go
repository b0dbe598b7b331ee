// Package scenario runs examples of what campaigns do: a few events, and the
// offers and outcomes that they must bring. It reads no file and no clock.
// Package config reads the files; `offerctl test` runs them.
//
// Reading order: scenario, moment (the times in its lines), word (what a line
// is made of), event (a line that is an event), offer (a line that is an
// offer), run, compare (what is not as expected), align (which lines of two
// lists are the same).
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

	// What must come out. Offers are compared in order where Compares is set;
	// those of other campaigns than About, where that names any, are not.
	Offers     []Offer
	About      []string
	Compares   bool
	Outcomes   map[string]map[string]uint64 // by campaign and Outcome's name: those listed must be equal
	Rejected   map[string]uint64            // events that the gateway would refuse, by reason: nil means none
	Duplicates *uint64                      // nil: whatever it is
}

// An Event is a line of the input.
type Event struct {
	JSON []byte
	Line int // in the scenario's file; in the file of events where it came from one
}

// A Mistake is what is wrong with a line of a scenario.
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

// Place is where in the line's text the mistake stands: line from 1, column
// in runes from 0.
func (m *Mistake) Place(text string) (line, col int) {
	before := text[:min(max(m.At, 0), len(text))]
	line = 1 + strings.Count(before, "\n")
	return line, utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
}
