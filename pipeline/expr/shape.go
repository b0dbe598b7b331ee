package expr

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// A Shape is what is known of a value whose CEL type does not say it: the entries
// of a list are maps to CEL, but only of the fields that the list stores. nil:
// nothing is known.
type Shape struct {
	Is     Kind
	Of     string            // of a record: what has its fields, for messages
	Fields map[string]*Shape // of a record
	Elem   *Shape            // of a list's elements, an optional's value, the values of a map
}

// A Kind is a kind of Shape.
type Kind uint8

// The kinds. A Record is a map all of whose keys are known.
const (
	Unknown Kind = iota
	Text
	Number
	Truth
	Record
	List
	Optional
	Values // a map of any keys
)

// String is different for shapes that are different.
func (s *Shape) String() string {
	if s == nil {
		return "?"
	}
	switch s.Is {
	case Text, Number, Truth:
		return [...]string{Text: "text", Number: "number", Truth: "bool"}[s.Is]
	case Record:
		var fields []string
		for _, name := range slices.Sorted(maps.Keys(s.Fields)) {
			fields = append(fields, name+" "+s.Fields[name].String())
		}
		return fmt.Sprintf("%s{%s}", s.Of, strings.Join(fields, ", "))
	}
	return fmt.Sprintf("%d(%s)", s.Is, s.Elem)
}

// in words, as InWords says it of a type of CEL.
func (k Kind) in() string {
	return [...]string{"a value", "a text", "a number", "a bool", "a map", "a list", "an optional value", "a map"}[k]
}

func wrapped(k Kind, elem *Shape) *Shape {
	if elem == nil {
		return nil
	}
	return &Shape{Is: k, Elem: elem}
}

// elem is what is in a list, an optional or a map of any keys.
func (s *Shape) elem(kinds ...Kind) *Shape {
	if s == nil || !slices.Contains(kinds, s.Is) {
		return nil
	}
	return s.Elem
}

// Value is the shape of what an optional holds, and of any other value its own.
func (s *Shape) Value() *Shape {
	if s != nil && s.Is == Optional {
		return s.Elem
	}
	return s
}

// shapes finds the shapes of the parts of a checked expression.
type shapes struct {
	l     *Language
	ast   *celast.AST
	visit func(e celast.Expr, of func(celast.Expr) *Shape) // sees each part once; nil: nobody does
}

// bound are the shapes of the variables of loops.
type bound struct {
	name  string
	shape *Shape
	outer *bound
}

func (b *bound) with(name string, s *Shape) *bound { return &bound{name, s, b} }

// of is the shape of a part. The variables of loops around it have the shapes in b.
func (s shapes) of(e celast.Expr, b *bound) *Shape {
	if s.visit != nil {
		s.visit(e, func(part celast.Expr) *Shape { return shapes{l: s.l, ast: s.ast}.of(part, b) })
	}
	switch e.Kind() {
	case celast.IdentKind:
		return s.name(e.AsIdent(), b)
	case celast.LiteralKind:
		return s.typed(e)
	case celast.SelectKind:
		of := s.of(e.AsSelect().Operand(), b)
		if e.AsSelect().IsTestOnly() {
			return &Shape{Is: Truth}
		}
		return of.field(e.AsSelect().FieldName())
	case celast.ListKind:
		var elem *Shape
		for i, el := range e.AsList().Elements() {
			if of := s.of(el, b); i == 0 {
				elem = of
			} else {
				elem = common(elem, of)
			}
		}
		if e.AsList().Size() == 0 {
			return &Shape{Is: List} // of anything
		}
		return wrapped(List, elem)
	case celast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			s.of(entry.AsMapEntry().Key(), b)
			s.of(entry.AsMapEntry().Value(), b)
		}
	case celast.ComprehensionKind:
		return s.loop(e.AsComprehension(), b)
	case celast.CallKind:
		return s.call(e, b)
	}
	return nil
}

func (s shapes) name(name string, b *bound) *Shape {
	for ; b != nil; b = b.outer {
		if b.name == name {
			return b.shape
		}
	}
	if s.l.names.Shape == nil {
		return nil
	}
	return s.l.names.Shape(strings.TrimPrefix(name, "."))
}

