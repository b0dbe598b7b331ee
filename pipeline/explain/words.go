package explain

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"offerstream/pipeline/campaign"
)

// moment is a time for people: with its date unless it is on the day of now.
func moment(at, now int64, zone *time.Location) string {
	t := time.Unix(0, at).In(zone)
	if t.Format(time.DateOnly) == time.Unix(0, now).In(zone).Format(time.DateOnly) {
		return t.Format("15:04:05")
	}
	return t.Format("2006-01-02 15:04:05")
}

// span is a duration for people, rounded to what matters of it.
func span(ns int64) string {
	d := time.Duration(ns)
	switch {
	case d < 0:
		return "-" + span(-ns)
	case d >= 48*time.Hour:
		return exactly(d.Round(time.Hour))
	case d >= 10*time.Minute:
		return exactly(d.Round(time.Minute))
	case d >= 10*time.Second:
		return exactly(d.Round(time.Second))
	}
	return exactly(d.Round(time.Millisecond))
}

// exactly is a duration for people: 90 s, 1 h 30 min, 24 h, 7 days.
func exactly(d time.Duration) string {
	if d == 24*time.Hour {
		return "24 h"
	}
	var parts []string
	add := func(n time.Duration, unit string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, unit))
		}
	}
	if days := d / (24 * time.Hour); days > 0 {
		parts = append(parts, quantity(int64(days), "day"))
	}
	add(d/time.Hour%24, "h")
	add(d/time.Minute%60, "min")
	if rest := d % time.Minute; rest > 0 || len(parts) == 0 {
		parts = append(parts, strconv.FormatFloat(rest.Seconds(), 'f', -1, 64)+" s")
	}
	return strings.Join(parts, " ")
}

// percent is a share of a holdout, whose unit is 1/10,000.
func percent(parts int) string { return strconv.FormatFloat(float64(parts)/100, 'f', -1, 64) + "%" }

// orList joins names: a, b or c.
func orList(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}

// mostShown bounds a value in a sentence, in characters.
const mostShown = 80

// shown is a value for people.
func shown(v json.RawMessage) string {
	s := string(v)
	if s == "null" {
		return "absent"
	}
	if utf8.RuneCountInString(s) > mostShown {
		runes := []rune(s)
		return string(runes[:mostShown]) + "..."
	}
	return s
}

// plain is a text without line breaks.
func plain(text string) string { return strings.Join(strings.Fields(text), " ") }

// number is a JSON number.
func number(v json.RawMessage) (float64, bool) {
	f, err := strconv.ParseFloat(string(v), 64)
	return f, err == nil
}

// text is a JSON text.
func text(v json.RawMessage) (string, bool) {
	var s string
	if len(v) == 0 || v[0] != '"' || json.Unmarshal(v, &s) != nil {
		return "", false
	}
	return s, true
}

// duration is a duration as expressions print it: 41s.
func duration(v json.RawMessage) (time.Duration, bool) {
	s, ok := text(v)
	if !ok {
		return 0, false
	}
	d, err := campaign.ParseDuration(s)
	return d, err == nil
}

// spoken is the name of a feature for people.
func spoken(name string) string { return strings.ReplaceAll(name, "_", " ") }

// quantity is a number with its noun: 1 offer, 2 offers.
func quantity(n int64, of string) string {
	if n != 1 {
		of += "s"
	}
	return fmt.Sprintf("%d %s", n, of)
}
