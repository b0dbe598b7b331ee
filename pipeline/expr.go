package pipeline

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"
)

// maxCost bounds an expression's estimated worst cost, so that no campaign
// can stall a partition. Ordinary conditions cost under 4,000.
const maxCost = 1_000_000

// An expr is a compiled CEL expression.
type expr struct {
	prog  cel.Program
	quick shortcut // nil: CEL alone
	typ   *cel.Type
	ast   *celast.AST
}

func (x *expr) eval(sc *scope) (ref.Val, error) {
	v, _, err := x.prog.Eval(sc)
	if err != nil {
		return nil, err
	}
	return v, nil
}

// holds evaluates a condition: an error is false, and is returned as well.
func (x *expr) holds(sc *scope) (bool, error) {
	if x.quick != nil {
		if v, ok := x.quick(sc); ok && v.kind == kindBool {
			return v.bits != 0, nil
		}
	}
	v, err := x.eval(sc)
	if err != nil {
		return false, err
	}
	b, ok := v.(types.Bool)
	if !ok {
		return false, fmt.Errorf("the condition is a %s, not a bool", v.Type().TypeName())
	}
	return bool(b), nil
}

// value evaluates to what an entity can keep.
func (x *expr) value(sc *scope) (Value, error) {
	if x.quick != nil {
		if v, ok := x.quick(sc); ok {
			v.str = strings.Clone(v.str)
			return v, nil
		}
	}
	v, err := x.eval(sc)
	if err != nil {
		return Value{}, err
	}
	return scalarValue(v)
}

// key evaluates to a key; valid as long as the event.
func (x *expr) key(sc *scope) (string, error) {
	if x.quick != nil {
		if v, ok := x.quick(sc); ok && v.kind == kindString {
			return v.str, nil
		}
	}
	v, err := x.eval(sc)
	if err != nil {
		return "", err
	}
	key, ok := keyText(v)
	if !ok {
		return "", fmt.Errorf("a %s is no key", v.Type().TypeName())
	}
	return key, nil
}

// A language is what expressions in one kind of place may see.
type language struct {
	env        *cel.Env
	loose      *cel.Env                 // with numeric features as dyn; nil where there are none
	hint       func(name string) string // for an unknown name
	defaulting func(name string) bool   // whether a map lacks no key
	quick      shortcuts
	compiled   map[wording][]*expr // what was right: campaigns say the same again and again
	planned    []*expr             // all
}

// A wording is an expression as it was written, and what is wanted of it.
type wording struct {
	text  string
	want  *cel.Type
	parts bool // conjuncts
}

// baseEnv is CEL as campaigns have it, without variables: the standard
// library and cel-go's extensions, arithmetic that mixes ints and doubles
// (JSON numbers are doubles), durations with days, and no time zone from the
// host.
var baseEnv = sync.OnceValues(func() (*cel.Env, error) {
	exclude := []*env.Function{
		env.NewFunction(operators.Add), env.NewFunction(operators.Subtract),
		env.NewFunction(operators.Multiply), env.NewFunction(operators.Divide),
		env.NewFunction(overloads.TypeConvertDuration),
	}
	for fn, ids := range zonedOverloads {
		f := env.NewFunction(fn)
		for _, id := range ids {
			f.Overloads = append(f.Overloads, &env.Overload{ID: id})
		}
		exclude = append(exclude, f)
	}
	subset := env.NewLibrarySubset()
	subset.ExcludeFunctions = exclude
	opts := []cel.EnvOption{
		cel.StdLib(cel.StdLibSubset(subset)),
		cel.OptionalTypes(), ext.Strings(), ext.Math(), ext.Lists(ext.ListsMaxRangeSize(10_000)), ext.Sets(), ext.Bindings(), ext.TwoVarComprehensions(),
		cel.CrossTypeNumericComparisons(true), cel.DefaultUTCTimeZone(true), cel.EnableMacroCallTracking(),
		cel.CustomTypeProvider(objects{types.NewEmptyRegistry()}),
		cel.Function(overloads.TypeConvertDuration,
			cel.Overload("text_to_duration", []*cel.Type{cel.StringType}, cel.DurationType, cel.UnaryBinding(parseDurationVal)),
			cel.Overload(overloads.DurationToDuration, []*cel.Type{cel.DurationType}, cel.DurationType, cel.UnaryBinding(func(v ref.Val) ref.Val { return v }))),
	}
	opts = append(opts, arithmetic()...)
	return cel.NewCustomEnv(opts...)
})

