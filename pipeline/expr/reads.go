package expr

import (
	"slices"
	"strings"

	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"

	"offerstream/pipeline/event"
)

// names are the names that e, a part of a checked expression, reads from outside
// of it, each once.
func names(whole *celast.AST, e celast.Expr) (all []string) {
	for _, name := range reads(whole, celast.NavigateExpr(whole, e)) {
		// Where the variable of a loop hides a name, .name is the name.
		if name = strings.TrimPrefix(name, "."); !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

func reads(whole *celast.AST, e celast.NavigableExpr) (names []string) {
	for i, part := range e.Children() {
		names = append(names, unbound(e, i, reads(whole, part))...)
	}
	if isName(whole, e) {
		names = append(names, e.AsIdent())
	}
	return names
}

// isName reports whether e is a name that stands for a value, not for a type.
func isName(whole *celast.AST, e celast.Expr) bool {
	return e.Kind() == celast.IdentKind && whole.GetType(e.ID()).Kind() != types.TypeKind
}

// unbound are those of the names that child i of e reads which e, if it is a
// comprehension, does not bind. A comprehension's children are its range, the
// accumulator's start, the loop's condition and step, and the result.
func unbound(e celast.Expr, i int, names []string) []string {
	const condition, result = 2, 4
	if e.Kind() != celast.ComprehensionKind || i < condition {
		return names
	}
	loop := e.AsComprehension()
	return slices.DeleteFunc(names, func(name string) bool {
		return name == loop.AccuVar() || i < result && (name == loop.IterVar() || name == loop.IterVar2())
	})
}

// AddFields adds to fields what the expression itself reads of the event. What
// variables stand for that it reads (Reads), such as those of `let`, is not
// included.
func (x *Expr) AddFields(fields *event.Fields) {
	inside := map[int64]bool{} // parts of a path that has been added
	celast.PreOrderVisit(x.ast.Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		if inside[e.ID()] {
			return
		}
		path, operands := readPath(e)
		switch {
		case len(path) > 1 && path[1] == "name":
			fields.Name = true
		case len(path) > 1 && path[1] == "items":
			fields.AddItems()
		case len(path) > 1 && (path[1] == "properties" || path[1] == "traits" || path[1] == "context"):
			fields.Add(path[1:]...)
		case len(path) == 1: // the event as a whole
			fields.Name = true
			fields.AddItems()
			fields.Add("properties")
			fields.Add("traits")
			fields.Add("context")
		}
		for _, id := range operands {
			inside[id] = true
		}
	}))
}

// readPath is the path from `event` that an expression reads: the names in
// event.a.b, event.a["b"], event.?a, event[?"a"] and has(event.a), with `event`
// itself as the first; nil for any other expression. operands are the
// expressions inside of it.
func readPath(e celast.Expr) (path []string, operands []int64) {
	if e.Kind() == celast.IdentKind && strings.TrimPrefix(e.AsIdent(), ".") == "event" {
		return []string{"event"}, nil
	}
	of, name := member(e)
	if of == nil || name == nil {
		return nil, nil
	}
	if path, operands = readPath(of); path == nil {
		return nil, nil
	}
	return append(path, *name), append(operands, of.ID())
}
