package expr

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"offerstream/pipeline/lazyregexp"
)

// Other systems fill in ${profile.name}, {profile.name} or %name%. Here such a text
// would be sent as it is written. placeholder.go finds them: those that cannot be
// anything else are mistakes, others, which may be meant for whoever delivers the
// offers, are warned of.

// A placeholder is a form in which other systems write expressions.
type placeholder struct {
	form  *lazyregexp.Regexp // group 1 is the expression
	plain bool               // an ordinary text may have it, so that only an expression that reads something counts
}

var placeholders = []placeholder{
	{lazyregexp.New(`\$\{([^{}]*)\}`), false},
	{lazyregexp.New(`#\{([^{}]*)\}`), false},
	{lazyregexp.New(`<%[=-]?\s*(.*?)\s*-?%>`), false},
	{lazyregexp.New(`\{%-?\s*(.*?)\s*-?%\}`), false},
	{lazyregexp.New(`\$\(([^()]*(?:\(\))?)\)`), true},
	{lazyregexp.New(`\{([^{}]*)\}`), true},
	{lazyregexp.New(`\[([^\[\]]*)\]`), true},
	{lazyregexp.New(`%([A-Za-z_][A-Za-z0-9_.]*)%`), true},
	{lazyregexp.New(`<([A-Za-z_][A-Za-z0-9_.]*)>`), true},
}

var (
	path      = lazyregexp.New(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+$`)
	hexDigits = lazyregexp.New(`^[0-9A-Fa-f]+$`)
	callEnd   = lazyregexp.New(`\(.*\)`)
)

// Placeholders reports what the texts of an offer's data have in the place of
// {{ CEL }}, and warns of what may be such.
func (l *Language) Placeholders(data json.RawMessage, report, warn ReportIn) {
	var tree any
	if json.Unmarshal(data, &tree) == nil {
		l.placeholdersIn(tree, nil, report, warn)
	}
}

func (l *Language) placeholdersIn(tree any, at []string, report, warn ReportIn) {
	within := func(k string) []string { return append(append([]string{}, at...), k) }
	switch v := tree.(type) {
	case []any:
		for i, e := range v {
			l.placeholdersIn(e, within(strconv.Itoa(i)), report, warn)
		}
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			l.placeholdersIn(v[k], within(k), report, warn)
		}
	case string:
		text := withoutExpressions(v)
		for _, p := range placeholders {
			for _, m := range p.form.FindAllStringSubmatchIndex(text, -1) {
				line, col := position(v, m[0])
				what, hint, sure := l.meantBy(p, v[m[0]:m[1]], strings.TrimSpace(v[m[2]:m[3]]))
				switch {
				case what == "":
					continue
				case sure:
					report(at, line, col, what, hint)
				default:
					warn(at, line, col, what, hint)
				}
				text = text[:m[0]] + strings.Repeat(" ", m[1]-m[0]) + text[m[1]:]
			}
		}
	}
}

// meantBy says what is wrong with a placeholder; "" if nothing is. sure: it can be
// nothing else than an expression.
func (l *Language) meantBy(p placeholder, whole, inner string) (what, hint string, sure bool) {
	what = fmt.Sprintf("%s would be sent as it is written", whole)
	if strings.HasPrefix(whole, "{%") || strings.HasPrefix(whole, "<%") && !strings.HasPrefix(whole, "<%=") {
		return what, `a condition is written {{ c ? "a" : "b" }}`, false
	}
	var x *Expr
	if root := word.FindString(inner); l.known(root) || len(l.beginningWith(root+".")) > 0 {
		x = l.Compile(inner, nil, func(int, int, string, string) {})
	}
	if x != nil && len(x.Reads) > 0 {
		sure = path.MatchString(inner) || callEnd.MatchString(inner) || !p.plain
		if !sure && strings.ContainsAny(whole[:1], "[<") {
			return "", "", false // a word in brackets
		}
		return what, fmt.Sprintf("write {{ %s }}", inner), sure
	}
	if len(inner) == 2 && hexDigits.MatchString(inner) {
		return "", "", false // of an encoded address
	}
	if p.plain {
		if strings.HasPrefix(whole, "%") {
			return what, fmt.Sprintf("an expression is written {{ }}, such as {{ profile.%s }}", inner), false
		}
		return "", "", false
	}
	if identifier.MatchString(inner) {
		return what, fmt.Sprintf("an expression is written {{ }}, such as {{ profile.%s }}", inner), false
	}
	return what, "an expression is written {{ }}, such as {{ profile.name }}", false
}

// withoutExpressions is a text with spaces in place of its {{ }}.
func withoutExpressions(s string) string {
	b := []byte(s)
	for from := 0; ; {
		i := strings.Index(s[from:], "{{")
		if i < 0 {
			return string(b)
		}
		begin := from + i
		n := closing(s[begin+2:])
		if n < 0 {
			return string(b[:begin])
		}
		from = begin + 2 + n + 2
		for j := begin; j < from; j++ {
			b[j] = ' '
		}
	}
}

var (
	section = lazyregexp.New(`^\s*(?:[#/^>!&]|(?:if|unless|else|elsif|elif|end|endif|each|for|endfor)\b)`)
	tripled = lazyregexp.New(`^\{\s*([A-Za-z_][A-Za-z0-9_.]*)\s*\}?$`)
)

// noExpression says what the text between {{ and }} is in templates of other systems;
// "" if it is an expression.
func noExpression(inner string) (what, hint string) {
	switch m := tripled.FindStringSubmatch(inner); {
	case strings.TrimSpace(inner) == "":
		return "no expression is here", "such as {{ profile.name }}"
	case m != nil:
		return "an expression is in two braces on each side", fmt.Sprintf("write {{ %s }}", m[1])
	case section.MatchString(inner):
		return fmt.Sprintf("%q is no expression", strings.TrimSpace(inner)), `a condition is written {{ c ? "a" : "b" }}, a list {{ list.map(i, i.name).join(", ") }}`
	}
	return "", ""
}
