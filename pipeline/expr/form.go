package expr

import (
	"slices"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
)

// Equality recognises a condition that compares a text in the event: path ==
// "text", path in ["a", "b"], or several of these about one path joined by ||.
// path is nil for any other condition.
func (x *Expr) Equality() (path []string, values []Operand) {
	p, v := equality(x.ast.Expr())
	for _, t := range v {
		values = append(values, Operand{Text: t})
	}
	return p, values
}

type Operand struct{ Text, Row string }

func equality(e celast.Expr) (path, values []string) {
	if e.Kind() != celast.CallKind {
		return nil, nil
	}
	args := e.AsCall().Args()
	switch e.AsCall().FunctionName() {
	case operators.Equals:
		for _, pair := range [][2]celast.Expr{{args[0], args[1]}, {args[1], args[0]}} {
			p, v := eventPath(pair[0]), textLiteral(pair[1])
			if p != nil && v != nil {
				return p, []string{*v}
			}
		}
	case operators.In:
		p := eventPath(args[0])
		if p == nil || args[1].Kind() != celast.ListKind {
			return nil, nil
		}
		for _, el := range args[1].AsList().Elements() {
			v := textLiteral(el)
			if v == nil {
				return nil, nil
			}
			values = append(values, *v)
		}
		return p, values
	case operators.LogicalOr:
		for _, a := range args {
			p, v := equality(a)
			if p == nil || (path != nil && !slices.Equal(p, path)) {
				return nil, nil
			}
			path, values = p, append(values, v...)
		}
		return path, values
	}
	return nil, nil
}

// eventPath is the JSON path of event.properties.x, event.traits.x or
// event.context.x, also of event.properties["x"]; nil for any other expression.
func eventPath(e celast.Expr) []string {
	switch e.Kind() {
	case celast.SelectKind:
		sel := e.AsSelect()
		if sel.IsTestOnly() {
			return nil
		}
		if op := sel.Operand(); op.Kind() == celast.IdentKind && op.AsIdent() == "event" {
			switch sel.FieldName() {
			case "properties", "traits", "context":
				return []string{sel.FieldName()}
			}
			return nil
		}
		if p := eventPath(sel.Operand()); p != nil {
			return append(p, sel.FieldName())
		}
	case celast.CallKind:
		if call := e.AsCall(); call.FunctionName() == operators.Index {
			p, name := eventPath(call.Args()[0]), textLiteral(call.Args()[1])
			if p != nil && name != nil && len(p) == 1 { // deeper in the path, the value may be a list
				return append(p, *name)
			}
		}
	}
	return nil
}

// textLiteral is the text of a string literal, nil for any other expression.
func textLiteral(e celast.Expr) *string {
	if e.Kind() != celast.LiteralKind {
		return nil
	}
	s, ok := e.AsLiteral().(types.String)
	if !ok {
		return nil
	}
	t := string(s)
	return &t
}

// A Least is a condition of the form name >= duration("60s") or name[key] >=
// duration("60s").
type Least struct {
	Name string
	Key  *Expr // nil: there is none
	Need int64 // nanoseconds
}

// Least recognises a condition of that form; ok is false for any other.
func (l *Language) Least(x *Expr, report Report) (least Least, ok bool) {
	e := x.ast.Expr()
	if e.Kind() != celast.CallKind || len(e.AsCall().Args()) != 2 {
		return least, false
	}
	operand, literal := e.AsCall().Args()[0], e.AsCall().Args()[1]
	switch e.AsCall().FunctionName() {
	case operators.GreaterEquals:
	case operators.LessEquals:
		operand, literal = literal, operand
	default:
		return least, false
	}
	if least.Need, ok = durationLiteral(literal); !ok {
		return least, false
	}
	if operand.Kind() == celast.CallKind && operand.AsCall().FunctionName() == operators.Index {
		args := operand.AsCall().Args()
		operand, least.Key = args[0], l.plan(x.ast, args[1], report)
	}
	if operand.Kind() != celast.IdentKind {
		return least, false
	}
	least.Name = operand.AsIdent()
	return least, true
}

// durationLiteral is the duration, in nanoseconds, of duration("..."); ok is false
// for any other expression.
func durationLiteral(e celast.Expr) (ns int64, ok bool) {
	if e.Kind() != celast.CallKind || e.AsCall().FunctionName() != overloads.TypeConvertDuration || len(e.AsCall().Args()) != 1 {
		return 0, false
	}
	arg := e.AsCall().Args()[0]
	if arg.Kind() != celast.LiteralKind || arg.AsLiteral().Type() != cel.StringType {
		return 0, false
	}
	d, err := campaign.ParseDuration(string(arg.AsLiteral().(types.String)))
	return int64(d), err == nil
}

// AddFields adds to fields what the expression reads of the event.
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
	var of celast.Expr
	var name string
	switch e.Kind() {
	case celast.IdentKind:
		if e.AsIdent() == "event" {
			return []string{"event"}, nil
		}
		return nil, nil
	case celast.SelectKind:
		of, name = e.AsSelect().Operand(), e.AsSelect().FieldName()
	case celast.CallKind:
		call := e.AsCall()
		switch call.FunctionName() {
		case operators.Index, operators.OptIndex, operators.OptSelect:
		default:
			return nil, nil
		}
		t := textLiteral(call.Args()[1])
		if t == nil {
			return nil, nil
		}
		of, name = call.Args()[0], *t
	default:
		return nil, nil
	}
	path, operands = readPath(of)
	if path == nil {
		return nil, nil
	}
	return append(path, name), append(operands, of.ID())
}
