package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"offerstream/config"
	"offerstream/pipeline"
	"offerstream/pipeline/scenario"
)

// test is `offerctl test`.
func test(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, `test [--run REGEXP] [--verbose] [--update | --watch] [--json] [--junit FILE] PATH...
       offerctl test --from-user U [--anonymous] --campaigns PATH (--events FILE | --nats URL) [--at TIME] [--out FILE]`, `
Runs scenarios: examples of events, and the offers that must result from them.
A PATH is a file *.test.yaml, or a directory whose files *.test.yaml are run,
with those in its subdirectories. If a scenario fails, the differences are shown.

The exit status is 0 if all scenarios passed; 1 if one failed, if a file has
mistakes or cannot be read, or if there was nothing to run; 2 if the command line
is wrong. --watch ends with the status of the last run.

With --from-user it writes a scenario out of what the log has of a user: the newest
200 events with the log times and event times that they have there, the facts that
the campaigns read for them, and the offers and outcomes as they are now, so that
it passes. Change these to what they should be, and a mistake has become a test.`,
		"offerctl test deploy/campaigns\nofferctl test --run 'bag' --update campaigns/bags.test.yaml\nofferctl test --watch campaigns\nofferctl test --junit report.xml campaigns\nofferctl test --from-user 541312140 --events events.jsonl --campaigns campaigns --out campaigns/bug.test.yaml")
	t := &testRun{ctx: ctx, std: std}
	pattern := fs.String("run", "", "only scenarios whose name matches this `REGEXP`")
	fs.BoolVar(&t.verbose, "verbose", false, "list the scenarios")
	fs.BoolVar(&t.verbose, "v", false, "the same as --verbose")
	fs.BoolVar(&t.update, "update", false, "replace the expected results in the files with the actual ones; the rest of the files stays")
	fs.BoolVar(&t.asJSON, "json", false, "print one JSON object per scenario, and nothing else")
	fs.StringVar(&t.junit, "junit", "", "also write the results into this `FILE`, as JUnit XML, which CI systems read")
	watch := fs.Bool("watch", false, "run again whenever a scenario, a campaign file or a table that they read has changed, until Ctrl-C")
	var from testFrom
	from.flags(fs)
	paths, err := fs.parse(args)
	if err != nil {
		return err
	}
	if from.user != "" {
		if len(paths) > 0 {
			return usagef("--from-user runs no scenarios: leave out %s, or name the campaigns in --campaigns", paths[0])
		}
		return from.run(ctx, fs, std)
	}
	if name := from.alone(fs); name != "" {
		return usagef("--%s is for --from-user", name)
	}
	if t.only, err = regexp.Compile(*pattern); err != nil {
		return usagef("--run: %v", err)
	}
	switch {
	case len(paths) == 0:
		return usagef("no path: name a file *.test.yaml or a directory that has some")
	case t.update && (*watch || t.junit != ""):
		return usagef("--update does not go with --watch and --junit")
	}
	// Compiling allocates much, and the program ends soon. With a larger heap
	// it takes half the time.
	defer debug.SetGCPercent(debug.SetGCPercent(800))
	if *watch {
		return watchTests(t, paths)
	}
	files, err := config.FindScenarios(paths...)
	if err != nil {
		return err
	}
	if err := apart(std, t.junit, files...); err != nil {
		return err
	}
	p := t.pass()
	err = p.run(files)
	if wrong := p.writeJUnit(); wrong != nil {
		return wrong
	}
	return err
}

// testRun is what the command was asked to do.
type testRun struct {
	ctx                     context.Context
	std                     stdio
	only                    *regexp.Regexp
	verbose, update, asJSON bool
	junit                   string
}

// testPass is one run of some files.
type testPass struct {
	*testRun
	began           time.Time
	all             config.Scenarios
	files           []*config.ScenarioFile
	results         []*fileResult // one for each file that was asked for
	ran, failed     int
	filesRan, wrote int
}

// A fileResult is what came of one file.
type fileResult struct {
	name     string
	mistakes config.Errors
	cases    []*caseResult
}

// A caseResult is what came of one scenario.
type caseResult struct {
	*scenario.Scenario
	took        time.Duration
	ran         bool
	differences string // "": it passed
}

func (t *testRun) pass() *testPass { return &testPass{testRun: t, began: time.Now()} }

// passed reports whether a file has no mistakes, and its scenarios ran and passed.
func (r *fileResult) passed() bool {
	return len(r.mistakes) == 0 && !slices.ContainsFunc(r.cases, func(c *caseResult) bool { return !c.ran || c.differences != "" })
}

var errNoMatch = errors.New("no scenario's name matches --run")

// run runs the scenarios of the files.
func (t *testPass) run(files []string) error {
	if err := t.read(files); err != nil {
		return err
	}
	for _, f := range t.files {
		if err := t.file(f); err != nil {
			return err
		}
	}
	return t.summary()
}

