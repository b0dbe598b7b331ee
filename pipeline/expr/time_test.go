package expr

import (
	"fmt"
	"testing"
)

// TestClock: a duration as a clock shows it.
func TestClock(t *testing.T) {
	l := language(t)
	for d, want := range map[string]string{
		"0s": "0:00", "999ms": "0:00", "-999ms": "0:00", "59s": "0:59", "61.9s": "1:01", "-61.9s": "-1:01", "59m59s": "59:59", "1h": "1:00:00", "-1h2m3s": "-1:02:03", "50h0m9s": "50:00:09", "3d": "72:00:00", "2562047h": "2562047:00:00",
	} {
		if got := evaluate(l, fmt.Sprintf("clock(duration(%q))", d), see("")); got != fmt.Sprintf("%q", want) {
			t.Errorf("clock of %s is %s, want %q", d, got, want)
		}
	}
	if got := evaluate(l, "clock(event.properties.n)", see(`"n":5`)); got != "error: no such overload: clock(double)" {
		t.Errorf("clock of a number is %s", got)
	}
}

// TestZones: the functions that take a time zone, with names and offsets, whatever
// the host's zones are.
func TestZones(t *testing.T) {
	t.Setenv("TZ", "America/New_York")
	t.Setenv("ZONEINFO", "/nowhere")
	l := language(t)
	v := see(`"zone":"Asia/Seoul","wrong":"Mars/Olympus","n":9,"offset":"-03:30"`)
	const at = `timestamp("2026-12-31T20:40:59.123Z").`
	for src, want := range map[string]string{
		at + `getFullYear("Asia/Seoul")`: "2027", at + `getMonth("Asia/Seoul")`: "0", at + `getDayOfYear("Asia/Seoul")`: "0", at + `getDate("Asia/Seoul")`: "1", at + `getDayOfMonth("Asia/Seoul")`: "0", at + `getDayOfWeek("Asia/Seoul")`: "5",
		at + `getHours("Asia/Seoul")`: "5", at + `getMinutes("Asia/Kolkata")`: "10", at + `getSeconds("Asia/Seoul")`: "59", at + `getMilliseconds("Asia/Seoul")`: "123", at + `getHours("UTC")`: "20", at + `getHours()`: "20",
		at + `getHours("+09:00")`: "5", at + `getMinutes("-03:30")`: "10", at + `getHours("-03:30")`: "17", at + `getHours("02:00")`: "22", `now.getHours(event.properties.offset)`: "20", `duration("90m").getHours()`: "1",
		`now.getHours(event.properties.zone)`: "9", `now.getHours(event.properties.wrong)`: `error: no time zone is named "Mars/Olympus"`, `now.getHours(event.properties.n)`: "error: no such overload: getHours(google.protobuf.Timestamp, double)", `now.getHours(event.properties.x)`: "error: no such key: x",
		`now.getHours("Asia/Seul")`: `1:13: no time zone is named "Asia/Seul": did you mean "Asia/Seoul"?`, `now.getHours("Local")`: `1:13: no time zone is named "Local": local.hour is the hour in the user's zone; else a name such as Asia/Seoul, or an offset such as +09:00`,
		`now.getHours("+25:00")`: "1:13: timezone offset hours out of range [-23, 23]: +25:00: a name such as Asia/Seoul, or an offset such as +09:00",
	} {
		if got := evaluate(l, src, v); got != want {
			t.Errorf("%s\n got %s\nwant %s", src, got, want)
		}
	}
}
