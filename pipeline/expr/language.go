package expr

import (
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/parser"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/lazyregexp"
	"offerstream/pipeline/value"
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
	parts    map[conjunct]*Expr  // for the same reason
	planned  []*Expr             // all that were made runnable
}

// Names gives the meaning of names in a language. A name may have dots, as
// before.visits has: such a name is declared as a variable of the environment,
// and stands everywhere for itself, never for a field of another name.
type Names struct {
	Feature func(name string) (Feature, bool) // finds a feature by its name
	// Hint tells what to do about an unknown name. If it begins with that of known
	// names (before. or row., for example), it has its dot, and "" means that the
	// most similar of them is to be told.
	Hint func(name string) string
	// Getter finds how to read a variable without CEL; nil, here or as its result:
	// only CEL can.
	Getter func(name string) Getter
	// Fields are the names of the fields of a map of maps, such as facts.weather; none,
	// or a nil Fields: they are not known, and any is accepted.
	Fields func(name string) []string
	// OnlyByKey reports whether a map can be looked up but not gone through, because
	// nothing knows all of its keys; nil: no map is such.
	OnlyByKey func(name string) bool

	// What follows is for authors: with Strict, what runs but cannot be meant is
	// reported too (never.go).
	Strict bool
	Shape  func(name string) *Shape  // what is known of a variable; nil: nothing
	Domain func(name string) *Domain // what a variable may be; nil: anything
}

// A Getter reads a variable. The result is what CEL would give, or ok is false,
// and CEL must read it: for values that value.Value cannot hold, and for errors. A
// text in the result is valid as long as the event.
type Getter func(sc Scope) (v value.Value, ok bool)

// A Feature is what expressions need to know of a feature.
type Feature struct {
	Index  int    // identifies it in a Scope
	By     bool   // it has `by`: it is a map, in which every key can be looked up
	Key    string // with `by`: how the key of an event is written, for hints
	Single bool   // its aggregate is a single value, with `by` under each key
	Stays  bool   // its aggregate is the length of stays
	Most   int    // it is a list of at most so many elements; 0: it is no list
}

// A wording identifies a compilation: the source, and what it was compiled for.
type wording struct {
	text  string
	want  *cel.Type // the required type; nil: any
	parts bool      // split into conjuncts
}

// A conjunct identifies a part of a condition.
type conjunct struct {
	text  string
	loose bool // checked in Language.loose
}

// A Report takes what is wrong with an expression, at a line (from 1) and a
// column (runes before it); line 0 means the whole expression.
type Report func(line, col int, what, hint string)