// read reads all files before any scenario runs, so that all mistakes in them
// are reported together.
func (t *testPass) read(files []string) error {
	t.all.Fill = t.update
	var problems config.Errors
	for _, name := range files {
		r := &fileResult{name: name}
		t.results = append(t.results, r)
		f, err := t.all.Read(name)
		if err != nil {
			if !errors.As(err, &r.mistakes) {
				r.mistakes = config.Errors{{File: name, Line: 1, Col: 1, What: err.Error()}}
			}
			problems = append(problems, r.mistakes...)
			continue
		}
		t.files = append(t.files, f)
		for _, s := range f.Scenarios {
			if t.only.MatchString(s.Name) {
				r.cases = append(r.cases, &caseResult{Scenario: s})
			}
		}
	}
	if len(problems) > 0 {
		fmt.Fprintln(t.std.err, problems)
		return errSilent
	}
	return nil
}

// of is the result of a file.
func (t *testPass) of(f *config.ScenarioFile) *fileResult {
	return t.results[slices.IndexFunc(t.results, func(r *fileResult) bool { return r.name == f.Name })]
}

// file runs the selected scenarios of a file.
func (t *testPass) file(f *config.ScenarioFile) error {
	results := make([]*scenario.Result, len(f.Scenarios))
	of := t.of(f)
	failed := 0
	var text strings.Builder
	for _, c := range of.cases {
		if err := t.ctx.Err(); err != nil {
			return err
		}
		began := time.Now()
		r, err := c.Run()
		if err != nil {
			return fmt.Errorf("%s:%d: %w", c.File, c.Line, err)
		}
		c.took, c.ran = time.Since(began), true
		results[slices.Index(f.Scenarios, c.Scenario)] = r
		if c.differences = c.Compare(r); c.differences != "" {
			failed++
		}
		if t.asJSON {
			if err := t.object(c, r); err != nil {
				return err
			}
		}
		tellScenario(&text, c, c.Warnings(r), t.verbose)
	}
	if len(of.cases) == 0 {
		return nil
	}
	t.ran, t.failed, t.filesRan = t.ran+len(of.cases), t.failed+failed, t.filesRan+1
	if !t.asJSON {
		t.tellFile(f.Name, len(of.cases), failed, text.String())
	}
	if t.update {
		return t.write(f, results)
	}
	return nil
}

func (t *testPass) tellFile(name string, ran, failed int, text string) {
	verdict := "ok  "
	if failed > 0 {
		verdict = "FAIL"
	}
	fmt.Fprintf(t.std.out, "%s  %s: %s\n%s", verdict, name, count(ran, "scenario"), text)
}

func tellScenario(w *strings.Builder, c *caseResult, warnings []string, verbose bool) {
	switch {
	case c.differences != "":
		fmt.Fprintf(w, "\n%s:%d: %s\n%s", c.File, c.Line, c.Name, c.differences)
	case verbose || len(warnings) > 0:
		fmt.Fprintf(w, "      %s\n", c.Name)
	}
	for _, what := range warnings {
		fmt.Fprintf(w, "        warning: %s\n", what)
	}
	if c.differences != "" {
		w.WriteByte('\n')
	}
}

// object prints a scenario's result as JSON.
func (t *testPass) object(c *caseResult, r *scenario.Result) error {
	b, err := json.Marshal(struct {
		File        string                       `json:"file"`
		Line        int                          `json:"line"`
		Scenario    string                       `json:"scenario"`
		OK          bool                         `json:"ok"`
		Differences string                       `json:"differences,omitempty"`
		Warnings    []string                     `json:"warnings,omitempty"`
		Offers      []*pipeline.Offer            `json:"offers"`
		Outcomes    map[string]map[string]uint64 `json:"outcomes"`
	}{c.File, c.Line, c.Name, c.differences == "", c.differences, c.Warnings(r), append([]*pipeline.Offer{}, r.Whole...), r.Outcomes})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.std.out, "%s\n", b)
	return err
}

// write writes the actual results into the file, after checking that the new
// text can be read. A scenario that passes with the new text no longer counts as
// failed.
func (t *testPass) write(f *config.ScenarioFile, results []*scenario.Result) error {
	text, err := f.Update(results)
	if err != nil {
		return err
	}
	before, err := os.ReadFile(f.Name)
	if err != nil || bytes.Equal(before, text) {
		return err
	}
	again, err := f.Again(text)
	if err != nil {
		return err
	}
	for i, r := range results {
		if r != nil && f.Scenarios[i].Compare(r) != "" && again.Scenarios[i].Compare(r) == "" {
			t.failed--
		}
	}
	t.wrote++
	return os.WriteFile(f.Name, text, 0o644)
}

// summary ends the command.
func (t *testPass) summary() error {
	if t.ran == 0 {
		return fmt.Errorf("%w %s", errNoMatch, t.only)
	}
	took := time.Since(t.began)
	if !t.asJSON {
		verdict := "all passed"
		if t.wrote > 0 {
			verdict = "failed scenarios updated"
		}
		if t.failed > 0 {
			verdict = fmt.Sprintf("%d failed", t.failed)
		}
		fmt.Fprintf(t.std.out, "%s in %s: %s, in %.2f s (%.0f a second)\n", count(t.ran, "scenario"), count(t.filesRan, "file"),
			verdict, took.Seconds(), float64(t.ran)/took.Seconds())
	}
	if t.wrote > 0 && !t.asJSON {
		fmt.Fprintf(t.std.out, "%s changed: review the changes before you keep them\n", count(t.wrote, "file"))
	}
	if t.failed > 0 {
		return errSilent
	}
	return nil
}
