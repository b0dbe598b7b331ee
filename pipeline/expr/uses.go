package expr

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/parser"
)

// A Use is a place of an expression that reads a path, and what it does with the
// value.
type Use struct {
	Path      []string // from a name on; Each for an element
	Line, Col int      // where it begins, as in a Report
	Conjunct  int      // in which of the conjuncts
	Op        Op
	Values    []any  // what it is compared with: string, float64 and bool
	Row       string // the field of a row with which it is compared
	Reversed  bool   // under ! or !=: the author asks that it differs
}

// Each stands in a path for any element of a list, and for any key of a map.
const Each = "[]"

// An Op is what an expression does with the value at a path.
type Op uint8

const (
	Read       Op = iota // anything else
	Equal                // it is compared for equality with one of Values, or with Row
	Order                // it is compared by < <= > >= with Values or Row
	Calculated           // it is calculated with
	Key                  // Values are looked for among its keys
)

// A Term is a conjunct of a condition, as Language.Conjuncts splits it.
type Term struct {
	Text      string
	Line, Col int
}

// A Reader finds what expressions read and compare. It parses them only: they have
// been checked.
type Reader struct {
	lets map[string]celast.Expr
}

// NewReader makes a Reader that knows no `let`.
func NewReader() *Reader { return &Reader{lets: map[string]celast.Expr{}} }

// Let makes a name stand for an expression: a path that begins with the name is
// that of the expression.
func (r *Reader) Let(name, src string) {
	if a := parsed(src); a != nil {
		r.lets[name] = a.Expr()
	}
}

// Uses are what an expression reads, and its conjuncts.
func (r *Reader) Uses(src string) (uses []Use, terms []Term) {
	a := parsed(src)
	if a == nil {
		return nil, nil
	}
	w := &usesIn{lets: r.lets, ast: a, src: src}
	for _, p := range conjuncts(a.Expr(), nil) {
		line, col := w.begins(p)
		text, err := parser.Unparse(p, a.SourceInfo())
		if err != nil {
			text = strings.Join(strings.Fields(src), " ")
		}
		w.conjunct = len(terms)
		w.walk(p, nil, false)
		terms = append(terms, Term{text, line, col})
	}
	return w.uses, terms
}

// Path is the path that an expression as a whole is, nil if it is none.
func (r *Reader) Path(src string) []string {
	a := parsed(src)
	if a == nil {
		return nil
	}
	return (&usesIn{lets: r.lets, ast: a, src: src}).path(a.Expr(), nil)
}

// Template calls fn with what the expressions in the data of an offer read, and
// with the path of the string in which they are. The places are those in the string.
func (r *Reader) Template(data json.RawMessage, fn func(path []string, uses []Use)) {
	var tree any
	if json.Unmarshal(data, &tree) == nil {
		r.inTree(tree, nil, fn)
	}
}

func (r *Reader) inTree(tree any, path []string, fn func(path []string, uses []Use)) {
	below := func(k string) []string { return append(slices.Clone(path), k) }
	switch v := tree.(type) {
	case string:
		r.inText(v, func(uses []Use) { fn(path, uses) })
	case []any:
		for i, e := range v {
			r.inTree(e, below(strconv.Itoa(i)), fn)
		}
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			r.inTree(v[k], below(k), fn)
		}
	}
}

// inText finds the expressions in a string, as Language.text does.
func (r *Reader) inText(s string, fn func(uses []Use)) {
	for at := 0; ; {
		i := strings.Index(s[at:], "{{")
		if i < 0 {
			return
		}
		at += i + 2
		n := closing(s[at:])
		if n < 0 {
			return
		}
		uses, _ := r.Uses(s[at : at+n])
		first, before := position(s, at)
		for i := range uses {
			if u := &uses[i]; u.Line > 1 {
				u.Line += first - 1
			} else {
				u.Line, u.Col = first, u.Col+before
			}
		}
		fn(uses)
		at += n + 2
	}
}
