package zone

import (
	"math"
	"strings"
	"testing"
	"time"
)

func at(t *testing.T, text string) int64 {
	t.Helper()
	u, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return u.UnixNano()
}

func load(t *testing.T, name string) *time.Location {
	t.Helper()
	loc, ok := Load(name)
	if !ok {
		t.Fatalf("%s is not known", name)
	}
	return loc
}

func TestLocal(t *testing.T) {
	for _, c := range []struct {
		zone, at      string
		hour, minute  int
		weekday, date string
		ofWeek        int
	}{
		{"Asia/Seoul", "2026-03-31T15:00:00Z", 0, 0, "wed", "2026-04-01", 48},
		{"Asia/Seoul", "2026-03-29T14:59:59.999999999Z", 23, 59, "sun", "2026-03-29", 167},
		{"Asia/Seoul", "2026-03-29T15:00:00Z", 0, 0, "mon", "2026-03-30", 0},
		{"Asia/Kathmandu", "2026-01-01T00:00:00Z", 5, 45, "thu", "2026-01-01", 77},
		{"America/St_Johns", "2026-01-03T03:29:00Z", 23, 59, "fri", "2026-01-02", 119},
		{"UTC", "1969-12-31T23:59:59Z", 23, 59, "wed", "1969-12-31", 71},
		{"Pacific/Apia", "2011-12-30T09:59:00Z", 23, 59, "thu", "2011-12-29", 95},
		{"Pacific/Apia", "2011-12-30T10:00:00Z", 0, 0, "sat", "2011-12-31", 120},
	} {
		loc := load(t, c.zone)
		hour, minute, weekday, date := Local(at(t, c.at), loc)
		if hour != c.hour || minute != c.minute || weekday != c.weekday || date != c.date || HourOfWeek(at(t, c.at), loc) != c.ofWeek {
			t.Errorf("%s in %s: %d:%d %s %s, hour %d of the week", c.at, c.zone, hour, minute, weekday, date, HourOfWeek(at(t, c.at), loc))
		}
	}
	for want, u := range map[string]int64{"1677-09-21": math.MinInt64, "2262-04-11": math.MaxInt64} {
		if _, _, _, date := Local(u, load(t, "UTC")); date != want {
			t.Errorf("the date at %d is %s, want %s", u, date, want)
		}
	}
}

