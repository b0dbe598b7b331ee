package expr

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
)

// A campaign waits only for conjuncts of the form dwell >= duration("60s")
// (LANGUAGE.md, rule 7). Any other condition on a dwell is judged once, at the
// trigger: a user who stays without another event never gets the offer. stay.go
// finds the conditions that ask for a dwell to be long enough in another form.

// unitOf are the functions that give the whole units of a duration.
var unitOf = map[string]time.Duration{
	overloads.TimeGetHours: time.Hour, overloads.TimeGetMinutes: time.Minute, overloads.TimeGetSeconds: time.Second, overloads.TimeGetMilliseconds: time.Millisecond,
	overloads.TypeConvertInt: time.Second,
}

// staying looks for such conditions in one expression.
type staying struct {
	l      *Language
	ast    *celast.AST
	let    func(name string) *Expr
	report func(e celast.Expr, what, hint string)
	warn   func(e celast.Expr, what, hint string)
}

// Unwaiting reports the conditions in `if` that ask for a longer dwell in a form
// for which the campaign does not wait, and warns of those that may be meant as
// they are. let finds a name of `let`; src has compiled.
func (l *Language) Unwaiting(src string, let func(name string) *Expr, report, warn Report) {
	a, _ := l.check(src, cel.BoolType, func(int, int, string, string) {}) // again, because parts that Conjuncts has made before have the places of another source
	if a == nil {
		return
	}
	at := func(report Report) func(e celast.Expr, what, hint string) {
		return func(e celast.Expr, what, hint string) {
			loc := a.SourceInfo().GetStartLocation(firstOf(e).ID())
			line, col := max(loc.Line(), 1), max(loc.Column(), 0)
			if at := offset(src, line, col); at < len([]rune(src)) && []rune(src)[at] == '(' { // the place of a call is its bracket
				col -= len(word.FindString(reversed(string([]rune(src)[:at]))))
			}
			report(line, col, what, hint)
		}
	}
	s := staying{l, a, let, at(report), at(warn)}
	for _, e := range conjuncts(a.Expr(), nil) {
		if !s.waits(e) {
			s.condition(e, true, "")
		}
	}
}

// firstOf is the part of e with which its text begins.
func firstOf(e celast.Expr) celast.Expr {
	for e.Kind() == celast.CallKind || e.Kind() == celast.SelectKind {
		switch {
		case e.Kind() == celast.SelectKind:
			e = e.AsSelect().Operand()
		case e.AsCall().IsMemberFunction():
			e = e.AsCall().Target()
		case len(e.AsCall().Args()) == 2:
			e = e.AsCall().Args()[0]
		default:
			return e
		}
	}
	return e
}

func reversed(s string) string {
	r := []rune(s)
	slices.Reverse(r)
	return string(r)
}

// waits reports whether e is a conjunct for which a campaign waits.
func (s staying) waits(e celast.Expr) bool {
	if e.Kind() != celast.CallKind || len(e.AsCall().Args()) != 2 {
		return false
	}
	dwell, literal := e.AsCall().Args()[0], e.AsCall().Args()[1]
	switch e.AsCall().FunctionName() {
	case operators.GreaterEquals:
	case operators.LessEquals:
		dwell, literal = literal, dwell
	default:
		return false
	}
	_, ok := durationLiteral(literal)
	return ok && dwell.Kind() != celast.SelectKind && s.dwell(dwell) && s.named(dwell)
}

// dwell reports whether e is a dwell: a feature, or what it has under a key.
func (s staying) dwell(e celast.Expr) bool {
	by := false
	if e.Kind() == celast.CallKind && e.AsCall().FunctionName() == operators.Index {
		e, by = e.AsCall().Args()[0], true
	}
	if e.Kind() == celast.SelectKind && !e.AsSelect().IsTestOnly() {
		e, by = e.AsSelect().Operand(), true
	}
	if e.Kind() != celast.IdentKind {
		return false
	}
	f, ok := s.l.names.Feature(strings.TrimPrefix(e.AsIdent(), "."))
	return ok && f.Stays && f.By == by
}

// named reports whether e names its feature without a dot before the name, which a
// campaign does not wait for.
func (s staying) named(e celast.Expr) bool {
	e = firstOf(e)
	return e.Kind() == celast.IdentKind && !strings.HasPrefix(e.AsIdent(), ".")
}

// reads reports whether e reads a dwell, also through `let`.
func (s staying) reads(e celast.Expr) (found bool) {
	celast.PreOrderVisit(e, celast.NewExprVisitor(func(e celast.Expr) {
		if s.dwell(e) {
			found = true
		} else if x := s.letOf(e); x != nil && s.in(x).reads(x.ast.Expr()) {
			found = true
		}
	}))
	return found
}

// letOf is the `let` that a name stands for; nil if e is no such name.
func (s staying) letOf(e celast.Expr) *Expr {
	if e.Kind() != celast.IdentKind || s.let == nil {
		return nil
	}
	return s.let(e.AsIdent())
}

