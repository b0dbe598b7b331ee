package campaign

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"offerstream/pipeline/lazyregexp"
)

// units are the words for units of time that people write, in small letters.
var units = func() map[string]time.Duration {
	all := map[string]time.Duration{}
	for _, u := range []struct {
		is    time.Duration
		words string
	}{
		{time.Millisecond, "ms msec msecs millisecond milliseconds 밀리초"},
		{time.Second, "s sec secs second seconds 초 秒"},
		{time.Minute, "m min mins minute minutes 분 分 分钟"},
		{time.Hour, "h hr hrs hour hours 시간 時間 小时"},
		{24 * time.Hour, "d day days 일 日 天"},
		{7 * 24 * time.Hour, "w wk wks week weeks 주 주일 週 週間 周"},
		{30 * 24 * time.Hour, "mo mon month months 개월 달 か月 ヶ月 个月"},
		{365 * 24 * time.Hour, "y yr yrs year years 년 年"},
	} {
		for _, w := range strings.Fields(u.words) {
			all[w] = u.is
		}
	}
	return all
}()

var (
	amount   = lazyregexp.New(`^\s*(?:and\s+)?([0-9]+(?:\.[0-9]+)?|an|a|one)?\s*([^\s0-9.,+-]+)\.?[\s,]*`)
	iso      = lazyregexp.New(`^P(?:([0-9]+)Y)?(?:([0-9]+)M)?(?:([0-9]+)W)?(?:([0-9]+)D)?(?:T(?:([0-9]+)H)?(?:([0-9]+)M)?(?:([0-9.]+)S)?)?$`)
	onClock  = lazyregexp.New(`^([0-9]{1,3}):([0-5][0-9])(?::([0-5][0-9]))?$`)
	unitless = lazyregexp.New(`^\s*[0-9]+(\.[0-9]+)?\s*$`)
)

// SpellDuration is a hint for a text that is no duration: how to write the one that
// was probably meant. "" if there is none.
func SpellDuration(s string) string {
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if c, ok := Lookalike(r); ok && len(c.Write) == 1 {
			return rune(c.Write[0])
		}
		return r
	}, s))
	if unitless.MatchString(s) {
		n := strings.TrimSpace(s)
		return fmt.Sprintf("a unit is missing: %ss, %sm, %sh or %sd", n, n, n, n)
	}
	d, ok := spelled(s)
	if !ok || d <= 0 || d > 100*365*24*time.Hour {
		return ""
	}
	return "write " + FormatDuration(d)
}

func spelled(s string) (d time.Duration, ok bool) {
	if m := iso.FindStringSubmatch(strings.ToUpper(s)); m != nil && len(s) > 2 {
		for i, unit := range []string{"y", "mo", "w", "d", "h", "m", "s"} {
			n, _ := strconv.ParseFloat("0"+m[i+1], 64)
			d += time.Duration(n * float64(units[unit]))
		}
		return d, true
	}
	if m := onClock.FindStringSubmatch(s); m != nil {
		for i, unit := range []string{"h", "m", "s"} {
			n, _ := strconv.Atoi("0" + m[i+1])
			d += time.Duration(n) * units[unit]
		}
		return d, true
	}
	for s != "" {
		m := amount.FindStringSubmatch(s)
		if m == nil || m[1] == "" && ok {
			return 0, false
		}
		unit, known := units[strings.ToLower(m[2])]
		n, err := strconv.ParseFloat(m[1], 64)
		if !known || err != nil && m[1] == "" {
			return 0, false
		}
		if err != nil {
			n = 1 // a, an, one
		}
		d, ok = d+time.Duration(n*float64(unit)), true
		s = s[len(m[0]):]
	}
	return d, ok
}
