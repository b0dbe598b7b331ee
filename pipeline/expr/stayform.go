package expr

import (
	"fmt"
	"slices"
	"strings"
	"time"

	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/parser"

	"offerstream/pipeline/campaign"
)

// stayform.go takes a comparison of a dwell apart, to say how it is written so that
// a campaign waits for it.

// shifted takes a dwell apart to which a constant is added: dwell + duration("10s").
func (s staying) shifted(x celast.Expr) (dwell celast.Expr, by time.Duration) {
	if x.Kind() != celast.CallKind || len(x.AsCall().Args()) != 2 {
		return x, 0
	}
	a, b := x.AsCall().Args()[0], x.AsCall().Args()[1]
	switch x.AsCall().FunctionName() {
	case operators.Add:
		if !s.reads(a) {
			a, b = b, a
		}
		if d, ok := s.duration(a, b); ok && s.dwell(a) {
			return a, d
		}
	case operators.Subtract:
		if d, ok := s.duration(a, b); ok && s.dwell(a) {
			return a, -d
		}
	}
	return x, 0
}

// others are the names that x reads beside dwells and their keys.
func (s staying) others(x celast.Expr) (names []string) {
	keys := map[int64]bool{}
	celast.PreOrderVisit(x, celast.NewExprVisitor(func(e celast.Expr) {
		switch {
		case keys[e.ID()]:
		case s.dwell(e):
			celast.PreOrderVisit(e, celast.NewExprVisitor(func(in celast.Expr) { keys[in.ID()] = true }))
		case s.letOf(e) == nil && isName(s.ast, e):
			names = append(names, e.AsIdent())
		}
	}))
	return names
}

// ofTwo reports whether e chooses one of two constants.
func (s staying) ofTwo(e celast.Expr) bool {
	if e.Kind() != celast.CallKind || e.AsCall().FunctionName() != operators.Conditional {
		return false
	}
	_, a := s.duration(e, e.AsCall().Args()[1])
	_, b := s.duration(e, e.AsCall().Args()[2])
	return a && b
}

// spelled is the duration that x is compared with, as y is written.
func (s staying) spelled(x, y celast.Expr, limit time.Duration) string {
	if _, ok := durationLiteral(y); ok && limit > 0 {
		return *textLiteral(y.AsCall().Args()[0])
	}
	if x.Kind() == celast.CallKind && y.Kind() == celast.LiteralKind && unitOf[x.AsCall().FunctionName()] == time.Second && limit > 0 {
		return fmt.Sprintf("%ds", limit/time.Second)
	}
	return ""
}

// ofRow reports whether e reads nothing but the campaign's row.
func (s staying) ofRow(e celast.Expr) bool {
	reads := names(s.ast, e)
	return len(reads) > 0 && !slices.ContainsFunc(reads, func(name string) bool { return !strings.HasPrefix(name, "row.") })
}

// duration is what the dwell in x is compared with, if y is constant.
func (s staying) duration(x, y celast.Expr) (d time.Duration, ok bool) {
	nav := celast.NavigateExpr(s.ast, y)
	if len((constants{s.l, s.ast, func(int64, error) {}}).free(nav)) > 0 {
		return 0, false
	}
	v, err := constants{s.l, s.ast, func(int64, error) {}}.value(nav)
	if err != nil {
		return 0, false
	}
	switch v := v.(type) {
	case types.Duration:
		return v.Duration, true
	case types.Int:
		if x.Kind() == celast.CallKind {
			return time.Duration(v) * unitOf[x.AsCall().FunctionName()], true
		}
		return 1, true
	case types.Double, types.Uint, types.String:
		return 1, true
	}
	return 0, false
}

// instead is the condition for which the campaign waits; "" if there is none.
func (s staying) instead(x celast.Expr, limit time.Duration, spelled string) string {
	if x.Kind() == celast.CallKind && unitOf[x.AsCall().FunctionName()] > 0 {
		if call := x.AsCall(); call.IsMemberFunction() {
			x = call.Target()
		} else {
			x = call.Args()[0]
		}
	}
	if l := s.letOf(x); l != nil {
		in := s.in(l)
		x, s = l.ast.Expr(), in
	}
	if !s.dwell(x) || limit < 0 {
		return ""
	}
	if limit == 0 {
		limit = time.Second
	}
	if spelled == "" {
		spelled = campaign.FormatDuration(limit)
	}
	text, err := parser.Unparse(x, s.ast.SourceInfo())
	if x.Kind() == celast.SelectKind {
		text = fmt.Sprintf("%s[%q]", x.AsSelect().Operand().AsIdent(), x.AsSelect().FieldName())
	}
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s >= duration(%q)", text, spelled)
}
