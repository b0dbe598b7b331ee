package oracle

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/ext"
)

// A language compiles expressions. All names have type dyn, so types are checked
// only when an expression runs. The first error is kept in err.
type language struct {
	env      *cel.Env
	features map[string]*feature
	err      error
}

type expression struct {
	ast  *ast.AST
	prog cel.Program
}

func newLanguage(set *definition) (*language, error) {
	l := &language{features: map[string]*feature{}}
	subset := env.NewLibrarySubset()
	subset.ExcludeFunctions = []*env.Function{
		env.NewFunction(operators.Add), env.NewFunction(operators.Subtract),
		env.NewFunction(operators.Multiply), env.NewFunction(operators.Divide), env.NewFunction(operators.Modulo),
		env.NewFunction("duration"), env.NewFunction("string"),
		env.NewFunction(operators.Equals), env.NewFunction(operators.NotEquals),
	}
	opts := append(append(append(operations(), declareOwn()...), additions()...),
		cel.StdLib(cel.StdLibSubset(subset)), cel.OptionalTypes(),
		ext.Strings(), ext.Math(), ext.Lists(), ext.Sets(), ext.Bindings(), ext.TwoVarComprehensions(),
		cel.CrossTypeNumericComparisons(true), cel.DefaultUTCTimeZone(true),
		equality(operators.Equals), equality(operators.NotEquals),
		cel.Function("duration", cel.Overload("duration_any", []*cel.Type{cel.DynType}, cel.DurationType, cel.UnaryBinding(toDuration))),
		cel.Function("string", cel.Overload("string_any", []*cel.Type{cel.DynType}, cel.StringType, cel.UnaryBinding(toText))),
	)
	for _, name := range []string{"event", "now", "item", "profile", "session", "before", "local", "facts", "row", "coupon"} {
		opts = append(opts, cel.Variable(name, cel.DynType))
	}
	lets := map[string]bool{} // a let of one campaign compiles in all, and fails in the others
	for _, c := range set.Campaigns {
		for _, let := range c.Let {
			if !lets[let.Name] {
				opts = append(opts, cel.Variable(let.Name, cel.DynType))
			}
			lets[let.Name] = true
		}
	}
	for _, f := range set.Features {
		l.features[f.Name] = f
		opts = append(opts, cel.Variable(f.Name, cel.DynType))
	}
	if l.features["unsubscribe_url"] == nil && !lets["unsubscribe_url"] {
		opts = append(opts, cel.Variable("unsubscribe_url", cel.DynType))
	}
	var err error
	l.env, err = cel.NewCustomEnv(opts...)
	return l, err
}

// operations declares +, -, *, / and %.
func operations() []cel.EnvOption {
	return []cel.EnvOption{
		arithmetic(operators.Add, func(a, b ref.Val) (ref.Val, bool) {
			x, ok := a.(traits.Adder)
			if !ok {
				return nil, false
			}
			return x.Add(b), true
		}),
		arithmetic(operators.Subtract, func(a, b ref.Val) (ref.Val, bool) {
			x, ok := a.(traits.Subtractor)
			if !ok {
				return nil, false
			}
			return x.Subtract(b), true
		}),
		arithmetic(operators.Multiply, func(a, b ref.Val) (ref.Val, bool) {
			if v, ok := stretched(a, b, func(d, f float64) float64 { return float64(d * f) }); ok {
				return v, true
			}
			if v, ok := stretched(b, a, func(d, f float64) float64 { return float64(d * f) }); ok {
				return v, true
			}
			x, ok := a.(traits.Multiplier)
			if !ok {
				return nil, false
			}
			return x.Multiply(b), true
		}),
		arithmetic(operators.Divide, func(a, b ref.Val) (ref.Val, bool) {
			if v, ok := stretched(a, b, func(d, f float64) float64 { return d / f }); ok {
				return v, true
			}
			x, ok := a.(traits.Divider)
			if !ok {
				return nil, false
			}
			return x.Divide(b), true
		}),
		arithmetic(operators.Modulo, func(a, b ref.Val) (ref.Val, bool) {
			f, aDouble := a.(types.Double)
			g, bDouble := b.(types.Double)
			if aDouble && bDouble && g == 0 {
				return types.NewErr("modulus by zero"), true
			}
			if aDouble && bDouble {
				return types.Double(math.Mod(float64(f), float64(g))), true
			}
			x, ok := a.(traits.Modder)
			if !ok {
				return nil, false
			}
			return x.Modulo(b), true
		}),
	}
}

// stretched returns what becomes of a duration and a number, in whole nanoseconds. It
// returns false for other values.
func stretched(a, b ref.Val, do func(duration, number float64) float64) (ref.Val, bool) {
	d, isDuration := a.(types.Duration)
	f, isNumber := double(b)
	if !isDuration || !isNumber {
		return nil, false
	}
	ns := math.RoundToEven(do(float64(d.Duration), f))
	if !(math.Abs(ns) < 1<<63) {
		return types.NewErr("no duration is so long"), true
	}
	return types.Duration{Duration: time.Duration(ns)}, true
}

