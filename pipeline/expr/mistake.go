package expr

import (
	"fmt"
	"slices"
	"strings"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/lazyregexp"
)

// What CEL says of a mistake is about its grammar and its overloads. mistake.go says
// it in the words of LANGUAGE.md, and what to do.

var (
	unexpected = lazyregexp.New(`^expected type '(.+)' but found '(.*)'$`)
	word       = lazyregexp.New(`^[A-Za-z_][A-Za-z0-9_]*`)
	overload   = lazyregexp.New(`^found no matching overload for '(.+)' applied to '(.*)'$`)
	fieldless  = lazyregexp.New(`^type '(.+)' does not support field selection$`)
	undefined  = lazyregexp.New(`^undefined field '(.+)'$`)
	sizeNames  = []string{"len", "length", "count", "size"}
	loops      = []string{"all", "exists", "exists_one", "existsOne", "filter", "map", "max_by", "min_by", "sortBy"}
)

// reworded says what CEL's checker found at a place of an expression, which is so
// many runes after its beginning.
func (l *Language) reworded(message, src string, at int) (what, hint string) {
	text := withoutTexts(src)
	before, after := string(text[:at]), string(text[at:])
	if m := overload.FindStringSubmatch(message); m != nil {
		return l.mismatch(m[1], m[2], src, at)
	}
	if m := unexpected.FindStringSubmatch(message); m != nil && m[1] == "bool" {
		return l.noCondition(m[2], src, at)
	}
	name := word.FindString(strings.TrimLeft(after, ".?"))
	if m := fieldless.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("%s has no fields", InWords(m[1])), l.insteadOfField(m[1], name)
	}
	if m := undefined.FindStringSubmatch(message); m != nil {
		of := strings.TrimSpace(chain.FindString(before))
		return fmt.Sprintf("nothing here is named %q", strings.TrimPrefix(of+"."+m[1], ".")), l.fieldHint(of, m[1])
	}
	if word, ok := strings.CutPrefix(message, reserved); ok {
		if word == "if" {
			return "a condition here has no `if` before it", "write the condition alone; c ? a : b chooses one of two values"
		}
		return fmt.Sprintf("%q is a word of CEL's own", word), fmt.Sprintf("a property is event.properties[%q]", word)
	}
	if message == "invalid argument to has() macro" {
		return "has() asks whether a field is there", "such as has(event.properties.price); a feature and profile are always there"
	}
	if message == "argument is not an identifier" {
		return "this is to be the name of an element", "a name such as i, as in max_by(i, i.price)"
	}
	return message, ""
}

// noCondition says that an operator which joins conditions is given something else.
func (l *Language) noCondition(found, src string, at int) (what, hint string) {
	text := withoutTexts(src)
	what = InWords(found) + " where a bool is wanted"
	before, after := string([]rune(src)[:at]), string([]rune(src)[at:])
	if found == "string" {
		if m := orText.FindStringSubmatch(before); m != nil && literalBegin.MatchString(after) {
			return what, fmt.Sprintf("write %s in [%s, %s]", m[1], m[2], literalBegin.FindString(after))
		}
		if m := eitherText.FindStringSubmatch(after); m != nil {
			return what, fmt.Sprintf("write x in [%s, %s]", m[1], m[2])
		}
		if join := joinEnd.FindString(string(text[:at])); join != "" {
			return what, "&& and || join conditions; what is shown in place of a missing value is written " + orElse(strings.TrimSuffix(before, join), "x.?y.orValue(\"...\")")
		}
	}
	if strings.HasPrefix(after, ".") {
		before = operandEnd.FindString(before)
		after = before + after
	}
	if begin := operandBegin.FindString(after); begin != "" {
		hint = l.conditionHintOf(begin, found)
	}
	return what, hint
}

var (
	dateAfter    = lazyregexp.New(`^[=!<>]+\s*["']?([0-9]{4}-[0-9]{2}-[0-9]{2})\b`)
	orText       = lazyregexp.New(`([A-Za-z_][A-Za-z0-9_.]*)\s*==\s*("[^"]*"|'[^']*')\s*\|\|\s*$`)
	literalBegin = lazyregexp.New(`^("[^"]*"|'[^']*')`)
	eitherText   = lazyregexp.New(`^("[^"]*"|'[^']*')\s*\|\|\s*("[^"]*"|'[^']*')`)
	minusEnd     = lazyregexp.New(`([A-Za-z_][A-Za-z0-9_]*)\s*-\s*[A-Za-z_]*$`)
	joinEnd      = lazyregexp.New(`\s*(\|\||&&)\s*$`)
)

