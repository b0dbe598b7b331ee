package expr

import (
	"fmt"
	"slices"
	"strings"

	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/traits"

	"offerstream/pipeline/campaign"
)

// forbid reports the parts of a checked expression that CEL accepts but that must
// not run, or never do what was meant.
func (l *Language) forbid(a *celast.AST, add func(id int64, what, hint string)) {
	made := madeBy(a.Expr())
	l.forbidWhole(a, add)
	forbidSized(a, add)
	celast.PostOrderVisit(a.Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		switch e.Kind() {
		case celast.CallKind:
			l.forbidCall(a, e, made, add)
		case celast.SelectKind:
			s := e.AsSelect()
			if !s.IsTestOnly() || s.Operand().Kind() != celast.IdentKind {
				break
			}
			name := s.Operand().AsIdent()
			if f, ok := l.names.Feature(name); ok && f.By {
				add(e.ID(), fmt.Sprintf("has() is always true on %s, where every key can be looked up", name), fmt.Sprintf("use %q in %s", s.FieldName(), name))
			}
		case celast.ComprehensionKind:
			over := e.AsComprehension().IterRange()
			if a.GetType(over.ID()).Kind() != types.ListKind && made.in(over) {
				add(e.ID(), "a comprehension over a map literal has no fixed order", "use a list")
			}
		}
		l.forbidField(e, add)
	}))
}

// forbidWhole reports a map that is not looked up by a key, although nothing knows
// all of its keys (Names.OnlyByKey).
func (l *Language) forbidWhole(a *celast.AST, add func(id int64, what, hint string)) {
	if l.names.OnlyByKey == nil {
		return
	}
	lookedUp := map[int64]bool{}
	celast.PreOrderVisit(a.Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		if of, _ := member(e); of != nil {
			lookedUp[of.ID()] = true
		}
		if e.Kind() == celast.CallKind && e.AsCall().FunctionName() == operators.In {
			lookedUp[e.AsCall().Args()[1].ID()] = true
		}
		if e.Kind() != celast.IdentKind || lookedUp[e.ID()] {
			return
		}
		if name := strings.TrimPrefix(e.AsIdent(), "."); l.names.OnlyByKey(name) {
			add(e.ID(), fmt.Sprintf("%s is only known by key", name), fmt.Sprintf("%s[event.properties.city], for example", name))
		}
	}))
}

// forbidSized reports any use but size() of a value that has only a size
// (value.NewSized).
func forbidSized(a *celast.AST, add func(id int64, what, hint string)) {
	measured := map[int64]bool{}
	celast.PreOrderVisit(a.Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		if e.Kind() == celast.CallKind && e.AsCall().FunctionName() == overloads.Size {
			call := e.AsCall()
			for _, arg := range append(call.Args(), call.Target()) {
				measured[arg.ID()] = true
			}
		}
		t := a.GetType(e.ID())
		if t.Kind() != types.StructKind || !t.HasTrait(traits.SizerType) || measured[e.ID()] {
			return
		}
		what := "this"
		if e.Kind() == celast.IdentKind {
			what = strings.TrimPrefix(e.AsIdent(), ".")
		}
		add(e.ID(), fmt.Sprintf("nothing but the size of %s can be read", what), fmt.Sprintf("write %s.size()", what))
	}))
}

func (l *Language) forbidCall(a *celast.AST, e celast.Expr, made made, add func(id int64, what, hint string)) {
	call := e.AsCall()
	switch name := call.FunctionName(); name {
	case overloads.Matches:
		if re := call.Args()[len(call.Args())-1]; re.Kind() != celast.LiteralKind {
			add(re.ID(), "a regular expression must be a literal", "write it in quotes")
		}
	case "values":
		if made.in(call.Target()) {
			add(e.ID(), "a map literal has no fixed order", "use a list")
		}
	case "@max_by", "@min_by":
		switch key := a.GetType(call.Args()[1].ID()).Parameters()[0]; key.Kind() {
		case types.ListKind, types.MapKind, types.StructKind, types.NullTypeKind, types.TypeKind, types.OpaqueKind:
			loop := call.Args()[1].AsComprehension().LoopStep().AsCall() // @result + [key]
			add(loop.Args()[1].AsList().Elements()[0].ID(), fmt.Sprintf("a %s has no order, so it cannot be the key of %s", key, name[1:]), "take a number, text, bool, time or duration")
		}
	default:
		if zoned[name] == nil || len(call.Args()) != 1 {
			break
		}
		if zone := textLiteral(call.Args()[0]); zone != nil {
			if err, wrong := inZone(types.Timestamp{}, *zone, name).(*types.Err); wrong {
				add(call.Args()[0].ID(), err.Error(), zoneHint(*zone))
			}
		}
	}
}

// forbidField reports a field that no map of the fact, or of another map of maps,
// has: facts.weather[key].field, also with ["field"], .?field and has().
func (l *Language) forbidField(e celast.Expr, add func(id int64, what, hint string)) {
	if l.names.Fields == nil {
		return
	}
	of, field := member(e)
	if of == nil || field == nil {
		return
	}
	maps, _ := member(of)
	if maps == nil || maps.Kind() != celast.IdentKind {
		return
	}
	name := strings.TrimPrefix(maps.AsIdent(), ".")
	fields := l.names.Fields(name)
	if len(fields) == 0 || slices.Contains(fields, *field) {
		return
	}
	hint := "known are " + strings.Join(fields, ", ")
	if best := campaign.Nearest(*field, fields); best != "" {
		hint = fmt.Sprintf("did you mean %q?", best)
	}
	add(e.ID(), fmt.Sprintf("%s has no field %q", name, *field), hint)
}

// member is what e takes a member of, nil if e takes none: x in x.a, x["a"], x[k],
// x.?a, x[?k] and has(x.a). name is the member's name, nil if it is not a literal.
func member(e celast.Expr) (of celast.Expr, name *string) {
	switch e.Kind() {
	case celast.SelectKind:
		field := e.AsSelect().FieldName()
		return e.AsSelect().Operand(), &field
	case celast.CallKind:
		switch e.AsCall().FunctionName() {
		case operators.Index, operators.OptIndex, operators.OptSelect:
			return e.AsCall().Args()[0], textLiteral(e.AsCall().Args()[1])
		}
	}
	return nil, nil
}
