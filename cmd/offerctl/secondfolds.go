package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
)

// secondFolds tells how far the second folds of all partitions are.
type secondFolds struct {
	set     string
	all     int
	caught  int      // partitions that have caught up, or switched
	failed  []int    // that were given up
	stopped []int    // that have stopped
	trouble []string // what is to be known of these
	part    float64  // of the work that is done, from 0 to 1
	overdue map[string]int
}

func secondsOf(members audit.Overview, set string) *secondFolds {
	s := &secondFolds{set: set, all: len(members.Partitions), overdue: map[string]int{}}
	for n, o := range members.Partitions {
		second := secondOf(o, &broker.Backfill{Set: set})
		switch {
		case !o.Answers && len(o.Stops) > 0:
			s.stopped = append(s.stopped, n)
			s.trouble = append(s.trouble, fmt.Sprintf("partition %d has stopped on %s: %s: it begins when it runs again", n, o.Stops[0].Member, o.Stops[0].Why))
		case second == nil:
		case second.Failed != "":
			s.failed = append(s.failed, n)
			s.trouble = append(s.trouble, fmt.Sprintf("partition %d: the backfill was given up: %s", n, second.Failed))
		default:
			if second.CaughtUp || second.Switched {
				s.caught++
			}
			s.part += partOf(second)
			for name, n := range second.Overdue {
				s.overdue[name] += n
			}
		}
	}
	s.part /= float64(max(s.all-len(s.stopped)-len(s.failed), 1))
	return s
}

// secondOf is the second fold of a partition that a record asks for; nil: it has not
// begun.
func secondOf(o audit.PartitionOverview, b *broker.Backfill) *audit.SecondOverview {
	if o.Second == nil || b == nil || o.Second.Set != b.Set {
		return nil
	}
	return o.Second
}

func partOf(s *audit.SecondOverview) float64 {
	switch {
	case s.CaughtUp || s.Switched:
		return 1
	case s.End <= s.From || s.Seq <= s.From:
		return 0
	}
	return min(float64(s.Seq-s.From)/float64(s.End-s.From), 1)
}

// done reports whether nothing more is to be waited for.
func (s *secondFolds) done() bool { return s.caught+len(s.failed)+len(s.stopped) == s.all }

// how says how far it is.
func (s *secondFolds) how() string {
	text := fmt.Sprintf("%.0f%%, %d of %d partitions have caught up", math.Floor(100*s.part), s.caught, s.all)
	if len(s.failed) > 0 {
		text += fmt.Sprintf(", given up in %s", ranges(s.failed))
	}
	if len(s.stopped) > 0 {
		text += fmt.Sprintf(", stopped: %s", ranges(s.stopped))
	}
	return text
}

// overdueText says what is overdue.
func (s *secondFolds) overdueText() string {
	if len(s.overdue) == 0 {
		return "no offer is overdue"
	}
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(s.overdue)) {
		lines = append(lines, fmt.Sprintf("  %s: %d", name, s.overdue[name]))
	}
	return "overdue, by campaign and channel:\n" + strings.Join(lines, "\n")
}

// bar draws a part of a whole.
func bar(part float64) string {
	const width = 20
	done := int(min(max(part, 0), 1) * width)
	return "[" + strings.Repeat("#", done) + strings.Repeat(".", width-done) + "]"
}