// arithmetic replaces an operator by one that accepts numbers of different types
// together. All numbers of JSON are doubles, and what is added to a double counts
// as one; an int and a uint count as ints.
func arithmetic(op string, do func(a, b ref.Val) (ref.Val, bool)) cel.EnvOption {
	return cel.Function(op,
		cel.Overload("any"+op, []*cel.Type{cel.DynType, cel.DynType}, cel.DynType, cel.BinaryBinding(func(a, b ref.Val) ref.Val {
			f, _, aNumber := numeric(a)
			g, _, bNumber := numeric(b)
			if aNumber && bNumber {
				switch {
				case a.Type() == types.DoubleType || b.Type() == types.DoubleType:
					a, b = types.Double(f), types.Double(g)
				case a.Type() != b.Type():
					a, b = a.ConvertToType(types.IntType), b.ConvertToType(types.IntType)
				}
			}
			if types.IsError(a) || types.IsError(b) {
				return types.NewErr("out of the range of ints")
			}
			v, ok := do(a, b)
			if !ok {
				return types.MaybeNoSuchOverloadErr(a)
			}
			return v
		})))
}

// equality replaces an operator by one that accepts values of any two types,
// also an int and a double. CEL itself compares them.
func equality(op string) cel.EnvOption {
	return cel.Function(op, cel.Overload("any"+op, []*cel.Type{cel.DynType, cel.DynType}, cel.BoolType))
}

var days = regexp.MustCompile(`^(-?)([0-9]+(?:\.[0-9]+)?)d(.*)$`)

func toDuration(v ref.Val) ref.Val {
	if d, ok := v.(types.Duration); ok {
		return d
	}
	s, ok := v.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(v)
	}
	d, err := parseDuration(string(s))
	if err != nil {
		return types.WrapErr(err)
	}
	return types.Duration{Duration: d}
}

// parseDuration reads 90s, 1h30m, 7d, 1d12h.
func parseDuration(s string) (time.Duration, error) {
	m := days.FindStringSubmatch(s)
	if m == nil {
		return time.ParseDuration(s)
	}
	n, err := strconv.ParseFloat(m[2], 64)
	if err != nil || n > 106_000 {
		return 0, fmt.Errorf("%q is not a duration", s)
	}
	d := time.Duration(math.RoundToEven(n * float64(24*time.Hour)))
	if m[3] != "" {
		rest, err := time.ParseDuration(m[3])
		if err != nil || m[3][0] == '-' || m[3][0] == '+' {
			return 0, fmt.Errorf("%q is not a duration", s)
		}
		d += rest
	}
	if m[1] == "-" {
		d = -d
	}
	return d, nil
}

// compile compiles src. It returns nil if src is empty.
func (l *language) compile(src, owner, place string) *expression {
	if src == "" {
		return nil
	}
	a, iss := l.env.Compile(src)
	if iss != nil && iss.Err() != nil {
		return l.fail(owner, place, iss.Err())
	}
	return l.plan(a.NativeRep(), owner, place)
}

func (l *language) plan(a *ast.AST, owner, place string) *expression {
	prog, err := l.env.PlanProgram(useOwn(a, a.Expr()))
	if err != nil {
		return l.fail(owner, place, err)
	}
	return &expression{a, prog}
}

func (l *language) fail(owner, place string, err error) *expression {
	if l.err == nil {
		l.err = fmt.Errorf("%s.%s: %w", owner, place, err)
	}
	return nil
}

// eval returns the value of the expression in a scope.
func (x *expression) eval(sc *scope) (ref.Val, error) {
	v, _, err := x.prog.Eval(sc)
	if err != nil {
		return nil, err
	}
	return v, nil
}

// holds reports whether the expression is true. It is false if the expression
// fails, and true if there is no expression.
func (x *expression) holds(sc *scope) bool {
	if x == nil {
		return true
	}
	v, err := x.eval(sc)
	return err == nil && v == types.True
}

// value returns the event as a value in expressions. The user is the entity's key, in
// older sets the id.
func (ev *event) value(entity bool) ref.Val {
	m := textMap{values: map[string]ref.Val{
		"type": types.String(ev.typ), "name": types.String(ev.name), "id": types.String(ev.id),
		"time":       timestamp(ev.time),
		"properties": fromJSON(ev.root.object("properties")),
		"traits":     fromJSON(ev.root.object("traits")),
		"context":    fromJSON(ev.root.object("context")),
		"items":      fromList(ev.items()),
	}}
	switch {
	case ev.typ == "item":
	case entity:
		m.values["user"] = types.String(ev.key)
	default:
		m.values["user"] = types.String(ev.bare())
	}
	return m
}
