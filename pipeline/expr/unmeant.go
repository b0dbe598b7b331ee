package expr

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/parser"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/lazyregexp"
)

// CEL accepts whatever may hold for some value of unknown type. unmeant.go finds
// what cannot hold for the values that there are: fields that no entry of a list
// has, a text compared with a number, an hour that no day has.

// A Domain is what a variable may be: one of some texts, a text of a form, or a
// whole number within limits.
type Domain struct {
	Texts       []string
	Form        *lazyregexp.Regexp
	Example     string // of a text of that form
	Least, Most int64
}

// domains are what CEL's functions of a time give.
var domains = map[string]Domain{
	overloads.TimeGetHours: {Most: 23}, overloads.TimeGetMinutes: {Most: 59}, overloads.TimeGetSeconds: {Most: 59}, overloads.TimeGetMilliseconds: {Most: 999},
	overloads.TimeGetMonth: {Most: 11}, overloads.TimeGetDayOfWeek: {Most: 6}, overloads.TimeGetDate: {Least: 1, Most: 31}, overloads.TimeGetDayOfMonth: {Most: 30}, overloads.TimeGetDayOfYear: {Most: 365},
}

// fromZero says of functions that count from 0 what their least value is.
var fromZero = map[string]string{overloads.TimeGetMonth: "0 is January", overloads.TimeGetDayOfWeek: "0 is Sunday", overloads.TimeGetDayOfMonth: "0 is the first; getDate() counts from 1", overloads.TimeGetDayOfYear: "0 is the first"}

// An unmeant looks for what runs, but cannot be meant, in one expression.
type unmeant struct {
	l    *Language
	ast  *celast.AST
	add  func(id int64, what, hint string)
	done map[int64]bool
}

// unmeant reports what cannot be meant in a checked expression that is to be of type
// want; nil: of any.
func (l *Language) unmeant(a *celast.AST, want *cel.Type, add func(id int64, what, hint string)) {
	d := unmeant{l, a, add, map[int64]bool{}}
	s := shapes{l, a, d.part}
	whole := s.of(a.Expr(), nil)
	if want == cel.BoolType {
		d.truth(a.Expr(), whole)
	}
}

func (d unmeant) report(e celast.Expr, what, hint string) {
	if !d.done[e.ID()] {
		d.done[e.ID()] = true
		d.add(e.ID(), what, hint)
	}
}

// part looks at one part of the expression.
func (d unmeant) part(e celast.Expr, of func(celast.Expr) *Shape) {
	d.field(e, of)
	d.ofAll(e)
	if e.Kind() != celast.CallKind {
		return
	}
	call := e.AsCall()
	args := call.Args()
	switch name := call.FunctionName(); name {
	case operators.Equals, operators.NotEquals, operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		d.comparison(e, name, args[0], args[1], of)
		d.possible(name, args[0], args[1])
		d.possible(flipped[name], args[1], args[0])
	case operators.In:
		if args[1].Kind() == celast.ListKind {
			for _, el := range args[1].AsList().Elements() {
				d.comparison(el, operators.Equals, args[0], el, of)
				d.possible(operators.Equals, args[0], el)
			}
		}
	case operators.Add, operators.Subtract, operators.Multiply, operators.Divide, operators.Modulo:
		d.arithmetic(e, name, args[0], args[1], of)
	case operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot:
		for _, a := range args {
			d.truth(a, of(a))
		}
	case operators.Conditional:
		d.truth(args[0], of(args[0]))
	default:
		d.function(e, name, of)
	}
}

// field reports a field that no entry has.
func (d unmeant) field(e celast.Expr, of func(celast.Expr) *Shape) {
	record, name := member(e)
	if record == nil || name == nil {
		return
	}
	s := of(record)
	if s != nil && s.Is == Optional {
		s = s.Elem
	}
	if s == nil || s.Is != Record {
		return
	}
	if _, ok := s.Fields[*name]; ok {
		return
	}
	known := slices.Sorted(maps.Keys(s.Fields))
	hint := fmt.Sprintf("known are %s", strings.Join(known, ", "))
	if best := campaign.Nearest(*name, known); best != "" {
		hint = fmt.Sprintf("did you mean %q?", best)
	}
	d.report(e, fmt.Sprintf("%s has no field %q", s.Of, *name), hint)
}

