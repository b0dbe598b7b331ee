package campaign

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// ParseDuration reads a Go duration that may also have the unit d (24 hours):
// 90s, 30m, 1h30m, 7d, 1d12h.
func ParseDuration(s string) (time.Duration, error) {
	bad := fmt.Errorf("%q is not a duration such as 90s, 30m, 1h30m or 7d", s)
	days, rest, found := strings.Cut(s, "d")
	if !found {
		d, err := time.ParseDuration(s)
		if err != nil {
			return 0, bad
		}
		return d, nil
	}
	n, err := strconv.ParseFloat(days, 64)
	if err != nil || math.IsNaN(n) || math.Abs(n) > 106_000 || strings.ContainsAny(days, "xXpPeEiIn_") {
		return 0, bad
	}
	d := time.Duration(math.RoundToEven(n * float64(24*time.Hour)))
	if rest == "" {
		return d, nil
	}
	more, err := time.ParseDuration(rest)
	if err != nil || more < 0 || strings.HasPrefix(rest, "+") {
		return 0, bad
	}
	if strings.HasPrefix(days, "-") {
		more = -more
	}
	if sum := d + more; (sum > d) == (more > 0) || more == 0 {
		return sum, nil
	}
	return 0, bad
}

// PrintDuration writes a duration in the form of campaign files: 7d, 1h30m,
// 90s.
func PrintDuration(d time.Duration) string {
	const day = 24 * time.Hour
	if d <= 0 {
		return d.String()
	}
	s := ""
	if days := d / day; days > 0 {
		s, d = fmt.Sprintf("%dd", days), d%day
	}
	if d == 0 {
		return s
	}
	t := d.String()
	if strings.HasSuffix(t, "m0s") {
		t = strings.TrimSuffix(t, "0s")
	}
	if strings.HasSuffix(t, "h0m") {
		t = strings.TrimSuffix(t, "0m")
	}
	return s + t
}
