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

// maxCost bounds the estimated worst-case cost of an expression, so that no
// campaign can stall a partition. Ordinary conditions cost less than 4,000.
const maxCost = 1_000_000

// A Language says what expressions in one kind of place may use.
type Language struct {
	names    Names
	env      *cel.Env
	loose    *cel.Env            // see Loosen; nil: not loosened
	compiled map[wording][]*Expr // for reuse, because campaigns repeat the same expressions
	planned  []*Expr             // all that were made runnable
}

// Names gives the meaning of names in a language.
type Names struct {
	Feature func(name string) (Feature, bool) // finds a feature by its name
	Hint    func(name string) string          // tells what to do about an unknown name
}

// A Feature is what expressions need to know of a feature.
type Feature struct {
	Index  int  // identifies it in a Scope
	By     bool // it has `by`: it is a map, in which every key can be looked up
	Single bool // its aggregate is a single value, with `by` under each key
}

// A wording identifies a compilation: the source, and what it was compiled for.
type wording struct {
	text  string
	want  *cel.Type // the required type; nil: any
	parts bool      // split into conjuncts
}

// A Report takes what is wrong with an expression, at a line (from 1) and a
// column (runes before it); line 0 means the whole expression.
type Report func(line, col int, what, hint string)

// NewLanguage makes a language from a CEL environment and the meaning of its
// names.
func NewLanguage(env *cel.Env, names Names) *Language {
	return &Language{names: names, env: env, compiled: map[wording][]*Expr{}}
}

// Env is the CEL environment of the language.
func (l *Language) Env() *cel.Env { return l.env }

// Loosen sets a second environment, in which numeric features have the type
// dyn. If all that is wrong with an expression is that it compares an int with
// a double for equality, it is checked again in that environment.
func (l *Language) Loosen(env *cel.Env) { l.loose = env }

// Finish releases what only compilation needs: about 3 KB for each expression.
func (l *Language) Finish() {
	for _, x := range l.planned {
		x.ast = nil
	}
}

// Compile checks an expression and makes it runnable. It returns nil if there
// are problems. want is the required type; nil means any. Compiling the same
// source twice returns the same Expr.
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
		x.Reads = names(a.Expr())
		l.compiled[s] = []*Expr{x}
	}
	return x
}

// Conjuncts compiles a condition, split into the parts that && joins at its top
// level. It returns nil if there are problems.
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

// text is the source of a part of an expression.
func text(whole *celast.AST, e celast.Expr) string {
	t, err := parser.Unparse(e, whole.SourceInfo())
	if err != nil {
		return "(" + err.Error() + ")"
	}
	return t
}

// names are the names that an expression contains, each once.
func names(e celast.Expr) (all []string) {
	celast.PostOrderVisit(e, celast.NewExprVisitor(func(e celast.Expr) {
		if e.Kind() == celast.IdentKind && !slices.Contains(all, e.AsIdent()) {
			all = append(all, e.AsIdent())
		}
	}))
	return all
}

// check parses and type-checks an expression. It returns nil if there are
// problems.
func (l *Language) check(src string, want *cel.Type, report Report) *celast.AST {
	a, iss := l.env.Compile(src)
	if l.loose != nil && iss != nil && onlyMixedEquality(iss) {
		a, iss = l.loose.Compile(src)
	}
	if iss != nil && iss.Err() != nil {
		if misnamedIn(src, iss.Errors(), report) {
			return nil
		}
		for _, e := range iss.Errors() {
			what, hint := l.simplify(e.Message)
			report(max(e.Location.Line(), 1), max(e.Location.Column(), 0), what, hint)
		}
		return nil
	}
	bad := false
	l.forbid(a.NativeRep(), func(id int64, what, hint string) {
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
		report(1, 0, fmt.Sprintf("this may cost %d; at most %d is allowed", est.Max, maxCost), "nest fewer loops")
	}
	if bad {
		return nil
	}
	constants{l, a.NativeRep(), func(id int64, err error) {
		loc := a.NativeRep().SourceInfo().GetStartLocation(id)
		bad = true
		report(max(loc.Line(), 1), max(loc.Column(), 0), "this always fails: "+err.Error(), "")
	}}.of()
	if bad {
		return nil
	}
	return a.NativeRep()
}

// simplify shortens CEL's message about a problem, and tells what to do.
func (l *Language) simplify(message string) (what, hint string) {
	what = strings.TrimSuffix(strings.ReplaceAll(message, " (in container '')", ""), "\n")
	what, hint, _ = strings.Cut(what, "\n")
	if name, ok := quoted(what, "undeclared reference to "); ok {
		return fmt.Sprintf("nothing here is named %q", name), l.names.Hint(name)
	}
	return what, hint
}

// quoted is the name in quotes that follows the prefix of s.
func quoted(s, prefix string) (string, bool) {
	rest, ok := strings.CutPrefix(s, prefix)
	if !ok || len(rest) < 2 {
		return "", false
	}
	name, _, ok := strings.Cut(rest[1:], rest[:1])
	return name, ok
}

// plan makes a checked expression, or a part e of it, runnable.
func (l *Language) plan(whole *celast.AST, e celast.Expr, report Report) *Expr {
	a := whole
	if e != whole.Expr() {
		a = celast.NewCheckedAST(celast.NewAST(e, whole.SourceInfo()), whole.TypeMap(), whole.ReferenceMap())
	}
	prog, err := l.env.PlanProgram(l.exactNumbers(whole, e), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		report(0, 0, err.Error(), "")
		return nil
	}
	x := &Expr{prog: prog, quick: shortcuts{l.names.Feature}.shortcut(e), Type: a.GetType(e.ID()), ast: a}
	l.planned = append(l.planned, x)
	return x
}

// forbid reports the parts of an expression that CEL accepts but that must not
// run.
func (l *Language) forbid(a *celast.AST, add func(id int64, what, hint string)) {
	celast.PostOrderVisit(a.Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		switch e.Kind() {
		case celast.CallKind:
			if call := e.AsCall(); call.FunctionName() == overloads.Matches {
				if re := call.Args()[len(call.Args())-1]; re.Kind() != celast.LiteralKind {
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
				add(e.ID(), fmt.Sprintf("has() is always true on %s, where every key can be looked up", name), fmt.Sprintf("use %q in %s", s.FieldName(), name))
			}
		case celast.ComprehensionKind:
			if buildsMap(e.AsComprehension().IterRange()) {
				add(e.ID(), "a comprehension over a map literal has no fixed order", "use a list")
			}
		}
	}))
}

// buildsMap reports whether e contains a map literal.
func buildsMap(e celast.Expr) bool {
	found := false
	celast.PostOrderVisit(e, celast.NewExprVisitor(func(e celast.Expr) { found = found || e.Kind() == celast.MapKind }))
	return found
}

var mixedEquality = regexp.MustCompile(`^found no matching overload for '_[!=]=_' applied to '\((int, (wrapper\()?double|(wrapper\(double\)|double), int)\)`)

// onlyMixedEquality reports whether all that is wrong is that an int and a
// double are compared by == or !=. CEL can compare them, but its checker
// refuses to, and authors of conditions such as total == 0 do not expect that.
func onlyMixedEquality(iss *cel.Issues) bool {
	for _, e := range iss.Errors() {
		if !mixedEquality.MatchString(e.Message) {
			return false
		}
	}
	return true
}

// sizes bounds the sizes of lists, maps and texts for the estimate of costs.
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
