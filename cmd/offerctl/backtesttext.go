package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"offerstream/pipeline"
	"offerstream/pipeline/backtest"
	"offerstream/pipeline/value"
)

// Sizes of the text, in columns.
const (
	textWidth    = 96
	mostName     = 36 // the longest name that shares a line with its numbers
	mostSource   = 60 // of an expression that failed
	mostFailures = 5  // of a campaign

	mostCampaigns = 100 // in the table, and as many of its rows below a campaign
)

// A backtestSummary shows what campaigns would have done.
type backtestSummary struct {
	run *backtestRun
	*backtested
	other  *backtested          // of --compare
	change *backtest.Comparison // likewise
}

func (s *backtestSummary) writeText(to io.Writer) error {
	w := bufio.NewWriter(to)
	s.writeCounts(w)
	l := legend{}
	s.writeTable(w, l)
	l.write(w)
	s.writeFeatures(w)
	if s.change != nil {
		s.writeChange(w)
	}
	return w.Flush()
}

// writeCounts writes what the events were.
func (s *backtestSummary) writeCounts(w io.Writer) {
	var reasons []string
	for _, reason := range slices.Sorted(maps.Keys(s.Rejected)) {
		reasons = append(reasons, fmt.Sprintf("%s %d", reason, s.Rejected[reason]))
	}
	refused := sum(s.Rejected)
	fmt.Fprintf(w, "%s, %s, %s, %d rejected", count(int(s.Events), "event"), count(int(s.Users), "user"), count(int(s.Duplicates), "duplicate"), refused)
	if refused > 0 {
		fmt.Fprintf(w, " (%s)", strings.Join(reasons, ", "))
	}
	if r := &s.refused; r.n > 0 {
		fmt.Fprintf(w, "; the first is line %d: %v", r.line, r.first)
	}
	fmt.Fprintln(w)
	if s.Loaded > 0 {
		fmt.Fprintf(w, "%s of facts' tables, given at the first event\n", count(int(s.Loaded), "row"))
	}
	if s.Events > 0 {
		fmt.Fprintf(w, "counted from %s to %s\n", toSecond(s.First), toSecond(s.end()))
	}
	for _, warning := range s.warnings() {
		fmt.Fprintf(w, "warning: %s\n", warning)
	}
}

// toSecond is a time for people, without parts of a second.
func toSecond(t int64) string { return value.FormatTime(t - t%int64(time.Second)) }

// end is the log time of the end, as --to says it if that ended the run.
func (s *backtestSummary) end() int64 {
	if to := s.run.to; to != 0 && s.Last == to-1 {
		return to
	}
	return s.Last
}

func (s *backtestSummary) warnings() (all []string) {
	if s.First > s.Last {
		all = append(all, "--from is after the last event: nothing is counted")
	}
	for _, j := range s.Jumps {
		all = append(all, fmt.Sprintf("line %d moves log time from %s to %s", j.Line, value.FormatTime(j.From), value.FormatTime(j.To)))
	}
	return append(all, s.inputWarnings...)
}

func sum(by map[string]uint64) (n uint64) {
	for _, k := range by {
		n += k
	}
	return n
}

// columns are the numbers of a campaign in the table. An outcome stands for itself in
// the legend.
var columns = []struct{ name, meaning string }{
	{"evaluated", "how often the trigger came, and the campaign was judged"},
	{"fired", pipeline.Fired.Meaning()},
	{"users", "how many people got an offer of the campaign"},
	{"withheld", pipeline.Withheld.Meaning()},
	{"pending", "still waiting when the events ended"},
}

// writeTable writes a line for each campaign, and below it what stopped its offers.
func (s *backtestSummary) writeTable(w io.Writer, l legend) {
	width := len("campaign")
	ids, more := backtest.Foremost(mostCampaigns, s.Result)
	for _, id := range ids {
		width = max(width, nameWidth(id))
		if s.run.rows {
			for unit := range s.Campaigns[id].Rows {
				width = max(width, nameWidth(rowName(unit)))
			}
		}
	}
	fmt.Fprintf(w, "\n%-*s", width, "campaign")
	for _, c := range columns {
		fmt.Fprintf(w, "  %9s", c.name)
	}
	fmt.Fprintln(w)
	for _, c := range s.Campaigns {
		l.add(&c.Counts)
	}
	for _, id := range ids {
		c := s.Campaigns[id]
		writeLine(w, width, id, &c.Counts, fmt.Sprint(len(c.Users)))
		writeReasons(w, "    ", &c.Counts)
		writeFailures(w, "    ", c.Failures, c.Missing+c.Errors)
		if s.run.rows {
			units, others := backtest.ForemostOf(mostCampaigns, c.Rows)
			for _, unit := range units {
				n := c.Rows[unit]
				writeLine(w, width, rowName(unit), &n, "")
				writeReasons(w, "      ", &n)
			}
			if others > 0 {
				fmt.Fprintf(w, "  and %s; --json has all\n", count(others, "more row"))
			}
		}
	}
	if more > 0 {
		fmt.Fprintf(w, "and %s; these have the most offers, --json has all\n", count(more, "more campaign"))
		writeTotal(w, width, s.Result)
	}
}