func TestLoud(t *testing.T) {
	const from, to = 20*60 + 50, 8 * 60
	for name, c := range map[string]struct {
		zone, at, want string
		from, to       int
	}{
		"in the evening":              {"Asia/Seoul", "2026-03-31T21:00:00.5+09:00", "2026-04-01T08:00:00+09:00", from, to},
		"in the morning":              {"Asia/Seoul", "2026-04-01T07:59:59.999999999+09:00", "2026-04-01T08:00:00+09:00", from, to},
		"at the end":                  {"Asia/Seoul", "2026-04-01T08:00:00+09:00", "2026-04-01T08:00:00+09:00", from, to},
		"by day":                      {"Asia/Seoul", "2026-04-01T20:49:59.7+09:00", "2026-04-01T20:49:59.7+09:00", from, to},
		"the clock jumps forward":     {"Europe/Berlin", "2026-03-28T23:00:00+01:00", "2026-03-29T08:00:00+02:00", from, to},
		"it jumps over the end":       {"Europe/Berlin", "2026-03-29T00:30:00+01:00", "2026-03-29T03:00:00+02:00", 0, 150},
		"it jumps back":               {"Europe/Berlin", "2026-10-24T23:00:00+02:00", "2026-10-25T08:00:00+01:00", from, to},
		"it shows the end twice":      {"Europe/Berlin", "2026-10-25T02:10:00+02:00", "2026-10-25T02:30:00+02:00", 0, 150},
		"it jumps back into them":     {"Europe/Berlin", "2026-10-25T02:10:00+01:00", "2026-10-25T02:30:00+01:00", 0, 150},
		"it ends where it jumps back": {"Europe/Berlin", "2026-10-25T02:10:00+02:00", "2026-10-25T03:00:00+01:00", 0, 180},
		"half an hour back":           {"Australia/Lord_Howe", "2026-04-05T01:50:00+11:00", "2026-04-05T01:45:00+10:30", 106, 105},
		"half an hour forward":        {"Australia/Lord_Howe", "2026-10-04T01:50:00+10:30", "2026-10-04T02:30:00+11:00", 100, 130},
		"a day is left out":           {"Pacific/Apia", "2011-12-29T23:00:00-10:00", "2011-12-31T08:00:00+14:00", from, to},
		"the last day of a leap year": {"Europe/Berlin", "2028-12-31T21:00:00+01:00", "2029-01-01T08:00:00+01:00", from, to},
		"none":                        {"Asia/Seoul", "2026-04-01T08:00:00+09:00", "2026-04-01T08:00:00+09:00", 480, 480},
		"all but a minute":            {"UTC", "2026-04-01T08:01:00Z", "2026-04-02T08:00:00Z", 481, 480},
		"until midnight":              {"UTC", "2026-04-01T23:01:00Z", "2026-04-02T00:00:00Z", 600, 1440},
	} {
		if got := Loud(at(t, c.at), load(t, c.zone), c.from, c.to); got != at(t, c.want) {
			t.Errorf("%s: %s", name, in(got, load(t, c.zone)))
		}
	}
	for _, zone := range []string{"UTC", "Europe/Berlin"} {
		if got := Loud(at(t, "2026-04-01T08:01:00Z"), load(t, zone), 0, 1440); got != math.MaxInt64 {
			t.Errorf("days that are quiet throughout end at %d", got)
		}
		for _, u := range []int64{math.MinInt64, math.MaxInt64 - 5, math.MaxInt64} {
			if got := Loud(u, load(t, zone), 0, 1439); got < u {
				t.Errorf("%d comes after %d", got, u)
			}
		}
	}
}

