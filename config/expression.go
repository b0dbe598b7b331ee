package config

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const celHint = "a CEL expression"

// cel reads an expression. It reports expressions that YAML has cut off; the
// compiler checks everything else.
func (v value) cel() string {
	switch {
	case v.bad():
		return ""
	case v.n.Kind == yaml.MappingNode:
		v.wrong("an expression", quoteIt)
		return ""
	case v.n.Kind != yaml.ScalarNode || v.null():
		v.wrong("an expression", celHint)
		return ""
	case strings.TrimSpace(v.n.Value) == "":
		v.problem("the expression is empty", "leave the key out")
		return ""
	}
	if plain(v.n) && !balanced(v.n.Value) {
		if at, ok := v.comment(); ok {
			v.problemAt(at, "the expression ends here, because YAML takes the rest for a comment", quoteIt)
			return ""
		}
		if v.flow {
			v.problem("the expression is cut: "+strconv.Quote(v.n.Value), "inside [ ] and { } put it in quotes, or give it its own line")
			return ""
		}
	}
	return strings.TrimRight(v.n.Value, " \t\r\n")
}

// comment returns where a comment begins after a plain scalar, if there is one.
func (v value) comment() (spot, bool) {
	spots := v.file.walk(v.n)
	if spots == nil {
		return spot{}, false
	}
	at := spots[len(spots)-1]
	for v.file.at(at) == ' ' || v.file.at(at) == '\t' {
		at.col++
	}
	return at, v.file.at(at) == '#'
}

// balanced reports whether all quotes and brackets are closed.
func balanced(s string) bool {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '"', '\'':
			for i++; i < len(s) && s[i] != c; i++ {
				if s[i] == '\\' {
					i++
				}
			}
			if i >= len(s) {
				return false
			}
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			if depth--; depth < 0 {
				return false
			}
		}
	}
	return depth == 0
}
