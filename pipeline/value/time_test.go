package value

import (
	"math"
	"math/big"
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

// TestAnyTime checks that the strict parser reads what RFC 3339 allows as the time
// package does, and that it never disagrees with plainTime.
func TestAnyTime(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 6))
	read := 0
	for range 200_000 {
		at := time.Unix(rng.Int64N(18e9)-9e9, rng.Int64N(1e9)).In(time.FixedZone("", 60*(rng.IntN(2*1440)-1440+1)))
		s := at.Format([]string{time.RFC3339, time.RFC3339Nano}[rng.IntN(2)])
		if rng.IntN(3) == 0 {
			b := []byte(s)
			b[rng.IntN(len(b))] = "0123456789:-.TZ+tz,"[rng.IntN(19)]
			s = string(b)
		}
		got, ok := anyTime(s)
		if fast, plain := plainTime(s); plain && (!ok || Nanos(got) != fast) {
			t.Fatalf("%s reads as %v, %v; plainTime gives %s", s, got, ok, FormatTime(fast))
		}
		want, err := time.Parse(time.RFC3339Nano, s)
		switch {
		case !ok || err != nil:
			continue // TestParseTime has where they differ
		case !got.Equal(want):
			t.Fatalf("%s reads as %v; time.Parse gives %v", s, got, want)
		}
		read++
	}
	if read < 100_000 {
		t.Errorf("only %d times were read", read)
	}
}

func TestParseTime(t *testing.T) {
	for s, want := range map[string]string{
		"2026-03-01T12:00:00Z":             "2026-03-01T12:00:00Z",
		"2026-03-01t12:00:00z":             "2026-03-01T12:00:00Z",
		"2026-03-01T12:00:00.5z":           "2026-03-01T12:00:00.5Z",
		"2026-03-01T12:00:60Z":             "2026-03-01T12:01:00Z",
		"2016-12-31T23:59:60.25Z":          "2017-01-01T00:00:00.25Z",
		"2017-01-01T08:59:60+09:00":        "2017-01-01T00:00:00Z",
		"2026-03-01T12:00:00.1234567899Z":  "2026-03-01T12:00:00.123456789Z",
		"2026-03-01T12:00:00+0900":         "2026-03-01T03:00:00Z",
		"2026-03-01T12:00:00-09":           "2026-03-01T21:00:00Z",
		"2026-03-01T12:00:00.029+09":       "2026-03-01T03:00:00.029Z",
		"2026-03-01T12:00:00.029:Z":        "2026-03-01T12:00:00.029Z",
		"2026-03-01T12:00:00-00:00":        "2026-03-01T12:00:00Z",
		"2026-03-01T12:00:00+23:59":        "2026-02-28T12:01:00Z",
		"2024-02-29T12:00:00Z":             "2024-02-29T12:00:00Z",
		"1969-12-31T23:59:59.5Z":           "1969-12-31T23:59:59.5Z",
		"2262-04-11T23:47:16.854775806Z":   "2262-04-11T23:47:16.854775806Z",
		"2262-04-11T23:47:16.854775808Z":   "2262-04-11T23:47:16.854775807Z",
		"9999-12-31T23:59:60Z":             "2262-04-11T23:47:16.854775807Z",
		"0001-01-01T00:00:00Z":             "1677-09-21T00:12:43.145224193Z",
		"0000-01-01T00:00:00+23:59":        "1677-09-21T00:12:43.145224193Z",
		"1677-09-21T00:12:43.145224192Z":   "1677-09-21T00:12:43.145224193Z",
		"2026-03-01T12:00:00,5Z":           "",
		"2026-03-01T12:00:00+24:00":        "",
		"2026-03-01T12:00:00+09:60":        "",
		"2026-03-01T12:00:00+9:00":         "",
		"2026-03-01T12:00:00+090":          "",
		"2026-03-01T12:00:00+09:":          "",
		"2026-03-01T12:00:00+09:0":         "",
		"2026-03-01T12:00:00−09:00":        "",
		"2026-03-01T12:00:00.:Z":           "",
		"2026-03-01T12:00:00.Z":            "",
		"2026-03-01T12:00:00:Z":            "",
		"2026-03-01T12:00:00.029:":         "",
		"2026-03-01T12:00:00.029:+09":      "",
		"2026-03-01T12:00:00":              "",
		"2026-03-01T12:00:00.5":            "",
		"2026-03-01T12:00:61Z":             "",
		"2026-03-01T12:60:00Z":             "",
		"2026-03-01T24:00:00Z":             "",
		"2026-02-29T12:00:00Z":             "",
		"2026-00-01T12:00:00Z":             "",
		"2026-13-01T12:00:00Z":             "",
		"2026-03-00T12:00:00Z":             "",
		"2026-03-01 12:00:00Z":             "",
		"2026-03-01T12:00:00Z ":            "",
		" 2026-03-01T12:00:00Z":            "",
		"2026-03-01T12:00:00ZZ":            "",
		"2026-03-01T12:00:00[Asia/Seoul]":  "",
		"+2026-03-01T12:00:00Z":            "",
		"12026-03-01T12:00:00Z":            "",
		"2026-3-1T12:00:00.0000000000000Z": "",
		"":                                 "",
		"Z":                                "",
	} {
		ns, err := ParseTime(s)
		got := ""
		if err == nil {
			got = FormatTime(ns)
		}
		if got != want {
			t.Errorf("%q reads as %q (%v), want %q", s, got, err, want)
		}
		if again, err := ParseTime(got); got != "" && (err != nil || again != ns) {
			t.Errorf("%s does not read back: %v", got, err)
		}
	}
}

func TestPlus(t *testing.T) {
	clamped := func(n *big.Int) int64 {
		if n.IsInt64() {
			return n.Int64()
		}
		return map[int]int64{-1: math.MinInt64, 1: math.MaxInt64}[n.Sign()]
	}
	numbers := []int64{math.MinInt64, math.MinInt64 + 1, math.MinInt64 / 2, -1e18, -1, 0, 1, 1e18, math.MaxInt64 / 2, math.MaxInt64/2 + 1, math.MaxInt64 - 1, math.MaxInt64}
	for _, a := range numbers {
		for _, b := range numbers {
			x, y := big.NewInt(a), big.NewInt(b)
			if got, want := Plus(a, b), clamped(new(big.Int).Add(x, y)); got != want {
				t.Errorf("%d + %d is %d, want %d", a, b, got, want)
			}
			if got, want := Minus(a, b), clamped(new(big.Int).Sub(x, y)); got != want {
				t.Errorf("%d - %d is %d, want %d", a, b, got, want)
			}
		}
	}
}
