package campaign

import "fmt"

// A Problem is a mistake in a Definition: its place, what is wrong, and what to
// do.
type Problem struct {
	Path []string // such as campaigns, cart, if, 0 or features, views, where
	Line int      // within the value at Path, from 1; 0: the value as a whole
	Col  int      // number of runes in that line before the mistake
	What string
	Hint string

	Warning bool // it is allowed, but probably not meant
}

func (p Problem) Error() string {
	s := ""
	for i, e := range p.Path {
		if i > 0 {
			s += "."
		}
		s += e
	}
	if p.Line > 0 {
		s += fmt.Sprintf(":%d:%d", p.Line, p.Col+1)
	}
	s += ": " + p.What
	if p.Hint != "" {
		s += ": " + p.Hint
	}
	return s
}
