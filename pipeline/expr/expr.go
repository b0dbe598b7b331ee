package expr

import (
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"offerstream/pipeline/value"
)

// An Expr is a compiled CEL expression. It may be shared by any number of
// folds.
type Expr struct {
	Type  *cel.Type
	Text  string   // of a conjunct, as it reads
	Reads []string // of a conjunct: the names in it, each once
	prog  cel.Program
	quick shortcut    // nil: CEL alone
	ast   *celast.AST // until Language.Finish
}

// Eval evaluates the expression.
func (x *Expr) Eval(sc Scope) (ref.Val, error) {
	v, _, err := x.prog.Eval(sc)
	if err != nil {
		return nil, err
	}
	return v, nil
}

// Holds evaluates a condition: an error is false, and is returned as well.
func (x *Expr) Holds(sc Scope) (bool, error) {
	if x.quick != nil {
		if v, ok := x.quick(sc); ok && v.Kind == value.Bool {
			return v.Bits != 0, nil
		}
	}
	v, err := x.Eval(sc)
	if err != nil {
		return false, err
	}
	b, ok := v.(types.Bool)
	if !ok {
		return false, fmt.Errorf("the condition is a %s, not a bool", v.Type().TypeName())
	}
	return bool(b), nil
}

// Value evaluates to what an entity can keep.
func (x *Expr) Value(sc Scope) (value.Value, error) {
	if x.quick != nil {
		if v, ok := x.quick(sc); ok {
			v.Str = strings.Clone(v.Str)
			return v, nil
		}
	}
	v, err := x.Eval(sc)
	if err != nil {
		return value.Value{}, err
	}
	return value.Of(v)
}

// Key evaluates to a key, which is valid as long as the event.
func (x *Expr) Key(sc Scope) (string, error) {
	if x.quick != nil {
		if v, ok := x.quick(sc); ok && v.Kind == value.String {
			return v.Str, nil
		}
	}
	v, err := x.Eval(sc)
	if err != nil {
		return "", err
	}
	key, ok := value.KeyText(v)
	if !ok {
		return "", fmt.Errorf("a %s is no key", v.Type().TypeName())
	}
	return key, nil
}

// IsMissing tells "no such field" from other errors of an expression.
func IsMissing(err error) bool {
	s := err.Error()
	return strings.HasPrefix(s, "no such key") || strings.HasPrefix(s, "no such attribute") || strings.HasPrefix(s, "no such field")
}
