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

// An Expr is a compiled CEL expression. Any number of folds may share it.
type Expr struct {
	Type  *cel.Type
	Text  string   // the source of a conjunct (Language.Conjuncts)
	Reads []string // the names that it reads, as they are declared (before.visits), each once
	Shape *Shape   // what is known of its value, if the language is strict
	prog  cel.Program
	quick shortcut // nil: only CEL can evaluate it
	// The result may hold a map that the expression makes, which has no fixed order.
	ordered bool
	ast     *celast.AST // nil after Language.Finish
}

// Eval evaluates the expression. All maps in the result have the order of their
// keys, so that an expression that reads the result (of `let` or `choose`) always
// gives the same.
func (x *Expr) Eval(sc Scope) (ref.Val, error) {
	v, _, err := x.prog.Eval(sc)
	if err != nil {
		return nil, err
	}
	if x.ordered {
		return order(v), nil
	}
	return v, nil
}

// InCEL is the expression without its shortcuts: CEL alone evaluates it, so that a scope
// can make any name an error.
func (x *Expr) InCEL() *Expr {
	if x == nil {
		return nil
	}
	plain := *x
	plain.quick = nil
	return &plain
}

// Holds evaluates a condition. An error makes it false, and is returned too.
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

// Value evaluates to a value that an entity can keep.
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

// Key evaluates to a key. Its text is valid as long as the event.
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
		return "", fmt.Errorf("a %s cannot be a key", v.Type().TypeName())
	}
	return key, nil
}

// NoKey says why the expression can never be a key; "" if it may be.
func (x *Expr) NoKey() string {
	switch x.Type.Kind() {
	case types.ListKind, types.MapKind, types.StructKind, types.NullTypeKind:
		return fmt.Sprintf("a %s cannot be a key", x.Type)
	}
	return ""
}

// IsMissing reports whether an expression's error is that a field is missing.
func IsMissing(err error) bool {
	s := err.Error()
	return strings.HasPrefix(s, "no such key") || strings.HasPrefix(s, "no such attribute") || strings.HasPrefix(s, "no such field")
}
