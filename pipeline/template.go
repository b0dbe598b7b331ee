package pipeline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// MaxOfferData bounds the data of an offer, as JSON: what NATS does not take
// in one message (1 MB) would stall its chain for ever. More is an error.
const MaxOfferData = 512 << 10

// A template is an offer's data: JSON whose strings hold {{ CEL }}.
type template struct {
	literal []byte // JSON that needs nothing
	text    []part // a string
	fields  []namedTemplate
	list    []*template
	isList  bool
}

type part struct {
	text string
	expr *expr
}

type namedTemplate struct {
	key []byte // JSON string
	val *template
}

// template compiles the data of an offer; nil when there is none.
func (c *compiler) template(data json.RawMessage, path []string) *template {
	if len(data) == 0 {
		return nil
	}
	dec := json.NewDecoder(strings.NewReader(string(data)))
	dec.UseNumber()
	var tree any
	if err := dec.Decode(&tree); err != nil {
		c.problem(path, "not JSON: "+err.Error(), "")
		return nil
	}
	return c.templateTree(tree, path)
}

func (c *compiler) templateTree(tree any, path []string) *template {
	at := func(k string) []string { return append(append([]string{}, path...), k) }
	switch v := tree.(type) {
	case string:
		return c.templateText(v, path)
	case []any:
		t := &template{isList: true}
		for i, e := range v {
			t.list = append(t.list, c.templateTree(e, at(strconv.Itoa(i))))
		}
		return t
	case map[string]any:
		t := &template{fields: []namedTemplate{}}
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		for _, k := range keys {
			t.fields = append(t.fields, namedTemplate{appendJSONString(nil, k), c.templateTree(v[k], at(k))})
		}
		return t
	}
	b, _ := json.Marshal(tree) // null, bool or number: cannot fail
	return &template{literal: b}
}

// templateText splits a string into text and expressions.
func (c *compiler) templateText(s string, path []string) *template {
	t := &template{}
	rest := s
	for {
		i := strings.Index(rest, "{{")
		if i < 0 {
			break
		}
		if i > 0 {
			t.text = append(t.text, part{text: rest[:i]})
		}
		offset := len(s) - len(rest) + i + 2
		n := closing(rest[i+2:])
		if n < 0 {
			line, col := position(s, offset-2)
			c.problems = append(c.problems, Problem{Path: path, Line: line, Col: col, What: "{{ without }}", Hint: "close it"})
			return t
		}
		src := rest[i+2 : i+2+n]
		var found []Problem
		x := c.state.compile(src, nil, path, &found)
		for _, p := range found { // positions within the expression -> within the string
			line, col := position(s, offset)
			if p.Line > 1 {
				p.Line += line - 1
			} else {
				p.Line, p.Col = line, col+p.Col
			}
			c.problems = append(c.problems, p)
		}
		t.text = append(t.text, part{expr: x})
		rest = rest[i+2+n+2:]
	}
	if len(t.text) == 0 {
		return &template{literal: appendJSONString(nil, s)}
	}
	if rest != "" {
		t.text = append(t.text, part{text: rest})
	}
	return t
}

// position is a byte offset as line from 1 and column in runes from 0.
func position(s string, offset int) (line, col int) {
	head := s[:offset]
	line = strings.Count(head, "\n") + 1
	return line, utf8.RuneCountInString(head[strings.LastIndexByte(head, '\n')+1:])
}

// closing is where the }} stands that ends an expression: not within quotes
// or braces; -1 if there is none.
func closing(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"', '\'':
			q := s[i]
			for i++; i < len(s) && s[i] != q; i++ {
				if s[i] == '\\' {
					i++
				}
			}
		case '{':
			depth++
		case '}':
			if depth == 0 && strings.HasPrefix(s[i:], "}}") {
				return i
			}
			depth--
		}
	}
	return -1
}

// offerData renders the data of an offer.
func (t *template) offerData(sc *scope) (json.RawMessage, error) {
	data, err := t.render(nil, sc)
	if err != nil {
		return nil, err
	}
	if len(data) > MaxOfferData/6 { // <, > and & take six bytes when the offer is written
		var b bytes.Buffer
		if json.HTMLEscape(&b, data); b.Len() > MaxOfferData {
			return nil, fmt.Errorf("the data has %d bytes, at most %d can go out", b.Len(), MaxOfferData)
		}
	}
	return data, nil
}