// field is the shape of a field, or of what is under a key.
func (s *Shape) field(name string) *Shape {
	if s != nil && s.Is == Record {
		return s.Fields[name]
	}
	return s.elem(Values)
}

// typed is what CEL's type says of a value.
func (s shapes) typed(e celast.Expr) *Shape {
	switch s.ast.GetType(e.ID()).Kind() {
	case types.StringKind:
		return &Shape{Is: Text}
	case types.IntKind, types.UintKind, types.DoubleKind:
		return &Shape{Is: Number}
	case types.BoolKind:
		return &Shape{Is: Truth}
	}
	return nil
}

// loop is the shape of a comprehension: of what it accumulates.
func (s shapes) loop(c celast.ComprehensionExpr, b *bound) *Shape {
	over := s.of(c.IterRange(), b)
	accu := s.of(c.AccuInit(), b)
	in := b
	switch {
	case over.elem(List) != nil && c.HasIterVar2():
		in = in.with(c.IterVar(), &Shape{Is: Number}).with(c.IterVar2(), over.Elem)
	case over.elem(List) != nil:
		in = in.with(c.IterVar(), over.Elem)
	case over.elem(Values) != nil && c.HasIterVar2():
		in = in.with(c.IterVar(), &Shape{Is: Text}).with(c.IterVar2(), over.Elem)
	case c.HasIterVar2():
		in = in.with(c.IterVar(), nil).with(c.IterVar2(), nil)
	default:
		in = in.with(c.IterVar(), nil)
	}
	in = in.with(c.AccuVar(), accu)
	s.of(c.LoopCondition(), in)
	step := s.of(c.LoopStep(), in)
	if lit := c.LoopCondition(); lit.Kind() != celast.LiteralKind || lit.AsLiteral() != types.False { // not a mere name for a value
		accu = common(accu, step)
	}
	return s.of(c.Result(), b.with(c.AccuVar(), accu))
}

// common is what is known of a value that has either shape. A list that nothing is
// known to be in has the shape of any list.
func common(a, b *Shape) *Shape {
	switch {
	case a == nil || b == nil:
		return nil
	case a.Is == List && a.Elem == nil && b.Is == List:
		return b
	case b.Is == List && b.Elem == nil && a.Is == List:
		return a
	case a.String() == b.String():
		return a
	}
	return nil
}

// ofElements are functions whose result is a list of the same elements, or an
// element of it.
var (
	sameElements = []string{"@sortByAssociatedKeys", "sort", "slice", "reverse", "distinct"}
	oneElement   = []string{"@max_by", "@min_by", "max", "min"}
)

func (s shapes) call(e celast.Expr, b *bound) *Shape {
	call := e.AsCall()
	args := call.Args()
	if call.IsMemberFunction() {
		args = append([]celast.Expr{call.Target()}, args...)
	}
	of := make([]*Shape, len(args))
	for i, a := range args {
		of[i] = s.of(a, b)
	}
	name := call.FunctionName()
	switch {
	case name == operators.Index && len(of) == 2:
		if key := textLiteral(args[1]); key != nil {
			return of[0].field(*key)
		}
		return of[0].elem(List, Values)
	case (name == operators.OptIndex || name == operators.OptSelect) && len(of) == 2:
		inner := of[0]
		if inner != nil && inner.Is == Optional {
			inner = inner.Elem
		}
		if key := textLiteral(args[1]); key != nil {
			return wrapped(Optional, inner.field(*key))
		}
		return wrapped(Optional, inner.elem(List, Values))
	case name == operators.Conditional:
		return common(of[1], of[2])
	case name == operators.Add && len(of) == 2 && s.ast.GetType(e.ID()).Kind() == types.ListKind:
		return common(of[0], of[1])
	case slices.Contains(sameElements, name) && of[0] != nil && of[0].Is == List:
		return of[0]
	case slices.Contains(oneElement, name) && len(of) > 0:
		return of[0].elem(List)
	case name == "first" || name == "last":
		return wrapped(Optional, of[0].elem(List))
	case name == "value":
		return of[0].elem(Optional)
	case name == "values":
		return wrapped(List, of[0].elem(Values))
	case name == "orValue":
		return common(of[0].elem(Optional), of[1])
	case name == "optional.of" || name == "optional.ofNonZeroValue":
		return wrapped(Optional, of[0])
	}
	return s.typed(e)
}
