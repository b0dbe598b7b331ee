package pipeline

import (
	"slices"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
)

// dwellTerm recognises a conjunct of the form dwell >= duration("60s"), where
// dwell is a dwell feature or one key of it.
func (c *compiler) dwellTerm(x *expr, path []string) *dwellTerm {
	e := x.ast.Expr()
	if e.Kind() != celast.CallKind || len(e.AsCall().Args()) != 2 {
		return nil
	}
	args := e.AsCall().Args()
	operand, literal := args[0], args[1]
	switch e.AsCall().FunctionName() {
	case operators.GreaterEquals:
	case operators.LessEquals:
		operand, literal = literal, operand
	default:
		return nil
	}
	need, ok := durationLiteral(literal)
	if !ok {
		return nil
	}
	t := &dwellTerm{need: need}
	name := operand
	if operand.Kind() == celast.CallKind && operand.AsCall().FunctionName() == operators.Index {
		name = operand.AsCall().Args()[0]
		sub := celast.NewCheckedAST(celast.NewAST(operand.AsCall().Args()[1], x.ast.SourceInfo()), x.ast.TypeMap(), x.ast.ReferenceMap())
		t.key = c.state.plan(sub, path, &c.problems)
	}
	if name.Kind() != celast.IdentKind {
		return nil
	}
	i, ok := c.set.featureIndex[name.AsIdent()]
	if !ok || c.set.features[i].agg != aggDwell || (t.key == nil) != c.set.features[i].by.none() {
		return nil
	}
	t.feature = i
	return t
}

func durationLiteral(e celast.Expr) (int64, bool) {
	if e.Kind() != celast.CallKind || e.AsCall().FunctionName() != overloads.TypeConvertDuration || len(e.AsCall().Args()) != 1 {
		return 0, false
	}
	arg := e.AsCall().Args()[0]
	if arg.Kind() != celast.LiteralKind || arg.AsLiteral().Type() != cel.StringType {
		return 0, false
	}
	d, err := ParseDuration(string(arg.AsLiteral().(types.String)))
	return int64(d), err == nil
}

// A stay is one dwell that a term asks about: what lies in its window now.
type stay struct {
	need   int64
	within int64 // 0: for ever
	closed []stayEntry
	open   []int64 // when each open interval began
}

type stayEntry struct{ t, d int64 }

// earliest is the first moment after now at which every stay has what it
// needs without further events: what is open grows, what leaves its window
// goes. False when that does not happen before the open intervals end.
func earliest(now int64, stays []stay, points []int64) (int64, bool) {
	end := now
	points = append(points[:0], now)
	for _, s := range stays {
		for _, t := range s.open {
			end = max(end, t+int64(maxDwell))
			points = append(points, t+int64(maxDwell))
			if s.within > 0 {
				points = append(points, t+s.within)
			}
		}
		if s.within > 0 {
			for _, e := range s.closed {
				points = append(points, e.t+s.within)
			}
		}
	}
	slices.Sort(points)
	points = slices.Compact(points)
	for i, p := range points {
		if p < now || p > end {
			continue
		}
		next := end + 1
		if i+1 < len(points) {
			next = min(points[i+1], end+1)
		}
		at, ok := p, true
		for _, s := range stays {
			have, slope := s.at(p)
			switch {
			case have >= s.need:
			case slope == 0:
				ok = false
			default: // grows by slope a nanosecond
				at = max(at, p+(s.need-have+slope-1)/slope)
			}
		}
		if ok && at > now && at < next {
			return at, true
		}
	}
	return 0, false
}

// at is the dwell at moment m and how fast it grows from there.
func (s stay) at(m int64) (have, slope int64) {
	out := int64(-1 << 63)
	if s.within > 0 {
		out = m - s.within
	}
	for _, e := range s.closed {
		if e.t > out {
			have += e.d
		}
	}
	for _, t := range s.open {
		if t > out {
			have += clampDwell(m - t)
			if m >= t && m < t+int64(maxDwell) {
				slope++
			}
		}
	}
	return have, slope
}

// dwellDue is when the campaign's dwell conditions, the only ones that do not
// hold, will hold.
func (s *stepper) dwellDue(c *campaign, sc *scope) (int64, bool) {
	for len(s.stays) < len(c.dwell) {
		s.stays = append(s.stays, stay{})
	}
	stays := s.stays[:len(c.dwell)]
	for i, t := range c.dwell {
		f, key := sc.set.features[t.feature], ""
		if t.key != nil {
			k, err := t.key.key(sc)
			if err != nil {
				return 0, false
			}
			key = k
		}
		st := &stays[i]
		*st = stay{need: t.need, within: int64(f.def.Within), closed: st.closed[:0], open: st.open[:0]}
		buckets, entries := f.inSeries(sc.ent.feature(t.feature).find(key), cut(sc.now, f.def.Within))
		for b := buckets; len(b) > 0; b = b[bucketBytes:] {
			st.closed = append(st.closed, stayEntry{word(b, 0), word(b, 2)})
		}
		for e := entries; len(e) > 0; e = e[2*timeBytes:] {
			if word(e, 1) == openStay {
				st.open = append(st.open, word(e, 0))
			} else {
				st.closed = append(st.closed, stayEntry{word(e, 0), word(e, 1)})
			}
		}
	}
	if cap(s.points) < 64 {
		s.points = make([]int64, 0, 1024)
	}
	return earliest(sc.now, stays, s.points)
}