// insteadOfField is what was probably meant by a name after a value that has no
// fields.
func (l *Language) insteadOfField(of, name string) string {
	switch {
	case strings.HasPrefix(of, "list(Ranked") && !slices.Contains(sizeNames, name) && !l.env.HasFunction(name):
		return fmt.Sprintf("write .exists(i, i.key == %q)", name)
	case name == "before":
		return "before.x is x without this event: before comes first"
	case slices.Contains(sizeNames, name):
		return "write .size()"
	case of == "timestamp":
		return "local.hour is the hour in the user's zone, .getHours() that in UTC"
	case l.env.HasFunction(name):
		return fmt.Sprintf("a function has brackets: .%s()", name)
	case strings.HasPrefix(of, "list("):
		return "its elements do: .first(), .exists(i, i.x == 1)"
	}
	return ""
}

// fieldHint lists the fields of a variable, or names the one that was probably
// meant.
func (l *Language) fieldHint(of, name string) string {
	for _, v := range l.env.Variables() {
		if v.Name() != of {
			continue
		}
		fields, _ := l.env.CELTypeProvider().FindStructFieldNames(v.Type().TypeName())
		best := campaign.Nearest(name, fields)
		switch {
		case best != "":
			return fmt.Sprintf("did you mean %q?", of+"."+best)
		case of == "event" && strings.HasPrefix(name, "prop"):
			return `did you mean "event.properties"?`
		case of == "event":
			return fmt.Sprintf("a property is event.properties.%s", name)
		case len(fields) > 0:
			slices.Sort(fields)
			return fmt.Sprintf("known are %s.%s", of, strings.Join(fields, ", ."))
		}
	}
	return ""
}

// mismatch says that an operator or function does not take values of these types,
// as CEL writes them: (int, string), or list(int).(string) after a function's dot.
func (l *Language) mismatch(fn, applied, src string, at int) (what, hint string) {
	object, list, method := strings.Cut(applied, ".(")
	if !method {
		object, list = "", strings.TrimPrefix(applied, "(")
	}
	args := split(strings.TrimSuffix(list, ")"))
	all := args
	if method {
		all = append([]string{object}, args...)
	}
	names := make([]string, len(args))
	for i, a := range args {
		names[i] = InWords(a)
	}
	op := strings.Trim(strings.Trim(fn, "@"), "_")
	if len(args) == 2 && !method {
		x, y := sidesOf(src, at, op, args)
		hint = l.comparedHint(op, x, y)
		if op == "in" && args[0] == "string" && strings.HasPrefix(args[1], "list(") && x.text != "" && y.text != "" {
			hint = l.lookIn(y.text, x.text)
		}
	}
	if (op == "==" || op == "!=" || op == "in") && len(args) == 2 && slices.Contains(args, "Event") {
		hint = "the event's name is event.name"
	}
	if strings.HasPrefix(op, "[") && len(args) == 2 && (args[0] == "Event" || args[0] == "Session") {
		hint = "its fields are read with a dot: event.properties, session.count"
	}
	if strings.HasPrefix(op, "[") {
		if name := strings.TrimSpace(operandEnd.FindString(string([]rune(src)[:at]))); l.names.Feature != nil && len(args) == 2 {
			if f, ok := l.names.Feature(name); ok && !f.By && !strings.HasPrefix(args[0], "list(") && !strings.HasPrefix(args[0], "Histogram") {
				hint = fmt.Sprintf("%s has no `by`, so write %s without [ ]", name, name)
			}
		}
	}
	if rest := string([]rune(src)[at:]); hint == "" || dateAfter.MatchString(rest) {
		if m := dateAfter.FindStringSubmatch(rest); m != nil && len(args) == 2 && slices.Contains(comparing, op) {
			switch {
			case strings.Contains(args[0], "timestamp") || strings.Contains(args[0], "Timestamp"):
				hint = fmt.Sprintf("write timestamp(\"%sT00:00:00+09:00\"); or local.date %s \"%s\", in the user's zone", m[1], op, m[1])
			case args[0] == "string":
				hint = fmt.Sprintf("a date is in quotes: \"%s\"", m[1])
			}
		}
	}
	if (op == "max_by" || op == "min_by") && len(args) > 0 && strings.HasPrefix(args[0], "map(") {
		hint = fmt.Sprintf("a map is not a list: x.map(k, k).%s(k, x[k]) gives a key", op)
	}
	if hint == "" {
		hint = typesHint(op, all, method)
	}
	switch {
	case method && len(args) == 0:
		return fmt.Sprintf("%s() does not apply to %s", fn, InWords(object)), hint
	case method:
		return fmt.Sprintf("%s() does not apply to %s with %s", fn, InWords(object), strings.Join(names, ", ")), hint
	case op == "[" || op == "[_]" || op == "[?_]":
		return fmt.Sprintf("%s is not read by %s in [ ]", names[0], names[1]), hint
	case len(args) == 2:
		return fmt.Sprintf("%s does not take %s and %s", op, names[0], names[1]), hint
	}
	if len(args) == 0 {
		if of := minusEnd.FindStringSubmatch(string([]rune(src)[:at])); of != nil {
			hint = fmt.Sprintf("write %s.%s(); - is minus", of[1], op)
		}
		return op + "() lacks what it is about", hint
	}
	return fmt.Sprintf("%s does not take %s", op, strings.Join(names, ", ")), hint
}

