package main

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"offerstream/pipeline"
	"offerstream/pipeline/audit"
	"offerstream/pipeline/backtest"
)

// leastMeasured is of how many events the measured ratio is shown: of few it is chance.
const leastMeasured = 1000

// writeText writes what both sets have sent, for people.
func (c *shadowComparison) writeText(to io.Writer) error {
	w := bufio.NewWriter(to)
	r, st := c.run, &c.state
	fmt.Fprintf(w, "%s beside the live set, for %s: %s, %s followed\n", r.path, c.took.Round(time.Second), count(int(st.Events), "event"), count(st.Users, "user"))
	for _, note := range c.notes {
		writeWords(w, "note: ", "      ", strings.Fields(note))
	}
	ids, more := backtest.Foremost(mostCampaigns, c.live, c.shadow)
	width := len("all campaigns")
	for _, id := range ids {
		width = max(width, min(utf8.RuneCountInString(id)+len(": gone"), mostName))
	}
	fmt.Fprintf(w, "\noffers, and in brackets the users whom they reach:\n")
	fmt.Fprintf(w, "%-*s  %14s  %14s  %9s  %9s  %9s  %9s\n", width, "campaign", "live", "shadow", "the same", "moved", "gained", "lost")
	line := func(name string, ch *backtest.Change) {
		switch {
		case ch.OnlyThis:
			name += ": gone"
		case ch.OnlyOther:
			name += ": new"
		}
		if utf8.RuneCountInString(name) > width {
			fmt.Fprintln(w, name)
			name = ""
		}
		sent := ch.Same + ch.Moved
		fmt.Fprintf(w, "%-*s  %14s  %14s  %9d  %9d  %9d  %9d\n", width, name, fmt.Sprintf("%d (%d)", sent+ch.Lost, ch.Users), fmt.Sprintf("%d (%d)", sent+ch.Gained, ch.OtherUsers), ch.Same, ch.Moved, ch.Gained, ch.Lost)
	}
	for _, id := range ids {
		line(id, c.change.Campaigns[id])
	}
	line("all campaigns", &c.change.All)
	if more > 0 {
		fmt.Fprintf(w, "and %s; these have the most offers, --json has all\n", count(more, "more campaign"))
	}
	if n := c.change.All.Changed; n > 0 {
		fmt.Fprintf(w, "%d of the same have other content\n", n)
	}
	c.writeExamples(w)
	for _, id := range ids {
		in := c.shadow.Campaigns[id]
		if in == nil {
			continue // only the live set has it
		}
		for _, f := range in.Failures[:min(len(in.Failures), mostFailures)] {
			writeWords(w, "failed: ", "        ", append([]string{id + ":"}, strings.Fields(failureText(f))...))
		}
	}
	for _, f := range c.shadow.Failures[:min(len(c.shadow.Failures), mostFailures)] {
		writeWords(w, "failed: ", "        ", strings.Fields(failureText(f)))
	}
	fmt.Fprintf(w, "\n%s\n", c.cost())
	fmt.Fprintf(w, "\nNothing was published. To make it live: offerctl apply %s --backfill\n", r.path)
	return w.Flush()
}

// writeExamples writes the examples.
func (c *shadowComparison) writeExamples(w io.Writer) {
	if len(c.examples) > 0 {
		fmt.Fprintf(w, "\nExamples of what differs, and what the shadow did (times in %s):\n", c.run.zone)
	}
	for _, x := range c.examples {
		at := x.Time
		if t, err := time.Parse(time.RFC3339Nano, x.Time); err == nil {
			at = t.In(c.run.zone).Format("2006-01-02 15:04:05")
		}
		writeWords(w, fmt.Sprintf("  %-6s  ", x.What), strings.Repeat(" ", 10), append([]string{x.User[2:] + ",", at + ":"}, strings.Fields(x.Sentence)...))
	}
}

// ratio is how many times as long as the live set's fold an event takes the shadow's.
func (c *shadowComparison) ratio() (times float64, ok bool) {
	st := &c.state
	if st.Measured < leastMeasured || st.LiveTime <= 0 || st.Share < 1 {
		return 0, false
	}
	return float64(st.ShadowTime) / float64(st.LiveTime), true
}

// cost says what an event costs.
func (c *shadowComparison) cost() string {
	if times, ok := c.ratio(); ok {
		return fmt.Sprintf("cost: an event takes the shadow %.2f times the CPU time that it takes the live set: a ratio, of folds measured in turn in this process, over %s", times, count(int(c.state.Measured), "event"))
	}
	if c.state.Share < 1 {
		return "cost: not told of a sample, where much of the time goes into events of users who are not followed"
	}
	return fmt.Sprintf("cost: not told, as only %s of at least %d were measured", count(int(c.state.Measured), "event"), leastMeasured)
}

// situation says what one should know to read the numbers.
func (c *shadowComparison) situation() (notes []string) {
	st := &c.state
	if st.Share < 1 {
		notes = append(notes, fmt.Sprintf("this is a sample: about 1 of %.0f users is followed, by a hash of the id; brakes are not in effect", 1/st.Share))
	}
	if len(st.Snapshots) > 0 {
		notes = append(notes, fmt.Sprintf("the beginning of the log has expired: partitions %s begin with the oldest snapshot", ranges(st.Snapshots)))
	}
	if text := overdueText(st, c.run.overdue); text != "" {
		notes = append(notes, text)
	}
	return notes
}

// overdueText tells what was overdue when the set began.
func overdueText(st *audit.ShadowState, overdue pipeline.Overdue) string {
	if len(st.Overdue) == 0 {
		return ""
	}
	var of []string
	for _, name := range slices.Sorted(maps.Keys(st.Overdue)) {
		campaign, channel, _ := strings.Cut(name, " ")
		of = append(of, fmt.Sprintf("%d of %s on %s", st.Overdue[name], campaign, channel))
		if len(of) == mostShadowNotes {
			break
		}
	}
	how := map[string]string{"drop": "they are dropped", "now": "they go on at once"}[overdue.String()]
	if how == "" {
		how = "they are spread over " + overdue.String()
	}
	return fmt.Sprintf("overdue when the set began: %s; %s (--overdue)", strings.Join(of, ", "), how)
}
