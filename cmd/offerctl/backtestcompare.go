package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"offerstream/pipeline"
	"offerstream/pipeline/backtest"
)

// writeChange writes what would change with the other campaigns: for all of them, then
// for each for which anything changes.
func (s *backtestSummary) writeChange(w io.Writer) {
	fmt.Fprintf(w, "\nWith %s instead of %s:\n", s.run.compare, s.run.campaigns)
	l := legend{}
	all := func(res *backtest.Result) *backtest.Campaign {
		sum := &backtest.Campaign{}
		for _, c := range res.Campaigns {
			sum.Counts = sum.Plus(c.Counts)
		}
		return sum
	}
	writeSides(w, "all campaigns", all(s.Result), all(s.other.Result), &s.change.All, nil)
	var same []string
	changed := map[string]pipeline.Counts{} // by how much changes
	for _, id := range slices.Sorted(maps.Keys(s.change.Campaigns)) {
		this, other, c := s.Campaigns[id], s.other.Campaigns[id], s.change.Campaigns[id]
		if !c.OnlyThis && !c.OnlyOther && this.Counts == other.Counts && c.Same == this.Ended[pipeline.Fired] && c.Changed == 0 {
			same = append(same, id)
			continue
		}
		changed[id] = pipeline.Counts{Evaluated: c.Gained + c.Lost + c.Moved + c.Changed}
	}
	ids, more := backtest.ForemostOf(mostCampaigns, changed)
	for _, id := range ids {
		writeSides(w, id, s.Campaigns[id], s.other.Campaigns[id], s.change.Campaigns[id], l)
	}
	if more > 0 {
		fmt.Fprintf(w, "\nand %s with changes; these have the most, --json has all\n", count(more, "more campaign"))
	}
	if len(same) > 0 {
		if extra := len(same) - mostCampaigns; extra > 0 {
			same = append(same[:mostCampaigns], fmt.Sprintf("and %d more", extra))
		}
		fmt.Fprintln(w)
		writeList(w, "nothing changes for: ", "    ", same)
	}
	for _, c := range s.Campaigns { // the table has explained those
		for o, n := range c.Ended {
			if n > 0 {
				delete(l, pipeline.Outcome(o))
			}
		}
	}
	l.writeOutcomes(w, "\n")
}

// writeSides writes the numbers of a campaign with this set and with the other. A
// campaign that a set lacks is nil. l takes the outcomes that occur; nil: none are
// written.
func writeSides(w io.Writer, name string, this, other *backtest.Campaign, c *backtest.Change, l legend) {
	switch {
	case c.OnlyThis:
		name += ": gone"
	case c.OnlyOther:
		name += ": new"
	}
	const first = 16 // the width of the first column
	fmt.Fprintln(w)
	if utf8.RuneCountInString(name) > first {
		fmt.Fprintln(w, name)
		name = ""
	}
	fmt.Fprintf(w, "%-*s  %9s  %9s\n", first, name, "this", "other")
	var before, after pipeline.Counts
	if this != nil {
		before = this.Counts
	}
	if other != nil {
		after = other.Counts
	}
	writeSide(w, "evaluated", before.Evaluated, after.Evaluated)
	writeSide(w, "fired", before.Ended[pipeline.Fired], after.Ended[pipeline.Fired])
	writeSide(w, "users", c.Users, c.OtherUsers)
	if l != nil {
		l.add(&before)
		l.add(&after)
		for _, o := range pipeline.Outcomes() {
			if o != pipeline.Fired && before.Ended[o]+after.Ended[o] > 0 {
				writeSide(w, o.String(), before.Ended[o], after.Ended[o])
			}
		}
		if before.Pending()+after.Pending() > 0 {
			writeSide(w, "pending", before.Pending(), after.Pending())
		}
	}
	if c.OnlyThis || c.OnlyOther {
		writeNewFailures(w, this, other)
		return
	}
	fmt.Fprintf(w, "    offers: %d the same", c.Same)
	if c.Changed > 0 {
		fmt.Fprintf(w, " (%d with other content)", c.Changed)
	}
	fmt.Fprintf(w, ", %d moved to another time, %d gained, %d lost\n", c.Moved, c.Gained, c.Lost)
	fmt.Fprintf(w, "    users: %d are reached with both\n", c.BothUsers)
	if l != nil {
		writeExamples(w, "gained", c.GainedFirst)
		writeExamples(w, "lost", c.LostFirst)
	}
	writeNewFailures(w, this, other)
}

// writeSide writes one number of both sets, and the difference.
func writeSide(w io.Writer, what string, this, other uint64) {
	fmt.Fprintf(w, "    %-12s  %9d  %9d", what, this, other)
	if this != other {
		fmt.Fprintf(w, "  %+9d", int64(other-this))
	}
	fmt.Fprintln(w)
}

// mostExamples is how many offers writeExamples names.
const mostExamples = 3

// writeExamples names users to look at with explain.
func writeExamples(w io.Writer, what string, offers []backtest.Sent) {
	if len(offers) == 0 {
		return
	}
	var words []string
	for _, o := range offers[:min(len(offers), mostExamples)] {
		words = append(words, fmt.Sprintf("%s at %s", strings.TrimPrefix(o.User, "u:"), o.Time))
	}
	writeList(w, "    first "+what+": ", "        ", words)
}

// writeNewFailures writes the errors of expressions that only the other set has.
func writeNewFailures(w io.Writer, this, other *backtest.Campaign) {
	if other == nil {
		return
	}
	var more []backtest.Failure
	for _, f := range other.Failures {
		if this == nil || !slices.ContainsFunc(this.Failures, func(o backtest.Failure) bool {
			return o.Place == f.Place && o.Text == f.Text && o.Error == f.Error
		}) {
			more = append(more, f)
		}
	}
	for _, f := range more[:min(len(more), mostFailures)] {
		writeWords(w, "    failed, with other only: ", "        ", strings.Fields(failureText(f)))
	}
}