// NewLanguage makes a language from a CEL environment and the meaning of its
// names.
func NewLanguage(env *cel.Env, names Names) *Language {
	return &Language{names: names, env: env, compiled: map[wording][]*Expr{}, parts: map[conjunct]*Expr{}}
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
	a, _ := l.check(src, want, report)
	if a == nil {
		return nil
	}
	x := l.plan(a, a.Expr(), report)
	if x != nil {
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
	whole, loose := l.check(src, cel.BoolType, report)
	if whole == nil {
		return nil
	}
	var exprs []*Expr
	for _, p := range conjuncts(whole.Expr(), nil) {
		text, err := parser.Unparse(p, whole.SourceInfo())
		if x := l.parts[conjunct{text, loose}]; x != nil && err == nil {
			exprs = append(exprs, x)
			continue
		}
		x := l.plan(whole, p, report)
		if x == nil {
			return nil
		}
		if x.Text = text; err != nil {
			x.Text = "(" + err.Error() + ")"
		} else {
			l.parts[conjunct{text, loose}] = x
		}
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

// check parses and type-checks an expression. It returns nil if there are
// problems, and whether it is checked in the loosened environment.
func (l *Language) check(src string, want *cel.Type, report Report) (checked *celast.AST, loose bool) {
	a, iss := l.env.Compile(src)
	if l.loose != nil && iss != nil && onlyMixedEquality(iss) {
		a, iss = l.loose.Compile(src)
		loose = true
	}
	if iss != nil && iss.Err() != nil {
		if lookalike(src, iss.Errors(), report) || amount(src, iss.Errors(), report) || l.misnamedIn(src, iss.Errors(), report) {
			return nil, false
		}
		if l.unparsed(src, iss.Errors(), report) {
			return nil, false
		}
		l.explainAll(src, iss.Errors(), report)
		return nil, false
	}
	bad := false
	l.forbid(a.NativeRep(), func(id int64, what, hint string) {
		loc := a.NativeRep().SourceInfo().GetStartLocation(id)
		bad = true
		report(max(loc.Line(), 1), max(loc.Column(), 0), what, hint)
	})
	if got := a.OutputType(); want != nil && got.Kind() != types.DynKind && !want.IsAssignableType(got) {
		bad = true
		hint := ""
		if want == cel.BoolType {
			hint = l.conditionHint(src, got)
		}
		report(1, 0, fmt.Sprintf("this is %s where %s is wanted", InWords(got.String()), InWords(want.String())), hint)
	}
	if est, err := l.env.EstimateCost(a, sizes{l.names}); err == nil && est.Max > maxCost {
		bad = true
		report(1, 0, fmt.Sprintf("this may cost %d; at most %d is allowed", est.Max, maxCost), "nest fewer loops")
	}
	if bad {
		return nil, false
	}
	constants{l, a.NativeRep(), func(id int64, err error) {
		loc := a.NativeRep().SourceInfo().GetStartLocation(id)
		bad = true
		report(max(loc.Line(), 1), max(loc.Column(), 0), "this always fails: "+err.Error(), failureHint(err.Error()))
	}}.of()
	if bad {
		return nil, false
	}
	if l.names.Strict {
		l.unmeant(a.NativeRep(), want, func(id int64, what, hint string) {
			loc := a.NativeRep().SourceInfo().GetStartLocation(id)
			bad = true
			report(max(loc.Line(), 1), max(loc.Column(), 0), what, hint)
		})
		if bad {
			return nil, false
		}
	}
	return a.NativeRep(), loose
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
	t := a.GetType(e.ID())
	x := &Expr{Type: t, Reads: names(whole, e), prog: prog, quick: shortcuts{l.names}.shortcut(e), ordered: mayHoldMap(t) && made{}.in(e), ast: a}
	if l.names.Strict {
		x.Shape = shapes{l: l, ast: a}.of(e, nil)
	}
	l.planned = append(l.planned, x)
	return x
}

var mixedEquality = lazyregexp.New(`^found no matching overload for '_[!=]=_' applied to '\((int, (wrapper\()?double|(wrapper\(double\)|double), int)\)`)

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
type sizes struct{ names Names }

const (
	mostText   = 1024
	mostNested = 32 // the length of a path from which on CEL asks for nothing within
)

func (s sizes) EstimateSize(n cost.AstNode) *cost.SizeEstimate {
	switch n.Type().Kind() {
	case types.ListKind, types.MapKind:
		most := campaign.DefaultBounds.Entries
		if path := n.Path(); len(path) == 1 && s.names.Feature != nil {
			if f, ok := s.names.Feature(strings.TrimPrefix(path[0], "before.")); ok && f.Most > 0 {
				most = min(most, f.Most)
			}
		}
		return &cost.SizeEstimate{Max: uint64(most)}
	case types.StringKind, types.BytesKind:
		return &cost.SizeEstimate{Max: mostText}
	case types.DynKind:
		return dynSize(len(n.Path()))
	}
	return nil
}

// dynSize is the size of a value of type dyn at a path of that length. It holds the
// sizes of what may be nested in the value, level by level. Otherwise CEL would ask
// for each of them under its own path, which took longer than all else in checking
// an expression.
func dynSize(path int) *cost.SizeEstimate {
	levels := 1
	if path > 0 {
		levels += max(mostNested-path, 0)
	}
	nested := make([]cost.SizeEstimate, levels)
	for i := range nested {
		if nested[i].Max = mostText; i > 0 {
			nested[i-1].Elem = &nested[i]
		}
	}
	return &nested[0]
}

func (sizes) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate {
	return nil
}
