package value

import (
	"fmt"
	"time"
)

// ParseTime reads an RFC 3339 time with a zone as nanoseconds since 1970.
func ParseTime(s string) (int64, error) {
	if ns, ok := plainTime(s); ok {
		return ns, nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return 0, fmt.Errorf("%q is not an RFC 3339 time with a zone", s)
	}
	if y := t.Year(); y < 1678 || y > 2261 {
		return 0, fmt.Errorf("%q lies outside the years 1678 to 2261", s)
	}
	return t.UnixNano(), nil
}

var daysIn = [...]int{1: 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

// plainTime reads the form that most events use: a time in UTC such as
// 2026-01-02T15:04:05Z, with up to nine digits of a fraction of a second. ok is
// false for any other text.
func plainTime(s string) (ns int64, ok bool) {
	if len(s) < 20 || len(s) > 30 || s[4] != '-' || s[7] != '-' || s[10] != 'T' || s[13] != ':' || s[16] != ':' || s[len(s)-1] != 'Z' {
		return 0, false
	}
	num := func(from, to int) int {
		n := 0
		for _, c := range []byte(s[from:to]) {
			ok = ok && c >= '0' && c <= '9'
			n = 10*n + int(c-'0')
		}
		return n
	}
	ok = true
	y, m, d := num(0, 4), num(5, 7), num(8, 10)
	h, min, sec := num(11, 13), num(14, 16), num(17, 19)
	if len(s) > 20 {
		ok = ok && s[19] == '.' && len(s) > 21
		ns = int64(num(20, len(s)-1))
		for range 30 - len(s) {
			ns *= 10
		}
	}
	if !ok || y < 1970 || y > 2200 || m < 1 || m > 12 || d < 1 || d > daysIn[m] || h > 23 || min > 59 || sec > 59 {
		return 0, false // also 29 February, because leap years are left to the library
	}
	if m <= 2 { // count years from March, so that a leap day is the last day of its year
		y, m = y-1, m+12
	}
	days := 365*y + y/4 - y/100 + y/400 + (153*m-457)/5 + d - 719469
	return (int64(days)*86400+int64(h*3600+min*60+sec))*int64(time.Second) + ns, true
}

// FormatTime writes a time as RFC 3339 in UTC, with a fraction of a second only
// if it is not zero.
func FormatTime(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }
