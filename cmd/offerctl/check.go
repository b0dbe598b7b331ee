package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"offerstream/config"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/survey"
)

// check is `offerctl check`. Like a compiler, it prints mistakes to standard
// error.
func check(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, "check PATH... [--events FILE | --nats URL] [--strict] [--json | --sarif]", `
Validates campaign sets. The named files form one set. In a named directory, its
files *.yaml and *.yml (except scenarios, *.test.yaml) form one, and so do those
of each directory below it. Each mistake is a line "file:line:col: what is wrong:
what to do" on standard error. A line "file:line:col: warning: ..." is about what
is allowed, but probably not meant.

With --events or --nats the sets are compared with a sample of the shop's events:
names of events and properties that never occur, texts where numbers are wanted,
values that never match, with the nearest that does, and conditions that never held
are warnings. A table shows of each campaign how many events its on names, for how
many of them each condition of where held, how many evaluations began, and in how
many each condition of if held when it was triggered (one about dwell: then, or after
the wait).

With --json the answer is one object on standard output, {"ok", "sets",
"problems"}; a problem has "file", "line", "col", "end_col" (both from 1, in
characters; the end exclusive), "severity" (error, warning or note), "rule" (a
name that does not change), "message" and "hint". The table is "survey" of the set.
--sarif prints the problems as SARIF 2.1.0, which code hosts show beside the lines.

Exit status: 0 if the sets are valid, with --strict only without any warning; 1 if
they are not, or cannot be read; 2 if the command line is wrong.`,
		"offerctl check deploy/campaigns\nofferctl check --strict --sarif campaigns > campaigns.sarif\nofferctl check --events events.jsonl campaigns")
	sample := fs.surveying(std)
	strict := fs.Bool("strict", false, "fail on warnings, too")
	asJSON := fs.Bool("json", false, "print one JSON object on standard output, and nothing else")
	asSARIF := fs.Bool("sarif", false, "print SARIF 2.1.0 on standard output, and nothing else")
	var how config.Check
	fs.Func("retention", "`DURATION` for which the log keeps events, such as 7d: note each feature whose window is longer", func(text string) (err error) {
		if how.Retention, err = campaign.ParseDuration(text); err == nil && how.Retention < time.Second {
			err = fmt.Errorf("%s is too short, at least 1s is required", text)
		}
		return err
	})
	paths, err := fs.parse(args)
	switch {
	case err != nil:
		return err
	case len(paths) == 0:
		return usagef("no path: name a campaign file or a directory of them")
	case *asJSON && *asSARIF:
		return usagef("--json and --sarif are both given: choose one")
	}
	sets, err := config.FindSets(paths...)
	if err != nil {
		return err
	}
	if err := sample.wrong(len(sets)); err != nil {
		return err
	}
	r := checkReport{OK: true, Sets: []setReport{}, Problems: []config.Finding{}}
	for _, s := range sets {
		if err := r.add(ctx, s, how, *strict, sample); err != nil {
			return err
		}
	}
	switch {
	case *asJSON:
		err = r.json(std.out)
	case *asSARIF:
		err = r.sarif(std.out)
	default:
		r.text(std)
	}
	if err == nil && !r.OK {
		return errSilent
	}
	return err
}

// A checkReport is what check found in all sets.
type checkReport struct {
	OK       bool
	Sets     []setReport
	Problems []config.Finding
}

// A setReport is what check found of one set.
type setReport struct {
	Path      string   `json:"path,omitempty"` // the directory; none: the files were named one by one
	Files     []string `json:"files"`
	OK        bool     `json:"ok"` // no errors
	Set       string   `json:"set,omitempty"`
	Campaigns int      `json:"campaigns"`
	Rows      int      `json:"rows,omitempty"`
	Features  int      `json:"features"`
	FactRows  int      `json:"fact_rows,omitempty"`

	Survey *survey.Result `json:"survey,omitempty"` // with --events or --nats

	problems int // index in checkReport.Problems after the last of this set
}

// add checks one set.
func (r *checkReport) add(ctx context.Context, s config.Folder, how config.Check, strict bool, sample *surveyor) error {
	def, findings, err := how.Findings(s.Files...)
	if err != nil {
		return err
	}
	set := setReport{Path: s.Path, Files: s.Files, OK: def != nil}
	if def != nil {
		set.Set, set.Campaigns, set.Features, set.FactRows = def.Hash(), len(def.Campaigns), len(def.Features), tableRows(def)
		for _, c := range def.Campaigns {
			set.Rows += len(c.Rows)
		}
	}
	if def != nil && sample.given() {
		if set.Survey, findings, err = sample.survey(ctx, def, s.Files, findings); err != nil {
			return err
		}
	}
	for _, f := range findings {
		r.OK = r.OK && f.Level != config.Error && (!strict || f.Level != config.Warning)
	}
	r.OK = r.OK && set.OK
	r.Problems = append(r.Problems, findings...)
	set.problems = len(r.Problems)
	r.Sets = append(r.Sets, set)
	return nil
}

// mostOfRule bounds the problems of one kind in a set that people see: after so many
// the others say the same.
const mostOfRule = 100

// text prints what people read: problems to standard error, and a line for each
// valid set.
func (r *checkReport) text(std stdio) {
	printed, problems := 0, onDisplay(std.err)
	for _, s := range r.Sets {
		of := map[string]int{} // by rule
		for ; printed < s.problems; printed++ {
			p := r.Problems[printed]
			if of[p.Rule]++; of[p.Rule] <= mostOfRule {
				fmt.Fprintln(problems, p)
			}
		}
		for _, rule := range slices.Sorted(maps.Keys(of)) {
			if more := of[rule] - mostOfRule; more > 0 {
				fmt.Fprintf(problems, "and %d more of the kind %s; --json has all\n", more, rule)
			}
		}
		if s.OK {
			s.text(std.out, len(r.Sets) > 1)
			if s.Survey != nil {
				s.Survey.Text(onDisplay(std.out))
			}
		}
	}
}

func (s *setReport) text(w io.Writer, several bool) {
	of := ""
	if several && s.Path != "" {
		of = s.Path + ": "
	}
	campaigns := count(s.Campaigns, "campaign")
	if s.Rows > 0 {
		campaigns += " with " + count(s.Rows, "row")
	}
	features := count(s.Features, "feature")
	if s.FactRows > 0 {
		features += ", " + count(s.FactRows, "row") + " of facts"
	}
	fmt.Fprintf(w, "ok: %s%s, %s in %s, set %s\n", of, campaigns, features, count(len(s.Files), "file"), s.Set)
}

// count returns a number with its noun: 1 file, 2 files.
func count(n int, of string) string {
	if n != 1 {
		of += "s"
	}
	return fmt.Sprintf("%d %s", n, of)
}
