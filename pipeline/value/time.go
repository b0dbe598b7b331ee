package value

import (
	"fmt"
	"math"
	"time"
)

// ParseTime reads a time with a zone as nanoseconds since 1970: RFC 3339, and
// three forms that SDKs send, with the zones +0900 and +09, and with a colon
// before the Z (12:00:00.029:Z). Second 60, which a leap second has, is second 0
// of the next minute. Digits beyond nanoseconds are cut. A time outside of the
// years 1677 to 2262 is clamped, like a result of Plus.
func ParseTime(s string) (int64, error) {
	if ns, ok := plainTime(s); ok {
		return ns, nil
	}
	if t, ok := anyTime(s); ok {
		return Nanos(t), nil
	}
	return 0, fmt.Errorf("%q is not an RFC 3339 time with a zone", s)
}

// digits reads the digits of a text; ok becomes false if it has any other byte.
func digits(s string, ok *bool) int {
	n := 0
	for _, c := range []byte(s) {
		*ok = *ok && c >= '0' && c <= '9'
		n = 10*n + int(c-'0')
	}
	return n
}

var daysIn = [...]int{1: 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

// plainTime reads the form that most events use: a time in UTC such as
// 2026-01-02T15:04:05Z, with up to nine digits of a fraction of a second. ok is
// false for any other text.
func plainTime(s string) (ns int64, ok bool) {
	if len(s) < 20 || len(s) > 30 || s[4] != '-' || s[7] != '-' || s[10] != 'T' || s[13] != ':' || s[16] != ':' || s[len(s)-1] != 'Z' {
		return 0, false
	}
	ok = true
	y, m, d := digits(s[0:4], &ok), digits(s[5:7], &ok), digits(s[8:10], &ok)
	h, min, sec := digits(s[11:13], &ok), digits(s[14:16], &ok), digits(s[17:19], &ok)
	if len(s) > 20 {
		ok = ok && s[19] == '.' && len(s) > 21
		ns = int64(digits(s[20:len(s)-1], &ok))
		for range 30 - len(s) {
			ns *= 10
		}
	}
	if !ok || y < 1970 || y > 2200 || m < 1 || m > 12 || d < 1 || d > daysIn[m] || h > 23 || min > 59 || sec > 59 {
		return 0, false // also 29 February, because leap years are left to anyTime
	}
	if m <= 2 { // count years from March, so that a leap day is the last day of its year
		y, m = y-1, m+12
	}
	days := 365*y + y/4 - y/100 + y/400 + (153*m-457)/5 + d - 719469
	return (int64(days)*86400+int64(h*3600+min*60+sec))*int64(time.Second) + ns, true
}

// anyTime reads every form that ParseTime reads. The time package's own parser is
// both more lenient (a comma before the fraction, the zone +24:00) and stricter.
func anyTime(s string) (t time.Time, ok bool) {
	if len(s) < 20 || s[4] != '-' || s[7] != '-' || s[10]|0x20 != 't' || s[13] != ':' || s[16] != ':' {
		return t, false
	}
	ok = true
	y, m, d := digits(s[0:4], &ok), digits(s[5:7], &ok), digits(s[8:10], &ok)
	h, min, sec := digits(s[11:13], &ok), digits(s[14:16], &ok), digits(s[17:19], &ok)
	nanos, rest, fine := subsecond(s[19:])
	offset, zoned := zone(rest)
	if !ok || !fine || !zoned || m < 1 || m > 12 || d < 1 || h > 23 || min > 59 || sec > 60 {
		return t, false
	}
	if last := time.Date(y, time.Month(m+1), 0, 0, 0, 0, 0, time.UTC); d > last.Day() {
		return t, false
	}
	return time.Date(y, time.Month(m), d, h, min, sec, nanos, time.UTC).Add(-offset), true
}

// subsecond reads the fraction of a second that a text may begin with, and with it
// a colon that stands before a Z. rest is the zone.
func subsecond(s string) (nanos int, rest string, ok bool) {
	if s[0] != '.' {
		return 0, s, true
	}
	n := 0
	for s = s[1:]; len(s) > 0 && s[0] >= '0' && s[0] <= '9'; s = s[1:] {
		if n++; n <= 9 {
			nanos = 10*nanos + int(s[0]-'0')
		}
	}
	for range 9 - n {
		nanos *= 10
	}
	if s == ":Z" || s == ":z" {
		s = s[1:]
	}
	return nanos, s, n > 0
}

// zone reads Z, +09:00, +0900 or +09.
func zone(s string) (offset time.Duration, ok bool) {
	if s == "Z" || s == "z" {
		return 0, true
	}
	if len(s) < 3 || s[0] != '+' && s[0] != '-' {
		return 0, false
	}
	sign, hours, minutes := s[0], s[1:3], s[3:]
	switch {
	case minutes == "":
		minutes = "00"
	case minutes[0] == ':':
		minutes = minutes[1:]
	}
	ok = len(minutes) == 2
	h, m := digits(hours, &ok), digits(minutes, &ok)
	if offset = time.Duration(h)*time.Hour + time.Duration(m)*time.Minute; sign == '-' {
		offset = -offset
	}
	return offset, ok && h <= 23 && m <= 59
}

// FormatTime writes a time as RFC 3339 in UTC, with a fraction of a second only
// if it is not zero.
func FormatTime(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }

// The times that an int64 holds. The least of all int64 is before them, so that it
// can stand for the beginning of a window without limit.
const (
	earliest = -math.MaxInt64
	latest   = math.MaxInt64
)

// Nanos is a time as nanoseconds since 1970, clamped to those that an int64 holds.
func Nanos(t time.Time) int64 {
	switch {
	case t.Before(time.Unix(0, earliest)):
		return earliest
	case t.After(time.Unix(0, latest)):
		return latest
	}
	return t.UnixNano()
}

// Plus is a + b, and Minus is a - b, of times and durations in nanoseconds. A
// result that an int64 does not hold is clamped: it must not wrap around, because
// then a time in the far future would be one in the past.
func Plus(a, b int64) int64 {
	sum := a + b
	if (a^sum)&(b^sum) >= 0 {
		return sum
	}
	return bound(a)
}

// Minus is described at Plus.
func Minus(a, b int64) int64 {
	difference := a - b
	if (a^b)&(a^difference) >= 0 {
		return difference
	}
	return bound(a)
}

// bound is the result of Plus and Minus beyond the range, which lies on the side
// of a.
func bound(a int64) int64 {
	if a < 0 {
		return math.MinInt64
	}
	return math.MaxInt64
}
