package scenario

import (
	"fmt"
	"strings"
	"time"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/lazyregexp"
	"offerstream/pipeline/value"
)

// A Day is the date and zone of a scenario's times that have none, such as
// 10:00:00.
type Day struct {
	Date string // 2026-01-01
	Zone *time.Location
}

// DefaultDay is the Day of a scenario that names none.
var DefaultDay = Day{"2026-01-01", time.UTC}

// ReadDate checks a date.
func ReadDate(text string) error {
	if _, err := time.Parse(time.DateOnly, text); err != nil {
		return fmt.Errorf("%q is not a date", text)
	}
	return nil
}

const (
	momentHint   = "write 10:00:00, 2026-01-02 10:00:00, or 2026-01-02T10:00:00Z"
	relativeHint = "write 10:00:00, 2026-01-02 10:00:00, 2026-01-02T10:00:00Z, or +10s for ten seconds after the previous line"
)

var (
	clockForm = lazyregexp.New(`^\d\d:\d\d(:\d\d(\.\d{1,9})?)?$`)
	dateForm  = lazyregexp.New(`^\d{4}-\d\d-\d\d$`)
)

// at returns the moment of a clock time on a date.
func (d Day) at(date, clock string) (int64, error) {
	if strings.Count(clock, ":") == 1 {
		clock += ":00"
	}
	t, err := time.ParseInLocation("2006-01-02 15:04:05", date+" "+clock, d.Zone)
	if err != nil {
		return 0, fmt.Errorf("there is no time %s %s", date, clock)
	}
	return value.Nanos(t), nil
}

// read reads the moment at the beginning of a line: one word, or a date and a
// clock time.
func (d Day) read(w *words, hint string) (int64, *Mistake) {
	first := w.plain()
	if first.text == "" {
		return 0, &Mistake{first.at, "the line has no time", hint}
	}
	ns, err := int64(0), error(nil)
	switch {
	case clockForm.MatchString(first.text):
		ns, err = d.at(d.Date, first.text)
	case dateForm.MatchString(first.text):
		second := w.plain()
		if !clockForm.MatchString(second.text) {
			return 0, &Mistake{second.at, fmt.Sprintf("the date %s has no time after it", first.text), hint}
		}
		ns, err = d.at(first.text, second.text)
	case strings.ContainsAny(first.text, "Tt") && strings.Contains(first.text, ":"):
		ns, err = value.ParseTime(first.text)
	default:
		err = fmt.Errorf("%q is not a time", first.text)
	}
	if err != nil {
		return 0, &Mistake{first.at, err.Error(), hint}
	}
	return ns, nil
}

// Show writes a moment in the shortest form that read reads back.
func (d Day) Show(ns int64) string {
	text := time.Unix(0, ns).In(d.Zone).Format("2006-01-02 15:04:05.999999999")
	date, clock, _ := strings.Cut(text, " ")
	if again, err := d.at(date, clock); err != nil || again != ns {
		return value.FormatTime(ns) // in the hour that occurs twice when clocks go back
	}
	if date == d.Date {
		return clock
	}
	return text
}

// A Clock reads the times of a list of events: absolute ones, and those
// relative to the previous line.
type Clock struct {
	Day
	Later time.Duration // added to each time that is read

	last  int64
	known bool // last is set
}

// Set sets the time of the last line.
func (c *Clock) Set(ns int64) { c.last, c.known = ns, true }

// Last returns the time of the last line.
func (c *Clock) Last() int64 { return c.last }

// Moment reads a text that is only a time.
func (c *Clock) Moment(text string) (int64, *Mistake) {
	w := &words{text: text}
	ns, wrong := c.read(w)
	if wrong == nil && !w.done() {
		wrong = &Mistake{w.at, fmt.Sprintf("%q is more than a time", text), relativeHint}
	}
	return ns, wrong
}

func (c *Clock) read(w *words) (int64, *Mistake) {
	if w.done() || w.text[w.at] != '+' {
		ns, wrong := c.Day.read(w, relativeHint)
		if wrong == nil {
			c.Set(value.Plus(ns, int64(c.Later)))
		}
		return c.last, wrong
	}
	word := w.plain()
	after, err := campaign.ParseDuration(word.text[1:])
	switch {
	case err != nil:
		return 0, &Mistake{word.at, fmt.Sprintf("%q is not a time after the previous line", word.text), "write for example +10s, +1m30s or +1d"}
	case !c.known:
		return 0, &Mistake{word.at, word.text + " has no previous line", "write the first time as 10:00:00"}
	}
	c.Set(value.Plus(c.last, int64(after+c.Later)))
	return c.last, nil
}
