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
	"strings"
	"time"

	"offerstream/config"
	"offerstream/pipeline"
	"offerstream/pipeline/scenario"
)

// test is `offerctl test`.
func test(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, "test [--run REGEXP] [--verbose] [--update] [--json] PATH...", `
Runs scenarios: examples of events, and the offers that must result from them.
A PATH is a file *.test.yaml, or a directory whose files *.test.yaml are run,
with those in its subdirectories. If a scenario fails, the differences are shown
and the exit status is 1.`,
		"offerctl test deploy/campaigns\nofferctl test --run 'bag' --update campaigns/bags.test.yaml")
	t := &testRun{ctx: ctx, std: std, began: time.Now(), sets: map[*pipeline.Set]bool{}}
	pattern := fs.String("run", "", "only scenarios whose name matches this `REGEXP`")
	fs.BoolVar(&t.verbose, "verbose", false, "list the scenarios")
	fs.BoolVar(&t.verbose, "v", false, "the same as --verbose")
	fs.BoolVar(&t.update, "update", false, "replace the expected results in the files with the actual ones; the rest of the files stays")
	fs.BoolVar(&t.asJSON, "json", false, "print one JSON object per scenario, and nothing else")
	paths, err := fs.parse(args)
	if err != nil {
		return err
	}
	if len(paths) == 0 {
		return usagef("no path: name a file *.test.yaml or a directory that has some")
	}
	if t.only, err = regexp.Compile(*pattern); err != nil {
		return usagef("--run: %v", err)
	}
	files, err := config.FindScenarios(paths...)
	if err != nil {
		return err
	}
	// Compiling allocates much, and the program ends soon. With a larger heap
	// it takes half the time.
	defer debug.SetGCPercent(debug.SetGCPercent(800))
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

// testRun is one run of the command.
type testRun struct {
	ctx                     context.Context
	std                     stdio
	only                    *regexp.Regexp
	verbose, update, asJSON bool

	began           time.Time
	all             config.Scenarios
	files           []*config.ScenarioFile
	sets            map[*pipeline.Set]bool // the sets of the scenarios that ran
	ran, failed     int
	filesRan, wrote int
}

// read reads all files before any scenario runs, so that all mistakes in them
// are reported together.
func (t *testRun) read(files []string) error {
	t.all.Fill = t.update
	var problems config.Errors
	for _, name := range files {
		f, err := t.all.Read(name)
		var wrong config.Errors
		switch {
		case errors.As(err, &wrong):
			problems = append(problems, wrong...)
		case err != nil:
			return err
		default:
			t.files = append(t.files, f)
		}
	}
	if len(problems) > 0 {
		fmt.Fprintln(t.std.err, problems)
		return errSilent
	}
	return nil
}

// file runs the selected scenarios of a file.
func (t *testRun) file(f *config.ScenarioFile) error {
	results := make([]*scenario.Result, len(f.Scenarios))
	ran, failed := 0, 0
	var text strings.Builder
	for i, s := range f.Scenarios {
		if err := t.ctx.Err(); err != nil {
			return err
		}
		if !t.only.MatchString(s.Name) {
			continue
		}
		r, err := s.Run()
		if err != nil {
			return fmt.Errorf("%s:%d: %w", s.File, s.Line, err)
		}
		ran++
		t.sets[s.Set] = true
		results[i] = r
		differences := s.Compare(r)
		if differences != "" {
			failed++
		}
		if t.asJSON {
			if err := t.object(s, r, differences); err != nil {
				return err
			}
		}
		tellScenario(&text, s, differences, t.verbose)
	}
	if ran == 0 {
		return nil
	}
	t.ran, t.failed, t.filesRan = t.ran+ran, t.failed+failed, t.filesRan+1
	if !t.asJSON {
		t.tellFile(f.Name, ran, failed, text.String())
	}
	if t.update {
		return t.write(f, results)
	}
	return nil
}

func (t *testRun) tellFile(name string, ran, failed int, text string) {
	verdict := "ok  "
	if failed > 0 {
		verdict = "FAIL"
	}
	fmt.Fprintf(t.std.out, "%s  %s: %s\n%s", verdict, name, count(ran, "scenario"), text)
}

func tellScenario(w *strings.Builder, s *scenario.Scenario, differences string, verbose bool) {
	switch {
	case differences != "":
		fmt.Fprintf(w, "\n%s:%d: %s\n%s\n", s.File, s.Line, s.Name, differences)
	case verbose:
		fmt.Fprintf(w, "      %s\n", s.Name)
	}
}

// object prints a scenario's result as JSON.
func (t *testRun) object(s *scenario.Scenario, r *scenario.Result, differences string) error {
	b, err := json.Marshal(struct {
		File        string                       `json:"file"`
		Line        int                          `json:"line"`
		Scenario    string                       `json:"scenario"`
		OK          bool                         `json:"ok"`
		Differences string                       `json:"differences,omitempty"`
		Offers      []*pipeline.Offer            `json:"offers"`
		Outcomes    map[string]map[string]uint64 `json:"outcomes"`
	}{s.File, s.Line, s.Name, differences == "", differences, append([]*pipeline.Offer{}, r.Whole...), r.Outcomes})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.std.out, "%s\n", b)
	return err
}

// write writes the actual results into the file, after checking that the new
// text can be read. A scenario that passes with the new text no longer counts as
// failed.
func (t *testRun) write(f *config.ScenarioFile, results []*scenario.Result) error {
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
func (t *testRun) summary() error {
	if t.ran == 0 {
		return fmt.Errorf("no scenario's name matches --run %s", t.only)
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
		fmt.Fprintf(t.std.out, "%s of %s in %s: %s, in %.2f s (%.0f a second)\n", count(t.ran, "scenario"), count(len(t.sets), "campaign set"),
			count(t.filesRan, "file"), verdict, took.Seconds(), float64(t.ran)/took.Seconds())
	}
	if t.wrote > 0 && !t.asJSON {
		fmt.Fprintf(t.std.out, "%s changed: review the changes before you keep them\n", count(t.wrote, "file"))
	}
	if t.failed > 0 {
		return errSilent
	}
	return nil
}
