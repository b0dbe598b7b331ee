package expr

import (
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"

	"offerstream/pipeline/campaign"
)

// An Operand is what a text in the event is compared with: a literal, or the
// field of a row of for_each.
type Operand struct {
	Text string
	Row  string // the field's name, without row.; "": Text is a literal
}

// Equality recognises a condition that compares a text in the event: path ==
// "text", path == row.field, path in ["a", row.field], or several of these about
// one path joined by ||. path is nil for any other condition. For a row, the
// condition is that the text is one of the values only where all fields among
// them are texts: the event's number 5 equals the row's number 5.
func (x *Expr) Equality() (path []string, values []Operand) { return equality(x.ast.Expr()) }

func equality(e celast.Expr) (path []string, values []Operand) {
	if e.Kind() != celast.CallKind {
		return nil, nil
	}
	args := e.AsCall().Args()
	switch e.AsCall().FunctionName() {
	case operators.Equals:
		for _, pair := range [][2]celast.Expr{{args[0], args[1]}, {args[1], args[0]}} {
			p := eventPath(pair[0])
			if v, ok := operandOf(pair[1]); p != nil && ok {
				return p, []Operand{v}
			}
		}
	case operators.In:
		p := eventPath(args[0])
		if p == nil || args[1].Kind() != celast.ListKind || len(args[1].AsList().OptionalIndices()) > 0 {
			return nil, nil
		}
		for _, el := range args[1].AsList().Elements() {
			v, ok := operandOf(el)
			if !ok {
				return nil, nil
			}
			values = append(values, v)
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

// operandOf is the Operand that an expression is; ok is false for any other
// expression.
func operandOf(e celast.Expr) (o Operand, ok bool) {
	if t := textLiteral(e); t != nil {
		return Operand{Text: *t}, true
	}
	if e.Kind() == celast.IdentKind {
		o.Row, ok = strings.CutPrefix(e.AsIdent(), "row.")
	}
	return o, ok
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
