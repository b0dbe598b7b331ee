package config

import (
	"math"
	"math/big"
	"strconv"

	"offerstream/pipeline/lazyregexp"
)

var (
	intForm   = lazyregexp.New(`^[-+]?[0-9]+$`)
	octalForm = lazyregexp.New(`^0o[0-7]+$`)
	hexForm   = lazyregexp.New(`^0x[0-9a-fA-F]+$`)
	floatForm = lazyregexp.New(`^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)
	infForm   = lazyregexp.New(`^[-+]?\.(inf|Inf|INF)$`)
	nanForm   = lazyregexp.New(`^\.(nan|NaN|NAN)$`)
)

// literal returns the meaning of a plain scalar in the core schema of YAML 1.2,
// in which on, yes, 1_000 and 2026-04-01 are text: nil, bool, int64, *big.Int,
// float64 or string. (The parser itself follows YAML 1.1.)
func literal(s string) any {
	switch s {
	case "", "~", "null", "Null", "NULL":
		return nil
	case "true", "True", "TRUE":
		return true
	case "false", "False", "FALSE":
		return false
	}
	switch {
	case intForm.MatchString(s):
		return whole(s, 10)
	case octalForm.MatchString(s):
		return whole(s[2:], 8)
	case hexForm.MatchString(s):
		return whole(s[2:], 16)
	case floatForm.MatchString(s):
		f, _ := strconv.ParseFloat(s, 64) // out of range: infinite
		return f
	case infForm.MatchString(s):
		return math.Inf(1)
	case nanForm.MatchString(s):
		return math.NaN()
	}
	return s
}

// whole returns an integer as int64, or as *big.Int if it does not fit.
func whole(s string, base int) any {
	n, err := strconv.ParseInt(s, base, 64)
	if err == nil {
		return n
	}
	b, _ := new(big.Int).SetString(s, base)
	return b
}