// ofAll reports a key of a feature with `by` that is written like what is asked of the
// feature as a whole.
func (d unmeant) ofAll(e celast.Expr) {
	if e.Kind() != celast.SelectKind || e.AsSelect().IsTestOnly() || e.AsSelect().Operand().Kind() != celast.IdentKind || d.l.names.Feature == nil {
		return
	}
	name, field := e.AsSelect().Operand().AsIdent(), e.AsSelect().FieldName()
	if f, ok := d.l.names.Feature(strings.TrimPrefix(name, "before.")); ok && f.By && slices.Contains(sizeNames, field) {
		d.report(e, fmt.Sprintf("%s.%s is what %s has under the key %q", name, field, name, field), fmt.Sprintf("%s.size() is the number of its keys; for that key write %s[%q]", name, name, field))
	}
}

// kind is the kind of a value, as its shape or its type say it; Unknown: neither
// does.
func (d unmeant) kind(e celast.Expr, of func(celast.Expr) *Shape) (kind Kind, words string) {
	t := d.ast.GetType(e.ID())
	if t.Kind() == types.DynKind {
		if s := of(e); s != nil {
			return s.Is, s.Is.in()
		}
		return Unknown, ""
	}
	return kindOf(t), InWords(t.String())
}

// kindOf is the kind of the values of a type; Unknown: of none or several.
func kindOf(t *cel.Type) Kind {
	switch t.Kind() {
	case types.StringKind:
		return Text
	case types.IntKind, types.UintKind, types.DoubleKind:
		return Number
	case types.BoolKind:
		return Truth
	case types.ListKind:
		return List
	case types.DurationKind, types.TimestampKind, types.MapKind, types.OpaqueKind, types.BytesKind:
		return Values + 1 // something else
	case types.StructKind:
		if t.IsAssignableType(cel.DoubleType) || t.IsAssignableType(cel.IntType) {
			return Number
		}
		return Values + 1
	}
	return Unknown
}

func (d unmeant) comparison(at celast.Expr, op string, x, y celast.Expr, of func(celast.Expr) *Shape) {
	a, aWords := d.kind(x, of)
	b, bWords := d.kind(y, of)
	if a == Unknown || b == Unknown || a == b || !d.either(x, y) {
		return
	}
	verb := "never holds"
	if op == operators.NotEquals {
		verb = "always holds"
	}
	what := fmt.Sprintf("this %s: %s is %s and %s is %s", verb, d.text(x), aWords, d.text(y), bWords)
	kinds := []string{kindType(a), kindType(b)}
	if aWords == InWords("duration") || bWords == InWords("duration") {
		kinds = append(kinds, "duration")
	}
	hint := typesHint(strings.Trim(op, "_"), kinds, false)
	if a == Truth || b == Truth {
		hint = ""
	}
	for _, side := range []celast.Expr{x, y} {
		switch t := textLiteral(side); {
		case t != nil && numeric.MatchString(*t):
			hint = fmt.Sprintf("write %s, without quotes", *t)
		case (a == Text && b == Number || a == Number && b == Text) && side.Kind() == celast.LiteralKind && t == nil:
			hint = fmt.Sprintf("a text is in quotes: \"%s\"", d.text(side))
		}
	}
	d.report(at, what, hint)
}

// either reports whether CEL knows the type of one of the two at most, so that it
// has not compared the types.
func (d unmeant) either(x, y celast.Expr) bool {
	return d.ast.GetType(x.ID()).Kind() == types.DynKind || d.ast.GetType(y.ID()).Kind() == types.DynKind
}

func kindType(k Kind) string {
	return [...]string{"", "string", "double", "bool", "map(", "list(", "optional_type", "map(", ""}[k]
}

func (d unmeant) arithmetic(at celast.Expr, op string, x, y celast.Expr, of func(celast.Expr) *Shape) {
	a, aWords := d.kind(x, of)
	b, bWords := d.kind(y, of)
	op = map[string]string{operators.Add: "+", operators.Subtract: "-", operators.Multiply: "*", operators.Divide: "/", operators.Modulo: "%"}[op]
	switch {
	case a == Unknown || b == Unknown || !d.either(x, y):
	case a != b && (a <= Truth || b <= Truth) && a <= List && b <= List, a == b && (a == Truth || a == Text && op != "+"):
		d.report(at, fmt.Sprintf("%s does not take %s and %s", op, aWords, bWords), typesHint(op, []string{kindType(a), kindType(b)}, false))
	}
}

// truth reports a condition that is no bool.
func (d unmeant) truth(e celast.Expr, s *Shape) {
	if s != nil && s.Is != Truth && d.ast.GetType(e.ID()).Kind() == types.DynKind {
		d.report(e, fmt.Sprintf("%s is %s where a bool is wanted", d.text(e), s.Is.in()), "compare it with something")
	}
}

