package expr

import (
	"slices"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/parser"
)

// A Clause is an expression of a set whose expressions are checked. It is read
// only to see what it says: it has no types and cannot be evaluated.
type Clause struct {
	Text string
	ast  *celast.AST
}

// ReadClause reads an expression. It returns nil if that is not CEL.
func ReadClause(src string) *Clause {
	a := parsed(src)
	if a == nil {
		return nil
	}
	return &Clause{src, a}
}

// untyped is CEL with the library of campaigns and no names, to parse with; nil if it
// cannot be made.
var untyped = sync.OnceValue(func() *cel.Env {
	env, _ := NewEnv()
	return env
})

// parsed is the syntax of an expression, nil if it has none.
func parsed(src string) *celast.AST {
	env := untyped()
	if env == nil {
		return nil
	}
	a, iss := env.Parse(src)
	if iss != nil && iss.Err() != nil {
		return nil
	}
	return a.NativeRep()
}

// Names are the names in the expression, each once: whole, and with the field
// that is read of them (local and local.hour). The variables of loops are among
// them.
func (c *Clause) Names() (names []string) {
	add := func(name string) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	celast.PreOrderVisit(c.ast.Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		if name := dotted(e); name != "" && strings.Count(name, ".") <= 1 {
			add(name)
		}
	}))
	return names
}

// Parts are the texts of the conditions that && joins at the top of the
// expression.
func (c *Clause) Parts() (texts []string) {
	for _, p := range conjuncts(c.ast.Expr(), nil) {
		texts = append(texts, c.textOf(p))
	}
	return texts
}

// textOf is a part of the expression, as CEL writes it; "" if it cannot.
func (c *Clause) textOf(e celast.Expr) string {
	t, err := parser.Unparse(e, c.ast.SourceInfo())
	if err != nil {
		return ""
	}
	return t
}

// dotted is the name a or a.b that an expression is; "" for any other.
func dotted(e celast.Expr) string {
	switch e.Kind() {
	case celast.IdentKind:
		return strings.TrimPrefix(e.AsIdent(), ".")
	case celast.SelectKind:
		if of := dotted(e.AsSelect().Operand()); of != "" && !e.AsSelect().IsTestOnly() {
			return of + "." + e.AsSelect().FieldName()
		}
	}
	return ""
}

// A Subject is what a condition compares: a name (local.hour, views, before.views),
// with what is made of it.
type Subject struct {
	Name    string // "": something else
	Indexed bool   // views["bag"]
	Some    bool   // of a list: those that a filter leaves, or what a map makes of each
	Size    bool   // its size
}

func (c *Clause) subject(e celast.Expr) (s Subject) {
	if name := dotted(e); name != "" {
		return Subject{Name: name}
	}
	switch e.Kind() {
	case celast.CallKind:
		call := e.AsCall()
		args := call.Args()
		if call.IsMemberFunction() {
			args = append([]celast.Expr{call.Target()}, args...)
		}
		switch name := call.FunctionName(); {
		case name == "size" && len(args) == 1:
			if s = c.subject(args[0]); s.Size {
				return Subject{}
			}
			s.Size = true // of anything: a size is never less than 0
		case name == operators.Index:
			if s = c.subject(args[0]); s.Indexed || s.Some || s.Size || s.Name == "" {
				return Subject{}
			}
			s.Indexed = true
		}
	case celast.ComprehensionKind:
		macro, ok := c.ast.SourceInfo().GetMacroCall(e.ID())
		if !ok || macro.Kind() != celast.CallKind {
			return s
		}
		if name := macro.AsCall().FunctionName(); name != "filter" && name != "map" {
			return s
		}
		if s = c.subject(e.AsComprehension().IterRange()); s.Size || s.Name == "" {
			return Subject{}
		}
		s.Some = true
	}
	return s
}

// A place is where a part of one of several expressions begins, in lines from 1
// and runes from 0.
type place struct{ clause, line, col int }

// A formula is what a condition says, with ! resolved: all or any of its parts, or
// a comparison, or always or never true.
type formula struct {
	op    connective
	parts []formula
	text  string // as CEL writes it
	at    place

	subject string // of a comparison: what is compared, as CEL writes it
	is      Subject
	holds   []stretch // for which values of the subject it is true
}

type connective uint8

const (
	compares connective = iota
	allOf
	anyOf
	isTrue
	isFalse
)

// A reading turns expressions into formulas. lets are the names that stand for
// expressions.
type reading struct {
	lets   map[string]*Clause
	clause int // the number of the expression
	depth  int // of names of lets within each other
}