var zonedOverloads = map[string][]string{
	overloads.TimeGetFullYear:     {overloads.TimestampToYearWithTz},
	overloads.TimeGetMonth:        {overloads.TimestampToMonthWithTz},
	overloads.TimeGetDayOfYear:    {overloads.TimestampToDayOfYearWithTz},
	overloads.TimeGetDate:         {overloads.TimestampToDayOfMonthOneBasedWithTz},
	overloads.TimeGetDayOfMonth:   {overloads.TimestampToDayOfMonthZeroBasedWithTz},
	overloads.TimeGetDayOfWeek:    {overloads.TimestampToDayOfWeekWithTz},
	overloads.TimeGetHours:        {overloads.TimestampToHoursWithTz},
	overloads.TimeGetMinutes:      {overloads.TimestampToMinutesWithTz},
	overloads.TimeGetSeconds:      {overloads.TimestampToSecondsWithTz},
	overloads.TimeGetMilliseconds: {overloads.TimestampToMillisecondsWithTz},
}

func parseDurationVal(v ref.Val) ref.Val {
	d, err := ParseDuration(string(v.(types.String)))
	if err != nil {
		return types.WrapErr(err)
	}
	return types.Duration{Duration: d}
}

// ParseDuration reads a Go duration whose units may also be d (24 hours):
// 90s, 30m, 1h30m, 7d, 1d12h.
func ParseDuration(s string) (time.Duration, error) {
	bad := fmt.Errorf("%q is not a duration such as 90s, 30m, 1h30m or 7d", s)
	days, rest, found := strings.Cut(s, "d")
	if !found {
		d, err := time.ParseDuration(s)
		if err != nil {
			return 0, bad
		}
		return d, nil
	}
	n, err := strconv.ParseFloat(days, 64)
	if err != nil || math.IsNaN(n) || math.Abs(n) > 106_000 || strings.ContainsAny(days, "xXpPeEiIn_") {
		return 0, bad
	}
	d := time.Duration(math.RoundToEven(n * float64(24*time.Hour)))
	if rest == "" {
		return d, nil
	}
	more, err := time.ParseDuration(rest)
	if err != nil || more < 0 || strings.HasPrefix(rest, "+") {
		return 0, bad
	}
	if strings.HasPrefix(days, "-") {
		more = -more
	}
	if sum := d + more; (sum > d) == (more > 0) || more == 0 {
		return sum, nil
	}
	return 0, bad
}

// scanAST looks for what may compile but must not run.
func (l *language) scan(a *celast.AST, add func(id int64, what, hint string)) {
	celast.PostOrderVisit(a.Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		switch e.Kind() {
		case celast.CallKind:
			c := e.AsCall()
			if c.FunctionName() == overloads.Matches {
				if re := c.Args()[len(c.Args())-1]; re.Kind() != celast.LiteralKind {
					add(re.ID(), "a regular expression must be a literal", "write it in quotes")
				}
			}
		case celast.SelectKind:
			s := e.AsSelect()
			if s.IsTestOnly() && s.Operand().Kind() == celast.IdentKind && l.defaulting(s.Operand().AsIdent()) {
				add(e.ID(), fmt.Sprintf("has() is always true on %s, which lacks no key", s.Operand().AsIdent()),
					fmt.Sprintf("use %q in %s", s.FieldName(), s.Operand().AsIdent()))
			}
		case celast.ComprehensionKind:
			if buildsMap(e.AsComprehension().IterRange()) {
				add(e.ID(), "a comprehension over a map literal has no fixed order", "use a list")
			}
		}
	}))
}

// buildsMap says whether a map literal stands anywhere in e.
func buildsMap(e celast.Expr) bool {
	found := false
	celast.PostOrderVisit(e, celast.NewExprVisitor(func(e celast.Expr) { found = found || e.Kind() == celast.MapKind }))
	return found
}

// compile checks src and makes it runnable; nil where it has problems, which
// stand at path. The same source is one expr.
func (l *language) compile(src string, want *cel.Type, path []string, problems *[]Problem) *expr {
	s := wording{text: src, want: want}
	if x := l.compiled[s]; x != nil {
		return x[0]
	}
	a := l.check(src, want, path, problems)
	if a == nil {
		return nil
	}
	x := l.plan(a, path, problems)
	if x != nil {
		l.compiled[s] = []*expr{x}
	}
	return x
}

