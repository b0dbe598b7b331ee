package config

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A source is a file's text, split into lines as YAML does it.
type source struct {
	name  string
	text  string
	lines [][]rune
}

func newSource(name, text string) *source {
	s := &source{name: name, text: text}
	var line []rune
	runes := []rune(text)
	for i, r := range runes {
		switch {
		case r == '\r' && i+1 < len(runes) && runes[i+1] == '\n':
		case r == '\n', r == '\r', r == '\u0085', r == '\u2028', r == '\u2029':
			s.lines = append(s.lines, line)
			line = nil
		default:
			line = append(line, r)
		}
	}
	s.lines = append(s.lines, line)
	return s
}

// A spot is a place in a source; line and column count from 0.
type spot struct{ line, col int }

// at returns the rune at a spot, or 0 if the line has none there.
func (s *source) at(p spot) rune {
	if p.line < 0 || p.line >= len(s.lines) || p.col < 0 || p.col >= len(s.lines[p.line]) {
		return 0
	}
	return s.lines[p.line][p.col]
}

// start returns where a node begins.
func start(n *yaml.Node) spot { return spot{n.Line - 1, n.Column - 1} }

// locate returns the place in the file of one rune of a scalar's value, given
// by its line (from 1) and column (from 0) in the value. It works for scalars
// of every style. If value and source do not agree, it returns where the scalar
// begins.
func (s *source) locate(n *yaml.Node, line, col int) spot {
	spots := s.walk(n)
	if spots == nil {
		return start(n)
	}
	i := 0
	for _, r := range n.Value {
		if line <= 1 && col <= 0 || line <= 1 && r == '\n' {
			break
		}
		if line > 1 {
			if r == '\n' {
				line--
			}
		} else {
			col--
		}
		i++
	}
	return spots[i]
}

// walk returns the spot of each rune of a scalar's value, and of its end. It
// returns nil if value and source do not agree.
func (s *source) walk(n *yaml.Node) []spot {
	if n.Line < 1 || n.Line > len(s.lines) || n.Column < 1 {
		return nil
	}
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0 {
		return s.walkFlow(n)
	}
	// The first line that is not blank has the indentation, or more if there is
	// an indicator such as |2.
	for _, line := range s.lines[n.Line:] {
		if !blank(line) {
			for indent := indentation(line); indent >= 0; indent-- {
				if spots := s.walkBlock(n, indent); spots != nil {
					return spots
				}
			}
			return nil
		}
	}
	return nil
}

// walkBlock follows a literal or folded scalar.
func (s *source) walkBlock(n *yaml.Node, indent int) []spot {
	value := []rune(n.Value)
	spots := make([]spot, 0, len(value)+1)
	end := start(n)
	for i := n.Line; i < len(s.lines) && len(spots) < len(value); i++ {
		line := s.lines[i]
		first := min(indent, indentation(line))
		if first < indent && !blank(line) {
			return nil
		}
		for col := first; col < len(line) && len(spots) < len(value); col++ {
			if line[col] != value[len(spots)] {
				return nil
			}
			spots = append(spots, spot{i, col})
		}
		// In the value, a line break is kept or becomes a space; the first of
		// several breaks becomes nothing.
		end = spot{i, max(first, len(line))}
		if v := len(spots); v < len(value) && (value[v] == '\n' || value[v] == ' ') {
			spots = append(spots, end)
		}
	}
	if len(spots) < len(value) {
		return nil
	}
	return append(spots, end)
}

// walkFlow follows a plain or quoted scalar.
func (s *source) walkFlow(n *yaml.Node) []spot {
	value := []rune(n.Value)
	spots := make([]spot, 0, len(value)+1)
	at := start(n)
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		at.col++
	}
	for len(spots) < len(value) {
		if at.line >= len(s.lines) || at.col > len(s.lines[at.line]) {
			return nil
		}
		rest := s.lines[at.line][at.col:]
		v := len(spots)
		switch {
		case blank(rest): // the line is folded
			folded, next := s.fold(at)
			if !slices.Equal(value[v:min(len(value), v+len(folded))], folded) {
				return nil
			}
			for range folded {
				spots = append(spots, at)
			}
			at = next
			continue
		case n.Style&yaml.DoubleQuotedStyle != 0 && rest[0] == '\\' && len(rest) == 1:
			folded, next := s.fold(at) // an escaped line break becomes nothing; further ones are kept
			if folded[0] == '\n' {
				for range folded {
					spots = append(spots, at)
				}
			}
			at = next
			continue
		case n.Style&yaml.DoubleQuotedStyle != 0 && rest[0] == '\\':
			spots = append(spots, at)
			at.col += escapeLength(rest[1])
			continue
		case n.Style&yaml.SingleQuotedStyle != 0 && len(rest) > 1 && rest[0] == '\'' && rest[1] == '\'':
			spots = append(spots, at)
			at.col += 2
			continue
		case rest[0] != value[v]:
			return nil
		}
		spots = append(spots, at)
		at.col++
	}
	if len(spots) > len(value) {
		return nil
	}
	return append(spots, at)
}

// fold returns what the line breaks at a spot become in the value, and where
// the text continues.
func (s *source) fold(at spot) ([]rune, spot) {
	breaks := 1
	line := at.line + 1
	for line < len(s.lines) && blank(s.lines[line]) {
		breaks++
		line++
	}
	next := spot{line, 0}
	for c := s.at(next); c == ' ' || c == '\t'; c = s.at(next) {
		next.col++
	}
	if breaks == 1 {
		return []rune{' '}, next
	}
	return []rune(strings.Repeat("\n", breaks-1)), next
}

func escapeLength(r rune) int {
	switch r {
	case 'x':
		return 4
	case 'u':
		return 6
	case 'U':
		return 10
	}
	return 2
}

func blank(line []rune) bool {
	return !slices.ContainsFunc(line, func(r rune) bool { return r != ' ' && r != '\t' })
}

func indentation(line []rune) int {
	n := 0
	for n < len(line) && line[n] == ' ' {
		n++
	}
	return n
}
