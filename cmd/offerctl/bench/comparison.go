package bench

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A Comparison is what two programs found, by the keys that both have.
type Comparison struct {
	Against string              `json:"against"`
	Pairs   int                 `json:"pairs"`
	Keys    map[string]keyRatio `json:"keys"`

	zeros []string // keys without a ratio, as the other had 0
}

// A keyRatio has medians, and the interval of that of the ratios.
type keyRatio struct {
	This  float64 `json:"this"`
	Other float64 `json:"other"`
	Ratio float64 `json:"ratio"` // of the pairs' this / other
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// differs says that 1 lies outside the interval.
func (r keyRatio) differs() bool { return r.Low > 1 || r.High < 1 }

func compare(against string, pairs []pair) (*Comparison, error) {
	c := &Comparison{Against: against, Pairs: len(pairs), Keys: map[string]keyRatio{}}
	for key := range pairs[0].this {
		var this, other, ratios []float64
		for _, p := range pairs {
			a, inThis := p.this[key]
			b, inOther := p.other[key]
			if inThis && inOther {
				this, other = append(this, a), append(other, b)
			}
			if inThis && inOther && b != 0 {
				ratios = append(ratios, a/b)
			}
		}
		if len(ratios) == len(pairs) {
			c.Keys[key] = newKeyRatio(this, other, ratios)
		} else if len(this) == len(pairs) {
			c.zeros = append(c.zeros, key)
		}
	}
	if len(c.Keys) == 0 {
		return nil, errors.New("bench: the two programs have no key with a number in common")
	}
	slices.Sort(c.zeros)
	return c, nil
}

func newKeyRatio(this, other, ratios []float64) keyRatio {
	k, _ := medianRank(len(ratios))
	slices.Sort(ratios)
	return keyRatio{This: middle(this), Other: middle(other), Ratio: middle(ratios), Low: ratios[k-1], High: ratios[len(ratios)-k]}
}

// middle is the median, of an even number the mean of the two in the middle.
func middle(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// medianRank is k such that the median lies between the k-th smallest and the
// k-th largest of n values, as narrow as a confidence of 95 % allows, and that
// confidence. Each value lies below the median with a probability of 1/2,
// however the values are distributed; so the median lies below the k-th with
// that of fewer than k heads of n coins. Fewer than six values have no such
// interval: for them it is from the smallest to the largest.
func medianRank(n int) (k int, confidence float64) {
	heads := math.Exp2(-float64(n)) // the probability of k-1 heads
	k, confidence = 1, 1-2*heads
	for {
		heads *= float64(n-k+1) / float64(k)
		if confidence-2*heads < .95 {
			return k, confidence
		}
		k, confidence = k+1, confidence-2*heads
	}
}

// soFar are the ratios that say the most.
func (c *Comparison) soFar() string {
	var parts []string
	for _, key := range []string{"ratio", "worker_per_s"} {
		if r, ok := c.Keys[key]; ok {
			parts = append(parts, fmt.Sprintf("%s %.3f", key, r.Ratio))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return ": this/other so far: " + strings.Join(parts, ", ")
}

// Print writes a table by key.
func (c *Comparison) Print(w io.Writer) {
	fmt.Fprintf(w, "%-32s %12s %12s %10s    %s\n", "medians", "this", "other", "this/other", "interval")
	for _, key := range slices.Sorted(maps.Keys(c.Keys)) {
		r, mark := c.Keys[key], ""
		if r.differs() {
			mark = "   differs"
		}
		fmt.Fprintf(w, "%-32s %12s %12s %10.3f    %.3f to %.3f%s\n", key, figure(r.This), figure(r.Other), r.Ratio, r.Low, r.High, mark)
	}
	k, confidence := medianRank(c.Pairs)
	fmt.Fprintf(w, "\nother is %s. this/other is the median of the ratios of %d pairs; its interval is from the %s to the %s of them in order, which has it with a confidence of %.0f %%. What differs has 1 outside.\n",
		c.Against, c.Pairs, ordinal(k), ordinal(c.Pairs+1-k), 100*confidence)
	if len(c.zeros) > 0 {
		fmt.Fprintf(w, "Without a ratio, as the other had 0: %s.\n", strings.Join(c.zeros, ", "))
	}
}

// figure has as many decimals as its size needs.
func figure(v float64) string {
	decimals := 4
	switch a := math.Abs(v); {
	case a >= 1000 || v == math.Trunc(v):
		decimals = 0
	case a >= 1:
		decimals = 2
	}
	return strconv.FormatFloat(v, 'f', decimals, 64)
}

func ordinal(n int) string {
	if n%100 < 11 || n%100 > 13 {
		switch n % 10 {
		case 1:
			return fmt.Sprintf("%dst", n)
		case 2:
			return fmt.Sprintf("%dnd", n)
		case 3:
			return fmt.Sprintf("%drd", n)
		}
	}
	return fmt.Sprintf("%dth", n)
}
