package scenario

import (
	"slices"
	"testing"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
)

// TestLate: an event that is later than the lateness allows is told, once for each
// line; one that is merely late, or that is refused, is not.
func TestLate(t *testing.T) {
	def := &campaign.Definition{Engine: pipeline.Engine, Clock: campaign.ClockEvent, Lateness: 90 * time.Minute, Bounds: campaign.DefaultBounds}
	set, problems := pipeline.Compile(def)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	s := &Scenario{Set: set, Day: DefaultDay}
	for i, line := range []string{"05:00:00 ada View", "10:00:00", "08:30:00 ada View", "08:29:59 ada View", "07:00:00 fact weather/seoul sky=sun", `{"type":"track","userId":"ada","timestamp":"2026-01-01T07:00:00Z"}`, "10:00:00 ada View"} {
		json, wrong := ReadEvent(line, &Clock{Day: DefaultDay})
		if wrong != nil {
			t.Fatal(wrong)
		}
		for range 1 + i%2 {
			s.Events = append(s.Events, Event{json, i + 1})
		}
	}
	r, err := s.Run()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"the event of line 4 is of 08:29:59, but comes later than the set's lateness of 1h30m allows: it counts as of 08:30:00"}
	if got := s.Warnings(r); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
