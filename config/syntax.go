package config

import (
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"offerstream/pipeline/lazyregexp"
)

var yamlError = lazyregexp.New(`^yaml: (?:line (\d+): )?(.*)$`)

// syntax turns an error of the YAML parser into a problem at the line that
// makes the file unreadable, with a hint if the mistake is a common one. The
// parser itself reports at most a line, often that of the surrounding
// construct.
func (s *source) syntax(err error) Problem {
	what := err.Error()
	if m := yamlError.FindStringSubmatch(what); m != nil {
		what = m[2]
	}
	line := s.culprit()
	if p, ok := s.looksRight(line); ok {
		return p
	}
	text := s.lines[line]
	col := valueColumn(text)
	hint := trap(text[col:], what)
	if tab := slices.Index(text, '\t'); tab >= 0 && blank(text[:tab]) {
		col, hint = tab, "indent with spaces, not with tabs"
	}
	if hint == "" {
		col = min(indentation(text), max(len(text)-1, 0))
		switch {
		case strings.Contains(what, "mapping values"):
			hint = "a text with \": \" in it needs quotes; keys of one map must begin in the same column"
		case strings.Contains(what, "expected key"):
			hint = "keys of one map must begin in the same column"
		}
	}
	if at, better := bracketInside(text, valueColumn(text)); better != "" {
		col, hint = at, better
	}
	return Problem{s.name, line + 1, col + 1, "this is not YAML: " + what, hint}
}

// culprit returns the line (from 0) at which the file becomes unreadable: the
// lines before it can be read, and with it no following lines help.
func (s *source) culprit() int {
	ends := []int{0} // ends[n]: where the first n lines end
	for i, r := range s.text {
		if r == '\n' {
			ends = append(ends, i+1)
		}
	}
	readable := func(n int) bool {
		_, err := decode(yaml.NewDecoder(strings.NewReader(s.text[:ends[n]])))
		return err == nil || errors.Is(err, io.EOF)
	}
	// A binary search finds a line at which the file becomes unreadable. That
	// may also be the first line of a list or a text of several lines, after
	// which the file is readable again: then the search continues there.
	good := 0
	for {
		bad := len(ends)
		for bad-good > 1 {
			if mid := (good + bad) / 2; readable(mid) {
				good = mid
			} else {
				bad = mid
			}
		}
		next := good
		for step := 2; step <= 256 && good+step < len(ends); step += (step + 1) / 2 {
			if readable(good + step) {
				next = good + step
				break
			}
		}
		if next == good {
			return min(good, len(s.lines)-1)
		}
		good = next
	}
}

var keyStart = lazyregexp.New(`^\s*(?:- +)*(?:(?:[^\s:#'"\[\]{},][^:#'"\[\]{},]*|"[^"]*"|'[^']*'): +)?`)

// valueColumn returns where the value begins of a line's first key or of a list
// element.
func valueColumn(line []rune) int {
	return len([]rune(keyStart.FindString(string(line))))
}

// trap returns a hint for a value that YAML does not read as its author meant.
func trap(value []rune, what string) string {
	text := strings.TrimRight(string(value), " \t")
	if text == "" {
		return ""
	}
	switch c := text[0]; {
	case strings.HasPrefix(text, "{{"):
		return "a text that begins with {{ needs quotes: " + strconv.Quote(text)
	case c == '"' || c == '\'':
		if end := quoteEnd(text, c); end < 0 {
			return "the quote is not closed"
		} else if rest := strings.TrimSpace(text[end:]); rest != "" && rest[0] != '#' {
			return "a text that begins with a quote must end with it: " + quoteAll
		}
		return ""
	case (c == '[' || c == '{') && !strings.Contains(what, "expected ','") && bracketEnd(text) == len(text):
		return ""
	case c == '[' || c == '{':
		return "inside [ ] and { } put a text with , : [ ] { } or # in quotes, or give each its own line"
	case strings.ContainsRune("*&@`%|>!", rune(c)):
		return "a text cannot begin with " + string(c) + ": " + quoteIt
	case strings.Contains(text, ": "):
		return "a text with \": \" in it needs quotes: " + quoteAll
	}
	return ""
}

// bracketInside finds a condition with brackets in a list or map that is written in
// [ ] or { }. at is where its bracket begins.
func bracketInside(line []rune, col int) (at int, hint string) {
	if col >= len(line) || line[col] != '[' && line[col] != '{' {
		return 0, ""
	}
	const hintQuote = "inside [ ] and { } a condition that begins with a quote needs quotes around all of it, '...', or a line of its own"
	element := true // the next character begins an element
	for i := col + 1; i < len(line); i++ {
		switch r := line[i]; {
		case r == '"' || r == '\'':
			end := quoteEnd(string(line[i:]), byte(r))
			if end < 0 {
				return 0, ""
			}
			rest := strings.TrimSpace(string(line[i:])[end:])
			if element && rest != "" && !strings.ContainsRune(",]}:#", rune(rest[0])) {
				return i, hintQuote
			}
			element = false
			i += len([]rune(string(line[i:])[:end])) - 1
		case r == '[' && (line[i-1] == ')' || line[i-1] == ']' || line[i-1] == '_' || unicode.IsLetter(line[i-1]) || unicode.IsDigit(line[i-1])):
			return i, "inside [ ] and { } a condition with [ ] needs quotes, '...', or a line of its own"
		case r == '[' && i > 3 && strings.HasSuffix(string(line[:i]), " in "):
			return i, "inside [ ] and { } a condition with [ ] needs quotes, '...', or a line of its own"
		case r != ' ':
			element = r == ',' || r == '[' || r == '{' || r == ':'
		}
	}
	return 0, ""
}

const quoteAll = "put '...' around all of it, or use |"

// bracketEnd returns the end of the bracketed text that text begins with, or -1
// if the bracket is not closed on this line.
func bracketEnd(text string) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '"', '\'':
			n := quoteEnd(text[i:], c)
			if n < 0 {
				return -1
			}
			i += n - 1
		case '[', '{':
			depth++
		case ']', '}':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}

// quoteEnd returns the end of the quoted text that text begins with, or -1 if
// the quote is not closed on this line.
func quoteEnd(text string, q byte) int {
	for i := 1; i < len(text); i++ {
		switch {
		case q == '"' && text[i] == '\\':
			i++
		case text[i] == q && q == '\'' && i+1 < len(text) && text[i+1] == q:
			i++
		case text[i] == q:
			return i + 1
		}
	}
	return -1
}