func (s staying) in(x *Expr) staying {
	s.ast = x.ast
	return s
}

// condition looks at a condition that is to hold, or not to. within says what it
// is a part of; "" for a conjunct.
func (s staying) condition(e celast.Expr, hold bool, within string) {
	if !s.reads(e) {
		return
	}
	if x := s.letOf(e); x != nil {
		s.through(e, x, hold)
		return
	}
	if e.Kind() != celast.CallKind {
		if e.Kind() == celast.ComprehensionKind {
			s.once(e)
		}
		return
	}
	args := e.AsCall().Args()
	switch op := e.AsCall().FunctionName(); op {
	case operators.LogicalAnd, operators.LogicalOr:
		if (op == operators.LogicalOr) == hold {
			within = "||"
		}
		for _, a := range args {
			s.condition(a, hold, within)
		}
	case operators.LogicalNot:
		s.condition(args[0], !hold, within)
	case operators.Conditional:
		for _, a := range args[1:] {
			s.condition(a, hold, "? :")
		}
		s.condition(args[0], true, "? :")
	case operators.Equals, operators.NotEquals, operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		s.comparison(e, op, args[0], args[1], hold, within)
	case operators.In:
		if s.whole(args[0]) {
			s.refuse(e, "", "")
		}
	default:
		s.once(e)
	}
}

// through looks at a `let` that stands for a condition.
func (s staying) through(e celast.Expr, x *Expr, hold bool) {
	quiet := s.in(x)
	bad := false
	quiet.report = func(celast.Expr, string, string) { bad = true }
	quiet.warn = func(celast.Expr, string, string) { bad = true }
	for _, part := range conjuncts(x.ast.Expr(), nil) {
		if quiet.waits(part) && hold {
			bad = true
		} else {
			quiet.condition(part, hold, "")
		}
	}
	if bad {
		s.report(e, fmt.Sprintf("%s asks for a dwell, and the campaign does not wait for a condition of `let`: who stays without another event never gets the offer", e.AsIdent()),
			"write the comparison of the dwell in `if`, as a condition of its own")
	}
}

// whole reports whether e is a dwell, or what is computed of one.
func (s staying) whole(e celast.Expr) bool {
	kind := s.ast.GetType(e.ID()).Kind()
	return s.reads(e) && kind != types.BoolKind && e.Kind() != celast.ComprehensionKind
}

// comparison looks at a comparison of which one side, or both, read a dwell.
func (s staying) comparison(e celast.Expr, op string, x, y celast.Expr, hold bool, within string) {
	if !s.reads(x) {
		op, x, y = flipped[op], y, x
	}
	if s.ast.GetType(x.ID()).Kind() == types.BoolKind { // (dwell >= d) == true
		s.condition(x, true, "a comparison")
		return
	}
	if s.reads(y) {
		s.once(e)
		return
	}
	limit, constant := s.duration(x, y)
	x, shift := s.shifted(x)
	if limit -= shift; len(s.others(x)) > 0 {
		s.once(e)
		return
	}
	upper := op == operators.Less || op == operators.LessEquals
	switch {
	case op == operators.Equals || op == operators.NotEquals:
		equal := (op == operators.Equals) == hold
		upper = !constant || equal == (limit == 0) // else it holds from the beginning, or hardly ever
	case !hold:
		upper = !upper
	}
	switch {
	case upper:
	case !constant && !s.ofRow(y) && !s.ofTwo(y):
		s.once(e)
	case constant && shift == 0:
		s.refuse(e, s.instead(x, limit, s.spelled(x, y, limit)), within)
	case constant:
		s.refuse(e, s.instead(x, limit, ""), within)
	default:
		s.refuse(e, "", within)
	}
}

// refuse reports a condition that should wait.
func (s staying) refuse(e celast.Expr, instead, within string) {
	what := "the campaign does not wait for this dwell: who stays without another event never gets the offer"
	hint := "it waits only for conditions such as dwell >= duration(\"60s\"), with a literal, that must hold"
	if instead != "" {
		hint = "write " + instead
	}
	switch within {
	case "":
	case "||":
		what = "within || the campaign does not wait for this dwell: who stays without another event never gets the offer"
		hint = "write a campaign for each side of ||"
		if instead != "" {
			hint += ", one with if: " + instead
		}
	default:
		what = fmt.Sprintf("within %s the campaign does not wait for this dwell: who stays without another event never gets the offer", within)
		hint = "write it as a condition of its own in `if`"
		if instead != "" {
			hint += ": " + instead
		}
	}
	s.report(e, what, hint)
}

// once warns of a condition that may be meant for the moment of the trigger.
func (s staying) once(e celast.Expr) {
	s.warn(e, "this is judged when the campaign is triggered, and the campaign does not wait until it holds", `it waits only for conditions such as dwell >= duration("60s")`)
}
