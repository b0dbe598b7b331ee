package expr

import (
	"maps"
	"slices"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
)

// CEL's own comparisons round ints to doubles, know no JSONInteger, and its
// functions that take an int refuse the doubles that numbers of JSON are. So a
// checked expression is rewritten before it is planned (exactNumbers): some calls
// go to functions that are declared in number.go, whose names no expression can
// contain, and some arguments are converted.

// exact are the functions that take the place of CEL's, by the name of CEL's
// function.
var exact = map[string]string{
	operators.Equals:        "@equals",
	operators.NotEquals:     "@differs",
	operators.Less:          "@less",
	operators.LessEquals:    "@lessOrEquals",
	operators.Greater:       "@greater",
	operators.GreaterEquals: "@greaterOrEquals",
	operators.In:            "@within",
	"math.@min":             "@least",
	"math.@max":             "@greatest",
	"sort":                  "@sort",
	"@sortByAssociatedKeys": "@sortBy",
	"distinct":              "@distinct",
	"format":                "@format",
}

// ofSets are the functions that compare the elements of two lists.
var ofSets = []string{"sets.contains", "sets.equivalent", "sets.intersects", "hasOnly", "hasAny", "hasAll", "hasExactly"}

// exactNumbers is expression e, a part of whole, as it is planned.
func (l *Language) exactNumbers(whole *celast.AST, e celast.Expr) *celast.AST {
	f := celast.NewExprFactory()
	a := celast.NewCheckedAST(celast.NewAST(f.CopyExpr(e), whole.SourceInfo()), maps.Clone(whole.TypeMap()), maps.Clone(whole.ReferenceMap()))
	id := celast.MaxID(whole)
	convert := func(e celast.Expr, function string) celast.Expr {
		id++
		return f.NewCall(id, function, e)
	}
	celast.PostOrderVisit(a.Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		if e.Kind() != celast.CallKind {
			return
		}
		call := e.AsCall()
		name, args := call.FunctionName(), slices.Clone(call.Args())
		if call.IsMemberFunction() {
			args = append([]celast.Expr{call.Target()}, args...)
		}
		if own, ok := exact[name]; ok {
			if nativeIsExact(a, name, args) {
				return
			}
			delete(a.ReferenceMap(), e.ID()) // the planner finds the function by its name
			e.SetKindCase(f.NewCall(e.ID(), own, args...))
			return
		}
		changed := false
		for i, arg := range args {
			if function := l.conversion(a, e.ID(), name, i, args); function != "" {
				args[i], changed = convert(arg, function), true
			}
		}
		switch {
		case !changed:
		case call.IsMemberFunction():
			e.SetKindCase(f.NewMemberCall(e.ID(), name, args[0], args[1:]...))
		default:
			e.SetKindCase(f.NewCall(e.ID(), name, args...))
		}
	}))
	return a
}

// nativeIsExact reports whether CEL's own function is exact for arguments of
// these types. It is faster, and needs no int rounded if both are ints.
func nativeIsExact(a *celast.AST, name string, args []celast.Expr) bool {
	switch name {
	case operators.Equals, operators.NotEquals, operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		x, y := a.GetType(args[0].ID()), a.GetType(args[1].ID())
		return !mayHoldNumber(x) || !mayHoldNumber(y) || x.Kind() == types.IntKind && y.Kind() == types.IntKind
	case operators.In:
		list := a.GetType(args[1].ID())
		return list.Kind() == types.ListKind && (!mayHoldNumber(list.Parameters()[0]) || smallInts(args[1]))
	}
	return false
}

// mayHoldNumber reports whether a value of type t may be a number or contain one.
func mayHoldNumber(t *cel.Type) bool {
	switch t.Kind() {
	case types.BoolKind, types.BytesKind, types.StringKind, types.TimestampKind, types.DurationKind, types.NullTypeKind, types.TypeKind, types.StructKind:
		return false
	}
	return true
}

// smallInts reports whether e is a list of int literals, none of which is equal to
// a JSONInteger: CEL finds an element of such a list without comparing all.
func smallInts(e celast.Expr) bool {
	if e.Kind() != celast.ListKind {
		return false
	}
	for _, el := range e.AsList().Elements() {
		if el.Kind() != celast.LiteralKind {
			return false
		}
		if n, ok := el.AsLiteral().(types.Int); !ok || n <= -exactInt || n >= exactInt {
			return false
		}
	}
	return true
}

// conversion names the function that must convert argument i of a call of CEL's
// function; "" if none.
func (l *Language) conversion(a *celast.AST, call int64, name string, i int, args []celast.Expr) string {
	t := a.GetType(args[i].ID())
	switch name {
	case operators.Add, operators.Subtract, operators.Multiply, operators.Divide, operators.Modulo,
		overloads.TypeConvertInt, overloads.TypeConvertUint, overloads.TypeConvertString:
		return "" // these know all numbers
	case operators.Index, operators.OptIndex:
		if i == 0 || !mayHoldNumber(t) || t.Kind() == types.IntKind {
			return ""
		}
		if m := a.GetType(args[0].ID()); m.Kind() == types.MapKind && m.Parameters()[0].Kind() == types.StringKind {
			return "@key"
		}
		return "@index"
	}
	if slices.Contains(ofSets, name) && (t.Kind() != types.ListKind || mayHoldNumber(t.Parameters()[0])) {
		return "@native"
	}
	if t.Kind() != types.DynKind {
		return ""
	}
	return l.numberWanted(a.GetOverloadIDs(call), name, i)
}

// numberWanted names the conversion to the type of number that the overloads of
// a function take as argument i; "" if they take none.
func (l *Language) numberWanted(ids []string, name string, i int) string {
	function := l.env.Functions()[name]
	if function == nil {
		return ""
	}
	wanted := ""
	for _, o := range function.OverloadDecls() {
		if !slices.Contains(ids, o.ID()) || i >= len(o.ArgTypes()) {
			continue
		}
		switch o.ArgTypes()[i].Kind() {
		case types.DoubleKind:
			return "@double"
		case types.IntKind:
			wanted = "@int"
		case types.UintKind:
			if wanted == "" {
				wanted = "@uint"
			}
		}
	}
	return wanted
}
