package config

import (
	"errors"
	"slices"
	"time"
	"unicode"

	"offerstream/pipeline/campaign"
)

// A Finding is a problem with what editors and CI need to know of it.
type Finding struct {
	Problem
	EndCol int    // the column after the last rune of what is wrong, on the same line
	Rule   string // the ID of a Rule
	Level  string // Error, Warning or Note
}

// Error is the finding as `offerctl check` prints it: an error as a Problem, with
// others the level stands before what is wrong.
func (f Finding) Error() string {
	p := f.Problem
	if f.Level != Error {
		p.What = f.Level + ": " + p.What
	}
	return p.Error()
}

// A Check says how closely Findings looks.
type Check struct {
	Retention time.Duration // for how long the log keeps events; 0: windows are not compared with it
}

// Findings reads a set of campaign files as LoadCampaigns does, and returns all that
// is wrong with it or is probably not meant, ordered by place. d is nil if there are
// errors among the findings. err is set only where a file cannot be read at all.
func (c Check) Findings(paths ...string) (d *campaign.Definition, findings []Finding, err error) {
	l, err := readFiles(paths)
	if err != nil {
		return nil, nil, err
	}
	d, err = l.finish()
	var wrong Errors
	switch {
	case errors.As(err, &wrong):
	case err != nil:
		return nil, nil, err
	default:
		findings = l.lint(c)
	}
	for _, p := range wrong {
		otherwise := "value"
		if l.compilers[p] {
			otherwise = "expression"
		}
		r := ruleOf(p, otherwise)
		findings = append(findings, Finding{Problem: p, Rule: r.ID, Level: Error})
	}
	for _, p := range l.warnings.sorted() {
		findings = append(findings, Finding{Problem: p, Rule: ruleOf(p, "value").ID, Level: Warning})
	}
	for i := range findings {
		findings[i].EndCol = l.endOf(findings[i].Problem)
	}
	slices.SortStableFunc(findings, func(a, b Finding) int { return a.Problem.compare(b.Problem) })
	return d, slices.Compact(findings), nil
}

// endOf is the column after the word at which a problem is.
func (l *load) endOf(p Problem) int {
	src := l.sources[p.File]
	if src == nil || p.Line < 1 || p.Line > len(src.lines) || p.Col < 1 || p.Col > len(src.lines[p.Line-1]) {
		return p.Col
	}
	rest := src.lines[p.Line-1][p.Col-1:]
	if q := rest[0]; q == '"' || q == '\'' {
		if n := slices.Index(rest[1:], q); n >= 0 {
			return p.Col + n + 2
		}
	}
	n := slices.IndexFunc(rest, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' && r != '-' && r != '.'
	})
	if n < 0 {
		n = len(rest)
	}
	return p.Col + max(n, 1)
}
