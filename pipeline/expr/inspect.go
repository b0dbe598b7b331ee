package expr

import (
	"slices"
	"strings"

	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/parser"
)

// An Inspection shows of what a condition consists, for traces: what it reads, and
// if it is a comparison, both of its sides.
type Inspection struct {
	Reads       []Reading // the longest paths, as event.properties.price, views["bag"]; each once
	Op          string    // of a comparison: == != < <= > >= in; "": it is none
	Left, Right Reading
}

// A Reading is a part of an expression that can be evaluated by itself.
type Reading struct {
	Text string
	Name string // the name that it reads, if it is that name, or a value of it under Key; else ""
	Key  *Expr  // nil: it is read without a key
	x    *Expr
}

// Eval evaluates the part.
func (r *Reading) Eval(sc Scope) (ref.Val, error) { return r.x.Eval(sc) }

// Literal reports whether the part reads nothing.
func (r *Reading) Literal() bool { return len(r.x.Reads) == 0 }

// mostReadings bounds the readings of an inspection.
const mostReadings = 32

// Inspect shows of what a condition consists that the language has compiled. It
// returns nil if the language does not know the condition.
func (l *Language) Inspect(src string) *Inspection {
	quiet := true
	a, _ := l.check(src, nil, func(int, int, string, string) { quiet = false })
	if a == nil || !quiet {
		return nil
	}
	in := &Inspection{}
	e := a.Expr()
	if e.Kind() == celast.CallKind && len(e.AsCall().Args()) == 2 {
		if op, ok := written[e.AsCall().FunctionName()]; ok {
			left, hasLeft := l.reading(a, e.AsCall().Args()[0])
			right, hasRight := l.reading(a, e.AsCall().Args()[1])
			if hasLeft && hasRight {
				in.Op, in.Left, in.Right = op, left, right
			}
		}
	}
	for _, path := range paths(e, nil, nil) {
		if r, ok := l.reading(a, path); ok && len(in.Reads) < mostReadings && !slices.ContainsFunc(in.Reads, func(o Reading) bool { return o.Text == r.Text }) {
			in.Reads = append(in.Reads, r)
		}
	}
	return in
}

func (l *Language) reading(whole *celast.AST, e celast.Expr) (r Reading, ok bool) {
	text, err := parser.Unparse(e, whole.SourceInfo())
	if err != nil {
		return r, false
	}
	quiet := true
	report := func(int, int, string, string) { quiet = false }
	if r = (Reading{Text: text, x: l.plan(whole, e, report)}); r.x == nil || !quiet {
		return r, false
	}
	if e.Kind() == celast.CallKind && e.AsCall().FunctionName() == operators.Index {
		args := e.AsCall().Args()
		if r.Key = l.plan(whole, args[1], report); r.Key == nil {
			return r, false
		}
		e = args[0]
	}
	if e.Kind() == celast.IdentKind {
		r.Name = strings.TrimPrefix(e.AsIdent(), ".")
	} else {
		r.Key = nil
	}
	return r, true
}

// paths are the longest paths that an expression reads from outside of it. bound
// are the variables of the loops around it.
func paths(e celast.Expr, bound []string, found []celast.Expr) []celast.Expr {
	switch e.Kind() {
	case celast.IdentKind:
		if !slices.Contains(bound, e.AsIdent()) {
			found = append(found, e)
		}
	case celast.SelectKind:
		if root := rootOf(e); root != "" && !slices.Contains(bound, root) {
			return append(found, e)
		}
		found = paths(e.AsSelect().Operand(), bound, found)
	case celast.CallKind:
		call := e.AsCall()
		if root := rootOf(e); root != "" && !slices.Contains(bound, root) {
			found = append(found, e)
			if key := call.Args()[1]; call.FunctionName() == operators.Index && key.Kind() != celast.LiteralKind {
				found = paths(key, bound, found)
			}
			return found
		}
		if call.IsMemberFunction() {
			found = paths(call.Target(), bound, found)
		}
		for _, arg := range call.Args() {
			found = paths(arg, bound, found)
		}
	case celast.ListKind:
		for _, el := range e.AsList().Elements() {
			found = paths(el, bound, found)
		}
	case celast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			found = paths(entry.AsMapEntry().Value(), bound, found)
		}
	case celast.ComprehensionKind:
		loop := e.AsComprehension()
		found = paths(loop.IterRange(), bound, found)
		inner := append(slices.Clone(bound), loop.IterVar(), loop.AccuVar())
		if v := loop.IterVar2(); v != "" {
			inner = append(inner, v)
		}
		found = paths(loop.LoopStep(), inner, found)
	}
	return found
}

// rootOf is the name that a path of fields and keys begins with; "": the expression
// is no path.
func rootOf(e celast.Expr) string {
	switch e.Kind() {
	case celast.IdentKind:
		return e.AsIdent()
	case celast.SelectKind:
		if e.AsSelect().IsTestOnly() {
			return ""
		}
		return rootOf(e.AsSelect().Operand())
	case celast.CallKind:
		switch e.AsCall().FunctionName() {
		case operators.Index, operators.OptIndex, operators.OptSelect:
			return rootOf(e.AsCall().Args()[0])
		}
	}
	return ""
}
