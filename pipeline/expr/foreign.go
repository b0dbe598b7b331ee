package expr

import (
	"fmt"
	"slices"
	"strings"

	"offerstream/pipeline/campaign"
)

// Whoever knows another language writes its words first. foreign.go knows what they
// are called here.

// functionsOf are the functions of other languages; x is what they are about.
var functionsOf = map[string]string{
	"lower": "x.lowerAscii()", "tolower": "x.lowerAscii()", "tolowercase": "x.lowerAscii()", "downcase": "x.lowerAscii()", "lowercase": "x.lowerAscii()",
	"upper": "x.upperAscii()", "toupper": "x.upperAscii()", "touppercase": "x.upperAscii()", "upcase": "x.upperAscii()", "uppercase": "x.upperAscii()",
	"includes": `x.contains("...")`, "startwith": `x.startsWith("...")`, "starts_with": `x.startsWith("...")`, "ends_with": `x.endsWith("...")`, "endwith": `x.endsWith("...")`, "strip": "x.trim()",
	"any": "list.exists(i, i.x == 1)", "some": "list.exists(i, i.x == 1)", "every": "list.all(i, i.x == 1)", "find": "list.exists(i, i.x == 1), or list.filter(i, i.x == 1).first()", "where": "list.filter(i, i.x == 1)", "select": "list.filter(i, i.x == 1)",
	"isempty": "x.size() == 0", "is_empty": "x.size() == 0", "empty": "x.size() == 0", "notempty": "x.size() > 0", "isnotempty": "x.size() > 0", "len": "x.size()", "length": "x.size()", "count": "x.size() for a list; events are counted by a feature with agg: count", "cardinality": "x.size()",
	"sum": "a feature with agg: sum", "avg": "a feature with agg: avg", "average": "a feature with agg: avg", "mean": "a feature with agg: avg", "median": "a feature with agg: quantiles",
	"today": "local.date", "date": `timestamp("2026-04-01T00:00:00+09:00"); the day in the user's zone is local.date`, "curdate": "local.date", "hour": "local.hour", "weekday": "local.weekday", "dayofweek": "local.weekday", "now": "now, without brackets",
	"exists": "has(event.properties.x); or list.exists(i, i.x == 1)", "isset": "has(event.properties.x)", "defined": "has(event.properties.x)", "isnull": "!has(event.properties.x)", "is_null": "!has(event.properties.x)",
	"coalesce": "event.properties.?x.orValue(0)", "default": `event.properties.?x.orValue("...")`, "ifnull": "event.properties.?x.orValue(0)", "nvl": "event.properties.?x.orValue(0)", "if": "c ? a : b", "iff": "c ? a : b",
	"number": "double(x)", "float": "double(x)", "tonumber": "double(x)", "parseint": "int(x)", "integer": "int(x)", "str": "string(x)", "tostring": "string(x)", "text": "string(x)",
	"match": `x.matches("...")`, "regex": `x.matches("...")`, "regexp": `x.matches("...")`, "test": `x.matches("...")`,
	"round": "math.round(x)", "abs": "math.abs(x)", "ceil": "math.ceil(x)", "floor": "math.floor(x)", "min": "math.least(a, b)", "max": "math.greatest(a, b)", "concat": "a + b", "append": "list + [x]",
	"between": "x >= a && x <= b", "sortby": "list.sortBy(i, i.x)", "sorted": "list.sort()", "orelse": "orValue(x)", "or_else": "orValue(x)", "get": `x[?"key"].orValue(0)`, "hour_of_day": "local.hour",
	"has": "has(event.properties.x)", "contains_key": `"..." in x`, "containskey": `"..." in x`, "range": "x >= 9 && x <= 21",
	"seconds": `duration("60s")`, "minutes": `duration("10m")`, "hours": `duration("1h")`, "days": `duration("1d")`, "interval": `duration("1h")`,
}

// methodsOf are the functions of times in other languages.
var methodsOf = map[string]string{
	"hour": `local.hour, or x.getHours("Asia/Seoul")`, "hours": `local.hour, or x.getHours("Asia/Seoul")`, "minute": "x.getMinutes()", "minutes": "x.getMinutes()", "second": "x.getSeconds()", "seconds": "x.getSeconds()", "day": "x.getDate()", "month": "x.getMonth(), from 0", "year": "x.getFullYear()", "weekday": "x.getDayOfWeek(), from 0 for Sunday", "date": "x.getDate()", "min": "list.min()", "max": "list.max()", "has": "has(x.y), or \"y\" in x",
}

