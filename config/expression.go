package config

import (
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/lazyregexp"
)

const celHint = "such as event.properties.price > 100"

// cel reads an expression. It reports expressions that YAML has cut off; the
// compiler checks everything else.
func (v value) cel() string {
	switch {
	case v.bad():
		return ""
	case v.n.Kind == yaml.MappingNode:
		v.wrong("an expression", v.insteadOfMap())
		return ""
	case v.n.Kind == yaml.SequenceNode && v.key != nil && (v.key.Value == "by" || v.key.Value == "match"):
		v.wrong("one key", `a key of two parts is event.properties.x + "/" + event.properties.y`)
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
	v.blanksInTexts()
	v.blanksInName()
	return strings.TrimRight(v.n.Value, " \t\r\n")
}

// insteadOfMap is what was probably meant by a map in the place of an expression: a
// condition in braces, values of properties, or a condition with a colon.
func (v value) insteadOfMap() string {
	if len(v.n.Content) == 0 {
		return celHint
	}
	var conditions []string
	for i := 0; i+1 < len(v.n.Content); i += 2 {
		k, val := v.n.Content[i], v.n.Content[i+1]
		switch {
		case slices.Contains([]string{"and", "or", "not", "all", "any", "AND", "OR"}, k.Value):
			return "conditions are joined by && and ||; a list in `if` must hold as a whole"
		case val.Kind != yaml.ScalarNode:
			return quoteIt
		case val.Value == "" && plain(val) && v.n.Style&yaml.FlowStyle != 0:
			return "leave the { } out"
		case strings.Contains(k.Value, "?"):
			return "YAML takes what follows \": \" for a value: " + quoteIt
		case !propertyPath.MatchString(k.Value):
			return quoteIt
		}
		name := k.Value
		isFeature := v.path[len(v.path)-1] != "where" && slices.ContainsFunc(v.l.def.Features, func(f campaign.Feature) bool { return f.Name == name })
		if !strings.Contains(name, ".") && !isFeature {
			name = campaign.Member("event.properties", name)
		}
		text := strconv.Quote(val.Value)
		if _, isText := literal(val.Value).(string); !isText && plain(val) {
			text = val.Value
		}
		conditions = append(conditions, name+" == "+text)
	}
	return "write '" + strings.Join(conditions, " && ") + "'"
}

var propertyPath = lazyregexp.New(`^[\pL_][\pL\pN_-]*(\.[\pL_][\pL\pN_-]*)*$`)

// blanksInTexts warns of characters in the quotes of an expression that cannot be
// seen, or look like a space.
func (v value) blanksInTexts() {
	var quote quotes
	for i, r := range []rune(v.n.Value) {
		inside := quote.after(r)
		c, ok := campaign.Lookalike(r)
		if !ok || !c.Blank() || !inside {
			continue
		}
		if spots := v.file.walk(v.n); spots != nil {
			what, _ := c.Says()
			v.warnAt(spots[i], what, "a text with an ordinary one is not equal to this one")
		}
		return
	}
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
