package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestWatch changes files between the looks of a watch, and compares what it prints
// and how it ends.
func TestWatch(t *testing.T) {
	t.Chdir(t.TempDir())
	putFile(t, "c/c.yaml", someCampaigns)
	putFile(t, "c/rows.yaml", "campaigns: {r: {for_each: {file: r.csv}, on: Look, offer: {channel: web}}}\n")
	putFile(t, "c/r.csv", "id,n\na,1\n")
	putFile(t, "c/a.test.yaml", strings.Replace(someScenarios, "title=b]", "...]", 1))
	putFile(t, "c/below/b.test.yaml", "campaigns: [../rows.yaml]\nscenarios: {rows: {events: [10:00:00 ada Look], expect: [10:00:00 ada r/a]}}\n")
	now := time.Now().Add(-time.Hour)
	change := func(name, text string) { // at a time of its own, also where times of files are coarse
		putFile(t, name, text)
		now = now.Add(time.Minute)
		if err := os.Chtimes(name, now, now); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"c/c.yaml", "c/rows.yaml", "c/r.csv", "c/a.test.yaml", "c/below/b.test.yaml"} {
		if err := os.Chtimes(name, now, now); err != nil {
			t.Fatal(err)
		}
	}
	var out, errs bytes.Buffer
	w := &testWatch{testRun: &testRun{ctx: t.Context(), std: stdio{strings.NewReader(""), &out, &errs}, only: regexp.MustCompile("")}, paths: []string{"c"}}
	steps := []struct {
		what   string
		change func()
		out    []string // texts that must be printed, in this order
		not    string   // a text that must not
		errs   string
	}{
		{"at first all run", func() {}, []string{"ok    c/a.test.yaml: 2 scenarios", "ok    c/below/b.test.yaml: 1 scenario", "3 scenarios in 2 files: all passed", "watching 5 files; Ctrl-C ends"}, "changed", ""},
		{"nothing changes", func() {}, nil, "", ""},
		{"a campaign file", func() { change("c/c.yaml", strings.Replace(someCampaigns, "{{ ", "new {{ ", 1)) },
			[]string{"changed: c/c.yaml\n", "FAIL  c/a.test.yaml", `+ 10:00:00 ada c title="new a"`, "1 failed"}, "b.test.yaml", ""},
		{"a table; and what failed runs again", func() { change("c/r.csv", "id,n\na,1\n0,2\n") },
			[]string{"changed: c/r.csv\n", "FAIL  c/a.test.yaml", "FAIL  c/below/b.test.yaml", "+ 10:00:00 ada r/0", "3 scenarios in 2 files: 2 failed"}, "", ""},
		{"a new file with mistakes", func() { change("c/new.test.yaml", "scenarios: {}\n"); change("c/r.csv", "id,n\na,1\n") },
			[]string{"changed: c/new.test.yaml, c/r.csv\n"}, "ok", "c/new.test.yaml:1:12: there is no scenario here"},
		{"it goes, and the campaigns are mended", func() {
			if err := os.Remove("c/new.test.yaml"); err != nil {
				t.Fatal(err)
			}
			change("c/c.yaml", someCampaigns)
		}, []string{"changed: c/c.yaml, c/new.test.yaml\n", "3 scenarios in 2 files: all passed"}, "", ""},
		{"all are gone", func() {
			if err := os.Rename("c", "d"); err != nil {
				t.Fatal(err)
			}
		}, nil, "", "reading scenarios"},
		{"which is said once", func() {}, nil, "", ""},
		{"and come back", func() {
			if err := os.Rename("d", "c"); err != nil {
				t.Fatal(err)
			}
			change("c/below/b.test.yaml", "campaigns: ..\nscenarios: {rows: {events: [10:00:00 ada Look], expect: [10:00:00 ada r/a]}}\n")
		}, []string{"changed: c/below/b.test.yaml\n", "1 scenario in 1 file: all passed"}, "a.test.yaml", ""},
		{"a new campaign file in a directory that is read", func() { change("c/more.yaml", "campaigns: {m: {on: Look, offer: {channel: web}, priority: 9}}\n") },
			[]string{"changed: c\n", "FAIL  c/below/b.test.yaml", "+ 10:00:00 ada m"}, "a.test.yaml", ""},
		{"a campaign file in that directory", func() { change("c/more.yaml", "campaigns: {m: {on: Looked, offer: {channel: web}}}\n") },
			[]string{"changed: c/more.yaml\n", "ok    c/below/b.test.yaml"}, "a.test.yaml", ""},
		{"a file that is newer than the run that read it", func() {
			change("c/below/b.test.yaml", "campaigns: ../../d/late.yaml\nscenarios: {l: {events: [10:00:00 ada Look], expect: [10:00:00 ada l]}}\n")
			putFile(t, "d/late.yaml", "campaigns: {l: {on: Look, offer: {channel: web}}}\n")
			future := time.Now().Add(time.Hour)
			if err := os.Chtimes("d/late.yaml", future, future); err != nil {
				t.Fatal(err)
			}
		}, []string{"changed: c/below/b.test.yaml", "all passed"}, "a.test.yaml", ""},
		{"is read once more, because it may have changed meanwhile", func() {}, []string{"changed: d/late.yaml\n", "all passed"}, "a.test.yaml", ""},
		{"and only once", func() {}, nil, "", ""},
		{"a scenario fails again", func() {
			change("c/below/b.test.yaml", "campaigns: ../../d/late.yaml\nscenarios: {l: {events: [10:00:00 ada Look], expect: none}}\n")
		},
			[]string{"1 failed"}, "a.test.yaml", ""},
	}
	next := 0
	err := w.loop(func() bool {
		step := steps[next]
		got := out.String()
		for _, want := range step.out {
			_, after, found := strings.Cut(got, want)
			if !found {
				t.Errorf("%s: no %q in\n%s", step.what, want, out.String())
			}
			got = after
		}
		if len(step.out) == 0 && out.Len() > 0 || step.not != "" && strings.Contains(out.String(), step.not) {
			t.Errorf("%s:\n%s", step.what, out.String())
		}
		if !strings.Contains(errs.String(), step.errs) || step.errs == "" && errs.Len() > 0 {
			t.Errorf("%s: errors\n%s\nwant %s", step.what, errs.String(), step.errs)
		}
		out.Reset()
		errs.Reset()
		if next++; next == len(steps) {
			return false
		}
		steps[next].change()
		return true
	})
	if !errors.Is(err, errSilent) {
		t.Errorf("the last run failed, and the watch ends with %v", err)
	}
}

// TestWatchEnds: Ctrl-C ends with the status of the last run.
func TestWatchEnds(t *testing.T) {
	t.Chdir(t.TempDir())
	putFile(t, "c.yaml", someCampaigns)
	putFile(t, "a.test.yaml", someScenarios)
	for args, want := range map[string]int{"--watch a.test.yaml": 1, "--watch --run passes a.test.yaml": 0, "--watch nowhere": 1} {
		ctx, cancel := context.WithCancel(t.Context())
		out := &untilText{text: "watching", then: cancel}
		if code := run(ctx, append([]string{"test"}, strings.Fields(args)...), stdio{strings.NewReader(""), out, &bytes.Buffer{}}); code != want {
			t.Errorf("test %s: exit %d, want %d\n%s", args, code, want, out.got.String())
		}
		cancel()
	}
}

// untilText calls then when a text has been written.
type untilText struct {
	got  bytes.Buffer
	text string
	then func()
}

func (u *untilText) Write(b []byte) (int, error) {
	u.got.Write(b)
	if strings.Contains(u.got.String(), u.text) {
		u.then()
	}
	return len(b), nil
}