func TestHours(t *testing.T) {
	for name, c := range map[string]struct{ zone, after, before, want string }{
		"neither end":              {"Asia/Seoul", "2026-04-01T08:00:00+09:00", "2026-04-01T11:00:00+09:00", "04-01T09:00:00+09:00 04-01T10:00:00+09:00"},
		"both ends nearly":         {"Asia/Seoul", "2026-04-01T08:59:59.999999999+09:00", "2026-04-01T10:00:00.000000001+09:00", "04-01T09:00:00+09:00 04-01T10:00:00+09:00"},
		"45 minutes":               {"Asia/Kathmandu", "2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z", "01-01T06:00:00+05:45 01-01T07:00:00+05:45"},
		"an hour that is left out": {"Europe/Berlin", "2026-03-29T00:30:00+01:00", "2026-03-29T04:30:00+02:00", "03-29T01:00:00+01:00 03-29T03:00:00+02:00 03-29T04:00:00+02:00"},
		"an hour that comes twice": {"Europe/Berlin", "2026-10-25T01:30:00+02:00", "2026-10-25T03:30:00+01:00", "10-25T02:00:00+02:00 10-25T03:00:00+01:00"},
		"its second time only":     {"Europe/Berlin", "2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00", ""},
		"half an hour forward":     {"Australia/Lord_Howe", "2026-10-04T00:30:00+10:30", "2026-10-04T03:30:00+11:00", "10-04T01:00:00+10:30 10-04T03:00:00+11:00"},
		"half an hour back":        {"Australia/Lord_Howe", "2026-04-05T00:30:00+11:00", "2026-04-05T02:30:00+10:30", "04-05T01:00:00+11:00 04-05T02:00:00+10:30"},
		"a day that is left out":   {"Pacific/Apia", "2011-12-29T22:30:00-10:00", "2011-12-31T01:30:00+14:00", "12-29T23:00:00-10:00 12-31T00:00:00+14:00 12-31T01:00:00+14:00"},
		"a day that comes twice":   {"Pacific/Kwajalein", "1969-09-30T11:30:00Z", "1969-10-01T13:30:00Z", "09-30T23:00:00+11:00 10-01T00:00:00-12:00 10-01T01:00:00-12:00"},
		"nothing":                  {"Asia/Seoul", "2026-04-01T09:00:00+09:00", "2026-04-01T09:00:00+09:00", ""},
		"a leap year's last day":   {"Europe/Berlin", "2028-12-31T00:30:00Z", "2028-12-31T02:30:00Z", "12-31T02:00:00+01:00 12-31T03:00:00+01:00"},
	} {
		loc := load(t, c.zone)
		var got []string
		for _, u := range Hours(at(t, c.after), at(t, c.before), loc) {
			got = append(got, in(u, loc).Format("01-02T15:04:05Z07:00"))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	utc := load(t, "UTC")
	if got := Hours(math.MaxInt64-2*hour, math.MaxInt64, utc); len(got) != 2 {
		t.Errorf("before the last time that there is, hours begin at %v", got)
	}
	if got := Hours(math.MinInt64, math.MinInt64+2*hour, utc); len(got) != 2 {
		t.Errorf("after the first time that there is, hours begin at %v", got)
	}
}

func TestBestHour(t *testing.T) {
	seoul := load(t, "Asia/Seoul")
	now := at(t, "2026-04-01T10:20:00+09:00") // a Wednesday
	ahead := 24 * hour
	until := func(to int) func(int64) bool {
		return func(u int64) bool { return Quiet(u, seoul, 21*60, to) }
	}
	for name, c := range map[string]struct {
		times string
		quiet func(int64) bool
		want  string // "": at once
	}{
		"no times": {"", nil, ""},
		"the hour of the week before that of the day": {"2026-03-25T18:30:00+09:00 2026-03-02T20:00:00+09:00 2026-03-03T20:00:00+09:00", nil, "2026-04-01T18:00:00+09:00"},
		"the hour of the day":                         {"2026-03-02T20:00:00+09:00 2026-03-03T20:00:00+09:00 2026-03-02T12:00:00+09:00", nil, "2026-04-01T20:00:00+09:00"},
		"the earliest":                                {"2026-03-02T20:00:00+09:00 2026-03-02T12:00:00+09:00", nil, "2026-04-01T12:00:00+09:00"},
		"now":                                         {"2026-03-25T10:59:00+09:00 2026-03-26T10:00:00+09:00", nil, ""},
		"of tomorrow, the hour of the week":           {"2026-03-26T10:00:00+09:00 2026-03-26T10:30:00+09:00 2026-03-25T10:30:00+09:00", nil, "2026-04-02T10:00:00+09:00"},
		"quiet hours are left out":                    {"2026-03-25T23:00:00+09:00 2026-03-02T12:00:00+09:00", until(8 * 60), "2026-04-01T12:00:00+09:00"},
		"now is quiet":                                {"2026-03-25T10:30:00+09:00 2026-03-02T12:00:00+09:00", until(11 * 60), "2026-04-01T12:00:00+09:00"},
		"no other hour has any":                       {"2026-03-25T23:00:00+09:00", until(8 * 60), ""},
		"all is quiet":                                {"2026-03-25T12:00:00+09:00", func(int64) bool { return true }, ""},
		"the hours are those of the zone, not those of Z": {"2026-03-25T15:30:00Z", nil, "2026-04-02T00:00:00+09:00"},
	} {
		var times []int64
		for _, text := range strings.Fields(c.times) {
			times = append(times, at(t, text))
		}
		want := now
		if c.want != "" {
			want = at(t, c.want)
		}
		due, ok := BestHour(now, ahead, times, seoul, c.quiet)
		if due != want || ok != (c.want != "") {
			t.Errorf("%s: %s, %v", name, in(due, seoul), ok)
		}
	}
	if due, ok := BestHour(now, 0, []int64{now - 7*day + hour}, seoul, nil); ok || due != now {
		t.Errorf("without time ahead: %d, %v", due, ok)
	}
}