func (l *language) check(src string, want *cel.Type, path []string, problems *[]Problem) *celast.AST {
	report := func(line, col int, what, hint string) {
		*problems = append(*problems, Problem{Path: path, Line: line, Col: col, What: what, Hint: hint})
	}
	a, iss := l.env.Compile(src)
	if l.loose != nil && iss != nil && onlyMixedEquality(iss) {
		a, iss = l.loose.Compile(src)
	}
	if iss != nil && iss.Err() != nil {
		for _, e := range iss.Errors() {
			what := strings.TrimSuffix(strings.ReplaceAll(e.Message, " (in container '')", ""), "\n")
			what, hint, _ := strings.Cut(what, "\n")
			if name, ok := quoted(what, "undeclared reference to "); ok {
				what = fmt.Sprintf("nothing here is named %q", name)
				hint = l.hint(name)
			}
			line := e.Location.Line()
			if line < 1 {
				line = 1
			}
			report(line, max(e.Location.Column(), 0), what, hint)
		}
		return nil
	}
	bad := false
	l.scan(a.NativeRep(), func(id int64, what, hint string) {
		loc := a.NativeRep().SourceInfo().GetStartLocation(id)
		bad = true
		report(max(loc.Line(), 1), max(loc.Column(), 0), what, hint)
	})
	if got := a.OutputType(); want != nil && got.Kind() != types.DynKind && !want.IsAssignableType(got) {
		bad = true
		report(1, 0, fmt.Sprintf("this is a %s where a %s is wanted", got, want), "")
	}
	if est, err := l.env.EstimateCost(a, sizes{}); err == nil && est.Max > maxCost {
		bad = true
		report(1, 0, fmt.Sprintf("this may cost %d steps; at most %d are taken", est.Max, maxCost), "nest fewer loops")
	}
	if bad {
		return nil
	}
	return a.NativeRep()
}

func (l *language) plan(a *celast.AST, path []string, problems *[]Problem) *expr {
	prog, err := l.env.PlanProgram(a, cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		*problems = append(*problems, Problem{Path: path, What: err.Error()})
		return nil
	}
	x := &expr{prog: prog, quick: l.quick.of(a.Expr()), typ: a.GetType(a.Expr().ID()), ast: a}
	l.planned = append(l.planned, x)
	return x
}

var mixedEquality = regexp.MustCompile(`^found no matching overload for '_[!=]=_' applied to '\((int, (wrapper\()?double|(wrapper\(double\)|double), int)\)`)

// onlyMixedEquality says whether all that is wrong is an int compared with a
// double by == or !=. CEL does compare them, but its checker refuses, and
// nobody who writes total == 0 thinks of that.
func onlyMixedEquality(iss *cel.Issues) bool {
	for _, e := range iss.Errors() {
		if !mixedEquality.MatchString(e.Message) {
			return false
		}
	}
	return true
}

// conjuncts compiles a condition into the parts that && joins at its top.
func (l *language) conjuncts(src string, path []string, problems *[]Problem) []*expr {
	s := wording{src, cel.BoolType, true}
	if x := l.compiled[s]; x != nil {
		return x
	}
	whole := l.check(src, cel.BoolType, path, problems)
	if whole == nil {
		return nil
	}
	var parts []celast.Expr
	var flatten func(e celast.Expr)
	flatten = func(e celast.Expr) {
		if e.Kind() == celast.CallKind && e.AsCall().FunctionName() == operators.LogicalAnd {
			for _, a := range e.AsCall().Args() {
				flatten(a)
			}
			return
		}
		parts = append(parts, e)
	}
	flatten(whole.Expr())
	exprs := make([]*expr, len(parts))
	for i, p := range parts {
		sub := celast.NewCheckedAST(celast.NewAST(p, whole.SourceInfo()), whole.TypeMap(), whole.ReferenceMap())
		if exprs[i] = l.plan(sub, path, problems); exprs[i] == nil {
			return nil
		}
	}
	l.compiled[s] = exprs
	return exprs
}

// quoted is the name in quotes after prefix.
func quoted(s, prefix string) (string, bool) {
	rest, ok := strings.CutPrefix(s, prefix)
	if !ok || len(rest) < 2 {
		return "", false
	}
	name, _, ok := strings.Cut(rest[1:], rest[:1])
	return name, ok
}

// sizes bounds what expressions iterate over, for the estimate of their cost.
type sizes struct{}

func (sizes) EstimateSize(n cost.AstNode) *cost.SizeEstimate {
	switch n.Type().Kind() {
	case types.ListKind, types.MapKind:
		return &cost.SizeEstimate{Min: 0, Max: uint64(DefaultBounds.Entries)}
	case types.StringKind, types.BytesKind, types.DynKind:
		return &cost.SizeEstimate{Min: 0, Max: 1024}
	}
	return nil
}

func (sizes) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate {
	return nil
}
