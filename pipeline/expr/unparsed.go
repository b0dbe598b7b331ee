package expr

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"cel.dev/cel-go/cel"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/lazyregexp"
)

// What CEL's parser says of what it cannot read is about its grammar. unparsed.go
// says what was probably meant.

var (
	number     = lazyregexp.New(`[0-9]+(\.[0-9]+)?$`)
	digits     = lazyregexp.New(`^[0-9]+`)
	signs      = lazyregexp.New(`^[=<>!&|?]+`)
	signsEnd   = lazyregexp.New(`[=<>!&|?]+$`)
	lastPath   = lazyregexp.New(`[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*\s*$`)
	offending  = lazyregexp.New(`^(?:mismatched input|extraneous input|no viable alternative at input|missing '.*' at) '(.*?)'(?: expecting|$)`)
	loopBefore = lazyregexp.New(`\(\s*\(?[A-Za-z_][A-Za-z0-9_]*\)?\s*-?$`)
	percent    = lazyregexp.New(`[0-9]\s*%$`)
	verbs      = map[string]string{
		"like": `write x.contains("..."), x.startsWith("...") or x.matches("...")`, "contains": `write x.contains("...")`, "includes": `write x.contains("...")`, "startsWith": `write x.startsWith("...")`, "endsWith": `write x.endsWith("...")`, "matches": `write x.matches("...")`,
		"exists": "write has(x)", "has": `write "..." in x`, "HAS": `write "..." in x`, "between": "write x >= 1 && x <= 5", "then": "a condition stands alone; c ? a : b chooses one of two values", "else": "c ? a : b chooses one of two values", "unless": "write && !(...)", "when": "write &&", "where": "write &&",
		"LIKE": `write x.contains("..."), x.startsWith("...") or x.matches("...")`, "BETWEEN": "write x >= 1 && x <= 5", "IN": "write in",
	}
	notIn      = lazyregexp.New(`(?i)^not\s+in\b`)
	isNot      = lazyregexp.New(`(?i)^is\s+(not|null|none|missing|empty)\b`)
	isNull     = lazyregexp.New(`(?i)^is\s+(not\s+)?(?:null|none|missing|empty)\b`)
	operatorOf = map[string]string{"and": "&&", "or": "||", "not": "!", "is": "==", "equals": "==", "eq": "==", "xor": "!=", "mod": "%"}
	signOf     = map[string]string{
		"=": "==", "=>": ">=", "=<": "<=", "===": "==", "!==": "!=", "<>": "!=", "=!": "!=", "==>": ">=", "=>=": ">=", ">==": ">=", "<==": "<=", "!===": "!=", "====": "==",
		"&": "&&", "|": "||", "&&&": "&&", "|||": "||", "!!": "!", "&|": "&&",
	}
)

// unparsed reports the first place that CEL's parser could not read. What it says of
// later places follows from that. ok is false if it could read all.
func (l *Language) unparsed(src string, problems []*cel.Error, report Report) (ok bool) {
	first := syntaxError(problems)
	if first == nil {
		return false
	}
	message := strings.TrimPrefix(first.Message, syntax)
	line, col := max(first.Location.Line(), 1), max(first.Location.Column(), 0)
	at := offset(src, line, col)
	what, hint, back := l.unread(message, src, at)
	if back > 0 {
		line, col = position(src, len(string([]rune(src)[:at-back])))
	}
	report(line, col, what, hint)
	return true
}

// syntax begins what CEL's parser says of what it cannot read.
const syntax = "Syntax error: "

// reserved begins what it says of a word that is CEL's own.
const reserved = "reserved identifier: "

// syntaxError is the first problem that CEL's parser found; nil: there is none, or it
// follows from a word that is CEL's own.
func syntaxError(problems []*cel.Error) *cel.Error {
	i := slices.IndexFunc(problems, func(p *cel.Error) bool { return strings.HasPrefix(p.Message, syntax) })
	if i < 0 || strings.HasPrefix(problems[0].Message, reserved) {
		return nil
	}
	return problems[i]
}

