package window

import (
	"math/big"
	"math/bits"
)

// A wide is an integer of 128 bits, in two's complement: a sum of millionths.
// It cannot overflow: a summand has 64 bits, and nobody counts to 2^64.
type wide struct {
	high int64
	low  uint64
}

func widen(v int64) wide { return wide{v >> 63, uint64(v)} }

func (a wide) plus(b wide) wide {
	low, carry := bits.Add64(a.low, b.low, 0)
	return wide{a.high + b.high + int64(carry), low}
}

// millionths is the double nearest to a / 10^6.
func (a wide) millionths() float64 {
	const exact = 1 << 53 // up to here, integers are doubles, and one division rounds once
	if n := int64(a.low); a == widen(n) && n >= -exact && n <= exact {
		return float64(n) / 1e6
	}
	n := new(big.Int).Lsh(big.NewInt(a.high), 64)
	n.Add(n, new(big.Int).SetUint64(a.low))
	f, _ := new(big.Rat).SetFrac(n, big.NewInt(1e6)).Float64()
	return f
}
