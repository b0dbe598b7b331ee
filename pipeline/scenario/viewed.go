package scenario

import (
	"encoding/json"
	"fmt"
	"strings"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/lazyregexp"
	"offerstream/pipeline/value"
)

// With is the view's line with the actual values in the place of those that differ.
// The others stay as they are written.
func (v *View) With(seen Seen, day Day) string {
	var b strings.Builder
	at := 0
	for i, x := range v.Values {
		if x.matches(seen[i], day) {
			continue
		}
		b.WriteString(v.Text[at:x.from] + day.viewed(seen[i]))
		at = x.to
	}
	return b.String() + v.Text[at:]
}

var spanForm = lazyregexp.New(`^-?\d+(\.\d+)?s$`) // as templates print a duration

// matches reports whether an actual value is the expected one. A time or a duration
// may be written as elsewhere in a scenario.
func (x *ViewValue) matches(got string, day Day) bool {
	if x.Is == got {
		return true
	}
	var is, want string
	if json.Unmarshal([]byte(got), &is) != nil || json.Unmarshal([]byte(x.Is), &want) != nil {
		return false
	}
	if ns, err := value.ParseTime(is); err == nil {
		w := &words{text: want}
		moment, wrong := day.read(w, "")
		return wrong == nil && w.done() && moment == ns
	}
	if !spanForm.MatchString(is) {
		return false
	}
	span, err := campaign.ParseDuration(is)
	wanted, wrong := campaign.ParseDuration(want)
	return err == nil && wrong == nil && span == wanted
}

// viewed writes an actual value in a line, a time as elsewhere in the scenario.
func (d Day) viewed(got string) string {
	var text string
	if json.Unmarshal([]byte(got), &text) == nil {
		if ns, err := value.ParseTime(text); err == nil {
			return showValue(quote(d.Show(ns)))
		}
	}
	return showValue([]byte(got))
}

// showViews shows the views whose values differ from the expected ones.
func (s *Scenario) showViews(b *strings.Builder, all []Seen) {
	differ := false
	for i := range all {
		v := &s.Views[i]
		got := v.With(all[i], s.Day)
		if got == v.Text {
			continue
		}
		if !differ {
			differ = true
			b.WriteString("  views (- expected, + actual):\n")
		}
		fmt.Fprintf(b, "    - %s\n    + %s\n", strings.TrimSpace(v.Text), strings.TrimSpace(got))
	}
}
