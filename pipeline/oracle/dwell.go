package oracle

import (
	"math"
	"slices"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// A condition is one of the parts of `if` that are joined by && at the top
// level. If it has the form F >= duration("...") or F[key] >= duration("..."),
// or is the same with <=, and F is a dwell feature, then feature is set.
type condition struct {
	*expression
	feature *feature
	key     *expression
	atLeast int64

	needsItem bool // it reads a feature of items, or the item, or waits for dwell
}

// conditions compiles `if` and splits it into its conditions.
func (l *language) conditions(src, owner string) []*condition {
	whole := l.compile(src, owner, "if")
	if whole == nil {
		return nil
	}
	part := func(e ast.Expr) *expression {
		return l.plan(ast.NewCheckedAST(ast.NewAST(e, whole.ast.SourceInfo()), whole.ast.TypeMap(), whole.ast.ReferenceMap()), owner, "if")
	}
	var out []*condition
	var split func(e ast.Expr)
	split = func(e ast.Expr) {
		if e.Kind() == ast.CallKind && e.AsCall().FunctionName() == operators.LogicalAnd {
			for _, arg := range e.AsCall().Args() {
				split(arg)
			}
			return
		}
		c := &condition{expression: part(e)}
		out = append(out, c)
		f, key, least := l.dwellForm(e)
		if f == nil {
			return
		}
		c.feature, c.atLeast = f, least
		if key != nil {
			c.key = part(key)
		}
	}
	split(whole.ast.Expr())
	return out
}

// dwellForm takes a dwell condition apart: its feature, its key or nil, and the
// least duration. The feature is nil if e does not have that form.
func (l *language) dwellForm(e ast.Expr) (f *feature, key ast.Expr, atLeast int64) {
	if e.Kind() != ast.CallKind || len(e.AsCall().Args()) != 2 {
		return nil, nil, 0
	}
	dwell, least := e.AsCall().Args()[0], e.AsCall().Args()[1]
	switch e.AsCall().FunctionName() {
	case operators.GreaterEquals:
	case operators.LessEquals:
		dwell, least = least, dwell
	default:
		return nil, nil, 0
	}
	if least.Kind() != ast.CallKind || least.AsCall().FunctionName() != "duration" || least.AsCall().Args()[0].Kind() != ast.LiteralKind {
		return nil, nil, 0
	}
	if dwell.Kind() == ast.CallKind && dwell.AsCall().FunctionName() == operators.Index {
		dwell, key = dwell.AsCall().Args()[0], dwell.AsCall().Args()[1]
	}
	if dwell.Kind() != ast.IdentKind {
		return nil, nil, 0
	}
	f = l.features[dwell.AsIdent()]
	if f == nil || f.Agg != "dwell" || (f.By != "") != (key != nil) {
		return nil, nil, 0
	}
	d, ok := toDuration(least.AsCall().Args()[0].AsLiteral()).(types.Duration)
	if !ok {
		return nil, nil, 0
	}
	return f, key, int64(d.Duration)
}

// dwellDue returns the first moment after now at which all dwell conditions
// would hold without further events. It returns false if a missing condition is
// not a dwell condition, or if there is no such moment.
func (u *user) dwellDue(c *campaign, missing []*condition, sc *scope) (int64, bool) {
	if slices.ContainsFunc(missing, func(x *condition) bool { return x.feature == nil }) {
		return 0, false
	}
	var moments []int64
	var holds []func(now int64) bool
	for _, x := range c.conditions {
		if x.feature == nil {
			continue
		}
		key := ""
		if x.key != nil {
			v, err := x.key.eval(sc)
			if err != nil {
				return 0, false
			}
			var ok bool
			if key, ok = keyText(v); !ok {
				return 0, false
			}
		}
		w := u.state(x.feature).keys[key]
		if w == nil {
			w = new(window)
		}
		moments = append(moments, w.moments(sc.now, x)...)
		holds = append(holds, func(now int64) bool { return w.dwell(now) >= x.atLeast })
	}
	slices.Sort(moments)
	for _, m := range moments {
		if m > sc.now && !slices.ContainsFunc(holds, func(h func(int64) bool) bool { return !h(m) }) {
			return m, true
		}
	}
	return 0, false
}

// dwell returns the total length of the intervals in the window.
func (w *window) dwell(now int64) int64 {
	sum := int64(0)
	for _, e := range w.live(now) {
		sum += e.dwell(now)
	}
	return sum
}

// moments returns the moments at which the condition can begin to hold. The
// total grows each nanosecond by the number of open intervals, until one of
// them leaves the window or reaches its maximum. So the total is extrapolated
// from now and from each of these moments.
func (w *window) moments(now int64, x *condition) []int64 {
	bends := append(w.exits(), now)
	for _, e := range w.all() {
		if e.open {
			bends = append(bends, plus(e.at, maxDwell))
		}
	}
	var out []int64
	for _, from := range bends {
		if from < now {
			continue
		}
		growing := int64(0)
		for _, e := range w.live(from) {
			if e.open && from < plus(e.at, maxDwell) {
				growing++
			}
		}
		if short := x.atLeast - w.dwell(from); growing > 0 && short > 0 {
			if wait := (short + growing - 1) / growing; wait <= minus(math.MaxInt64, from) {
				out = append(out, from+wait)
			}
		}
	}
	return out
}
