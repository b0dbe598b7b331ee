package expr

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// MaxOfferData bounds the JSON of an offer's data, in bytes. NATS refuses
// messages of more than 1 MB; such an offer would stall its chain for ever.
// Rendering more is an error.
const MaxOfferData = 512 << 10

// A Template is the data of an offer: JSON whose strings contain {{ CEL }}.
type Template struct {
	path    string // of a string with expressions
	literal []byte // JSON without expressions
	text    []part // a string with expressions
	fields  []namedTemplate
	list    []*Template
	isList  bool
}

// A part of a string is a text or an expression. Of an expression, text is what is
// written, with its braces.
type part struct {
	text string
	expr *Expr
}

// A TemplateError is an error of the offer's data, which tells where it is.
type TemplateError struct {
	Path string // what stands after offer.data, such as .title or .items[0].name
	Text string // the expression as written, with its braces; "": the data as a whole are wrong
	Err  error
}

func (e *TemplateError) Error() string { return e.Err.Error() }
func (e *TemplateError) Unwrap() error { return e.Err }

type namedTemplate struct {
	key []byte // as a JSON string
	val *Template
}

// A ReportIn is a Report about an expression in a JSON value; path is the place
// of the string that contains it.
type ReportIn func(path []string, line, col int, what, hint string)

// Template compiles the data of an offer. It returns nil if there are no data.
func (l *Language) Template(data json.RawMessage, report ReportIn) *Template {
	if len(data) == 0 {
		return nil
	}
	dec := json.NewDecoder(strings.NewReader(string(data)))
	dec.UseNumber()
	var tree any
	if err := dec.Decode(&tree); err != nil {
		report(nil, 0, 0, "not JSON: "+err.Error(), "")
		return nil
	}
	return l.tree(tree, nil, "", report)
}

// tree compiles a value of the data. place is its TemplateError.Path.
func (l *Language) tree(tree any, path []string, place string, report ReportIn) *Template {
	pathOf := func(k string) []string { return append(append([]string{}, path...), k) }
	switch v := tree.(type) {
	case string:
		t := l.text(v, func(line, col int, what, hint string) { report(path, line, col, what, hint) })
		if t.text != nil {
			t.path = place
		}
		return t
	case []any:
		t := &Template{isList: true}
		for i, e := range v {
			t.list = append(t.list, l.tree(e, pathOf(strconv.Itoa(i)), fmt.Sprintf("%s[%d]", place, i), report))
		}
		return t
	case map[string]any:
		t := &Template{fields: []namedTemplate{}}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			t.fields = append(t.fields, namedTemplate{value.AppendJSONString(nil, k), l.tree(v[k], pathOf(k), place+field(k), report)})
		}
		return t
	}
	b, _ := json.Marshal(tree) // null, bool or number: cannot fail
	return &Template{literal: b}
}

// field is a key of an object as a path shows it.
func field(key string) string {
	if key == "" || strings.ContainsAny(key, ".[]\"") {
		return fmt.Sprintf("[%q]", key)
	}
	return "." + key
}

// text splits a string into texts and expressions.
func (l *Language) text(s string, report Report) *Template {
	t := &Template{}
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
			report(line, col, "{{ without }}", "close it")
			return t
		}
		if what, hint := noExpression(rest[i+2 : i+2+n]); what != "" {
			line, col := position(s, offset)
			report(line, col, what, hint)
			return t
		}
		x := l.Compile(rest[i+2:i+2+n], nil, func(line, col int, what, hint string) {
			first, before := position(s, offset) // the position of the expression within the string
			if line > 1 {
				report(line+first-1, col, what, hint)
			} else {
				report(first, before+col, what, hint)
			}
		})
		t.text = append(t.text, part{rest[i : i+2+n+2], x})
		rest = rest[i+2+n+2:]
		if x == nil {
			continue
		}
		if what, hint := l.unshowable(x, len(t.text) == 1 && rest == ""); what != "" {
			line, col := position(s, offset)
			report(line, col, what, hint)
		}
	}
	if len(t.text) == 0 {
		return &Template{literal: value.AppendJSONString(nil, s)}
	}
	if rest != "" {
		t.text = append(t.text, part{text: rest})
	}
	return t
}

