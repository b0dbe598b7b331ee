package oracle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// A template is a text with expressions in it.
type template struct {
	parts []templatePart
}

type templatePart struct {
	text string
	expr *expression // nil: text
}

// templates replaces each string in a JSON tree with its template.
func (l *language) templates(v any, owner string) any {
	switch v := v.(type) {
	case string:
		return l.template(v, owner)
	case []any:
		for i := range v {
			v[i] = l.templates(v[i], owner)
		}
	case *object:
		for key, val := range v.vals {
			v.vals[key] = l.templates(val, owner)
		}
	}
	return v
}

func (l *language) template(s, owner string) *template {
	t := new(template)
	for {
		text, rest, open := strings.Cut(s, "{{")
		if text != "" {
			t.parts = append(t.parts, templatePart{text: text})
		}
		if !open {
			return t
		}
		// The expression ends at the first }} before which it compiles: there
		// may be others in its texts and map literals.
		end := strings.Index(rest, "}}")
		for end >= 0 {
			if _, iss := l.env.Compile(strings.TrimSpace(rest[:end])); iss.Err() == nil {
				break
			}
			next := strings.Index(rest[end+1:], "}}")
			if next < 0 {
				break
			}
			end += 1 + next
		}
		if end < 0 {
			l.fail(owner, "data", errors.New("{{ without }}"))
			return t
		}
		t.parts = append(t.parts, templatePart{expr: l.compile(strings.TrimSpace(rest[:end]), owner, "data")})
		after := rest[end+2:]
		s = after
	}
}

// render returns the data of an offer, with sorted keys.
func (c *campaign) render(sc *scope) (json.RawMessage, error) {
	if c.data == nil {
		return nil, nil
	}
	tree, err := fillIn(c.data, sc)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(tree); err != nil {
		return nil, err
	}
	data := json.RawMessage(bytes.TrimSpace(b.Bytes()))
	if out, err := json.Marshal(data); err != nil || len(out) > 512<<10 {
		return nil, errors.New("the data is too large for a message")
	}
	return data, nil
}

func fillIn(v any, sc *scope) (any, error) {
	switch v := v.(type) {
	case *template:
		return v.fill(sc)
	case []any:
		out := []any{}
		for _, val := range v {
			filled, err := fillIn(val, sc)
			if err != nil {
				return nil, err
			}
			out = append(out, filled)
		}
		return out, nil
	case *object:
		out := map[string]any{}
		for key, val := range v.vals {
			filled, err := fillIn(val, sc)
			if err != nil {
				return nil, err
			}
			out[key] = filled
		}
		return out, nil
	}
	return v, nil
}

// fill returns the filled-in text, or the value itself if the template is
// exactly one expression.
func (t *template) fill(sc *scope) (any, error) {
	var b strings.Builder
	for _, p := range t.parts {
		if p.expr == nil {
			b.WriteString(p.text)
			continue
		}
		v, err := p.expr.eval(sc)
		if err != nil {
			return nil, err
		}
		for o, ok := v.(*types.Optional); ok && o.HasValue(); o, ok = v.(*types.Optional) {
			v = o.GetValue()
		}
		if v == ref.Val(types.NullValue) {
			return nil, fmt.Errorf("the value is null")
		}
		if len(t.parts) == 1 {
			return toJSON(v)
		}
		s, err := shown(v)
		if err != nil {
			return nil, err
		}
		b.WriteString(s)
	}
	return b.String(), nil
}
