package scenario

import (
	"fmt"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// A Late is an event that came later than the set's lateness, so that its event
// time is not its own time (LANGUAGE.md, rule 1). Times are in nanoseconds since
// 1970.
type Late struct {
	Line     int
	Own      int64
	Time     int64 // event time
	Lateness time.Duration
}

// late tells whether an event comes too late; nil if it does not. It must be called
// before the event is applied.
func (s *Scenario) late(e Event, ev *event.Event, b *pipeline.Backtest) *Late {
	lateness := s.Set.Definition().Lateness
	if ev == nil || !ev.HasTimestamp || ev.Type == event.Clock || ev.Type == event.Fact || b.Lines == sum(b.Rejected) {
		return nil
	}
	if oldest := value.Minus(b.LogTime(), int64(lateness)); ev.Timestamp < oldest {
		return &Late{e.Line, ev.Timestamp, oldest, lateness}
	}
	return nil
}

// Warnings are what is allowed in the scenario, but probably not meant: one line
// each.
func (s *Scenario) Warnings(r *Result) (lines []string) {
	for i, l := range r.Late {
		if i > 0 && r.Late[i-1].Line == l.Line {
			continue // of a repetition
		}
		lines = append(lines, fmt.Sprintf("the event of line %d is of %s, but comes later than the set's lateness of %s allows: it counts as of %s",
			l.Line, s.Day.Show(l.Own), campaign.FormatDuration(l.Lateness), s.Day.Show(l.Time)))
	}
	return lines
}
