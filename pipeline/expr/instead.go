package expr

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/lazyregexp"
)

// instead.go says what to write in place of a value that an operator does not take:
// a list where a number is wanted, a number where a duration is.

var (
	operandEnd   = lazyregexp.New(`[A-Za-z_.][A-Za-z0-9_.]*(?:\[[^\[\]]*\]|\(\)|\.[A-Za-z0-9_]+)*\s*$`)
	operandBegin = lazyregexp.New(`^\s*-?(?:(?:duration|timestamp)\((?:"[^"]*"|'[^']*')\)|[0-9][0-9.]*(?:e-?[0-9]+)?|"[^"]*"|'[^']*'|[A-Za-z_.][A-Za-z0-9_.]*(?:\[[^\[\]]*\]|\(\)|\.[A-Za-z0-9_]+)*)`)
	literalEnd   = lazyregexp.New(`(?:(?:duration|timestamp)\((?:"[^"]*"|'[^']*')\)|"[^"]*"|'[^']*'|-?[0-9][0-9.]*)\s*$`)
	comparing    = []string{"==", "!=", "<", "<=", ">", ">="}
)

// A side is one side of an operator: its text, "" if it is not simple, and its
// type, as CEL writes it.
type side struct{ text, typ string }

// sidesOf are the two sides of an operator at a place of src.
func sidesOf(src string, at int, op string, args []string) (x, y side) {
	runes := []rune(src)
	x.typ, y.typ = args[0], args[1]
	if at > len(runes) || at+len(op) > len(runes) {
		return x, y
	}
	before, after := string(runes[:at]), string(runes[at+len([]rune(op)):])
	if x.text = strings.TrimSpace(literalEnd.FindString(before)); x.text == "" || !strings.ContainsAny(x.text, `"'`) && operandEnd.FindString(before) != "" {
		x.text = strings.TrimSpace(operandEnd.FindString(before))
		if x.text == "" {
			x.text = strings.TrimSpace(literalEnd.FindString(before))
		}
	}
	y.text = strings.TrimSpace(operandBegin.FindString(after))
	if rest := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(after), y.text)); rest != "" && strings.ContainsRune("([.?+-*/%", rune(rest[0])) {
		y.text = "" // it goes on
	}
	if head := strings.TrimSpace(strings.TrimSuffix(strings.TrimRight(before, " "), x.text)); head != "" && strings.ContainsRune("+-*/%", rune(head[len(head)-1])) {
		x.text = "" // it begins before
	}
	return x, y
}

// comparedHint says how to write a comparison of values that cannot be compared; ""
// if nothing better is known than typesHint.
func (l *Language) comparedHint(op string, x, y side) string {
	if !slices.Contains(comparing, op) {
		return l.calculatedHint(op, x, y)
	}
	op = l.waitingFor(op, x, y)
	whole := func(first, second, better string) string {
		if x.text == "" || y.text == "" {
			return "write " + better
		}
		return fmt.Sprintf("write %s %s %s", first, op, second)
	}
	if better := l.comparable(x, y); better != "" {
		return whole(better, y.text, better)
	}
	if better := l.comparable(y, x); better != "" {
		return whole(x.text, better, better)
	}
	if m := ofClock.FindStringSubmatch(y.text); m != nil && x.text == "local.hour" {
		return fmt.Sprintf("write local.hour %s %s", op, m[1])
	}
	for _, pair := range [][2]side{{x, y}, {y, x}} {
		if hint := l.comparedAs(op, pair[0], pair[1]); hint != "" {
			return hint
		}
	}
	return ""
}

// waitingFor is the operator with which a dwell is compared, so that the campaign
// waits for it.
func (l *Language) waitingFor(op string, x, y side) string {
	stays := func(s side) bool {
		name, _, _ := strings.Cut(s.text, "[")
		f, ok := Feature{}, false
		if l.names.Feature != nil {
			f, ok = l.names.Feature(name)
		}
		return ok && f.Stays
	}
	switch {
	case stays(x) && (op == ">" || op == "=="):
		return ">="
	case stays(y) && (op == "<" || op == "=="):
		return "<="
	}
	return op
}

