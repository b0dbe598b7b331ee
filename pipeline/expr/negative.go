package expr

import (
	"slices"
	"strings"

	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// A Negative is a part of a condition that may hold only because a value is less
// than it would be, or lacks what it would have: views < 3, orders == 0,
// !(x in bought).
type Negative struct {
	Text string // the part, as CEL writes it
	Name string // the value: views, before.views
}

// Negatives are those of an expression: of a condition, or of those within another
// expression, such as in a filter. lets are the names that stand for expressions.
// Names that are no features are among what is found (event).
func (c *Clause) Negatives(lets map[string]*Clause) []Negative {
	n := &negatives{lets: lets}
	n.walk(c, c.ast.Expr(), nil, false, "")
	return n.found
}

// negatives looks for the names whose values make an expression true or greater
// by being less.
type negatives struct {
	lets  map[string]*Clause
	found []Negative
	depth int // of names that stand for expressions
}

// A binding is a name that an expression binds: of a loop, or of what a macro
// evaluates once.
type binding struct {
	name  string
	is    celast.Expr // nil: it differs from one turn of the loop to the next
	in    *Clause
	outer *binding
}

// walk looks at a part of an expression. less: the part makes the whole true, or
// greater, by being false or less. within is the text of the comparison around it.
func (n *negatives) walk(c *Clause, e celast.Expr, bound *binding, less bool, within string) {
	each := func(less bool, parts ...celast.Expr) {
		for _, p := range parts {
			n.walk(c, p, bound, less, within)
		}
	}
	switch e.Kind() {
	case celast.IdentKind:
		n.name(c, e.AsIdent(), "", bound, less, within)
	case celast.SelectKind:
		of := e.AsSelect().Operand()
		if of.Kind() == celast.IdentKind {
			n.name(c, of.AsIdent(), e.AsSelect().FieldName(), bound, less, within)
			return
		}
		each(less, of)
	case celast.ListKind:
		each(less, e.AsList().Elements()...)
	case celast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			each(less, entry.AsMapEntry().Value())
		}
	case celast.ComprehensionKind:
		n.loop(c, e, bound, less, within)
	case celast.CallKind:
		call := e.AsCall()
		args := call.Args()
		switch name := call.FunctionName(); {
		case opposite[name] != "" || name == operators.In:
			n.comparison(c, e, bound, less)
		case name == operators.LogicalNot:
			n.walk(c, args[0], bound, !less, c.textOf(e))
		case name == operators.Negate:
			each(!less, args[0])
		case name == operators.Conditional:
			each(false, args[0])
			each(less, args[1:]...)
		case (name == operators.Subtract || name == operators.Divide) && len(args) == 2:
			each(less, args[0])
			each(!less, args[1])
		case name == operators.Index || name == operators.OptIndex || name == operators.OptSelect:
			each(less, args[0])
		default:
			if call.IsMemberFunction() {
				each(less, call.Target())
			}
			each(less, args...)
		}
	}
}

// comparison looks at a < b and the like; less: at the opposite.
func (n *negatives) comparison(c *Clause, e celast.Expr, bound *binding, less bool) {
	op, args, text := e.AsCall().FunctionName(), e.AsCall().Args(), c.textOf(e)
	if less {
		text = "!(" + text + ")"
		if op != operators.In {
			op = opposite[op]
		}
	}
	a, b := args[0], args[1]
	sides := func(aLess, bLess bool) {
		n.walk(c, a, bound, aLess, text)
		n.walk(c, b, bound, bLess, text)
	}
	if isTruth(a) {
		a, b = b, a
	}
	switch op {
	case operators.Less, operators.LessEquals:
		sides(true, false)
	case operators.Greater, operators.GreaterEquals:
		sides(false, true)
	case operators.In:
		// x in [0, 1] holds for what is empty.
		none := b.Kind() == celast.ListKind && slices.ContainsFunc(b.AsList().Elements(), isEmpty)
		sides(none != less, less)
	case operators.Equals, operators.NotEquals:
		if isTruth(b) {
			n.walk(c, a, bound, (b.AsLiteral() == types.True) != (op == operators.Equals), text)
			return
		}
		// x == 0 holds for what is empty, x != 3 too, and x != 0 and x == 3 do not.
		empty := (isEmpty(a) || isEmpty(b)) == (op == operators.Equals)
		sides(empty, empty)
	}
}

// loop looks at a comprehension: all, exists, filter, map, or what a macro binds.
func (n *negatives) loop(c *Clause, e celast.Expr, bound *binding, less bool, within string) {
	loop := e.AsComprehension()
	if loop.IterVar() == "#unused" {
		with := &binding{loop.AccuVar(), loop.AccuInit(), c, bound}
		n.walk(c, loop.Result(), with, less, within)
		return
	}
	in := &binding{name: loop.AccuVar(), outer: bound}
	for _, name := range []string{loop.IterVar(), loop.IterVar2()} {
		if name != "" {
			in = &binding{name: name, outer: in}
		}
	}
	step := loop.LoopStep()
	if step.Kind() != celast.CallKind {
		n.walk(c, loop.IterRange(), bound, less, within)
		return
	}
	args := step.AsCall().Args()
	switch step.AsCall().FunctionName() {
	case operators.LogicalAnd: // all, which holds of nothing
		if within == "" {
			within = c.textOf(e)
		}
		n.walk(c, loop.IterRange(), bound, !less, within)
		n.walk(c, step, in, less, within)
	case operators.Conditional: // filter, exists_one
		n.walk(c, loop.IterRange(), bound, less, within)
		n.walk(c, args[0], in, less, within)
		n.walk(c, args[1], in, less, within)
	default:
		n.walk(c, loop.IterRange(), bound, less, within)
		n.walk(c, step, in, less, within)
	}
}

// name looks at a name, with the field that is read of it.
func (n *negatives) name(c *Clause, name, field string, bound *binding, less bool, within string) {
	if !strings.HasPrefix(name, ".") {
		for v := bound; v != nil; v = v.outer {
			if v.name == name {
				if v.is != nil && n.depth < mostStanding {
					n.depth++
					n.walk(v.in, v.is, v.outer, less, within)
					n.depth--
				}
				return
			}
		}
	}
	name = strings.TrimPrefix(name, ".")
	if let := n.lets[name]; let != nil {
		if n.depth < mostStanding {
			n.depth++
			n.walk(let, let.ast.Expr(), nil, less, within)
			n.depth--
		}
		return
	}
	if !less {
		return
	}
	if name == "before" && field != "" {
		name += "." + field
	}
	if found := (Negative{within, name}); !slices.Contains(n.found, found) {
		n.found = append(n.found, found)
	}
}

// mostStanding bounds how deep names stand for expressions with names that do.
const mostStanding = 64

// isTruth reports whether an expression is true or false.
func isTruth(e celast.Expr) bool {
	p, ok := pointOf(e)
	return ok && p.kind == aTruth
}

// isEmpty reports whether an expression is what an empty value reads as: 0, 0s, "",
// null, an empty list or map.
func isEmpty(e celast.Expr) bool {
	switch e.Kind() {
	case celast.ListKind:
		return e.AsList().Size() == 0
	case celast.MapKind:
		return e.AsMap().Size() == 0
	}
	p, ok := pointOf(e)
	return ok && p.kind != aMoment && p.n == 0 && p.s == ""
}