// wordsOf are the names of other languages and systems.
var wordsOf = map[string]string{
	"nil": "null", "none": "null", "undefined": "null", "null": "null", "true": "true", "false": "false", "yes": "true", "no": "false",
	"hour": "local.hour", "minute": "local.minute", "weekday": "local.weekday", "dayofweek": "local.weekday", "date": "local.date", "today": "local.date", "time": "event.time", "timestamp": "event.time",
	"user": "profile.x for a trait of the user; event.user is the id", "userid": "event.user", "user_id": "event.user", "customer": "profile.x", "traits": "profile.x; event.traits.x in `where`", "trait": "profile.x", "attributes": "profile.x", "person": "profile.x",
	"properties": "event.properties", "props": "event.properties", "context": "event.context", "event_name": "event.name", "eventname": "event.name", "event_type": "event.type", "items": "event.items", "products": "event.items", "math": "math.round(x)",
	"current_time": "now", "currenttime": "now", "current_timestamp": "now",
}

// noFunction says that there is no function of a name. method: it is called on a
// value, after a dot.
func noFunction(name string, method bool) (what, hint string) {
	what = fmt.Sprintf("there is no function %q", name)
	small := strings.ToLower(name)
	switch {
	case operatorOf[small] != "":
		return fmt.Sprintf("%q is no operator", name), "write " + operatorOf[small]
	case slices.Contains(loops, name) && (method || name != "exists"):
		return fmt.Sprintf("%s lacks the name of the element", name), fmt.Sprintf("write %s(i, ...), where i is the element, such as i.price", name)
	case method && methodsOf[small] != "":
		return what, "write " + methodsOf[small]
	case functionsOf[small] != "":
		return what, "write " + functionsOf[small]
	}
	return what, "the functions are in config/LANGUAGE.md"
}

// ForeignWord is what is written in place of a word of another language; "" if the
// name is no such word.
func ForeignWord(name string) string {
	if is := wordsOf[strings.ToLower(name)]; is != "" {
		return "write " + is
	}
	return ""
}

// unknownName says what was meant by a name that nothing has, from what is around it:
// a name with a minus, or a text without quotes. end is how many runes of it and what
// follows are explained by that; 0: nothing was found.
func (l *Language) unknownName(name string, before, after []rune) (what, hint string, end int) {
	if m := dashed.FindString(string(after)); m != "" && l.names.Feature != nil {
		parts := strings.FieldsFunc(m, func(r rune) bool { return r == '-' || r == '.' || r == ' ' })
		for n := len(parts); n > 1; n-- {
			joined := strings.Join(parts[:n], "_")
			if _, ok := l.names.Feature(joined); !ok {
				continue
			}
			hint = fmt.Sprintf("did you mean %q?", joined)
			if strings.Contains(m, "-") {
				hint += " - is minus"
			}
			if !l.known(joined) {
				hint += "; " + l.names.Hint(joined)
			}
			return fmt.Sprintf("nothing here is named %q", name), hint, len([]rune(m))
		}
	}
	if m := zoneName.FindString(string(after)); m != "" && getterEnd.MatchString(string(before)) {
		return "a time zone is a text", fmt.Sprintf("write %q in quotes", m), len([]rune(m))
	}
	if m := loopEnd.FindStringSubmatch(string(before)); m != nil && elementOf.MatchString(string(after)) {
		is := map[string]string{"sort": "sortBy", "max": "max_by", "min": "min_by", "order_by": "sortBy", "group": "map"}[m[1]]
		hint = "exists, all, filter, map, sortBy, max_by and min_by do"
		if is != "" {
			hint = fmt.Sprintf("write %s(i, i.x)", is)
		}
		return fmt.Sprintf("%s takes no name of an element", m[1]), hint, bracketEnd(append([]rune("("), after...)) - 1
	}
	if compared.MatchString(string(before)) && !strings.HasPrefix(strings.TrimSpace(strings.TrimPrefix(string(after), name)), ".") && l.nearest(name) == "" && ForeignWord(name) == "" {
		return fmt.Sprintf("nothing here is named %q", name), fmt.Sprintf("a text is in quotes: %q; a property is %s", name, campaign.Member("event.properties", name)), len([]rune(name))
	}
	return "", "", 0
}

// nearest is the variable that a name is most like; "" if it is like none.
func (l *Language) nearest(name string) string {
	var known []string
	for _, v := range l.env.Variables() {
		known = append(known, v.Name())
	}
	return campaign.Nearest(name, known)
}