// unread says what CEL's parser could not read at a place, which is so many runes
// before the one that it names.
func (l *Language) unread(message, src string, at int) (what, hint string, back int) {
	text := withoutTexts(src)
	before, after := string(text[:at]), string(text[at:])
	here := word.FindString(after)
	previous := strings.Fields(" " + before)
	last := ""
	if len(previous) > 0 {
		last = previous[len(previous)-1]
	}
	if what, hint, back = unreadSigns(before, after); what != "" {
		return what, hint, back
	}
	if what, hint, back = unreadNumber(before, after); what != "" {
		return what, hint, back
	}
	if l.names.Feature != nil && here != "" && strings.HasSuffix(strings.TrimRight(before, " "), last) {
		if _, ok := l.names.Feature(last + "_" + here); ok {
			return fmt.Sprintf("nothing here is named %q", last+" "+here), fmt.Sprintf("did you mean %q?", last+"_"+here), len(before) - len(strings.TrimRight(before, " ")) + len([]rune(last))
		}
	}
	if strings.TrimSpace(after) == "" {
		if open := unclosed(text); open >= 0 {
			return fmt.Sprintf("%c is not closed", text[open]), fmt.Sprintf("%c is missing", map[rune]rune{'(': ')', '[': ']', '{': '}'}[text[open]]), at - open
		}
	}
	if i := strings.Index(string(text), "{{"); i >= 0 {
		return "{{ }} stand in the texts of an offer only", "write the expression alone", at - len([]rune(string(text)[:i]))
	}
	switch {
	case strings.EqualFold(here, "not") && notIn.MatchString(after):
		return `"not in" is no operator`, "write !(x in list)", 0
	case strings.EqualFold(here, "is") && isNot.MatchString(after):
		if null := isNull.FindStringSubmatch(after); null != nil {
			return fmt.Sprintf("%q is no operator", strings.TrimSpace(null[0])), map[bool]string{true: "write has(x)", false: "write !has(x)"}[null[1] != ""], 0
		}
		return `"is not" is no operator`, "write !=", 0
	case operatorOf[strings.ToLower(here)] != "":
		return fmt.Sprintf("%q is no operator", here), "write " + operatorOf[strings.ToLower(here)], 0
	case strings.EqualFold(last, "not") && here == "in":
		return `"not in" is no operator`, "write !(x in list)", len("not") + len(before) - len(strings.TrimRightFunc(before, unicode.IsSpace))
	case strings.EqualFold(last, "not"):
		return fmt.Sprintf("%q is no operator", last), "write !", 0
	case operatorOf[strings.ToLower(last)] != "" && here != "":
		return fmt.Sprintf("%q is no operator", last), "write " + operatorOf[strings.ToLower(last)], len([]rune(last)) + len(before) - len(strings.TrimRightFunc(before, unicode.IsSpace))
	case strings.HasPrefix(after, ";"):
		return "; ends nothing here", "remove it; && joins conditions", 0
	case strings.HasPrefix(message, "token recognition error") && strings.ContainsAny(string([]rune(src)[at:min(at+1, len([]rune(src)))]), `"'`):
		return "the quote is not closed", "close it with the same quote", 0
	case percent.MatchString(strings.TrimSpace(before)) && strings.TrimSpace(after) == "":
		n := strings.TrimSuffix(strings.TrimSpace(before), "%")
		n = number.FindString(n)
		return fmt.Sprintf("%q is no value", n+"%"), fmt.Sprintf("%% is the remainder of a division; write %s, or %s / 100.0", n, n), len(before) - len(strings.TrimRight(before, "% ")) + len(n)
	case here == "" && strings.HasPrefix(after, "! ") && strings.HasPrefix(strings.TrimSpace(after[1:]), "="):
		return "! = is no operator", "write !=", 0
	case verbs[here] != "":
		return fmt.Sprintf("%q is no operator", here), verbs[here], 0
	case strings.HasPrefix(message, "mismatched input '<EOF>'"), after == "" || strings.TrimSpace(after) == "":
		return "the expression ends too early", "something is missing at its end", 0
	case strings.HasPrefix(after, ")"), strings.HasPrefix(after, "]"), strings.HasPrefix(after, "}"):
		if strings.HasSuffix(message, "expecting <EOF>") {
			return fmt.Sprintf("%s closes nothing", after[:1]), "remove it, or open it before", 0
		}
		return fmt.Sprintf("something is missing before %s", after[:1]), "", 0
	case strings.HasPrefix(after, ","):
		return "a comma does not belong here", "&& joins conditions; a list is in [ ]", 0
	case strings.HasPrefix(after, ".") && number.MatchString(strings.TrimRight(before, ". ")):
		return "a range is no value", "write x >= 9 && x <= 21", 0
	case strings.HasPrefix(after, ".") || strings.HasPrefix(after, "["):
		return "a dot stands between two names", "remove one; x[0] and x[\"y\"] have none before the bracket", 0
	case strings.HasPrefix(after, "`"):
		return "` is no quote", "write \"", 0
	case strings.HasPrefix(after, "/"):
		return "/ begins nothing here", "a regular expression is x.matches(\"...\")", 0
	case strings.HasPrefix(after, "~"):
		return "~ is no operator", "write x.matches(\"...\")", 0
	case strings.HasPrefix(after, "^"), strings.HasPrefix(after, "*") && strings.HasSuffix(strings.TrimRight(before, " "), "*"):
		return map[bool]string{true: "^", false: "**"}[after[0] == '^'] + " is no operator", "write x * x", 0
	case strings.HasPrefix(after, "+") && strings.HasSuffix(before, "+"):
		return "++ is no operator", "an expression changes nothing: x + 1", 0
	case signs.MatchString(after) && (strings.HasSuffix(strings.TrimRight(before, " "), "&&") || strings.HasSuffix(strings.TrimRight(before, " "), "||")):
		if sign := signs.FindString(after); sign == "&&" || sign == "||" {
			return "two operators follow each other", "remove one", 0
		}
		return signs.FindString(after) + " has no left side", "each comparison has both sides: x >= a && x <= b", 0
	case here != "" && number.MatchString(strings.TrimRight(before, " ")) && !wordBefore(strings.TrimRight(before, " "), number.FindString(strings.TrimRight(before, " "))):
		n := number.FindString(strings.TrimRight(before, " "))
		if durable(n + " " + here) {
			return fmt.Sprintf("%q is no value", n+" "+here), "a duration is " + asDuration(strconv.Quote(n+" "+here)), len(before) - len(strings.TrimRight(before, " ")) + len(n)
		}
		if !l.known(here) && len(l.beginningWith(here+".")) == 0 {
			return fmt.Sprintf("%q does not belong after a number", here), "remove it", 0
		}
		return fmt.Sprintf("%q does not belong here", here), "an operator such as && is missing before it; or - before each of several conditions", 0
	case here != "" && strings.HasSuffix(message, "expecting <EOF>"):
		return fmt.Sprintf("%q does not belong here", here), "an operator such as && is missing before it, or quotes around a text", 0
	}
	if m := offending.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("%q does not belong here", m[1]), "", 0
	}
	if strings.HasPrefix(message, "token recognition error") && after != "" {
		return fmt.Sprintf("%q means nothing here", string([]rune(after)[:1])), "", 0
	}
	return message, "", 0
}

