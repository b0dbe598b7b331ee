package expr

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/lazyregexp"
)

// maxKnown bounds how many names a hint lists.
const maxKnown = 12

var (
	chain     = lazyregexp.New(`[A-Za-z_][A-Za-z0-9_]*(\s*\.\s*[A-Za-z_][A-Za-z0-9_]*)*\s*$`) // of names with dots, at the end
	following = lazyregexp.New(`^[A-Za-z_][A-Za-z0-9_]*\s*\.\s*\??\s*([A-Za-z_][A-Za-z0-9_]*)`)
	suggested = lazyregexp.New(`\(did you mean '([a-z][A-Za-z0-9_.]*)'`)
	dashed    = lazyregexp.New(`^[A-Za-z_][A-Za-z0-9_]*(\s*[-.]\s*[A-Za-z_][A-Za-z0-9_]*)+`)
	compared  = lazyregexp.New(`([=!<>]=|[<>]|\bin\s*\[[^\[\]()]*|[A-Za-z0-9_]\[)\s*$`)
	getterEnd = lazyregexp.New(`\.get[A-Za-z]+\(\s*$`)
	zoneName  = lazyregexp.New(`^[A-Z][A-Za-z_]+(/[A-Z][A-Za-z_]+)+`)
	loopEnd   = lazyregexp.New(`\.([A-Za-z_]+)\($`)
	elementOf = lazyregexp.New(`^[A-Za-z_][A-Za-z0-9_]*\s*,`)
	internal  = lazyregexp.New(`'@(max_by|min_by)'`)
)

// explainAll reports the problems that CEL found, but for those that follow from
// another one.
func (l *Language) explainAll(src string, problems []*cel.Error, report Report) {
	explained, noBool := 0, false // explained: so many runes of src
	for _, e := range problems {
		if len(problems) > 1 && strings.Contains(e.Message, "!error!") {
			continue
		}
		if at := offset(src, e.Location.Line(), e.Location.Column()); at < explained || noBool && strings.HasPrefix(e.Message, "expected type 'bool'") {
			continue
		}
		noBool = noBool || strings.HasPrefix(e.Message, "expected type 'bool'")
		explained = max(explained, l.explain(src, e, report))
		if strings.HasPrefix(e.Message, reserved) || strings.HasPrefix(e.Message, syntax) {
			return
		}
	}
}

// explain reports a problem that CEL found, shortened, with what to do. It returns
// before which rune of src what else is wrong follows from that.
func (l *Language) explain(src string, problem *cel.Error, report Report) (explained int) {
	line, col := max(problem.Location.Line(), 1), max(problem.Location.Column(), 0)
	message := strings.TrimSuffix(strings.ReplaceAll(problem.Message, " (in container '')", ""), "\n")
	name, ok := quoted(message, "undeclared reference to ")
	if !ok {
		what, hint, _ := strings.Cut(internal.ReplaceAllString(message, "'$1'"), "\n")
		at := offset(src, line, col)
		if better, todo := l.reworded(what, src, at); better != what {
			what, hint = better, todo
		}
		if unexpected.MatchString(message) && at < len([]rune(src)) && []rune(src)[at] == '.' { // the place of a field is its dot
			before := string([]rune(src)[:at])
			line, col = position(src, len(before)-len(operandEnd.FindString(before)))
		}
		report(line, col, what, hint)
		return 0
	}
	text := withoutTexts(src)
	at := offset(src, line, col)
	if at < len(text) && text[at] == '(' {
		method := strings.HasSuffix(strings.TrimSuffix(string(text[:at]), name), ".")
		what, hint := noFunction(name, method)
		if !method && l.names.Feature != nil {
			if f, ok := l.names.Feature(name); ok && f.By {
				hint = fmt.Sprintf("%s is a feature: write %s[%s]", name, name, f.Key)
			} else if ok {
				hint = fmt.Sprintf("%s is a feature: write it without brackets", name)
			}
		}
		if m := suggested.FindStringSubmatch(message); m != nil && strings.HasPrefix(what, "there is no function") && functionsOf[strings.ToLower(name)] == "" {
			hint = fmt.Sprintf("did you mean %q?", m[1])
		}
		if strings.HasPrefix(what, strconv.Quote(name)) || slices.Contains(loops, name) {
			line, col = position(src, len(strings.TrimRight(string([]rune(src)[:at]), " "))-len(name))
		}
		report(line, col, what, hint)
		return at + bracketEnd(text[at:])
	}
	first, second, _ := strings.Cut(name, ".")
	second, _, _ = strings.Cut(second, ".")
	if second == "" {
		if m := following.FindStringSubmatch(string(text[at:])); m != nil {
			second = m[1]
		}
	} else if start := chain.FindStringIndex(string(text[:at])); start != nil {
		// CEL gives the place of the last dot of a name with dots.
		line, col = position(src, len(string([]rune(src)[:len([]rune(string(text[:at])[:start[0]]))])))
	}
	at = offset(src, line, col)
	if len(l.beginningWith(first+".")) == 0 {
		if what, hint, end := l.unknownName(first, text[:at], text[at:]); what != "" {
			report(line, col, what, hint)
			return at + end
		}
	}
	what, hint := l.unknown(first, second)
	report(line, col, what, hint)
	return 0
}

// bracketEnd is the number of runes to the end of the bracket with which text begins.
func bracketEnd(text []rune) int {
	depth := 0
	for i, r := range text {
		switch r {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(text)
}

// unknown says what is wrong with a name, and what to do. second is what follows
// it after a dot, "" if nothing does.
func (l *Language) unknown(first, second string) (what, hint string) {
	known := l.beginningWith(first + ".")
	if len(known) == 0 {
		return fmt.Sprintf("nothing here is named %q", first), l.names.Hint(first)
	}
	list := "known are " + strings.Join(known[:min(len(known), maxKnown)], ", ")
	if len(known) > maxKnown {
		list += fmt.Sprintf(" and %d more", len(known)-maxKnown)
	}
	if second == "" {
		return fmt.Sprintf("%s has no value of its own", first), list
	}
	name := first + "." + second
	if slices.Contains(known, name) {
		return fmt.Sprintf("%s is always there: has() and .? do not apply to it", name), "write " + name
	}
	what = fmt.Sprintf("nothing here is named %q", name)
	if hint = l.names.Hint(name); hint != "" {
		return what, hint
	}
	if best := campaign.Nearest(name, known); best != "" {
		return what, fmt.Sprintf("did you mean %q?", best)
	}
	return what, list
}

// beginningWith are the variables whose names begin with prefix, sorted.
func (l *Language) beginningWith(prefix string) (names []string) {
	for _, v := range l.env.Variables() {
		if strings.HasPrefix(v.Name(), prefix) {
			names = append(names, v.Name())
		}
	}
	slices.Sort(names)
	return names
}

// quoted is the name in quotes that follows the prefix of s.
func quoted(s, prefix string) (string, bool) {
	rest, ok := strings.CutPrefix(s, prefix)
	if !ok || len(rest) < 2 {
		return "", false
	}
	name, _, ok := strings.Cut(rest[1:], rest[:1])
	return name, ok
}
