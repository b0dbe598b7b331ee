package config

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxDepth bounds the nesting of an offer's data.
const maxDepth = 32

// data reads an offer's data as JSON with sorted keys. Its strings are
// templates, which the compiler checks.
func (v value) data() json.RawMessage {
	tree := v.tree(0)
	if v.l.isSilent(v.path) {
		return nil
	}
	b, err := json.Marshal(tree)
	if err != nil {
		v.problem("this cannot be written as JSON: "+err.Error(), "")
		return nil
	}
	return b
}

// tree returns the value as JSON types: map, slice, string, number, bool, nil.
func (v value) tree(depth int) any {
	switch {
	case v.bad():
		return nil
	case depth > maxDepth:
		v.problem(fmt.Sprintf("data is nested deeper than %d", maxDepth), "")
		return nil
	}
	switch v.n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for k, c := range v.pairs {
			if strings.Contains(k, "{{") {
				c.problem("a key cannot be a template", "put the {{ }} into a value")
			}
			m[k] = c.tree(depth + 1)
		}
		return m
	case yaml.SequenceNode:
		l := make([]any, len(v.n.Content))
		for i, n := range v.n.Content {
			l[i] = v.child(nil, n, fmt.Sprint(i)).tree(depth + 1)
		}
		return l
	}
	if !plain(v.n) {
		return v.n.Value
	}
	if at, c, ok := v.lookalikeInKey(); v.null() && ok {
		what, hint := c.Says()
		v.problemAt(at, what, hint)
		return nil
	}
	if v.null() {
		hint := `write "" or null for an empty value`
		if v.flow && v.key != nil {
			hint = "inside { } a comma begins a new key: put a text that has one in quotes"
		}
		v.problem("the value is missing", hint)
		return nil
	}
	if at, ok := v.comment(); ok && at.col+1 < len(v.file.lines[at.line]) && v.file.lines[at.line][at.col+1] != ' ' {
		v.problemAt(at, "the text ends here, because YAML takes the rest for a comment", quoteIt+"; if it is a comment, put a space after the #")
	}
	return v.jsonLiteral()
}

// jsonLiteral returns the meaning of a plain scalar in data. Numbers keep their
// digits.
func (v value) jsonLiteral() any {
	digits := strings.TrimLeft(v.n.Value, "+-")
	switch x := literal(v.n.Value).(type) {
	case int64, *big.Int:
		if len(digits) > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9' {
			v.problem(v.n.Value+" is a number, so its leading 0 would be lost", "put it in quotes")
		}
		return x
	case float64:
		if math.IsInf(x, 0) || math.IsNaN(x) {
			v.problem(v.n.Value+" is not a number in JSON", "put it in quotes")
			return nil
		}
		return x
	default:
		return x
	}
}