// typesHint is what to do about an operator or function that does not take values
// of these types.
func typesHint(op string, types []string, method bool) string {
	has := func(prefix string) bool {
		return slices.ContainsFunc(types, func(t string) bool { return strings.HasPrefix(t, prefix) })
	}
	hasList := has("list(")
	switch {
	case (op == "max" || op == "min") && !method:
		return map[string]string{"max": "write math.greatest(a, b), or list.max()", "min": "write math.least(a, b), or list.min()"}[op]
	case op == "duration":
		return `write duration("60s"), with a unit`
	case has("null"):
		return "null is compared with == and !="
	case has("bool") && has("string"):
		return "a bool is true or false, without quotes; a condition needs no comparison with it"
	case has("bool") && slices.Contains(comparing, op) && len(types) == 2 && types[0] == "bool":
		return "each comparison stands alone: a < b && b < c"
	case (op == "==" || op == "!=") && has("int") && has("double"):
		return "an int is a whole number: compare it with < and >, or as double(x)"
	case op == "contains" && hasList:
		return "write x in list; or list.exists(i, i.id == x), if its elements are maps"
	case has("optional_type"):
		return "there may be none: write .orValue(0) after it, with what counts then"
	case has("Histogram"):
		return "a histogram is for best_hour; .size is the number of its entries"
	case slices.ContainsFunc(types, func(t string) bool { return strings.Contains(t, "Quantiles") }):
		return "read one of .size, .p10, .p25, .p50, .p75 and .p90"
	case has("duration"):
		return `a duration is duration("60s")`
	case has("timestamp"):
		return `a time is timestamp("2026-04-01T00:00:00+09:00")`
	case strings.HasPrefix(op, "[") && has("list(Ranked"):
		return `write .exists(i, i.key == "..." && i.score > 1)`
	case strings.HasPrefix(op, "[") && hasList:
		return "a list is read by place, from 0; .exists(i, ...) and .filter(i, ...) look for elements"
	case hasList && method && (op == "max" || op == "min"):
		return "its elements are to be numbers, texts, times or durations"
	case hasList && !method && word.FindString(op) == op && op != "in":
		return fmt.Sprintf("write it after the list: list.%s()", op)
	case has("map("):
		return `a value of it is read by key or field: views["bag"], facts.weather["seoul"].dust`
	case has("string") && (has("int") || has("double") || has("wrapper(double)")):
		return "only texts are in quotes; string(x) makes a text of a number"
	}
	return ""
}

// split splits types at the commas that are in no brackets.
func split(types string) (parts []string) {
	depth, begin := 0, 0
	for i, r := range types {
		switch {
		case r == '(':
			depth++
		case r == ')':
			depth--
		case r == ',' && depth == 0:
			parts = append(parts, strings.TrimSpace(types[begin:i]))
			begin = i + 1
		}
	}
	if last := strings.TrimSpace(types[begin:]); last != "" {
		parts = append(parts, last)
	}
	return parts
}

// InWords is a type, as CEL writes it, in words: an int, a list.
func InWords(t string) string {
	kind, _, _ := strings.Cut(t, "(")
	switch kind {
	case "string":
		return "a text"
	case "google.protobuf.Duration":
		return "a duration"
	case "google.protobuf.Timestamp":
		return "a time"
	case "timestamp":
		return "a time"
	case "int", "uint":
		return "an " + kind
	case "null_type", "null":
		return "null"
	case "dyn", "any":
		return "a value of unknown type"
	case "optional_type":
		return "an optional value"
	case "wrapper":
		return InWords(strings.TrimSuffix(strings.TrimPrefix(t, "wrapper("), ")")) + " or null"
	case "Histogram":
		return "a histogram"
	case "Event":
		return "an event"
	case "Session":
		return "a session"
	case "Ranked":
		return "an entry of a top"
	}
	if strings.Contains(kind, "Quantiles") {
		return "a quantiles"
	}
	return "a " + kind
}
