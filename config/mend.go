package config

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/lazyregexp"
)

// mend.go finds what makes a file unreadable to YAML although it looks right: a
// character that only looks like the one that is meant, a space that is missing
// after a colon. What it blames is mended on trial: if the file is still unreadable,
// it was something else.

var (
	noSpace  = lazyregexp.New(`^(\s*(?:- +)*)([A-Za-z_][A-Za-z0-9_]*):([^\s/].*)$`)
	noColon  = lazyregexp.New(`^(\s*(?:- +)*)([A-Za-z_][A-Za-z0-9_]*)(?: *= *| +)(\S.*)$`)
	nextLine = lazyregexp.New(`^(\s*(?:- +)*[A-Za-z_][A-Za-z0-9_]*: +)[^\s"'\[{|>#]`)
)

// mostFolded bounds how far before a line the text is sought that it goes on with.
const mostFolded = 16

// mended reports whether the first lines, up to the one that made them unreadable,
// can be read if another text stands in line at.
func (s *source) mended(at, culprit int, text string) bool {
	lines := strings.SplitAfter(s.text, "\n")
	if at >= len(lines) || culprit >= len(lines) {
		return false
	}
	var b strings.Builder
	for i, line := range lines[:culprit+1] {
		if i == at {
			line = text + "\n"
		}
		b.WriteString(line)
	}
	_, err := decode(yaml.NewDecoder(strings.NewReader(b.String())))
	return err == nil || errors.Is(err, io.EOF)
}

// looksRight finds such a mistake in the line that makes the file unreadable, or the
// one before it. ok is false if there is none.
func (s *source) looksRight(culprit int) (p Problem, ok bool) {
	previous := culprit - 1
	for previous > 0 && blank(s.lines[previous]) {
		previous--
	}
	problem := func(line, col int, what, hint string) (Problem, bool) {
		return Problem{File: s.name, Line: line + 1, Col: col + 1, What: what, Hint: hint}, true
	}
	for _, at := range []int{culprit, previous} {
		if at < 0 {
			continue
		}
		line := s.lines[at]
		if col, c, text := s.lookalikes(line); col >= 0 && s.mended(at, culprit, text) {
			what, hint := c.Says()
			return problem(at, col, what, hint)
		}
		if m := noSpace.FindStringSubmatch(string(line)); m != nil && keyOfSome(m[2]) && s.mended(at, culprit, m[1]+m[2]+": "+m[3]) {
			return problem(at, len([]rune(m[1]+m[2])), "a space is missing after the colon", fmt.Sprintf("write %s: %s", m[2], strings.TrimSpace(m[3])))
		}
	}
	if m := noColon.FindStringSubmatch(string(s.lines[culprit])); m != nil && keyOfSome(m[2]) && s.mended(culprit, culprit, m[1]+m[2]+": "+m[3]) {
		return problem(culprit, len([]rune(m[1]+m[2])), "a colon is missing", fmt.Sprintf("write %s: %s", m[2], m[3]))
	}
	if brace := strings.TrimSpace(string(s.lines[culprit])); brace != "" && (brace[0] == '{' || brace[0] == '[') {
		for first := previous; first >= 0 && culprit-first <= mostFolded && s.mended(culprit, culprit, ""); first-- {
			if m := nextLine.FindStringSubmatch(string(s.lines[first])); m != nil {
				return problem(first, len([]rune(m[1])), fmt.Sprintf("this text goes on in line %d, and YAML takes %s there for a value of its own", culprit+1, brace[:1]), quoteIt)
			}
		}
	}
	return p, false
}

// quotes is the quote in which a text is that is read rune by rune; 0: in none.
type quotes rune

// after reports whether the text is in quotes after the next rune.
func (q *quotes) after(r rune) bool {
	switch {
	case *q != 0 && r == rune(*q):
		*q = 0
	case *q == 0 && (r == '"' || r == '\''):
		*q = quotes(r)
	}
	return *q != 0
}

// lookalikes finds the first character outside of quotes that only looks like one
// that YAML knows, and returns the line with all of them replaced; -1: there is none.
func (s *source) lookalikes(line []rune) (col int, first campaign.Character, text string) {
	col = -1
	var b strings.Builder
	var quote quotes
	for i, r := range line {
		inside := quote.after(r)
		c, ok := campaign.Lookalike(r)
		if !ok || inside {
			b.WriteRune(r)
			continue
		}
		if b.WriteString(c.Write); c.Write == ":" && i+1 < len(line) && line[i+1] != ' ' {
			b.WriteByte(' ')
		}
		if col < 0 {
			col, first = i, c
		}
	}
	return col, first, b.String()
}

