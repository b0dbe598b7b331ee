package oracle

import (
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
)

// boundPending supersedes what waits with the oldest triggers while all of it
// keeps too much of its events.
func (u *user) boundPending() {
	for len(u.pending) > 0 {
		total, oldest := 0, u.pending[0]
		for _, p := range u.pending {
			total += p.size()
			if p.older(oldest) {
				oldest = p
			}
		}
		if total <= maxPending {
			return
		}
		u.out.meet("bound on bytes of what waits")
		u.supersede(func(p *evaluation) bool { return p == oldest })
	}
}

// older reports whether an evaluation gives way before another.
func (p *evaluation) older(o *evaluation) bool {
	switch {
	case p.at != o.at:
		return p.at < o.at
	case p.campaign != o.campaign:
		return p.campaign.ID < o.campaign.ID
	case (p.kind == dwell) != (o.kind == dwell):
		return p.kind == dwell
	}
	return p.key < o.key
}

// size returns the size of the fields of its event that the evaluation's campaign
// reads later.
func (p *evaluation) size() int {
	if p.event == nil {
		return 0
	}
	c := p.campaign
	later := []*expression{c.whenDue, c.choose, c.score}
	if c.At != nil {
		later = append(later, c.At.hours)
	}
	later = append(append(later, inData(c.data)...), c.Offer.expires)
	if c.Budget != nil {
		later = append(later, c.Budget.of)
	}
	read := map[string]bool{} // paths, joined by dots
	if p.kind == dwell || p.kind == ask {
		for _, x := range c.conditions {
			later = append(later, x.expression)
		}
		if un := p.entry.Unless; un != nil {
			later = append(later, un.match, un.within)
			if un.Match != "" && un.match == nil {
				read["items"] = true
			}
		}
	}
	for _, x := range later {
		for _, path := range c.eventPaths(x) {
			read[path] = true
		}
	}
	return p.event.keptSize(read)
}

// eventPaths returns what an expression reads of the event, also by the lets that
// it names.
func (c *campaign) eventPaths(x *expression) []string {
	if x == nil {
		return nil
	}
	out := eventPaths(x.ast.Expr())
	for _, name := range identifiers(x.ast.Expr()) {
		out = append(out, c.eventPaths(c.lets[name])...)
	}
	return out
}

// identifiers returns the names in an expression.
func identifiers(e ast.Expr) []string {
	if e.Kind() == ast.IdentKind {
		return []string{e.AsIdent()}
	}
	var out []string
	for _, child := range children(e) {
		out = append(out, identifiers(child)...)
	}
	return out
}

// eventPaths returns what an expression reads of the event: properties.x.y for
// event.properties.x.y, and "" for the event as a whole.
func eventPaths(e ast.Expr) []string {
	if p, ok := eventPath(e); ok {
		return []string{p}
	}
	var out []string
	for _, child := range children(e) {
		out = append(out, eventPaths(child)...)
	}
	return out
}

func eventPath(e ast.Expr) (string, bool) {
	switch e.Kind() {
	case ast.IdentKind:
		return "", e.AsIdent() == "event"
	case ast.SelectKind:
		return below(e.AsSelect().Operand(), e.AsSelect().FieldName())
	case ast.CallKind:
		if c := e.AsCall(); c.FunctionName() == "_[_]" || c.FunctionName() == "_?._" || c.FunctionName() == "_[?_]" {
			if name := c.Args()[1]; name.Kind() == ast.LiteralKind {
				if s, ok := name.AsLiteral().(types.String); ok {
					return below(c.Args()[0], string(s))
				}
			}
		}
	}
	return "", false
}

func below(e ast.Expr, name string) (string, bool) {
	p, ok := eventPath(e)
	if p != "" {
		p += "."
	}
	return p + name, ok
}

// children returns the expressions directly in an expression.
func children(e ast.Expr) []ast.Expr {
	switch e.Kind() {
	case ast.SelectKind:
		return []ast.Expr{e.AsSelect().Operand()}
	case ast.CallKind:
		out := slices.Clone(e.AsCall().Args())
		if e.AsCall().IsMemberFunction() {
			out = append(out, e.AsCall().Target())
		}
		return out
	case ast.ListKind:
		return e.AsList().Elements()
	case ast.MapKind:
		var out []ast.Expr
		for _, entry := range e.AsMap().Entries() {
			out = append(out, entry.AsMapEntry().Key(), entry.AsMapEntry().Value())
		}
		return out
	case ast.ComprehensionKind:
		c := e.AsComprehension()
		return []ast.Expr{c.IterRange(), c.AccuInit(), c.LoopCondition(), c.LoopStep(), c.Result()}
	}
	return nil
}

// keptSize returns the size of the fields at these paths.
func (ev *event) keptSize(read map[string]bool) int {
	if read[""] { // the event as a whole
		read = map[string]bool{"name": true, "properties": true, "traits": true, "context": true}
	}
	n := 0
	if read["name"] && (ev.active() || ev.typ == "system") {
		n += len("name") + len(ev.name)
	}
	if read["items"] {
		delete(read, "items")
		if items := ev.items(); len(items) == 1 && items[0] == any(ev.root.object("properties")) {
			read["properties"] = true
		} else {
			read["properties.products"] = true
		}
	}
	leaves := map[string]int{} // the fields that are kept whole, without properties, traits or context in front
	var keep func(v any, path []string, at string)
	keep = func(v any, path []string, at string) {
		o, isObject := v.(*object)
		switch {
		case len(path) == 0 && !strings.Contains(at, "."): // all of properties, traits or context
			for _, name := range o.keys {
				keep(o.vals[name], nil, at+"."+name)
			}
		case len(path) == 0 || !isObject:
			leaves[at] = jsonSize(v)
		default:
			if next, ok := o.vals[path[0]]; ok {
				keep(next, path[1:], at+"."+path[0])
			}
		}
	}
	for path := range read {
		parts := strings.Split(path, ".")
		if slices.Contains([]string{"properties", "traits", "context"}, parts[0]) {
			keep(ev.root.object(parts[0]), parts[1:], parts[0])
		}
	}
	for at, size := range leaves {
		inside := false // another field that is kept whole holds it
		for other := range leaves {
			inside = inside || strings.HasPrefix(at, other+".")
		}
		if !inside {
			_, name, _ := strings.Cut(at, ".")
			n += len(name) + size
		}
	}
	return n
}
