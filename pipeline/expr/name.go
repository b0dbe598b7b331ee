package expr

import (
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/decls"

	"offerstream/pipeline/lazyregexp"
)

// CEL reads a name after a dot only if it is an identifier: ASCII letters, digits
// and _. In other names it finds tokens that it does not know, or a subtraction.
// What it says then is of no help, so misnamed looks for such names.

const (
	operand = `[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*|\[[^\[\]]*\])*`
	rest    = `[A-Za-z0-9_$@#\x{80}-\x{10FFFF}-]*` // of a name
)

var (
	afterDot   = lazyregexp.New(`(has\(\s*)?(` + operand + `)\.(\??)(` + rest + `)`)
	identifier = lazyregexp.New(`^[A-Za-z_][A-Za-z0-9_]*$`)
	subtracted = lazyregexp.New(`(has\(\s*)?(` + operand + `)\.(\??)([A-Za-z_][A-Za-z0-9_]*(?:-` + rest + `)?-)$`)
	separate   = lazyregexp.New(`(has\(\s*)?(` + operand + `)\.(\??)([A-Za-z_][A-Za-z0-9_]*) $`)
	presence   = lazyregexp.New(`(has\(\s*)(` + operand + `)\.(\??)([A-Za-z_][A-Za-z0-9_]*-` + rest + `)\s*\)`)
	foreign    = lazyregexp.New(`()()()(` + rest + `[$@#\x{80}-\x{10FFFF}]` + rest + `)`)
	beginning  = lazyregexp.New(`^` + rest)
	index      = lazyregexp.New(`^[0-9]+$`)
	keywords   = []string{"in", "true", "false", "null"}
)

// misnamed finds what CEL's problem with an expression says of a name that is no
// identifier: the place of the name, in runes, and how to write it. ok is false
// if the problem is another.
func (l *Language) misnamed(src string, problem *cel.Error) (at int, name, hint string, ok bool) {
	text := withoutTexts(src)
	place := offset(src, problem.Location.Line(), problem.Location.Column())
	before, after := string(text[:place]), string(text[place:])
	var m []int // of the regular expressions above: the operand is group 2, ? group 3, the name group 4
	end := ""
	switch {
	case strings.HasPrefix(problem.Message, "undeclared reference to"):
		m, end = subtracted.FindStringSubmatchIndex(before), beginning.FindString(after)
	case strings.HasPrefix(problem.Message, "invalid argument to has()"):
		before = string(text)
		m = presence.FindStringSubmatchIndex(before)
	case strings.HasPrefix(problem.Message, "Syntax error"):
		if m = separate.FindStringSubmatchIndex(before); m != nil {
			end = beginning.FindString(after)
		}
		if end == "" || slices.Contains(keywords, end) || operatorOf[strings.ToLower(end)] != "" || verbs[end] != "" || strings.HasPrefix(after, end+".") || strings.HasPrefix(after, end+"(") {
			before, end = string(text), ""
			m = unreadable(before)
		}
	}
	if m == nil {
		return 0, "", "", false
	}
	at = len([]rune(before[:m[8]]))
	name = before[m[8]:] + end
	if end == "" {
		name = before[m[8]:m[9]]
	}
	object := string([]rune(src)[len([]rune(before[:m[4]])):len([]rune(before[:m[5]]))])
	if len(l.beginningWith(object+".")) > 0 {
		return l.misnamedAfterDot(at, name, object, before[m[8]:m[9]], problem)
	}
	switch {
	case index.MatchString(name):
		hint = fmt.Sprintf("write %s[%s]", object, name)
	case object == "" && strings.ContainsAny(name[:1], "$@#") && l.known(strings.TrimLeft(name, "$@#{")):
		hint = "write " + strings.TrimLeft(name, "$@#{")
	case object == "":
		hint = fmt.Sprintf("a property is event.properties[%q]", name)
	case m[2] >= 0:
		hint = fmt.Sprintf("write %q in %s", name, object)
	default:
		hint = fmt.Sprintf("write %s[%s%q]", object, before[m[6]:m[7]], name)
	}
	return at, name, hint, true
}

// known reports whether there is a variable of that name.
func (l *Language) known(name string) bool {
	return slices.ContainsFunc(l.env.Variables(), func(v *decls.VariableDecl) bool { return v.Name() == name })
}

// misnamedAfterDot is misnamed where names with dots begin with object: they are
// no fields that could be written in brackets. read is what CEL has read of the
// name.
func (l *Language) misnamedAfterDot(at int, name, object, read string, problem *cel.Error) (int, string, string, bool) {
	if !strings.HasPrefix(problem.Message, "Syntax error") {
		return 0, "", "", false // something is subtracted from it
	}
	known := l.beginningWith(object + ".")
	if slices.Contains(known, object+"."+read) {
		return 0, "", "", false // what follows it is wrong
	}
	return at, name, "a name after " + object + ". has letters, digits and _ only", true
}

// unreadable finds the first name after a dot that CEL cannot read, else the first
// other name with characters that CEL does not know.
func unreadable(text string) []int {
	for _, m := range afterDot.FindAllStringSubmatchIndex(text, -1) {
		first, _, _ := strings.Cut(text[m[8]:m[9]], "-") // what follows may be subtracted
		if first != "" && (!identifier.MatchString(first) || slices.Contains(keywords, first)) {
			return m
		}
	}
	return foreign.FindStringSubmatchIndex(text)
}

// withoutTexts are the runes of an expression, with spaces in place of what is in
// quotes.
func withoutTexts(src string) []rune {
	text := []rune(src)
	for i := 0; i < len(text); i++ {
		quote := text[i]
		if quote != '"' && quote != '\'' {
			continue
		}
		for i++; i < len(text) && text[i] != quote; i++ {
			if text[i] == '\\' && i+1 < len(text) {
				text[i] = ' '
				i++
			}
			text[i] = ' '
		}
	}
	return text
}

// offset is the number of runes of src before a line (from 1) and column.
func offset(src string, line, col int) int {
	lines := strings.SplitAfter(src, "\n")
	before := strings.Join(lines[:min(max(line-1, 0), len(lines))], "")
	return min(len([]rune(before))+max(col, 0), len([]rune(src)))
}

// misnamedIn reports the first name in src that is no identifier, if that is what
// CEL's problems are about.
func (l *Language) misnamedIn(src string, problems []*cel.Error, report Report) bool {
	return slices.ContainsFunc(problems, func(p *cel.Error) bool {
		at, name, hint, ok := l.misnamed(src, p)
		if ok {
			line, col := position(src, len(string([]rune(src)[:at])))
			report(line, col, fmt.Sprintf("%q is no identifier", name), hint)
		}
		return ok
	})
}
