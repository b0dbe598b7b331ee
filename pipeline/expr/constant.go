package expr

import (
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"

	"offerstream/pipeline/value"
)

// constants finds the parts of a checked expression that read no names, and
// evaluates the largest of them: what fails then fails whenever it is evaluated,
// as 1 / 0 does.
type constants struct {
	l    *Language
	ast  *celast.AST
	fail func(id int64, err error) // takes the smallest part that fails
}

// of is the value of the whole expression, nil if it reads names or fails.
func (c constants) of() ref.Val {
	root := celast.NavigateAST(c.ast)
	if free := c.free(root); len(free) > 0 {
		return nil
	}
	return c.evaluate(root)
}

// free are the names that e reads from outside. If there are any, the parts of e
// that read none are evaluated.
func (c constants) free(e celast.NavigableExpr) (names []string) {
	var closed []celast.NavigableExpr
	for i, part := range e.Children() {
		free := c.free(part)
		if len(free) == 0 {
			closed = append(closed, part)
		}
		names = append(names, unbound(e, i, free)...)
	}
	if isName(c.ast, e) {
		names = append(names, e.AsIdent())
	}
	if len(names) > 0 {
		for _, part := range closed {
			c.evaluate(part)
		}
	}
	return names
}

// evaluate is the value of a part that reads no names, nil if it fails.
func (c constants) evaluate(e celast.NavigableExpr) ref.Val {
	v, err := c.value(e)
	if err == nil {
		return v
	}
	for _, part := range e.Children() {
		if failing := (constants{c.l, c.ast, func(int64, error) {}}); len(failing.free(part)) == 0 && failing.evaluate(part) == nil {
			return c.evaluate(part)
		}
	}
	c.fail(e.ID(), err)
	return nil
}

func (c constants) value(e celast.NavigableExpr) (ref.Val, error) {
	if e.Kind() == celast.LiteralKind {
		return e.AsLiteral(), nil
	}
	if ns, ok := durationLiteral(e); ok {
		return value.OfDuration(ns).CEL(), nil
	}
	prog, err := c.l.env.PlanProgram(c.l.exactNumbers(c.ast, e))
	if err != nil {
		return nil, err
	}
	v, _, err := prog.Eval(interpreter.EmptyActivation())
	return v, err
}
