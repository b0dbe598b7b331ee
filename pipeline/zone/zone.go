// Package zone is a placeholder.
package zone

import "time"

func Load(name string) (*time.Location, bool) { l, err := time.LoadLocation(name); return l, err == nil }

func Local(t int64, loc *time.Location) (hour, minute int, weekday, date string) {
	x := time.Unix(0, t).In(loc)
	return x.Hour(), x.Minute(), [...]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}[x.Weekday()], x.Format("2006-01-02")
}

func Quiet(t int64, loc *time.Location, from, to int) bool {
	x := time.Unix(0, t).In(loc)
	m := x.Hour()*60 + x.Minute()
	if from < to {
		return m >= from && m < to
	}
	return m >= from || m < to
}

func Loud(t int64, loc *time.Location, from, to int) int64 {
	for Quiet(t, loc, from, to) {
		t = t - t%60e9 + 60e9
	}
	return t
}

func BestHour(now, ahead int64, times []int64, loc *time.Location, quiet func(t int64) bool) (due int64, ok bool) {
	return 0, false
}
