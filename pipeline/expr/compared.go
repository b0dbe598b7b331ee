package expr

import (
	"maps"
	"slices"
	"strings"

	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// usesIn collects the uses of one expression.
type usesIn struct {
	lets     map[string]celast.Expr
	ast      *celast.AST
	src      string
	conjunct int
	uses     []Use
}

// bindings are the names of loops, and of what is bound, with their paths; nil: the
// name has none.
type bindings map[string][]string

func (b bindings) and(name string, path []string) bindings {
	if name == "" {
		return b
	}
	more := maps.Clone(b)
	if more == nil {
		more = bindings{}
	}
	more[name] = path
	return more
}

// begins is where an expression begins: CEL's places are those of operators and of
// the brackets of functions.
func (w *usesIn) begins(e celast.Expr) (line, col int) {
	least := -1
	celast.PreOrderVisit(e, celast.NewExprVisitor(func(e celast.Expr) {
		loc := w.ast.SourceInfo().GetStartLocation(e.ID())
		if loc.Line() < 1 {
			return
		}
		if at := offset(w.src, loc.Line(), loc.Column()); least < 0 || at < least {
			least = at
		}
	}))
	runes := []rune(w.src)
	least = min(max(least, 0), len(runes))
	if least < len(runes) && runes[least] == '(' {
		for least > 0 && word.MatchString("_"+string(runes[least-1])) && identifier.MatchString("_"+string(runes[least-1])) {
			least--
		}
	}
	return position(w.src, len(string(runes[:least])))
}

// path is the path that an expression is, nil if it is none.
func (w *usesIn) path(e celast.Expr, bound bindings) []string {
	below := func(of celast.Expr, name string) []string {
		if p := w.path(of, bound); p != nil {
			return append(slices.Clone(p), name)
		}
		return nil
	}
	switch e.Kind() {
	case celast.IdentKind:
		return w.name(e.AsIdent(), bound)
	case celast.SelectKind:
		return below(e.AsSelect().Operand(), e.AsSelect().FieldName())
	case celast.CallKind:
		call := e.AsCall()
		switch name := call.FunctionName(); {
		case name == operators.Index || name == operators.OptIndex || name == operators.OptSelect:
			if text := textLiteral(call.Args()[1]); text != nil {
				return below(call.Args()[0], *text)
			}
			return below(call.Args()[0], Each)
		case call.IsMemberFunction() && (name == "orValue" || name == "value" || name == "or" || name == "sort" || name == "reverse" || name == "distinct"):
			return w.path(call.Target(), bound)
		case call.IsMemberFunction() && (name == "first" || name == "last" || name == "max" || name == "min" || name == "values"):
			return below(call.Target(), Each)
		case name == "@max_by" || name == "@min_by":
			return below(call.Args()[0], Each)
		}
	case celast.ComprehensionKind:
		loop := e.AsComprehension()
		switch {
		case loop.IterVar() == "#unused":
			return w.path(loop.Result(), bound.and(loop.AccuVar(), w.path(loop.AccuInit(), bound)))
		case isFilter(loop):
			return w.path(loop.IterRange(), bound)
		}
	}
	return nil
}

// isFilter reports whether a loop is list.filter(i, ...).
func isFilter(loop celast.ComprehensionExpr) bool {
	step := loop.LoopStep()
	if step.Kind() != celast.CallKind || step.AsCall().FunctionName() != operators.Conditional {
		return false
	}
	added := step.AsCall().Args()[1]
	if added.Kind() != celast.CallKind || added.AsCall().FunctionName() != operators.Add {
		return false
	}
	list := added.AsCall().Args()[1]
	return list.Kind() == celast.ListKind && list.AsList().Size() == 1 && list.AsList().Elements()[0].Kind() == celast.IdentKind &&
		list.AsList().Elements()[0].AsIdent() == loop.IterVar()
}

func (w *usesIn) name(name string, bound bindings) []string {
	if path, ok := bound[name]; ok {
		return path
	}
	name = strings.TrimPrefix(name, ".")
	if let, ok := w.lets[name]; ok {
		// A later `let` may read this one, but this one not itself.
		return (&usesIn{lets: w.lets, ast: w.ast, src: w.src}).path(let, nil)
	}
	if strings.HasPrefix(name, "@") {
		return nil
	}
	return []string{name}
}

func (w *usesIn) add(u Use, e celast.Expr) {
	u.Conjunct = w.conjunct
	u.Line, u.Col = w.begins(e)
	if u.Op == Read && slices.ContainsFunc(w.uses, func(o Use) bool {
		return o.Line == u.Line && o.Col == u.Col && len(o.Path) >= len(u.Path) && slices.Equal(o.Path[:len(u.Path)], u.Path)
	}) {
		return // the beginning of a longer path
	}
	w.uses = append(w.uses, u)
}

// walk adds the uses in an expression.
func (w *usesIn) walk(e celast.Expr, bound bindings, reversed bool) {
	if p := w.path(e, bound); p != nil {
		w.add(Use{Path: p, Reversed: reversed}, e)
		w.keys(e, bound, reversed)
		return
	}
	switch e.Kind() {
	case celast.CallKind:
		w.call(e, bound, reversed)
	case celast.SelectKind:
		w.walk(e.AsSelect().Operand(), bound, reversed)
	case celast.ListKind:
		for _, el := range e.AsList().Elements() {
			w.walk(el, bound, reversed)
		}
	case celast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			w.walk(entry.AsMapEntry().Value(), bound, reversed)
		}
	case celast.ComprehensionKind:
		w.loop(e.AsComprehension(), bound, reversed)
	}
}

