package expr

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/parser"

	"offerstream/pipeline/campaign"
)

// maxCost bounds an expression's estimated worst cost, so that no campaign
// can stall a partition. Ordinary conditions cost under 4,000.
const maxCost = 1_000_000

// A Language is what expressions in one kind of place may see.
type Language struct {
	names    Names
	env      *cel.Env
	loose    *cel.Env            // see Loosen; nil: as env
	compiled map[wording][]*Expr // what was right: campaigns say the same again and again
	planned  []*Expr             // all
}

// Names are what a language's names mean.
type Names struct {
	Feature func(name string) (Feature, bool) // features, in a language that sees them
	Hint    func(name string) string          // what to do about an unknown name
}

// A Feature is what expressions have to know of one.
type Feature struct {
	Index  int  // for the Scope
	By     bool // it is a map by key, which lacks none
	Single bool // one aggregate of it is a single value
}

// A wording is an expression as it was written, and what is wanted of it.
type wording struct {
	text  string
	want  *cel.Type
	parts bool // conjuncts
}

// A Report takes what is wrong with an expression: at a line, from 1, and
// after col runes of it; line 0 is the whole.
type Report func(line, col int, what, hint string)

// NewLanguage makes the language of env with these names.
func NewLanguage(env *cel.Env, names Names) *Language {
	return &Language{names: names, env: env, compiled: map[wording][]*Expr{}}
}

// Env is what the language was made of.
func (l *Language) Env() *cel.Env { return l.env }

// Loosen gives the environment in which an expression is checked once more
// where all that is wrong with it is that an int is compared with a double. In
// it, numeric features are dyn.
func (l *Language) Loosen(env *cel.Env) { l.loose = env }

// Finish lets go of what only compiling needs: 3 KB an expression.
func (l *Language) Finish() {
	for _, x := range l.planned {
		x.ast = nil
	}
}

// Compile checks src and makes it runnable; nil where it has problems. want is
// the type that it must have; nil: any. The same source is one Expr.
func (l *Language) Compile(src string, want *cel.Type, report Report) *Expr {
	s := wording{text: src, want: want}
	if x := l.compiled[s]; x != nil {
		return x[0]
	}
	a := l.check(src, want, report)
	if a == nil {
		return nil
	}
	x := l.plan(a, a.Expr(), report)
	if x != nil {
		l.compiled[s] = []*Expr{x}
	}
	return x
}

// Conjuncts compiles a condition into the parts that && joins at its top.
func (l *Language) Conjuncts(src string, report Report) []*Expr {
	s := wording{src, cel.BoolType, true}
	if x := l.compiled[s]; x != nil {
		return x
	}
	whole := l.check(src, cel.BoolType, report)
	if whole == nil {
		return nil
	}
	var exprs []*Expr
	for _, p := range conjuncts(whole.Expr(), nil) {
		x := l.plan(whole, p, report)
		if x == nil {
			return nil
		}
		x.Text, x.Reads = text(whole, p), names(p)
		exprs = append(exprs, x)
	}
	l.compiled[s] = exprs
	return exprs
}

func conjuncts(e celast.Expr, parts []celast.Expr) []celast.Expr {
	if e.Kind() != celast.CallKind || e.AsCall().FunctionName() != operators.LogicalAnd {
		return append(parts, e)
	}
	for _, a := range e.AsCall().Args() {
		parts = conjuncts(a, parts)
	}
	return parts
}

// text is a part of an expression as it reads.
func text(whole *celast.AST, e celast.Expr) string {
	t, err := parser.Unparse(e, whole.SourceInfo())
	if err != nil {
		return "(" + err.Error() + ")"
	}
	return t
}

// names are the names in an expression, each once.
func names(e celast.Expr) (all []string) {
	celast.PostOrderVisit(e, celast.NewExprVisitor(func(e celast.Expr) {
		if e.Kind() == celast.IdentKind && !slices.Contains(all, e.AsIdent()) {
			all = append(all, e.AsIdent())
		}
	}))
	return all
}

// check is the checked expression, nil where it has problems.
func (l *Language) check(src string, want *cel.Type, report Report) *celast.AST {
	a, iss := l.env.Compile(src)
	if l.loose != nil && iss != nil && onlyMixedEquality(iss) {
		a, iss = l.loose.Compile(src)
	}
	if iss != nil && iss.Err() != nil {
		for _, e := range iss.Errors() {
			what, hint := l.plain(e.Message)
			report(max(e.Location.Line(), 1), max(e.Location.Column(), 0), what, hint)
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

// plain is what CEL says is wrong, in fewer words, and what to do.
func (l *Language) plain(message string) (what, hint string) {
	what = strings.TrimSuffix(strings.ReplaceAll(message, " (in container '')", ""), "\n")
	what, hint, _ = strings.Cut(what, "\n")
	if name, ok := quoted(what, "undeclared reference to "); ok {
		return fmt.Sprintf("nothing here is named %q", name), l.names.Hint(name)
	}
	return what, hint
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

// plan makes a checked expression runnable, or one within it.
func (l *Language) plan(whole *celast.AST, e celast.Expr, report Report) *Expr {
	a := whole
	if e != whole.Expr() {
		a = celast.NewCheckedAST(celast.NewAST(e, whole.SourceInfo()), whole.TypeMap(), whole.ReferenceMap())
	}
	prog, err := l.env.PlanProgram(a, cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		report(0, 0, err.Error(), "")
		return nil
	}
	x := &Expr{prog: prog, quick: shortcuts{l.names.Feature}.of(e), Type: a.GetType(e.ID()), ast: a}
	l.planned = append(l.planned, x)
	return x
}

// scan looks for what may compile but must not run.
func (l *Language) scan(a *celast.AST, add func(id int64, what, hint string)) {
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
			if !s.IsTestOnly() || s.Operand().Kind() != celast.IdentKind {
				return
			}
			name := s.Operand().AsIdent()
			if f, ok := l.names.Feature(name); ok && f.By {
				add(e.ID(), fmt.Sprintf("has() is always true on %s, which lacks no key", name), fmt.Sprintf("use %q in %s", s.FieldName(), name))
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

// sizes bounds what expressions iterate over, for the estimate of their cost.
type sizes struct{}

func (sizes) EstimateSize(n cost.AstNode) *cost.SizeEstimate {
	switch n.Type().Kind() {
	case types.ListKind, types.MapKind:
		return &cost.SizeEstimate{Min: 0, Max: uint64(campaign.DefaultBounds.Entries)}
	case types.StringKind, types.BytesKind, types.DynKind:
		return &cost.SizeEstimate{Min: 0, Max: 1024}
	}
	return nil
}

func (sizes) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate {
	return nil
}
