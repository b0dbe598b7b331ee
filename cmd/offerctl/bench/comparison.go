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

// A Comparison holds the results of two programs, for the keys that both have.
type Comparison struct {
	Against string              `json:"against"`
	Pairs   int                 `json:"pairs"`
	Keys    map[string]keyRatio `json:"keys"`

	zeros []string // keys without a ratio, because the other program's number is 0
}

// A keyRatio has the medians, and the confidence interval of the ratios' median.
type keyRatio struct {
	This  float64 `json:"this"`
	Other float64 `json:"other"`
	Ratio float64 `json:"ratio"` // of the pairs' this / other
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// differs reports whether 1 lies outside the interval.
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

// middle returns the median; for an even number of values, the mean of the two
// in the middle.
func middle(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// medianRank returns the largest k for which the interval from the k-th smallest
// to the k-th largest of n values contains the median with a confidence of at
// least 95 %, and that confidence. Each value lies below the median with a
// probability of 1/2, whatever the distribution. So the probability that the
// median lies below the k-th value is that of fewer than k heads in n tosses of a
// coin. For fewer than six values there is no such interval: k is 1, from the
// smallest to the largest.
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

// soFar describes the most important ratios.
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
		r, note := c.Keys[key], ""
		if r.differs() {
			note = "   differs"
		}
		fmt.Fprintf(w, "%-32s %12s %12s %10.3f    %.3f to %.3f%s\n", key, figure(r.This), figure(r.Other), r.Ratio, r.Low, r.High, note)
	}
	k, confidence := medianRank(c.Pairs)
	fmt.Fprintf(w, "\nother is %s. this/other is the median of the ratios of %d pairs. The interval is from the %s to the %s of these ratios in order, and contains the median with a confidence of %.0f %%. \"differs\" means that 1 lies outside the interval.\n",
		c.Against, c.Pairs, ordinal(k), ordinal(c.Pairs+1-k), 100*confidence)
	if len(c.zeros) > 0 {
		fmt.Fprintf(w, "No ratio, because the other's number is 0: %s.\n", strings.Join(c.zeros, ", "))
	}
}

// figure formats a number with a number of decimals that suits its size.
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
