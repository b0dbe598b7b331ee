package oracle

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// The limits of rule 18, in bytes.
const (
	maxKey     = 1 << 10
	maxValue   = 4 << 10
	maxTraits  = 64 << 10
	maxPending = 64 << 10
)

// cut returns the beginning of a text, in whole characters.
func cut(s string, most int) string {
	out := ""
	for _, r := range s {
		if len(out)+utf8.RuneLen(r) > most {
			break
		}
		out += string(r)
	}
	return out
}

// jsonSize returns the size of a JSON value.
func jsonSize(v any) int {
	switch v := v.(type) {
	case nil:
		return 0
	case bool:
		return 1
	case json.Number:
		return numberSize(v.String())
	case string:
		return len(v)
	}
	return len(compact(v))
}

// numberSize returns the size of a number: that of 64 bits, or the digits of a
// longer integer.
func numberSize(s string) int {
	if strings.ContainsAny(s, ".eE") || len(s) <= 20 {
		return 8
	}
	return len(s)
}

// compact returns the JSON of a value without white space.
func compact(v any) string {
	switch v := v.(type) {
	case []any:
		var parts []string
		for _, e := range v {
			parts = append(parts, compact(e))
		}
		return "[" + strings.Join(parts, ",") + "]"
	case *object:
		var parts []string
		for _, key := range v.keys {
			parts = append(parts, compact(key)+":"+compact(v.vals[key]))
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err)
	}
	return strings.TrimSpace(b.String())
}

// valueSize returns the size of the result of an expression.
func valueSize(v ref.Val) int {
	switch v := v.(type) {
	case nil, types.Null:
		return 0
	case types.Bool:
		return 1
	case types.String:
		return len(v)
	case integer:
		return numberSize(v.text)
	}
	return 8
}

// size returns the size of an entry that is not folded.
func (e *entry) size(f *feature) int {
	n := 16 + len(e.key) + len(e.listKey)
	switch {
	case f.Agg == "count":
	case f.Agg == "list":
		for _, v := range e.stored.vals {
			n += jsonSize(v)
		}
	case f.Agg == "dwell":
		n += 8
	default:
		n += valueSize(e.value)
	}
	return n
}

// size returns the size of a folded step.
func (b *bucket) size(f *feature) int {
	n := 16 + len(b.entries[0].key)
	switch f.Agg {
	case "avg":
		return n + 16
	case "first":
		return n + valueSize(b.entries[0].value)
	case "last":
		return n + valueSize(b.entries[len(b.entries)-1].value)
	}
	return n + 8
}

// size returns the size of all that a feature holds.
func (s *state) size() int {
	n := 0
	for _, w := range s.keys {
		for _, b := range w.buckets {
			n += b.size(s.f)
		}
		for _, e := range w.exact {
			n += e.size(s.f)
		}
	}
	return n
}

func (s *state) drop(now int64) {
	for _, w := range s.keys {
		w.drop(now)
	}
}

// evict removes the oldest entry or folded step.
func (s *state) evict() {
	var from *window
	var oldest entry
	for _, w := range s.keys {
		e, ok := w.oldest()
		if ok && (from == nil || e.before(&oldest) < 0) {
			from, oldest = w, e
		}
	}
	if len(from.buckets) > 0 && (len(from.exact) == 0 || from.buckets[0].at <= from.exact[0].at) {
		from.buckets = from.buckets[1:]
	} else {
		from.exact = from.exact[1:]
	}
}

// oldest returns the place in the order of what is oldest. A folded step has
// that of the entry in it that came first.
func (w *window) oldest() (entry, bool) {
	if len(w.buckets) > 0 && (len(w.exact) == 0 || w.buckets[0].at <= w.exact[0].at) {
		b := w.buckets[0]
		came := slices.MinFunc(b.entries, func(a, b *entry) int {
			return (&entry{pos: a.pos, item: a.item}).before(&entry{pos: b.pos, item: b.item})
		})
		return entry{at: b.at, pos: came.pos, item: came.item}, true
	}
	if len(w.exact) > 0 {
		return *w.exact[0], true
	}
	return entry{}, false
}

// evict notes in the user's newest event which entries leave because of the
// bound on bytes.
func (u *user) evict(ev *event) {
	ev.evicted = map[*feature]int{}
	for {
		total, most := 0, 0
		var largest *feature
		for _, f := range u.set.Features { // by name
			s := u.state(f)
			s.drop(ev.now)
			n := s.size()
			total += n
			if n > most {
				most, largest = n, f
			}
		}
		if total <= u.set.Bounds.UserBytes {
			return
		}
		ev.evicted[largest]++
		u.state(largest).evict()
	}
}

// traitsSize returns the size of a profile.
func traitsSize(profile map[string]any) int {
	n := 0
	for name, v := range profile {
		n += len(name) + jsonSize(v)
	}
	return n
}

// boundPending supersedes the timers with the oldest events while all of them
// keep too much of their events.
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
		u.supersede(func(p *timer) bool { return p == oldest })
	}
}

// older reports whether a timer gives way before another.
func (t *timer) older(o *timer) bool {
	switch {
	case t.event.now != o.event.now:
		return t.event.now < o.event.now
	case t.campaign != o.campaign:
		return t.campaign.ID < o.campaign.ID
	case t.dwell != o.dwell:
		return t.dwell
	}
	return t.key < o.key
}

// size returns the size of the fields of its event that a timer's campaign
// reads later.
func (t *timer) size() int {
	c := t.campaign
	later := []*expression{c.whenDue}
	var inData func(v any)
	inData = func(v any) {
		switch v := v.(type) {
		case *template:
			for _, p := range v.parts {
				later = append(later, p.expr)
			}
		case []any:
			for _, e := range v {
				inData(e)
			}
		case *object:
			for _, e := range v.vals {
				inData(e)
			}
		}
	}
	inData(c.data)
	bareItems := false
	if t.dwell {
		for _, x := range c.conditions {
			later = append(later, x.expression)
		}
		later = append(later, c.match)
		bareItems = c.Unless != nil && c.Unless.Match != "" && c.match == nil
	}
	read := map[string]bool{} // paths, joined by dots
	if bareItems {
		read["items"] = true
	}
	for _, x := range later {
		if x != nil {
			for _, p := range eventPaths(x.ast.Expr()) {
				read[p] = true
			}
		}
	}
	return t.event.keptSize(read)
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
	if read["name"] && (ev.typ == "track" || ev.typ == "page" || ev.typ == "screen") {
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