// writeTotal writes a line for all campaigns together.
func writeTotal(w io.Writer, width int, res *backtest.Result) {
	var all pipeline.Counts
	users := map[string]bool{}
	for _, c := range res.Campaigns {
		all = all.Plus(c.Counts)
		maps.Copy(users, c.Users)
	}
	writeLine(w, width, "all", &all, fmt.Sprint(len(users)))
	writeReasons(w, "    ", &all)
}

// rowName is how a row stands below its campaign.
func rowName(unit string) string {
	_, row, _ := strings.Cut(unit, "/")
	return "  " + row
}

// nameWidth is how wide a name makes its column.
func nameWidth(name string) int {
	if n := utf8.RuneCountInString(name); n <= mostName {
		return n
	}
	return 0
}

func writeLine(w io.Writer, width int, name string, n *pipeline.Counts, users string) {
	if utf8.RuneCountInString(name) > width {
		fmt.Fprintln(w, name)
		name = ""
	}
	fmt.Fprintf(w, "%-*s  %9d  %9d  %9s  %9d  %9d\n", width, name, n.Evaluated, n.Ended[pipeline.Fired], users, n.Ended[pipeline.Withheld], n.Pending())
}

// writeReasons writes what stopped the offers, the most frequent first.
func writeReasons(w io.Writer, indent string, n *pipeline.Counts) {
	var stopped []pipeline.Outcome
	for _, o := range pipeline.Outcomes() {
		if n.Ended[o] > 0 && o != pipeline.Fired && o != pipeline.Withheld {
			stopped = append(stopped, o)
		}
	}
	if len(stopped) == 0 {
		return
	}
	slices.SortStableFunc(stopped, func(a, b pipeline.Outcome) int { return cmp.Compare(n.Ended[b], n.Ended[a]) })
	var words []string
	for _, o := range stopped {
		words = append(words, fmt.Sprintf("%s %d", o, n.Ended[o]))
	}
	writeList(w, indent+"stopped: ", indent+"         ", words)
}

// writeList writes words with commas between them, on as many lines as that takes.
func writeList(w io.Writer, first, others string, words []string) {
	for i := range words[:len(words)-1] {
		words[i] += ","
	}
	writeWords(w, first, others, words)
}

// writeWords begins a new line where one gets too wide.
func writeWords(w io.Writer, first, others string, words []string) {
	line := first
	for _, word := range words {
		if utf8.RuneCountInString(line+word) > textWidth && line != first && line != others {
			fmt.Fprintln(w, strings.TrimRight(line, " "))
			line = others
		}
		line += word + " "
	}
	fmt.Fprintln(w, strings.TrimRight(line, " "))
}

// writeFailures writes the most frequent errors of expressions, of which there were n.
func writeFailures(w io.Writer, indent string, failures []backtest.Failure, n uint64) {
	for _, f := range failures[:min(len(failures), mostFailures)] {
		writeWords(w, indent+"failed: ", indent+"        ", strings.Fields(failureText(f)))
		n -= min(n, f.N)
	}
	if n > 0 {
		fmt.Fprintf(w, "%sfailed: other expressions or other errors, %s\n", indent, count(int(n), "time"))
	}
}

func failureText(f backtest.Failure) string {
	text := f.Place + ": "
	if f.Text != "" {
		text += shortened(f.Text, mostSource) + ": "
	}
	why := f.Error
	if field, ok := strings.CutPrefix(why, "no such key: "); ok {
		why = field + " is missing"
	} else if why == "no such overload" {
		why = "a value has another type, such as text for a number"
	}
	return text + shortened(why, mostSource) + ", " + count(int(f.N), "time")
}

// shortened is a text on one line, of at most so many characters.
func shortened(text string, most int) string {
	text = strings.Join(strings.Fields(text), " ")
	if r := []rune(text); len(r) > most {
		return string(r[:most-3]) + "..."
	}
	return text
}

// writeFeatures writes what the features could not read.
func (s *backtestSummary) writeFeatures(w io.Writer) {
	f := s.Features
	if f.Missing+f.Errors+f.Bounds == 0 {
		return
	}
	fmt.Fprintf(w, "\nfeatures: %s lacked a field, %s, a bound was reached %s\n", count(int(f.Missing), "event"), count(int(f.Errors), "error"), count(int(f.Bounds), "time"))
	writeFailures(w, "    ", s.Failures, f.Missing+f.Errors)
}

// A legend holds the outcomes that occur, to explain each once.
type legend map[pipeline.Outcome]bool

func (l legend) add(n *pipeline.Counts) {
	for _, o := range pipeline.Outcomes() {
		if n.Ended[o] > 0 {
			l[o] = true
		}
	}
}

func (l legend) write(w io.Writer) {
	fmt.Fprintln(w)
	for _, c := range columns {
		fmt.Fprintf(w, "%-11s  %s\n", c.name, c.meaning)
	}
	l.writeOutcomes(w, "")
}

// writeOutcomes explains the outcomes that are no columns. before is written if there
// are any.
func (l legend) writeOutcomes(w io.Writer, before string) {
	for _, o := range pipeline.Outcomes() {
		if l[o] && o != pipeline.Fired && o != pipeline.Withheld {
			fmt.Fprintf(w, "%s%-11s  %s\n", before, o, o.Meaning())
			before = ""
		}
	}
}