// unclosed is the place of the innermost bracket that is not closed; -1: all are.
func unclosed(text []rune) int {
	var open []int
	for i, r := range text {
		switch r {
		case '(', '[', '{':
			open = append(open, i)
		case ')', ']', '}':
			if len(open) > 0 {
				open = open[:len(open)-1]
			}
		}
	}
	if len(open) == 0 {
		return -1
	}
	return open[len(open)-1]
}

// unreadSigns says which operator was meant by signs that are none.
func unreadSigns(before, after string) (what, hint string, back int) {
	back = len(signsEnd.FindString(before))
	all := before[len(before)-back:] + signs.FindString(after)
	switch head := strings.TrimRight(before[:len(before)-back], " "); {
	case all == "=" && head != "" && strings.ContainsRune("+-*/", rune(head[len(head)-1])):
		return head[len(head)-1:] + "= is no operator", "an expression changes nothing", back + 1
	case all != "" && strings.HasPrefix(after[len(signs.FindString(after)):], "~"):
		return all + "~ is no operator", "write x.matches(\"...\")", back
	case (all == "=>" || all == ">" && strings.HasSuffix(head, "-")) && loopBefore.MatchString(head):
		return "there are no arrows", "write exists(i, i.x == 1): the name, a comma, and what is asked of it", back
	case all == ">" && strings.HasSuffix(head, "-"):
		return "-> is no operator", "write x.y, or x[\"y\"]", back + 1
	}
	if strings.HasPrefix(all, "??") || strings.HasPrefix(all, "?:") {
		return all + " is no operator", "write " + orElse(before[:len(before)-back], "x.?y.orValue(\"...\")"), back
	}
	write, ok := signOf[all]
	switch {
	case !ok:
		return "", "", 0
	case all == "=":
		return "= compares nothing", "write ==", back
	case all == "|":
		return "| is no operator", "write ||; or, for what is shown in place of a missing value, " + orElse(before[:len(before)-back], "x.?y.orValue(\"...\")"), back
	}
	return fmt.Sprintf("%s is no operator", all), "write " + write, back
}

