package pipeline

import (
	"slices"

	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"github.com/valyala/fastjson"
)

// An index finds what an event can concern: by the event's name and, where a
// `where` has one, by an equality (path == "text", path in ["a", "b"], or
// such joined by ||). What is not found is never evaluated; what is found
// still has the rest of its `where` to pass.
type index struct {
	features  selector // features.update
	removes   selector // remove_on
	campaigns selector // triggers
	cancels   selector // unless
}

func (x *index) build(s *Set) {
	for i, f := range s.features {
		f.where = x.features.add(i, f.def.On, f.where)
		if f.remove != nil {
			x.removes.add(i, f.def.RemoveOn, nil)
		}
	}
	for i, c := range s.campaigns {
		c.where = x.campaigns.add(i, c.def.On, c.where)
		if u := c.def.Unless; u != nil {
			c.unless = x.cancels.add(i, u.On, c.unless)
		}
	}
}

// A selector maps an event to the numbers of what it selects.
type selector struct {
	named               map[string]*selection // track events
	page, screen, ident selection
	star                selection
}

// A selection is what one event name selects: some by the text at a path,
// the rest always.
type selection struct {
	guards []guard
	always []int
}

type guard struct {
	path   []string
	values map[string][]int
}

// add files number i under the events' names and its guard, and returns the
// conditions that remain to be checked.
func (s *selector) add(i int, on []string, where []*expr) []*expr {
	path, values, rest := takeGuard(where)
	if slices.Contains(on, "*") {
		on = []string{"*"}
	}
	for k, name := range on {
		if slices.Contains(on[:k], name) {
			continue
		}
		s.selection(name).add(i, path, values)
	}
	return rest
}

func (s *selector) selection(name string) *selection {
	switch name {
	case "*":
		return &s.star
	case "page":
		return &s.page
	case "screen":
		return &s.screen
	case "identify":
		return &s.ident
	}
	if s.named == nil {
		s.named = map[string]*selection{}
	}
	if s.named[name] == nil {
		s.named[name] = &selection{}
	}
	return s.named[name]
}

func (s *selection) add(i int, path, values []string) {
	if path == nil {
		s.always = append(s.always, i)
		return
	}
	g := slices.IndexFunc(s.guards, func(g guard) bool { return slices.Equal(g.path, path) })
	if g < 0 {
		g = len(s.guards)
		s.guards = append(s.guards, guard{path, map[string][]int{}})
	}
	for _, v := range values {
		if is := s.guards[g].values[v]; len(is) == 0 || is[len(is)-1] != i {
			s.guards[g].values[v] = append(is, i)
		}
	}
}

// each calls fn with every number that the event can concern, once.
func (s *selector) each(ev *Event, fn func(i int)) {
	s.star.each(ev, fn)
	switch ev.Type {
	case Track:
		if sel := s.named[ev.Name]; sel != nil {
			sel.each(ev, fn)
		}
	case Page:
		s.page.each(ev, fn)
	case Screen:
		s.screen.each(ev, fn)
	case Identify:
		s.ident.each(ev, fn)
	}
}

func (s *selection) each(ev *Event, fn func(i int)) {
	for _, i := range s.always {
		fn(i)
	}
	for _, g := range s.guards {
		v := ev.get(g.path...)
		if v == nil || v.Type() != fastjson.TypeString {
			continue
		}
		for _, i := range g.values[string(v.GetStringBytes())] {
			fn(i)
		}
	}
}

// takeGuard finds the first conjunct that is an equality on text in the
// event, and returns the others as what is left to check.
func takeGuard(where []*expr) (path, values []string, rest []*expr) {
	for i, x := range where {
		if path, values = equality(x.ast.Expr()); path != nil {
			return path, values, slices.Concat(where[:i], where[i+1:])
		}
	}
	return nil, nil, where
}

func equality(e celast.Expr) (path, values []string) {
	if e.Kind() != celast.CallKind {
		return nil, nil
	}
	args := e.AsCall().Args()
	switch e.AsCall().FunctionName() {
	case operators.Equals:
		for _, pair := range [][2]celast.Expr{{args[0], args[1]}, {args[1], args[0]}} {
			p, v := eventPath(pair[0]), textLiteral(pair[1])
			if p != nil && v != nil {
				return p, []string{*v}
			}
		}
	case operators.In:
		p := eventPath(args[0])
		if p == nil || args[1].Kind() != celast.ListKind {
			return nil, nil
		}
		for _, el := range args[1].AsList().Elements() {
			v := textLiteral(el)
			if v == nil {
				return nil, nil
			}
			values = append(values, *v)
		}
		return p, values
	case operators.LogicalOr:
		for _, a := range args {
			p, v := equality(a)
			if p == nil || (path != nil && !slices.Equal(p, path)) {
				return nil, nil
			}
			path, values = p, append(values, v...)
		}
		return path, values
	}
	return nil, nil
}

// eventPath is the JSON path of event.properties.x, .traits.x or .context.x,
// also as event.properties["x"].
func eventPath(e celast.Expr) []string {
	switch e.Kind() {
	case celast.SelectKind:
		sel := e.AsSelect()
		if sel.IsTestOnly() {
			return nil
		}
		if op := sel.Operand(); op.Kind() == celast.IdentKind && op.AsIdent() == "event" {
			switch sel.FieldName() {
			case "properties", "traits", "context":
				return []string{sel.FieldName()}
			}
			return nil
		}
		if p := eventPath(sel.Operand()); p != nil {
			return append(p, sel.FieldName())
		}
	case celast.CallKind:
		if c := e.AsCall(); c.FunctionName() == operators.Index {
			p, name := eventPath(c.Args()[0]), textLiteral(c.Args()[1])
			if p != nil && name != nil && len(p) == 1 { // deeper, a list may stand there
				return append(p, *name)
			}
		}
	}
	return nil
}

func textLiteral(e celast.Expr) *string {
	if e.Kind() != celast.LiteralKind {
		return nil
	}
	s, ok := e.AsLiteral().(types.String)
	if !ok {
		return nil
	}
	t := string(s)
	return &t
}