// render writes the data, with the expressions' values in place. An error
// (a null among them) suppresses the offer.
func (t *template) render(dst []byte, sc *scope) ([]byte, error) {
	var err error
	switch {
	case t.literal != nil:
		return append(dst, t.literal...), nil
	case t.isList:
		dst = append(dst, '[')
		for i, e := range t.list {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = e.render(dst, sc); err != nil {
				return dst, err
			}
		}
		return append(dst, ']'), nil
	case t.fields != nil:
		dst = append(dst, '{')
		for i, f := range t.fields {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(append(dst, f.key...), ':')
			if dst, err = f.val.render(dst, sc); err != nil {
				return dst, err
			}
		}
		return append(dst, '}'), nil
	case len(t.text) == 1:
		v, err := t.text[0].expr.eval(sc)
		if err != nil {
			return dst, err
		}
		if v == types.NullValue {
			return dst, fmt.Errorf("the value is null")
		}
		return appendJSON(dst, v)
	}
	var b strings.Builder
	for _, p := range t.text {
		if p.expr == nil {
			b.WriteString(p.text)
			continue
		}
		v, err := p.expr.eval(sc)
		if err != nil {
			return dst, err
		}
		s, err := printText(v)
		if err != nil {
			return dst, err
		}
		b.WriteString(s)
	}
	return appendJSONString(dst, b.String()), nil
}

// appendJSON writes a value as JSON: maps in the order of their keys, times
// and durations as text.
func appendJSON(dst []byte, v ref.Val) ([]byte, error) {
	switch v := v.(type) {
	case types.Null:
		return append(dst, "null"...), nil
	case types.Bool:
		return strconv.AppendBool(dst, bool(v)), nil
	case types.Int:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case types.Uint:
		return strconv.AppendUint(dst, uint64(v), 10), nil
	case types.Double:
		f := float64(v)
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return dst, fmt.Errorf("%v is not a number that JSON has", f)
		}
		return strconv.AppendFloat(dst, f, 'f', -1, 64), nil
	case types.String, types.Timestamp, types.Duration:
		s, err := printText(v)
		return appendJSONString(dst, s), err
	case traits.Mapper:
		return appendJSONMap(dst, v)
	case traits.Lister:
		dst = append(dst, '[')
		var err error
		for it, i := v.Iterator(), 0; it.HasNext() == types.True; i++ {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = appendJSON(dst, it.Next()); err != nil {
				return dst, err
			}
		}
		return append(dst, ']'), nil
	case *types.Optional:
		if !v.HasValue() {
			return dst, fmt.Errorf("the value is absent")
		}
		return appendJSON(dst, v.GetValue())
	}
	return dst, fmt.Errorf("a %s has no JSON", v.Type().TypeName())
}

func appendJSONMap(dst []byte, m traits.Mapper) ([]byte, error) {
	vals := map[string]ref.Val{}
	var keys []string
	for it := m.Iterator(); it.HasNext() == types.True; {
		k := it.Next()
		name, ok := keyText(k)
		if !ok {
			return dst, fmt.Errorf("a %s is no key", k.Type().TypeName())
		}
		keys = append(keys, name)
		vals[name] = m.Get(k)
	}
	sort.Strings(keys)
	dst = append(dst, '{')
	var err error
	for i, k := range keys {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendJSONString(dst, k), ':')
		if dst, err = appendJSON(dst, vals[k]); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

// appendJSONString writes a JSON string, without escaping for HTML.
func appendJSONString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, r := range s { // invalid UTF-8 becomes U+FFFD
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, '\\', 'n')
		case r == '\t':
			dst = append(dst, '\\', 't')
		case r == '\r':
			dst = append(dst, '\\', 'r')
		case r == '\b':
			dst = append(dst, '\\', 'b')
		case r == '\f':
			dst = append(dst, '\\', 'f')
		case r < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}