// calculatedHint is comparedHint for + and the like.
func (l *Language) calculatedHint(op string, x, y side) string {
	if !slices.Contains([]string{"+", "-", "*", "/", "%"}, op) || x.text == "" || y.text == "" {
		return ""
	}
	for _, pair := range [][2]side{{x, y}, {y, x}} {
		better := ""
		if of := pair[0]; strings.HasPrefix(of.typ, "map(") {
			better, _ = l.underKey(of)
		} else if strings.HasPrefix(of.typ, "list(") && isNumeric(pair[1].typ) {
			better = of.text + ".size()"
		}
		switch {
		case better == "":
		case pair[0] == x:
			return fmt.Sprintf("write %s %s %s", better, op, y.text)
		default:
			return fmt.Sprintf("write %s %s %s", x.text, op, better)
		}
	}
	return ""
}

// comparable is how to write x so that it can be compared with y; "" if it is not
// known.
func (l *Language) comparable(x, y side) string {
	switch {
	case x.text == "":
		return ""
	case x.typ == "Ranked" && y.typ == "string":
		return x.text + ".key"
	case x.typ == "Ranked" && isNumeric(y.typ):
		return x.text + ".score"
	case strings.HasPrefix(x.typ, "optional_type(Ranked") && y.typ == "string":
		return x.text + `.?key.orValue("")`
	case strings.HasPrefix(x.typ, "list(") && isNumeric(y.typ):
		return x.text + ".size()"
	case strings.HasPrefix(x.typ, "Histogram") && isNumeric(y.typ):
		return x.text + ".size"
	case strings.Contains(x.typ, "Quantiles") && !strings.HasPrefix(x.typ, "map(") && isNumeric(y.typ):
		return x.text + ".p50"
	case strings.HasPrefix(x.typ, "optional_type(Ranked") && isNumeric(y.typ):
		return x.text + ".?score.orValue(0.0)"
	case strings.HasPrefix(x.typ, "optional_type(") && isNumeric(y.typ):
		return x.text + ".orValue(0)"
	case strings.HasPrefix(x.typ, "optional_type(") && y.typ == "string":
		return x.text + `.orValue("")`
	case isDuration(y.typ) && isLiteral(x.text):
		return asDuration(x.text)
	case y.typ == "string" && isNumeric(x.typ) && isNumber(types.String(strings.Trim(y.text, `"'`))):
		return ""
	case strings.HasPrefix(x.typ, "map("):
		one, rest := l.underKey(x)
		if one == "" || !isNumeric(y.typ) && !isDuration(y.typ) && y.typ != "string" {
			return ""
		}
		if isDuration(rest) && isNumeric(y.typ) {
			return ""
		}
		if better := l.comparable(side{one, rest}, y); better != "" {
			return better
		}
		return one
	}
	return ""
}

// comparedAs are the other hints for x, compared with y.
func (l *Language) comparedAs(op string, x, y side) string {
	bare := strings.Trim(y.text, `"'`)
	switch {
	case isNumeric(x.typ) && y.typ == "string" && bare != y.text && numeric.MatchString(bare):
		return fmt.Sprintf("write %s, without quotes", bare)
	case x.text == "":
		return ""
	case strings.HasPrefix(x.typ, "map("):
		one, rest := l.underKey(x)
		if one != "" && isDuration(rest) && isLiteral(y.text) {
			return fmt.Sprintf("write %s %s %s", one, op, asDuration(y.text))
		}
	case strings.HasPrefix(x.typ, "list(") && y.typ == "string" && y.text != "":
		return l.lookIn(x.text, y.text)
	}
	return ""
}

var ofClock = lazyregexp.New(`^["']0?([0-9]{1,2}):[0-9]{2}["']$`)

var numeric = lazyregexp.New(`^-?[0-9]+(\.[0-9]+)?$`)

