package config

import (
	"cmp"
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
	slices.SortStableFunc(e, Problem.compare)
	return slices.Compact(e)
}

// compare orders problems by place.
func (p Problem) compare(q Problem) int {
	return cmp.Or(strings.Compare(p.File, q.File), p.Line-q.Line, p.Col-q.Col)
}

// didYouMean returns a hint for a name that is not among the known ones.
func didYouMean(name string, known []string) string {
	if best := campaign.Nearest(name, known); best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	known = slices.Sorted(slices.Values(known))
	return "known are " + strings.Join(known, ", ")
}
