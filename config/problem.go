package config

import (
	"fmt"
	"slices"
	"strings"

	"offerstream/pipeline/campaign"
)

// A Problem is a mistake in a file: where it is, what is wrong, and what to do.
type Problem struct {
	File string
	Line int // from 1
	Col  int // from 1, in runes
	What string
	Hint string
}

func (p Problem) Error() string {
	s := fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Col, p.What)
	if p.Hint != "" {
		s += ": " + p.Hint
	}
	return s
}

// Errors are all mistakes in a set of files, ordered by place.
type Errors []Problem

// Error returns one line for each mistake.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// sorted returns e ordered by place, without repetitions.
func (e Errors) sorted() Errors {
	slices.SortStableFunc(e, func(a, b Problem) int {
		if c := strings.Compare(a.File, b.File); c != 0 {
			return c
		}
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Col - b.Col
	})
	return slices.Compact(e)
}

// didYouMean returns a hint for a name that is not among the known ones.
func didYouMean(name string, known []string) string {
	if best := campaign.Nearest(name, known); best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	known = slices.Sorted(slices.Values(known))
	return "known are " + strings.Join(known, ", ")
}