// keys adds the uses in a path: in its keys, and in the loops of which it is the
// result.
func (w *usesIn) keys(e celast.Expr, bound bindings, reversed bool) {
	switch e.Kind() {
	case celast.SelectKind:
		w.keys(e.AsSelect().Operand(), bound, reversed)
	case celast.CallKind:
		call := e.AsCall()
		if call.IsMemberFunction() {
			w.keys(call.Target(), bound, reversed)
		}
		for i, a := range call.Args() {
			if i == 0 && !call.IsMemberFunction() {
				w.keys(a, bound, reversed)
			} else {
				w.walk(a, bound, reversed)
			}
		}
	case celast.ComprehensionKind:
		w.loop(e.AsComprehension(), bound, reversed)
	}
}

func (w *usesIn) loop(loop celast.ComprehensionExpr, bound bindings, reversed bool) {
	if loop.IterVar() == "#unused" {
		w.walk(loop.AccuInit(), bound, reversed)
		w.walk(loop.Result(), bound.and(loop.AccuVar(), w.path(loop.AccuInit(), bound)), reversed)
		return
	}
	w.walk(loop.IterRange(), bound, reversed)
	var each []string
	if of := w.path(loop.IterRange(), bound); of != nil {
		each = append(slices.Clone(of), Each)
	}
	inner := bound.and(loop.AccuVar(), nil)
	if loop.IterVar2() != "" {
		inner = inner.and(loop.IterVar(), nil).and(loop.IterVar2(), each)
	} else {
		inner = inner.and(loop.IterVar(), each)
	}
	if !isFilter(loop) {
		w.walk(loop.LoopStep(), inner, reversed)
	} else {
		w.walk(loop.LoopStep().AsCall().Args()[0], inner, reversed)
	}
}

var opOf = map[string]Op{
	operators.Equals: Equal, operators.NotEquals: Equal, operators.In: Equal,
	operators.Less: Order, operators.LessEquals: Order, operators.Greater: Order, operators.GreaterEquals: Order,
	operators.Multiply: Calculated, operators.Divide: Calculated, operators.Modulo: Calculated, operators.Negate: Calculated,
}

// call adds the uses in a call.
func (w *usesIn) call(e celast.Expr, bound bindings, reversed bool) {
	call := e.AsCall()
	name, args := call.FunctionName(), call.Args()
	op, known := opOf[name]
	switch {
	case name == operators.LogicalNot:
		w.walk(args[0], bound, !reversed)
		return
	case name == operators.Add || name == operators.Subtract:
		// Texts and lists are added too, and times are subtracted.
		op, known = Calculated, len(args) == 2 && (isNumberLiteral(args[0]) || isNumberLiteral(args[1]))
	}
	if call.IsMemberFunction() {
		w.walk(call.Target(), bound, reversed)
	}
	for i, a := range args {
		p := w.path(a, bound)
		if !known || p == nil {
			w.walk(a, bound, reversed)
			continue
		}
		u := Use{Path: p, Op: op, Reversed: reversed != (name == operators.NotEquals)}
		if len(args) == 2 {
			u.with(w, args[1-i], bound, name == operators.In, i)
		}
		if u.Op == Calculated {
			u.Values = nil
		} else if u.Values == nil && u.Row == "" {
			u.Op = Read
		}
		w.add(u, a)
		w.keys(a, bound, reversed)
	}
}

// with adds what a path is compared with. side is that of the path: 0 left, 1 right.
func (u *Use) with(w *usesIn, other celast.Expr, bound bindings, in bool, side int) {
	literals := []celast.Expr{other}
	switch {
	case in && side == 1: // "x" in path
		u.Op = Key
	case in && other.Kind() == celast.ListKind:
		literals = other.AsList().Elements()
	case in:
		u.Op = Read
		return
	}
	for _, l := range literals {
		if v := scalarLiteral(l); v != nil {
			u.Values = append(u.Values, v)
		} else if p := w.path(l, bound); len(p) == 2 && p[0] == "row" && len(literals) == 1 && u.Op != Key {
			u.Row = p[1]
		} else if len(literals) > 1 { // one of them is not known
			u.Values = nil
			return
		}
	}
}

// scalarLiteral is a literal as a string, float64 or bool; nil for any other
// expression.
func scalarLiteral(e celast.Expr) any {
	if e.Kind() == celast.CallKind && e.AsCall().FunctionName() == operators.Negate {
		if f, ok := scalarLiteral(e.AsCall().Args()[0]).(float64); ok {
			return -f
		}
	}
	if e.Kind() != celast.LiteralKind {
		return nil
	}
	switch v := e.AsLiteral().(type) {
	case types.String:
		return string(v)
	case types.Int:
		return float64(v)
	case types.Uint:
		return float64(v)
	case types.Double:
		return float64(v)
	case types.Bool:
		return bool(v)
	}
	return nil
}

func isNumberLiteral(e celast.Expr) bool {
	_, ok := scalarLiteral(e).(float64)
	return ok
}
