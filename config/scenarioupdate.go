package config

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"offerstream/pipeline/scenario"
)

// An expectation holds the places in a file of a scenario's expected results.
type expectation struct {
	offers   *value // nil if offers are not compared
	outcomes []outcomeAt
	explains []explainAt // one for each of the scenario's Explains
	views    []value     // one for each of the scenario's Views
}

// An outcomeAt is a number in outcomes.
type outcomeAt struct {
	campaign, name string
	at             value
}

// An edit replaces a piece of a file's text.
type edit struct {
	from, to int
	text     string
}

// Update returns the file's text with the expected results replaced by the
// actual ones. results has one result for each of Scenarios, in order; a
// scenario whose result is nil is not changed. The rest of the file stays the
// same, byte for byte.
func (f *ScenarioFile) Update(results []*scenario.Result) ([]byte, error) {
	u := &update{src: f.src, starts: f.src.lineStarts()}
	for i, r := range results {
		if r == nil {
			continue
		}
		s, wrote := f.Scenarios[i], f.wrote[i]
		for _, o := range wrote.outcomes {
			if got := r.Of(o.campaign)[o.name]; got != s.Outcomes[o.campaign][o.name] {
				u.replace(o.at.n, fmt.Sprint(got))
			}
		}
		for j, x := range wrote.explains {
			u.explanation(x, s.Explains[j], r.Told[j])
		}
		for j, at := range wrote.views {
			u.view(at, &s.Views[j], r.Views[j], s.Day)
		}
		if got := s.Compared(r); wrote.offers != nil && (wrote.offers.null() || !s.Expects(got)) {
			u.offers(*wrote.offers, s, got)
		}
	}
	if u.err != nil {
		return nil, u.err
	}
	b := u.apply()
	if f.bom {
		b = append([]byte("\ufeff"), b...)
	}
	return b, nil
}

// Again reads a text that Update returned, as the file's new content.
func (f *ScenarioFile) Again(text []byte) (*ScenarioFile, error) {
	again, err := new(Scenarios).read(f.Name, text)
	if err != nil {
		return nil, fmt.Errorf("%s is unchanged, because the updated text cannot be read back: %w", f.Name, err)
	}
	return again, nil
}

// An update collects edits of one file.
type update struct {
	src    *source
	starts []int // of the lines, in bytes
	edits  []edit
	err    error
}

// lineStarts returns the offset in bytes at which each line begins.
func (s *source) lineStarts() []int {
	starts, line := []int{0}, 0
	for i, r := range s.text {
		switch {
		case r == '\r' && i+1 < len(s.text) && s.text[i+1] == '\n':
		case r == '\n', r == '\r', r == '\u0085', r == '\u2028', r == '\u2029':
			line++
			starts = append(starts, i+len(string(r)))
		}
	}
	return starts
}

// offset returns the offset of a spot in the text, in bytes.
func (u *update) offset(p spot) int {
	return u.starts[p.line] + len(string(u.src.lines[p.line][:min(p.col, len(u.src.lines[p.line]))]))
}

// end returns the offset at which a scalar ends.
func (u *update) end(n *yaml.Node) int {
	spots := u.src.walk(n)
	if spots == nil {
		u.err = fmt.Errorf("%s:%d:%d: the end of this cannot be found: write it on one line", u.src.name, n.Line, n.Column)
		return u.offset(start(n))
	}
	last := u.offset(spots[len(spots)-1])
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		last++
	}
	return last
}

func (u *update) replace(n *yaml.Node, text string) {
	u.edits = append(u.edits, edit{u.offset(start(n)), u.end(n), text})
}

// lineEnd returns the end of the line that contains an offset, including its
// line break.
func (u *update) lineEnd(at int) int {
	for _, s := range u.starts {
		if s > at {
			return s
		}
	}
	return len(u.src.text)
}