// orElse is how to write what is shown in place of a missing value.
func orElse(before, example string) string {
	path := strings.TrimSpace(lastPath.FindString(before))
	if i := strings.LastIndexByte(path, '.'); i > 0 {
		return fmt.Sprintf("%s.?%s.orValue(\"...\")", path[:i], path[i+1:])
	}
	return example
}

// unreadNumber says what is wrong with a number.
func unreadNumber(before, after string) (what, hint string, back int) {
	trimmed := strings.TrimRight(before, " ")
	n := number.FindString(trimmed)
	if n == "" {
		return "", "", 0
	}
	next := strings.TrimLeft(after, ", ")
	switch more := digits.FindString(next); {
	case len(more) == 3 && (strings.HasPrefix(after, ",") || before != trimmed) && !wordBefore(trimmed, n):
		return fmt.Sprintf("a number has no %s between its digits", map[bool]string{true: "comma", false: "space"}[strings.HasPrefix(after, ",")]), "write " + n + joined(next), 0
	case before != trimmed:
		return "", "", 0
	}
	unit := word.FindString(after)
	if unit == "" || wordBefore(trimmed, n) {
		return "", "", 0
	}
	value := n + unit
	switch {
	case strings.HasPrefix(unit, "_") && strings.Trim(unit, "_0123456789") == "":
		return "a number has no _ between its digits", "write " + strings.ReplaceAll(value, "_", ""), 0
	case strings.HasPrefix(asDuration(strconv.Quote(value)), "duration(") && durable(value):
		return fmt.Sprintf("%q is no value", value), "a duration is " + asDuration(strconv.Quote(value)), 0
	}
	return fmt.Sprintf("%q is no value", value), fmt.Sprintf("a number is %s, a text is in quotes", n), 0
}

// zeros are what words for powers of ten append to a number.
var zeros = map[string]string{"천": "000", "만": "0000", "십만": "00000", "백만": "000000", "천만": "0000000", "억": "00000000", "千": "000", "万": "0000"}

var money = lazyregexp.New(`(?:^|[^\pL\pN_.])((\p{Sc})\s?([0-9][0-9,_]*)|([0-9][0-9,_]*)\s?(\p{Sc}|[^\x00-\x7F\pP\pS\s]+))`)

// amount reports the first number with a currency or a unit, which CEL takes for a
// name that it does not know.
func amount(src string, problems []*cel.Error, report Report) bool {
	if syntaxError(problems) == nil {
		return false
	}
	text := string(withoutTexts(src))
	m := money.FindStringSubmatchIndex(text)
	if m == nil {
		return false
	}
	part := func(i int) string {
		if m[2*i] < 0 {
			return ""
		}
		return text[m[2*i]:m[2*i+1]]
	}
	line, col := position(src, len(string([]rune(src)[:len([]rune(text[:m[2]]))])))
	what := fmt.Sprintf("%q is no number", part(1))
	if part(2) == "" && durable(part(1)) {
		report(line, col, fmt.Sprintf("%q is no value", part(1)), "a duration is "+asDuration(strconv.Quote(part(1))))
		return true
	}
	n := strings.Map(func(r rune) rune {
		if r == ',' || r == '_' {
			return -1
		}
		return r
	}, part(3)+part(4))
	report(line, col, what, "write "+n+zeros[strings.TrimSuffix(part(5), "원")])
	return true
}

// joined are the groups of digits with which a number goes on.
func joined(next string) (all string) {
	for {
		more := digits.FindString(next)
		if len(more) != 3 {
			return all
		}
		all += more
		rest := next[len(more):]
		if next = strings.TrimLeft(rest, ", "); next == rest {
			return all
		}
	}
}

// wordBefore reports whether the number at the end of text is the end of a name.
func wordBefore(text, n string) bool {
	head := text[:len(text)-len(n)]
	return head != "" && (identifier.MatchString(head[len(head)-1:]) || strings.HasSuffix(head, "."))
}

// lookalike reports the first character, outside of quotes, that only looks like
// one of the language, where CEL could not read the expression.
func lookalike(src string, problems []*cel.Error, report Report) bool {
	first := syntaxError(problems)
	if first == nil {
		return false
	}
	text := withoutTexts(src)
	if strings.HasPrefix(first.Message, syntax+"token recognition error at: '\"") || strings.HasPrefix(first.Message, syntax+"token recognition error at: ''") {
		text = []rune(src) // a quote that is not closed
	}
	for i, r := range text {
		if c, ok := campaign.Lookalike(r); ok {
			line, col := position(src, len(string([]rune(src)[:i])))
			what, hint := c.Says()
			report(line, col, what, hint)
			return true
		}
	}
	return false
}
