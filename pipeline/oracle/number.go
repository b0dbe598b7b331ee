package oracle

import (
	"errors"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// An integer is an integer of JSON that need not be exact as a double: of
// magnitude 2^53 or more.
type integer struct{ text string }

// fromNumber returns a number of JSON as a value in expressions.
func fromNumber(s string) ref.Val {
	f, _ := strconv.ParseFloat(s, 64)
	if strings.ContainsAny(s, ".eE") {
		return types.Double(f)
	}
	n, _ := new(big.Int).SetString(s, 10)
	if n.BitLen() <= 53 {
		return types.Double(n.Int64())
	}
	return integer{n.String()}
}

func (n integer) big() *big.Int {
	b, _ := new(big.Int).SetString(n.text, 10)
	return b
}

func (n integer) double() types.Double {
	f, _ := strconv.ParseFloat(n.text, 64)
	return types.Double(f)
}

// plain returns the integer as a number that CEL has.
func (n integer) plain() ref.Val {
	switch b := n.big(); {
	case b.IsInt64():
		return types.Int(b.Int64())
	case b.IsUint64():
		return types.Uint(b.Uint64())
	}
	return n.double()
}

func (n integer) Type() ref.Type                   { return types.DoubleType }
func (n integer) Value() any                       { return float64(n.double()) }
func (n integer) Equal(o ref.Val) ref.Val          { return types.Bool(equal(n, o)) }
func (n integer) ConvertToType(t ref.Type) ref.Val { return n.plain().ConvertToType(t) }
func (n integer) ConvertToNative(t reflect.Type) (any, error) {
	return n.double().ConvertToNative(t)
}

// numeric returns the number as a double, and as a fraction if it is one that
// compares exactly: no integer beyond 64 bits, no infinity, not NaN.
func numeric(v ref.Val) (f float64, exact *big.Rat, ok bool) {
	switch v := v.(type) {
	case types.Int:
		return float64(v), new(big.Rat).SetInt64(int64(v)), true
	case types.Uint:
		return float64(v), new(big.Rat).SetUint64(uint64(v)), true
	case types.Double:
		return float64(v), new(big.Rat).SetFloat64(float64(v)), true
	case integer:
		if b := v.big(); b.IsInt64() || b.IsUint64() {
			return float64(v.double()), new(big.Rat).SetInt(b), true
		}
		return float64(v.double()), nil, true
	}
	return 0, nil, false
}

// order compares two values: -1, 0 or 1.
func order(a, b ref.Val) (int, error) {
	f, x, aNumber := numeric(a)
	g, y, bNumber := numeric(b)
	switch {
	case aNumber && bNumber && (math.IsNaN(f) || math.IsNaN(g)):
		return 0, errors.New("NaN has no order")
	case aNumber && bNumber && x != nil && y != nil:
		return x.Cmp(y), nil
	case aNumber && bNumber && f < g:
		return -1, nil
	case aNumber && bNumber && f > g:
		return 1, nil
	case aNumber && bNumber:
		return 0, nil
	}
	if c, ok := a.(traits.Comparer); ok && !aNumber && !bNumber {
		if n, ok := c.Compare(b).(types.Int); ok {
			return int(n), nil
		}
	}
	return 0, errors.New("no such overload")
}

// equal reports whether two values are the same, with all that they contain.
func equal(a, b ref.Val) bool {
	_, _, aNumber := numeric(a)
	_, _, bNumber := numeric(b)
	if aNumber || bNumber {
		n, err := order(a, b)
		return aNumber && bNumber && err == nil && n == 0
	}
	if x, ok := a.(traits.Lister); ok {
		y, ok := b.(traits.Lister)
		return ok && slices.EqualFunc(elements(x), elements(y), equal)
	}
	if x, ok := a.(traits.Mapper); ok {
		y, ok := b.(traits.Mapper)
		if !ok || x.Size() != y.Size() {
			return false
		}
		for it := x.Iterator(); it.HasNext() == types.True; {
			key := it.Next()
			v, found := y.Find(key)
			if !found || !equal(x.Get(key), v) {
				return false
			}
		}
		return true
	}
	return types.Equal(a, b) == types.True
}

func elements(list ref.Val) []ref.Val {
	var all []ref.Val
	for it := list.(traits.Iterable).Iterator(); it.HasNext() == types.True; {
		all = append(all, it.Next())
	}
	return all
}

func listOf(vals []ref.Val) ref.Val { return types.NewRefValList(types.DefaultTypeAdapter, vals) }

// toText returns string(v).
func toText(v ref.Val) ref.Val {
	if b, ok := v.(types.Bytes); ok {
		return b.ConvertToType(types.StringType)
	}
	s, err := shown(v)
	if err != nil {
		return types.WrapErr(err)
	}
	return types.String(s)
}
