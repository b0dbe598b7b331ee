package change

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Lines are the change for people, a line a thing: + for what is added, - for what is
// gone, ~ for what changes, ! for what needs to be forced. Values stand side by side
// below what they belong to.
func (c *Change) Lines() []string {
	t := &text{change: c}
	t.values("~ ", c.Set)
	for i := range c.Features {
		t.feature(&c.Features[i])
	}
	for i := range c.Campaigns {
		t.campaign(&c.Campaigns[i])
	}
	t.backfill()
	for i := range c.Campaigns {
		t.lost(&c.Campaigns[i])
	}
	for i := range c.Refused {
		t.refused(&c.Refused[i])
	}
	return t.lines
}

type text struct {
	change *Change
	lines  []string
}

func (t *text) line(format string, args ...any) {
	t.lines = append(t.lines, fmt.Sprintf(format, args...))
}

// values are lines of values, with their keys in a column.
func (t *text) values(before string, values []Value) {
	widest := 0
	for _, v := range values {
		widest = max(widest, utf8.RuneCountInString(v.Key))
	}
	for _, v := range values {
		old, new := sideBySide(v.Old, v.New)
		t.line("%s%s%s  %s -> %s", before, v.Key, strings.Repeat(" ", min(widest, mostKey)-min(utf8.RuneCountInString(v.Key), mostKey)), old, new)
	}
}

func (t *text) feature(f *Feature) {
	age := f.age(t.change.Filled)
	switch f.What {
	case New:
		t.line("+ feature %s: %s", f.Name, age)
	case Gone:
		t.line("- feature %s: kept for 24 h for a rollback", f.Name)
	case Back:
		t.line("+ feature %s: as it was, because it was kept%s", f.Name, after("; ", age))
	case Changed:
		t.line("~ feature %s: %s; the old one is kept for 24 h for a rollback", f.Name, age)
	case Same:
		if f.Young {
			t.line("  feature %s: %s", f.Name, age)
		}
	}
	t.values("    ", f.Values)
}

// age says how full the feature is.
func (f *Feature) age(filled bool) string {
	filled = filled && f.Per == ""
	full := filled && f.fills
	switch {
	case f.Empty && filled:
		begin := "filled from the log"
		if !full && f.Young {
			return begin + ", which is shorter than its window: " + f.young()
		}
		return begin
	case f.Empty && !f.Young:
		return "starts with the log"
	case f.Empty:
		return "starts empty, " + f.young()
	case full:
		return "filled from the log"
	case f.Young:
		return f.young() + ", because it has been fed only since " + f.Since
	}
	return ""
}

func (f *Feature) young() string {
	if f.Until == "" {
		return "young for ever, as it has no `within`"
	}
	return "young until " + f.Until
}

// after is a text after another one, if there is any.
func after(before, text string) string {
	if text == "" {
		return ""
	}
	return before + text
}

func (t *text) campaign(c *Campaign) {
	rows := c.Rows.String()
	if t.change.Filled && slices.Contains(t.change.Backfill.Campaigns, c.ID) {
		rows = strings.TrimPrefix(rows+"; pending comes from the log", "; ")
	}
	switch c.What {
	case Added:
		t.line("+ campaign %s%s", c.ID, after(": ", rows))
	case Gone:
		t.line("- campaign %s: %s", c.ID, t.cancels(c))
	default:
		what := "what is pending stays"
		switch {
		case c.Cancels:
			what = t.cancels(c)
		case !c.Waits:
			what = "nothing of it waits"
		}
		t.line("~ campaign %s: %s%s", c.ID, what, after("; ", rows))
	}
	t.values("    ", c.Values)
}

// cancels says what is cancelled.
func (t *text) cancels(c *Campaign) string {
	of := ""
	if n := len(c.CancelledRows); n > 0 {
		of = " of " + count(n, "row")
	}
	switch n, known := t.change.Cancelled[c.ID]; {
	case known:
		return "cancels " + grouped(n) + " pending" + of
	case !c.Waits:
		return "nothing of it waits"
	}
	return "cancels what is pending" + of + ": how many is not known: no worker answered"
}

// String counts the rows that differ; "" if none does.
func (r *Rows) String() string {
	if r == nil {
		return ""
	}
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{r.Added, "added"}, {r.Changed, "changed"}, {r.Gone, "gone"}} {
		if p.n > 0 {
			parts = append(parts, grouped(p.n)+" "+p.what)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "rows: " + strings.Join(parts, ", ")
}

func (t *text) backfill() {
	b := &t.change.Backfill
	if b.IsZero() {
		return
	}
	how := "--backfill would take from the log"
	if t.change.Filled {
		how = "taken from the log"
	}
	t.line("%s: %s", how, b)
	if at := &t.change.AtSwitch; !at.IsZero() {
		t.line("a backfill sends no messages, so what is about items begins at the switch: %s", at)
	}
}

// String names what is in the list.
func (b *Backfill) String() string {
	var parts []string
	if len(b.Features) > 0 {
		parts = append(parts, "features "+listed(b.Features))
	}
	if len(b.Campaigns) > 0 {
		parts = append(parts, "campaigns "+listed(b.Campaigns))
	}
	return strings.Join(parts, "; ")
}

func (t *text) lost(c *Campaign) {
	for _, l := range c.Lost {
		where := "its new definition reads"
		if len(l.Places) > 0 {
			where = listed(l.Places) + " reads"
		}
		t.line("! campaign %s: what is pending does not hold %s, which %s: it would end without an offer; leave %s out, or --force", c.ID, l.Field, where, l.Field)
	}
}

func (t *text) refused(r *Refused) {
	if !t.change.refuses(r) {
		return
	}
	do := "--force"
	if r.Backfill {
		do = "--backfill, or --force"
	}
	t.line("! campaign %s: %s has `%s`: %s; %s", r.Campaign, r.Place, oneLine(r.Expression), r.Why, do)
}

// Bounds of what a line shows, in characters and in names.
const (
	mostKey    = 32
	mostShown  = 100
	mostListed = 20
)

// listed joins names, not more than a line should have.
func listed(names []string) string {
	if n := len(names) - mostListed; n > 1 {
		return strings.Join(names[:mostListed], ", ") + " and " + grouped(n) + " more"
	}
	return strings.Join(names, ", ")
}

// sideBySide are two values for a line: of long ones, the part in which they differ.
func sideBySide(old, new string) (string, string) {
	a, b := []rune(oneLine(old)), []rune(oneLine(new))
	same := 0
	for same < min(len(a), len(b)) && a[same] == b[same] {
		same++
	}
	from := 0
	if max(len(a), len(b)) > mostShown {
		from = max(same-mostShown/4, 0)
	}
	shown := func(s []rune, absent bool) string {
		if absent {
			return "none"
		}
		text, before, behind := s[min(from, len(s)):], "", ""
		if from > 0 {
			before = "..."
		}
		if len(text) > mostShown {
			text, behind = text[:mostShown], "..."
		}
		return before + string(text) + behind
	}
	return shown(a, old == ""), shown(b, new == "")
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func count(n int, of string) string {
	if n != 1 {
		of += "s"
	}
	return grouped(n) + " " + of
}

// grouped is a number as 12,345.
func grouped(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
