package main

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A junitReport is a JUnit file as a CI system reads it.
type junitReport struct {
	Tests    int `xml:"tests,attr"`
	Failures int `xml:"failures,attr"`
	Errors   int `xml:"errors,attr"`
	Skipped  int `xml:"skipped,attr"`
	Suites   []struct {
		Name  string `xml:"name,attr"`
		Tests int    `xml:"tests,attr"`
		Cases []struct {
			Class   string  `xml:"classname,attr"`
			Name    string  `xml:"name,attr"`
			File    string  `xml:"file,attr"`
			Line    int     `xml:"line,attr"`
			Time    float64 `xml:"time,attr"`
			Failure []struct {
				Message string `xml:"message,attr"`
				Text    string `xml:",chardata"`
			} `xml:"failure"`
			Error []struct {
				Message string `xml:"message,attr"`
				Text    string `xml:",chardata"`
			} `xml:"error"`
			Skipped []struct{} `xml:"skipped"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

// putFile writes a file in the working directory, with its directories.
func putFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

const (
	someCampaigns = "campaigns: {c: {on: View, offer: {channel: web, data: {title: '{{ event.properties.title }}'}}}}\n"
	someScenarios = `campaigns: c.yaml
scenarios:
  passes:
    events: [10:00:00 ada View title=a]
    expect: [10:00:00 ada c title=a]
  'fails, <"> and all':
    events: ['10:00:00 ada View title="<b>"']
    expect: [10:00:00 ada c title=b]
`
)

// TestJUnit: each scenario is a case, a failed one has the differences, and a file
// with mistakes is an error at its line.
func TestJUnit(t *testing.T) {
	t.Chdir(t.TempDir())
	putFile(t, "c/c.yaml", someCampaigns)
	putFile(t, "c/a.test.yaml", someScenarios)
	run := func() (r junitReport) {
		t.Helper()
		if _, _, code := tested(t, "--junit", "out.xml", "c"); code != 1 {
			t.Errorf("the exit status is %d", code)
		}
		b, err := os.ReadFile("out.xml")
		if err == nil {
			err = xml.Unmarshal(b, &r)
		}
		if err != nil || !strings.HasPrefix(string(b), "<?xml ") || !strings.Contains(string(b), "<testsuites ") {
			t.Fatalf("%v in\n%s", err, b)
		}
		return r
	}
	r := run()
	if r.Tests != 2 || r.Failures != 1 || r.Errors != 0 || len(r.Suites) != 1 || r.Suites[0].Tests != 2 || len(r.Suites[0].Cases) != 2 {
		t.Fatalf("%+v", r)
	}
	if first := r.Suites[0].Cases[0]; first.Name != "passes" || first.File != "c/a.test.yaml" || first.Line != 3 || first.Time <= 0 || len(first.Failure)+len(first.Error)+len(first.Skipped) > 0 {
		t.Errorf("%+v", first)
	}
	second := r.Suites[0].Cases[1]
	if second.Name != `fails, <"> and all` || second.Class != "c/a.test.yaml" || second.Line != 6 || len(second.Failure) != 1 ||
		second.Failure[0].Message != "offers (- expected, + actual): - 10:00:00 ada c title=b" || !strings.Contains(second.Failure[0].Text, "\n    + 10:00:00 ada c title=<b>\n") {
		t.Errorf("%+v", second)
	}

	putFile(t, "c/b.test.yaml", "campaigns: c.yaml\nscenarios:\n  odd:\n    events: [10:00:00 ada Vieuw]\n    expct: none\n")
	r = run()
	if r.Tests != 3 || r.Failures != 0 || r.Errors != 1 || r.Skipped != 2 || len(r.Suites) != 2 {
		t.Fatalf("%+v", r)
	}
	if wrong := r.Suites[1].Cases[0]; wrong.File != "c/b.test.yaml" || wrong.Line != 3 || len(wrong.Error) != 1 || !strings.Contains(wrong.Error[0].Text, `did you mean "expect"?`) {
		t.Errorf("%+v", wrong)
	}
	if len(r.Suites[0].Cases[0].Skipped) != 1 {
		t.Errorf("a scenario that did not run: %+v", r.Suites[0].Cases[0])
	}
}

// TestExitStatus: what the help promises.
func TestExitStatus(t *testing.T) {
	t.Chdir(t.TempDir())
	putFile(t, "c.yaml", someCampaigns)
	putFile(t, "a.test.yaml", someScenarios)
	putFile(t, "wrong.test.yaml", "scenarios: {}\n")
	for args, want := range map[string]int{
		"--run passes a.test.yaml":                 0,
		"a.test.yaml":                              1,
		"wrong.test.yaml":                          1,
		"nowhere.test.yaml":                        1,
		"--run zebra a.test.yaml":                  1,
		"--junit no/such/directory a.test.yaml":    1,
		"":                                         2,
		"--run [ a.test.yaml":                      2,
		"--zebra a.test.yaml":                      2,
		"--update --watch a.test.yaml":             2,
		"--update --junit x.xml a.test.yaml":       2,
		"--junit a.test.yaml a.test.yaml":          2,
		"--run passes --junit x.xml a.test.yaml":   0,
		"--help":                                   0,
		"--run passes wrong.test.yaml a.test.yaml": 1,
	} {
		if out, errs, code := tested(t, strings.Fields(args)...); code != want {
			t.Errorf("test %s: exit %d, want %d\n%s%s", args, code, want, out, errs)
		}
	}
	if b, err := os.ReadFile("a.test.yaml"); err != nil || string(b) != someScenarios {
		t.Errorf("the scenarios are now (%v)\n%s", err, b)
	}
}
