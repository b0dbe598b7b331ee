package value

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestPlainTime checks that plainTime reads times as the time package does.
func TestPlainTime(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	read := 0
	for range 200_000 {
		at := time.Unix(rng.Int64N(8e9), 0).UTC()
		layout := "2006-01-02T15:04:05.000000000"
		s := at.Add(time.Duration(rng.Int64N(1e9))).Format(layout[:[]int{19, 21, 23, 26, 29}[rng.IntN(5)]]) + "Z"
		if rng.IntN(3) == 0 {
			b := []byte(s)
			b[rng.IntN(len(b))] = "0123456789:-.TZ "[rng.IntN(16)]
			s = string(b)
		}
		got, ok := plainTime(s)
		if !ok {
			continue
		}
		read++
		want, err := time.Parse(time.RFC3339Nano, s)
		if err != nil || want.UnixNano() != got {
			t.Fatalf("%s reads as %s; time.Parse gives %v, %v", s, FormatTime(got), want, err)
		}
	}
	if read < 100_000 {
		t.Errorf("only %d times were read", read)
	}
}