// offers edits a list of offers.
func (u *update) offers(v value, s *scenario.Scenario, got []scenario.Offer) {
	aligned := scenario.Align(s.Offers, got)
	got = slices.Clone(got)
	for _, a := range aligned {
		if a.Sign() == ' ' {
			got[a.Second].AnyData = s.Offers[a.First].AnyData
		}
	}
	if v.n.Kind != yaml.SequenceNode || v.n.Style&yaml.FlowStyle != 0 || len(got) == 0 {
		u.wholeList(v, s, got)
		return
	}
	column := v.n.Column - 1
	insert := func(at int, o scenario.Offer) {
		u.edits = append(u.edits, edit{at, at, u.line(column, o.Show(s.Day))})
	}
	items := v.n.Content
	at := u.starts[v.n.Line-1] // the end of the last line that was kept or removed
	for i := 0; i < len(aligned); {
		var old, new []int
		for ; i < len(aligned) && aligned[i].Sign() != ' '; i++ {
			if a := aligned[i]; a.First >= 0 {
				old = append(old, a.First)
			} else {
				new = append(new, a.Second)
			}
		}
		for j, k := range old {
			if j < len(new) { // replaced in place: a comment after it stays
				o := got[new[j]]
				o.AnyData = s.Offers[k].AnyData
				u.replace(items[k], yamlText(o.Show(s.Day)))
			} else {
				u.edits = append(u.edits, edit{u.starts[items[k].Line-1], u.lineEnd(u.end(items[k])), ""})
			}
			at = u.lineEnd(u.end(items[k]))
		}
		for _, k := range new[min(len(old), len(new)):] {
			insert(at, got[k])
		}
		if i < len(aligned) {
			at = u.lineEnd(u.end(items[aligned[i].First]))
			i++
		}
	}
}

// line returns a list element as a line.
func (u *update) line(column int, text string) string {
	return strings.Repeat(" ", column) + "- " + yamlText(text) + u.lineBreak()
}

// lineBreak returns the kind of line break that the file uses.
func (u *update) lineBreak() string {
	if strings.Contains(u.src.text, "\r\n") {
		return "\r\n"
	}
	return "\n"
}

// wholeList rewrites a whole list: none becomes a list, a list becomes none,
// and a list in [ ] becomes one with a line for each element.
func (u *update) wholeList(v value, s *scenario.Scenario, got []scenario.Offer) {
	text := " none"
	if len(got) > 0 {
		var b strings.Builder
		for _, o := range got {
			b.WriteString(u.line(start(v.key).col+2, o.Show(s.Day)))
		}
		text = u.lineBreak() + strings.TrimSuffix(b.String(), u.lineBreak())
	}
	colon := u.colon(v)
	switch {
	case v.flow:
		u.err = fmt.Errorf("%s: a list of offers does not fit inside { }: put expect on its own line", v.place())
	case v.n.Kind == yaml.ScalarNode && v.null():
		u.keepComment(colon+1, colon+1, text)
	case v.n.Kind == yaml.ScalarNode:
		u.keepComment(colon+1, u.end(v.n), text)
	case v.n.Style&yaml.FlowStyle != 0:
		at := u.offset(start(v.n))
		n := bracketEnd(u.src.text[at:])
		if n < 0 {
			u.err = fmt.Errorf("%s: the end of this list cannot be found: write it as lines", v.place())
			return
		}
		u.keepComment(colon+1, at+n, text)
	default:
		for _, n := range v.n.Content {
			u.edits = append(u.edits, edit{u.starts[n.Line-1], u.lineEnd(u.end(n)), ""})
		}
		u.edits = append(u.edits, edit{colon + 1, colon + 1, text})
	}
}

// colon returns the offset of the colon after a key.
func (u *update) colon(v value) int {
	at := u.end(v.key)
	for u.src.text[at] != ':' {
		at++
	}
	return at
}

// keepComment replaces a part of a line and keeps the comment after it. If the
// new text begins with a line break, it goes after the comment.
func (u *update) keepComment(from, to int, text string) {
	if !strings.HasPrefix(text, u.lineBreak()) {
		u.edits = append(u.edits, edit{from, to, text})
		return
	}
	end := u.lineEnd(to)
	rest := strings.TrimRight(u.src.text[to:end], "\r\n")
	behind := to + len(rest)
	u.edits = append(u.edits, edit{from, to, ""}, edit{behind, behind, text})
}

func (u *update) apply() []byte {
	slices.SortStableFunc(u.edits, func(a, b edit) int { return a.from - b.from })
	var b bytes.Buffer
	at := 0
	for _, e := range u.edits {
		b.WriteString(u.src.text[at:max(at, e.from)])
		if e.text != "" && e.from == len(u.src.text) && e.from > 0 && u.src.text[e.from-1] != '\n' && strings.HasSuffix(e.text, "\n") {
			b.WriteString(u.lineBreak()) // the last line had no line break
		}
		b.WriteString(e.text)
		at = max(at, e.to)
	}
	b.WriteString(u.src.text[at:])
	return b.Bytes()
}

// yamlText returns a line as an element of a YAML list, quoted if YAML would
// read it differently.
func yamlText(s string) string {
	if strings.Contains(s, ": ") || strings.HasSuffix(s, ":") || strings.Contains(s, " #") || strings.TrimSpace(s) != s || strings.HasPrefix(s, "{") {
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	}
	return s
}
