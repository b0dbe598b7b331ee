package bench

import (
	"testing"
	"time"
)

// TestByPeriod: a single stall of the machine affects only one period.
func TestByPeriod(t *testing.T) {
	var offers []liveOffer
	start := time.Now()
	for i := range 500 {
		o := liveOffer{due: start.Add(time.Duration(i) * 10 * time.Millisecond), took: time.Duration(i%100+1) * time.Millisecond}
		if i >= 250 && i < 260 {
			o.took = time.Second
		}
		offers = append(offers, o)
	}
	if p50, p99, p999 := byPeriod(offers, time.Second); p50 != 51 || p99 != 100 || p999 != 100 {
		t.Errorf("p50 %v, p99 %v, p99.9 %v", p50, p99, p999)
	}
}