// lookIn is how to look for a text in a list.
func (l *Language) lookIn(list, text string) string {
	if l.names.Shape != nil {
		if s := l.names.Shape(list).elem(List); s != nil && s.Is == Record {
			return fmt.Sprintf("write %s.exists(i, i.%s == %s)", list, slices.Sorted(maps.Keys(s.Fields))[0], text)
		}
	}
	return fmt.Sprintf("write %s in %s; or %s.exists(i, i.x == %s), if its elements are maps", text, list, list, text)
}

// underKey is how a feature with `by` is read under the key of the event, and the
// type of what is there; "" if x is no such feature.
func (l *Language) underKey(x side) (one, typ string) {
	if l.names.Feature == nil {
		return "", ""
	}
	f, ok := l.names.Feature(strings.TrimPrefix(x.text, "before."))
	if !ok || !f.By || f.Key == "" {
		return "", ""
	}
	parts := split(strings.TrimSuffix(strings.TrimPrefix(x.typ, "map("), ")"))
	if len(parts) != 2 {
		return "", ""
	}
	return fmt.Sprintf("%s[%s]", x.text, f.Key), parts[1]
}

func isNumeric(t string) bool {
	return t == "int" || t == "uint" || t == "double" || strings.HasPrefix(t, "wrapper(double") || strings.HasPrefix(t, "wrapper(int")
}

func isDuration(t string) bool { return strings.Contains(t, "Duration") || t == "duration" }

// isLiteral reports whether text is a number, or a text in quotes.
func isLiteral(text string) bool {
	return numeric.MatchString(text) || len(text) > 1 && (text[0] == '"' || text[0] == '\'') && text[len(text)-1] == text[0]
}

var noDuration = lazyregexp.New(`^("(?:[^"\\]|\\.)*") is not a duration`)

// failureHint says what was probably meant by what always fails.
func failureHint(err string) string {
	if m := noDuration.FindStringSubmatch(err); m != nil {
		if text, err := strconv.Unquote(m[1]); err == nil && durable(text) {
			if numeric.MatchString(text) {
				return campaign.SpellDuration(text)
			}
			return "write " + asDuration(m[1])
		}
	}
	return ""
}

// durable reports whether text is a duration, or was meant for one.
func durable(text string) bool {
	_, err := campaign.ParseDuration(text)
	return err == nil || campaign.SpellDuration(text) != ""
}

// asDuration is the duration that was meant by a literal; a number counts seconds.
func asDuration(literal string) string {
	text := strings.Trim(literal, `"'`)
	_, err := campaign.ParseDuration(text)
	switch {
	case err == nil && text != "0":
	case numeric.MatchString(text):
		text += "s"
	case campaign.SpellDuration(text) != "":
		text = strings.TrimPrefix(campaign.SpellDuration(text), "write ")
	}
	return "duration(" + strconv.Quote(text) + ")"
}

// conditionHint says what to write where a condition is wanted, and src has another
// type.
func (l *Language) conditionHint(src string, t *cel.Type) string {
	return l.conditionHintOf(src, t.String())
}

func (l *Language) conditionHintOf(src, typ string) string {
	text := strings.TrimSpace(src)
	if operandEnd.FindString(text) != text {
		if isNumeric(typ) || typ == "string" {
			return "compare it with something"
		}
		return ""
	}
	of := side{text, typ}
	if one, typ := l.underKey(of); one != "" {
		of = side{one, typ}
	}
	switch {
	case isNumeric(of.typ):
		return fmt.Sprintf("write %s > 0", of.text)
	case isDuration(of.typ):
		return fmt.Sprintf("write %s >= duration(\"60s\")", of.text)
	case strings.HasPrefix(of.typ, "list("):
		return fmt.Sprintf("write %s.size() > 0", of.text)
	case of.typ == "string" || strings.HasPrefix(of.typ, "wrapper(string"):
		return fmt.Sprintf("write %s == \"...\"", of.text)
	case strings.HasPrefix(of.typ, "optional_type"):
		return fmt.Sprintf("write %s.hasValue()", of.text)
	case strings.HasPrefix(of.typ, "map("):
		return fmt.Sprintf("write \"...\" in %s, or %s.size() > 0", of.text, of.text)
	}
	return typesHint("", []string{of.typ}, false)
}
