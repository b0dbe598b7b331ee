package oracle

import (
	"math"
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// A timer is a pending evaluation: an absence, or one that waits until a dwell
// condition holds.
type timer struct {
	campaign *campaign
	event    *event // the trigger
	key      string // match key
	due      int64
	dwell    bool
}

// fire fires all timers that are due at or before now. Each due time is a step.
func (u *user) fire(now int64) {
	for len(u.pending) > 0 {
		due := u.pending[0].due
		for _, t := range u.pending {
			due = min(due, t.due)
		}
		if due > now {
			return
		}
		var candidates []candidate
		for _, t := range u.take(func(t *timer) bool { return t.due == due }) {
			switch {
			case t.dwell && !t.holds(u, due):
				u.out.count(t.campaign, "condition")
			case t.dwell && t.campaign.Unless != nil: // `if` holds only now, so the absence starts now
				candidates = append(candidates, u.startAbsences(t.campaign, &scope{user: u, event: t.event, now: due})...)
			default:
				candidates = append(candidates, candidate{t.campaign, t.event, t.key, true, due})
			}
		}
		u.boundPending()
		u.choose(due, candidates, true)
	}
}

// holds evaluates all of `if` again.
func (t *timer) holds(u *user, now int64) bool {
	sc := &scope{user: u, event: t.event, now: now}
	return !slices.ContainsFunc(t.campaign.conditions, func(x *condition) bool { return !x.holds(sc) })
}

// take removes the wanted timers and returns them.
func (u *user) take(wanted func(*timer) bool) []*timer {
	var taken, rest []*timer
	for _, t := range u.pending {
		if wanted(t) {
			taken = append(taken, t)
		} else {
			rest = append(rest, t)
		}
	}
	u.pending = rest
	return taken
}

// supersede ends old timers with the outcome superseded.
func (u *user) supersede(old func(*timer) bool) {
	for _, t := range u.take(old) {
		u.out.count(t.campaign, "superseded")
	}
}

// cancel ends the timers that an event cancels.
func (u *user) cancel(ev *event) {
	gone := u.take(func(t *timer) bool {
		if t.dwell {
			return ev.active()
		}
		c := t.campaign
		sc := &scope{user: u, event: ev, now: ev.now}
		return ev.matches(c.Unless.On) && c.unlessWhere.holds(sc) && slices.Contains(c.matchKeys(sc), t.key)
	})
	for _, t := range gone {
		u.out.count(t.campaign, "cancelled")
	}
}

// matchKeys returns the keys of an event under `match`, in order. Without
// `match` there is one key, the empty one.
func (c *campaign) matchKeys(sc *scope) []string {
	match := c.Unless.Match
	if match == "" {
		return []string{""}
	}
	var keys []string
	if c.match != nil {
		v, err := c.match.eval(sc)
		if err != nil {
			return nil
		}
		if key, ok := keyText(v); ok {
			keys = append(keys, key)
		}
		return keys
	}
	for _, item := range sc.event.items() {
		fields, _ := item.(*object)
		if key, ok := property(fields, match); ok {
			keys = append(keys, key)
		}
	}
	return keys
}

// startAbsences starts or restarts an absence for each key; the wait is counted
// from the trigger. If it is already over, because the dwell took longer, the
// absence becomes a candidate at once.
func (u *user) startAbsences(c *campaign, sc *scope) (over []candidate) {
	started, due := 0, plus(sc.event.now, c.Unless.Within)
	for _, key := range c.matchKeys(sc) {
		if len(key) > maxKey {
			continue
		}
		same := func(t *timer) bool { return !t.dwell && t.campaign == c && t.key == key }
		if c.Unless.NoRestart && slices.ContainsFunc(u.pending, same) {
			continue
		}
		started++
		u.supersede(same)
		if due <= sc.now {
			over = append(over, candidate{c, sc.event, key, true, due})
			continue
		}
		u.pending = append(u.pending, &timer{campaign: c, event: sc.event, key: key, due: due})
		n := 0
		for _, t := range u.pending {
			if !t.dwell && t.campaign == c {
				n++
			}
		}
		if n > u.set.Bounds.Absences {
			oldest := u.pending[slices.IndexFunc(u.pending, func(t *timer) bool { return !t.dwell && t.campaign == c })]
			u.supersede(func(t *timer) bool { return t == oldest })
		}
	}
	if started == 0 {
		u.out.count(c, "condition")
	}
	return over
}

// A condition is one of the parts of `if` that are joined by && at the top
// level. If it has the form F >= duration("...") or F[key] >= duration("..."),
// or is the same with <=, and F is a dwell feature, then feature is set.
type condition struct {
	*expression
	feature *feature
	key     *expression
	atLeast int64
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

// order sorts candidates: the highest priority first.
func (a candidate) order(b candidate) int {
	switch {
	case a.campaign.Priority != b.campaign.Priority:
		return sign(a.campaign.Priority > b.campaign.Priority)
	case a.campaign.ID != b.campaign.ID:
		return strings.Compare(a.campaign.ID, b.campaign.ID)
	}
	return strings.Compare(a.key, b.key)
}