// keyOfSome reports whether a name is a key of any map of the language.
func keyOfSome(name string) bool {
	for _, t := range tables() {
		if t.row(name) != nil {
			return true
		}
	}
	return false
}

// lookalike finds the first such character in a scalar, and its place.
func (v value) lookalike() (at spot, c campaign.Character, ok bool) {
	if v.n.Kind != yaml.ScalarNode {
		return at, c, false
	}
	return v.file.lookalikeIn(v.n)
}

func (s *source) lookalikeIn(n *yaml.Node) (at spot, c campaign.Character, ok bool) {
	for i, r := range []rune(n.Value) {
		if c, ok = campaign.Lookalike(r); ok {
			if spots := s.walk(n); spots != nil {
				return spots[i], c, true
			}
			return start(n), c, true
		}
	}
	return at, c, false
}

var keyedText = lazyregexp.New(`^([A-Za-z_][A-Za-z0-9_]*)(:[^\s/]|：)`)

// keyInText reports a text that is a key with its value, but for the colon.
func (v value) keyInText() {
	m := keyedText.FindStringSubmatch(v.n.Value)
	if v.n.Kind != yaml.ScalarNode || !plain(v.n) || m == nil {
		return
	}
	if _, c, ok := v.lookalike(); ok && c.Write == ":" {
		v.problem("", "") // names it
		return
	}
	at := start(v.n)
	at.col += len(m[1])
	v.problemAt(at, "a space is missing after the colon", fmt.Sprintf("write %s: %s", m[1], strings.TrimPrefix(v.n.Value, m[1]+":")))
}

// lookalikeInKey finds a colon or a quote that only looks right in the key of a value
// in { } that is missing.
func (v value) lookalikeInKey() (at spot, c campaign.Character, ok bool) {
	if v.key == nil || !v.flow {
		return at, c, false
	}
	at, c, ok = v.file.lookalikeIn(v.key)
	return at, c, ok && (c.Write == ":" || c.Write == `"`)
}

// typed is text for what nobody writes with a character that only looks right.
func (v value) typed(hint string) string {
	t := v.text(hint)
	if _, _, ok := v.lookalike(); t != "" && ok {
		v.problem("", "")
		return ""
	}
	return t
}

// misspelt reports a key that is one of the known ones but for a character that only
// looks right, or a missing space. meant is that key; "" if it is another mistake.
func (v value) misspelt(key string, known func(string) bool) (meant string) {
	if at, c, ok := v.file.lookalikeIn(v.key); ok {
		name := strings.TrimSpace(strings.Map(func(r rune) rune {
			switch c, ok := campaign.Lookalike(r); {
			case !ok:
				return r
			case len(c.Write) == 1:
				return rune(c.Write[0])
			}
			return -1
		}, key))
		before, _, _ := strings.Cut(name, ":")
		if before = strings.TrimSpace(before); known(before) || keyOfSome(before) {
			what, hint := c.Says()
			v.problemAt(at, what, hint)
			return before
		}
	}
	if first, rest, ok := strings.Cut(key, " "); ok && known(first) && v.null() {
		at := start(v.key)
		at.col += len([]rune(first))
		v.problemAt(at, "a colon is missing", fmt.Sprintf("write %s: %s", first, strings.TrimLeft(rest, "= ")))
		return first
	}
	before, after, colon := strings.Cut(key, ":")
	if colon && known(before) && v.null() {
		at := start(v.key)
		at.col += len([]rune(before))
		v.problemAt(at, "a space is missing after the colon", fmt.Sprintf("write %s: %s", before, strings.TrimSpace(after)))
		return before
	}
	return ""
}

// misspeltOf is misspelt for a map with a fixed set of keys, which then does not lack
// the key that is meant.
func (v value) misspeltOf(of *yaml.Node, key string, known fields) bool {
	meant := v.misspelt(key, func(name string) bool { return known[name] != nil })
	if meant == "" {
		return false
	}
	v.l.mean(of, meant)
	return true
}

// mean keeps that a map has a key, which is misspelt in it.
func (l *load) mean(of *yaml.Node, key string) {
	if l.meant[of] == nil {
		l.meant[of] = map[string]bool{}
	}
	l.meant[of][key] = true
}