// function reports a function of CEL that takes no values of a known kind.
func (d unmeant) function(e celast.Expr, name string, of func(celast.Expr) *Shape) {
	function := d.l.env.Functions()[name]
	if function == nil || !e.AsCall().IsMemberFunction() {
		return
	}
	on := e.AsCall().Target()
	if d.ast.GetType(on.ID()).Kind() != types.DynKind {
		return
	}
	s := of(on)
	if s == nil || s.Is == Unknown || s.Is > Truth {
		return
	}
	for _, o := range function.OverloadDecls() {
		if !o.IsMemberFunction() || len(o.ArgTypes()) == 0 {
			continue
		}
		if k := kindOf(o.ArgTypes()[0]); k == Unknown || k == s.Is {
			return
		}
	}
	hint := ""
	if s.Is == Number {
		hint = "string(x) makes a text of a number"
	}
	d.report(e, fmt.Sprintf("%s() does not apply to %s, as %s is", name, s.Is.in(), d.text(on)), hint)
}

// possible reports a comparison of what has a Domain with a literal beyond it.
func (d unmeant) possible(op string, x, literal celast.Expr) {
	domain, name, hint := d.domain(x)
	if domain == nil || literal.Kind() != celast.LiteralKind {
		return
	}
	switch v := literal.AsLiteral().(type) {
	case types.String:
		d.possibleText(op, *domain, name, string(v), literal)
	case types.Int:
		d.possibleNumber(op, *domain, name, hint, int64(v), literal)
	}
}

func (d unmeant) possibleText(op string, domain Domain, name, text string, at celast.Expr) {
	switch {
	case len(domain.Texts) > 0 && op != operators.Equals && op != operators.NotEquals:
		d.report(at, name+" is a text, which < and > compare by its letters", fmt.Sprintf("%s in [%q, %q]", name, domain.Texts[0], domain.Texts[1]))
	case len(domain.Texts) > 0 && !slices.Contains(domain.Texts, text):
		hint := "one of " + strings.Join(domain.Texts, ", ")
		if best := domain.meant(text); best != "" {
			hint = fmt.Sprintf("did you mean %q? It is %s", best, hint)
		}
		d.report(at, fmt.Sprintf("%s is never %q", name, text), hint)
	case domain.Form != nil && !domain.Form.MatchString(text):
		d.report(at, fmt.Sprintf("%s is never like %q", name, text), fmt.Sprintf("such as %q", domain.Example))
	}
}

// meant is the text of the domain that was probably meant.
func (d Domain) meant(text string) string {
	text = strings.ToLower(strings.TrimSpace(text))
	for _, t := range d.Texts {
		if len(text) >= 2 && (strings.HasPrefix(text, t) || strings.HasPrefix(t, text)) {
			return t
		}
	}
	return campaign.Nearest(text, d.Texts)
}

func (d unmeant) possibleNumber(op string, domain Domain, name, hint string, n int64, at celast.Expr) {
	if domain.Most == 0 {
		return
	}
	below, above := n < domain.Least, n > domain.Most
	var never, always bool
	switch op {
	case operators.Equals:
		never = below || above
	case operators.NotEquals:
		always = below || above
	case operators.Less:
		never, always = n <= domain.Least, n > domain.Most+1 // < 24 is a way to say until midnight
	case operators.LessEquals:
		never, always = below, n > domain.Most+1
	case operators.Greater:
		never, always = n >= domain.Most, below
	case operators.GreaterEquals:
		never, always = above, below
	}
	if !never && !always {
		return
	}
	what := "this never holds"
	if always {
		what = "this always holds"
	}
	if hint != "" {
		hint = ", " + hint
	}
	d.report(at, what, fmt.Sprintf("%s is from %d to %d%s", name, domain.Least, domain.Most, hint))
}

// domain is what an expression may be; nil: it is not known.
func (d unmeant) domain(e celast.Expr) (domain *Domain, name, hint string) {
	switch {
	case e.Kind() == celast.IdentKind && d.l.names.Domain != nil:
		name = strings.TrimPrefix(e.AsIdent(), ".")
		return d.l.names.Domain(name), name, ""
	case e.Kind() == celast.CallKind && e.AsCall().IsMemberFunction() && d.ast.GetType(e.AsCall().Target().ID()).Kind() == types.TimestampKind:
		name = e.AsCall().FunctionName()
		if known, ok := domains[name]; ok {
			return &known, name + "()", fromZero[name]
		}
	}
	return nil, "", ""
}

// text is a part as it is written.
func (d unmeant) text(e celast.Expr) string {
	text, err := parser.Unparse(e, d.ast.SourceInfo())
	if err != nil || len([]rune(text)) > 60 {
		return "one side"
	}
	return text
}