// formula reads a part of a condition; negated: its opposite.
func (r reading) formula(c *Clause, e celast.Expr, negated bool, at *place) (f formula) {
	here := r.place(c, e)
	if at != nil { // inside of a let: the place is that of its name
		here = *at
	}
	f = formula{text: c.textOf(e), at: here}
	if negated {
		f.text = "!(" + f.text + ")"
	}
	if e.Kind() == celast.IdentKind && r.lets[e.AsIdent()] != nil && r.depth < 64 {
		r.depth++
		let := r.lets[e.AsIdent()]
		return r.formula(let, let.ast.Expr(), negated, &here)
	}
	if e.Kind() == celast.LiteralKind {
		if b, ok := e.AsLiteral().(types.Bool); ok {
			return f.fixed(bool(b) != negated)
		}
	}
	if e.Kind() == celast.CallKind {
		call := e.AsCall()
		args := call.Args()
		switch name := call.FunctionName(); name {
		case operators.LogicalNot:
			inner := r.formula(c, args[0], !negated, at)
			if inner.op == compares {
				inner.text = f.text
			}
			inner.at = here
			return inner
		case operators.LogicalAnd, operators.LogicalOr:
			f.op = allOf
			if (name == operators.LogicalOr) != negated {
				f.op = anyOf
			}
			for _, a := range args {
				f.parts = append(f.parts, r.formula(c, a, negated, at))
			}
			return f.flat()
		case operators.In:
			if g, ok := r.in(c, f, args, negated); ok {
				return g
			}
		default:
			if g, ok := r.comparison(c, f, name, args, negated); ok {
				return g
			}
		}
	}
	// Any other condition is compared with true.
	return r.compared(c, f, e, holding(operators.Equals, truthOf(!negated)))
}

func (r reading) place(c *Clause, e celast.Expr) place {
	for {
		var first celast.Expr
		switch e.Kind() {
		case celast.SelectKind:
			first = e.AsSelect().Operand()
		case celast.ComprehensionKind:
			first = e.AsComprehension().IterRange()
		case celast.CallKind:
			switch call := e.AsCall(); {
			case call.IsMemberFunction():
				first = call.Target()
			case len(call.Args()) > 1 && (strings.Contains(call.FunctionName(), "_") || strings.HasPrefix(call.FunctionName(), "@")): // an operator between
				first = call.Args()[0]
			}
		}
		if first == nil {
			break
		}
		e = first
	}
	at := c.ast.SourceInfo().GetStartLocation(e.ID())
	return place{r.clause, max(at.Line(), 1), max(at.Column(), 0)}
}

func (f formula) fixed(holds bool) formula {
	f.op = isFalse
	if holds {
		f.op = isTrue
	}
	return f
}

func (r reading) compared(c *Clause, f formula, subject celast.Expr, holds []stretch) formula {
	for i := 0; i < 64 && subject.Kind() == celast.IdentKind && r.lets[subject.AsIdent()] != nil; i++ {
		c = r.lets[subject.AsIdent()]
		subject = c.ast.Expr()
	}
	f.op, f.subject, f.is, f.holds = compares, c.textOf(subject), c.subject(subject), holds
	return f
}

// comparison reads x < 3 and the like; ok is false for other expressions.
func (r reading) comparison(c *Clause, f formula, op string, args []celast.Expr, negated bool) (g formula, ok bool) {
	if opposite[op] == "" {
		return f, false
	}
	if negated {
		op = opposite[op]
	}
	a, b := args[0], args[1]
	p, aLiteral := pointOf(a)
	q, bLiteral := pointOf(b)
	switch {
	case aLiteral && bLiteral:
		return f.fixed(!apart(holding(op, q), []stretch{only(p)}, false)), true
	case bLiteral:
		return r.compared(c, f, a, holding(op, q)), true
	case aLiteral:
		return r.compared(c, f, b, holding(flipped[op], p)), true
	case c.textOf(a) != "" && c.textOf(a) == c.textOf(b):
		return f.fixed(op == operators.Equals || op == operators.LessEquals || op == operators.GreaterEquals), true
	}
	return f, false
}

// in reads x in ["a", "b"]; ok is false if the list has other than literals.
func (r reading) in(c *Clause, f formula, args []celast.Expr, negated bool) (g formula, ok bool) {
	if args[1].Kind() != celast.ListKind || len(args[1].AsList().OptionalIndices()) > 0 {
		return f, false
	}
	var holds []stretch
	f.op = allOf
	for _, el := range args[1].AsList().Elements() {
		p, ok := pointOf(el)
		if !ok {
			return f, false
		}
		holds = append(holds, only(p))
		f.parts = append(f.parts, r.compared(c, formula{text: f.text, at: f.at}, args[0], holding(operators.NotEquals, p)))
	}
	switch {
	case len(holds) == 0:
		return f.fixed(negated), true
	case negated:
		return f, true
	}
	return r.compared(c, formula{text: f.text, at: f.at}, args[0], holds), true
}

// flat joins what is nested without need: any of comparisons of one subject is one
// comparison.
func (f formula) flat() formula {
	var parts []formula
	for _, p := range f.parts {
		if p.op == f.op && len(p.parts) > 0 {
			parts = append(parts, p.parts...)
		} else {
			parts = append(parts, p)
		}
	}
	f.parts = parts
	if f.op != anyOf || slices.ContainsFunc(parts, func(p formula) bool { return p.op != compares || p.subject != parts[0].subject || p.subject == "" }) {
		return f
	}
	f.op, f.subject, f.is = compares, parts[0].subject, parts[0].is
	for _, p := range parts {
		f.holds = append(f.holds, p.holds...)
	}
	return f
}
