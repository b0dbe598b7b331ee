package config

import (
	"fmt"
	"strings"

	"offerstream/pipeline/lazyregexp"
)

// taken.go looks for what a condition may be taken to mean, and does not.

// inUTC is a time of day without a zone; digitsAfter a comparison with a text of digits.
var (
	inUTC       = lazyregexp.New(`^(now|event\.time|session\.started)\.(getHours|getMinutes|getDayOfWeek|getDate|getDayOfMonth|getDayOfYear|getMonth|getFullYear)\(\s*\)`)
	digitsAfter = lazyregexp.New(`^[<>]=?\s*(?:"(\d+(?:\.\d+)?)"|'(\d+(?:\.\d+)?)')`)
)

// takenFor reports them in a condition.
func (n *linter) takenFor(c condition) {
	v, ok := n.places[key(c.path)]
	if !ok {
		return
	}
	line, col, quote := 1, 0, rune(0)
	before := ' '
	for i, r := range c.src {
		switch {
		case quote != 0 && r == quote && before != '\\':
			quote = 0
		case quote != 0:
		case r == '"' || r == '\'':
			quote = r
		default:
			n.takenAt(v, c.src[i:], before, line, col)
		}
		if col++; r == '\n' {
			line, col = line+1, 0
		}
		before = r
	}
}

// takenAt reports what begins at a place outside of quotes.
func (n *linter) takenAt(v value, rest string, before rune, line, col int) {
	if m := digitsAfter.FindStringSubmatch(rest); m != nil {
		number := m[1] + m[2]
		at := v.file.locate(v.n, line, col+len([]rune(m[0]))-len(number)-2)
		n.spot("digits-as-text", v, at, fmt.Sprintf("%q in quotes is a text: no number is more or less than it, and texts are compared letter by letter", number), fmt.Sprintf("write %s", number))
		return
	}
	if n.def.Zone == "" || n.def.Zone == "UTC" || partOfName(before) {
		return
	}
	if m := inUTC.FindStringSubmatch(rest); m != nil {
		hint := fmt.Sprintf("write %s.%s(%q)", m[1], m[2], n.def.Zone)
		if word := map[string]string{"getHours": "local.hour", "getMinutes": "local.minute", "getDayOfWeek": "local.weekday"}[m[2]]; word != "" && m[1] == "now" {
			hint = fmt.Sprintf("write %s, in the user's zone; or %s", word, strings.TrimPrefix(hint, "write "))
		}
		n.spot("utc-time", v, v.file.locate(v.n, line, col), fmt.Sprintf("%s.%s() is in UTC, and the set's zone is %s", m[1], m[2], n.def.Zone), hint)
		n.readsUTC = true
	}
}

func partOfName(r rune) bool {
	return r == '_' || r == '.' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}