// unshowable says why the value of x can never be shown; "" if it may be. whole
// means as the whole of a string, else within a longer text.
func (l *Language) unshowable(x *Expr, whole bool) (what, hint string) {
	kind, fixed := x.Type.Kind(), constants{l, x.ast, func(int64, error) {}}.of()
	switch {
	case kind == types.NullTypeKind || fixed == types.NullValue:
		return "the value is always null, so the offer would never be sent", "leave the key out, or write null without {{ }}"
	case !whole && (kind == types.ListKind || kind == types.MapKind):
		return InWords(x.Type.String()) + " has no text, so the offer would never be sent", "make {{ }} the whole text"
	case fixed == nil:
		return "", ""
	}
	var err error
	if whole {
		_, err = value.AppendJSON(nil, fixed)
	} else {
		_, err = value.PrintText(fixed)
	}
	if err != nil {
		return "the offer would never be sent: " + err.Error(), ""
	}
	return "", ""
}

// position converts a byte offset to a line (from 1) and a column (runes before
// it).
func position(s string, offset int) (line, col int) {
	head := s[:offset]
	line = strings.Count(head, "\n") + 1
	return line, utf8.RuneCountInString(head[strings.LastIndexByte(head, '\n')+1:])
}

// closing is the offset of the }} that ends an expression, which is not inside
// quotes or braces; -1 if there is none.
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

// Each calls fn with each expression of the template.
func (t *Template) Each(fn func(*Expr)) {
	for _, p := range t.text {
		if p.expr != nil {
			fn(p.expr)
		}
	}
	for _, f := range t.fields {
		f.val.Each(fn)
	}
	for _, e := range t.list {
		e.Each(fn)
	}
}

// AddFields adds to fields what the template's expressions themselves read of the
// event.
func (t *Template) AddFields(fields *event.Fields) {
	t.Each(func(x *Expr) { x.AddFields(fields) })
}

// Render evaluates the expressions and returns the offer's data.
func (t *Template) Render(sc Scope) (json.RawMessage, error) {
	data, err := t.render(nil, sc)
	if err != nil {
		return nil, err
	}
	if len(data) > MaxOfferData/6 { // when the offer is written, <, > and & take six bytes each
		var b bytes.Buffer
		if json.HTMLEscape(&b, data); b.Len() > MaxOfferData {
			return nil, &TemplateError{Err: fmt.Errorf("the data has %d bytes, at most %d can go out", b.Len(), MaxOfferData)}
		}
	}
	return data, nil
}

// render appends the data with the expressions' values in place. An error (a
// null is one) suppresses the offer.
func (t *Template) render(dst []byte, sc Scope) ([]byte, error) {
	switch {
	case t.literal != nil:
		return append(dst, t.literal...), nil
	case t.isList:
		return t.renderList(dst, sc)
	case t.fields != nil:
		return t.renderFields(dst, sc)
	case len(t.text) == 1:
		v, err := t.text[0].expr.shown(sc)
		if err == nil {
			dst, err = value.AppendJSON(dst, v)
		}
		if err != nil {
			return dst, &TemplateError{t.path, t.text[0].text, err}
		}
		return dst, nil
	}
	return t.renderText(dst, sc)
}

func (t *Template) renderList(dst []byte, sc Scope) (_ []byte, err error) {
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
}

func (t *Template) renderFields(dst []byte, sc Scope) (_ []byte, err error) {
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
}

func (t *Template) renderText(dst []byte, sc Scope) ([]byte, error) {
	var b strings.Builder
	for _, p := range t.text {
		if p.expr == nil {
			b.WriteString(p.text)
			continue
		}
		v, err := p.expr.shown(sc)
		s := ""
		if err == nil {
			s, err = value.PrintText(v)
		}
		if err != nil {
			return dst, &TemplateError{t.path, p.text, err}
		}
		b.WriteString(s)
	}
	return value.AppendJSONString(dst, b.String()), nil
}

// shown is the value of an expression that is shown: that of an optional is what it
// holds. Nothing and null are errors.
func (x *Expr) shown(sc Scope) (ref.Val, error) {
	v, err := x.Eval(sc)
	for err == nil {
		o, ok := v.(*types.Optional)
		if !ok {
			break
		}
		if !o.HasValue() {
			return nil, errors.New("the optional value is empty")
		}
		v = o.GetValue()
	}
	if err == nil && v == types.NullValue {
		return nil, errors.New("the value is null")
	}
	return v, err
}
